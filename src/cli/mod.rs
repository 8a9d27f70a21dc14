//! The command line.

mod admin_client;
mod check;
mod clients;
pub mod demo;
mod explain;
mod healthcheck;
mod import;
mod keys;
mod openapi;
mod output;
mod pages;
mod reload;
mod revoke;
mod schema;
mod sessions;
mod settings;
mod stats;

#[cfg(any(test, fuzzing))]
pub use import::fuzz as import_fuzz;

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use output::{Failure, complain, say};
use settings::SettingsArgs;

use crate::app;
use crate::config::DEFAULT_FILE;

/// Runs what the process was called with. 0: done; 1: it failed; 2: the call or the settings are wrong.
pub fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure.to_string());
            failure.exit_code()
        }
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => run(&args.settings),
        Command::Check(args) => check::run(&args),
        Command::PrintConfig(args) if args.defaults => say(DEFAULT_FILE),
        Command::PrintConfig(args) => args.settings.load().and_then(|loaded| {
            loaded.warnings().iter().for_each(|warning| complain(&format!("warning: {warning}")));
            say(&loaded.print())
        }),
        Command::Keys(args) => keys::run(&args),
        Command::Clients(args) => clients::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Sessions(args) => sessions::run(&args),
        Command::Revoke(args) => revoke::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Sweep(args) => stats::sweep(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Healthcheck(args) => healthcheck::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Schema(_) => schema::run(),
        Command::Openapi(args) => openapi::run(&args),
        Command::Man(args) => pages::man(&args, Cli::command()),
        Command::Completions(args) => pages::completions(&args, Cli::command()),
        Command::Demo(args) => demo::run(&args),
    }
}

fn run(args: &SettingsArgs) -> Result<(), Failure> {
    let loaded = args.load()?;
    let args_again = args.clone();
    let load_again = move || args_again.load().map_err(|failure| failure.to_string());
    let environment = settings::environment();
    let refused = Failure::Refused;
    let surroundings = app::Surroundings {
        file: args.file().map(Path::to_owned),
        manager: app::ServiceManager::of_environment(&environment).map_err(refused)?,
        passed: app::PassedSockets::of_environment(&environment).map_err(refused)?,
    };
    app::run(loaded, surroundings, load_again).map_err(|error| Failure::failed(&error))
}

/// An access-token gateway: validates tokens, forwards to your API, turns its logins into sessions.
#[derive(Debug, Parser)]
#[command(name = "tokengate", version, after_long_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tokengate demo
      See it work, with an API of its own.
  tokengate run --upstream http://127.0.0.1:3000
      Put it in front of your API.
  tokengate run --config tokengate.toml --set tokens.lifetime=5m
      From a file, one key changed.

Every key of the settings, with its default: tokengate print-config --defaults";

#[derive(Debug, Subcommand)]
enum Command {
    Run(RunArgs),
    Check(check::CheckArgs),
    PrintConfig(PrintConfigArgs),
    Keys(keys::KeysArgs),
    Clients(clients::ClientsArgs),
    Import(import::ImportArgs),
    Sessions(sessions::SessionsArgs),
    Revoke(revoke::RevokeArgs),
    Stats(stats::StatsArgs),
    Sweep(stats::SweepArgs),
    Reload(reload::ReloadArgs),
    Healthcheck(healthcheck::HealthcheckArgs),
    Explain(explain::ExplainArgs),
    Schema(schema::SchemaArgs),
    Openapi(openapi::OpenapiArgs),
    Man(pages::ManArgs),
    Completions(pages::CompletionsArgs),
    Demo(demo::Demo),
}

/// Run the gateway.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tokengate run --upstream http://127.0.0.1:3000
  tokengate run --config /etc/tokengate.toml --workers 2
  TOKENGATE__LISTEN__ADDRESS=0.0.0.0:8080 tokengate run --upstream http://api:3000

SIGTERM and SIGINT let requests in flight finish; a second one ends them.")]
struct RunArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Print the settings in effect as TOML, each with where it came from.
#[derive(Debug, Args)]
#[command(after_long_help = "Secrets are not shown. What is printed can be used as a settings file once they are filled in.")]
struct PrintConfigArgs {
    /// Print every key there is, with its default, unit and meaning, instead.
    #[arg(long)]
    defaults: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_reads_as_it_was_reviewed() {
        let mut cli = Cli::command().term_width(100);
        cli.build();
        let mut text = cli.render_long_help().to_string();
        for command in cli.get_subcommands_mut() {
            text.push_str(&titled(command));
            for nested in command.get_subcommands_mut() {
                text.push_str(&titled(nested));
            }
        }
        insta::assert_snapshot!("help", text);
    }

    fn titled(command: &mut clap::Command) -> String {
        let help = command.render_long_help();
        format!("\n━━ {} ━━\n\n{help}", command.get_name())
    }

    #[test]
    fn the_definition_of_the_commands_is_sound() {
        Cli::command().debug_assert();
    }
}

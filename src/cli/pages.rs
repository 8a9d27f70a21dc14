//! `tokengate man` and `tokengate completions`: what a package installs beside the program, made of the definition of its commands.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::{Shell, generate};
use clap_mangen::{Man, generate_to};

use super::output::{Failure, say};

/// Print the manual page, or write one for each command.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tokengate man | man -l -
  tokengate man --directory /usr/local/share/man/man1")]
pub(super) struct ManArgs {
    /// Write tokengate.1 and a page for each command, such as tokengate-run.1, to this folder instead.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Print a script by which a shell completes commands and flags.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tokengate completions bash > /etc/bash_completion.d/tokengate
  tokengate completions zsh > /usr/local/share/zsh/site-functions/_tokengate
  tokengate completions fish > ~/.config/fish/completions/tokengate.fish")]
pub(super) struct CompletionsArgs {
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn man(args: &ManArgs, program: Command) -> Result<(), Failure> {
    if let Some(directory) = &args.directory {
        return generate_to(program, directory)
            .map_err(|error| Failure::Failed(format!("cannot write to {}: {error}", directory.display())));
    }
    let mut page = Vec::new();
    Man::new(program).render(&mut page).map_err(|error| Failure::failed(&error))?;
    say(&String::from_utf8_lossy(&page))
}

pub(super) fn completions(args: &CompletionsArgs, mut program: Command) -> Result<(), Failure> {
    let (name, mut script) = (program.get_name().to_owned(), Vec::new());
    generate(args.shell, &mut program, name, &mut script);
    say(&String::from_utf8_lossy(&script))
}

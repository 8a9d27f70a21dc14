//! `tokengate clients`: keeps the file of OAuth clients.

mod file;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use self::file::{ClientsEdit, ClientsFile, Entry};
use super::admin_client::{AdminArgs, printable};
use super::output::{Failure, say};
use super::settings::SettingsArgs;
use crate::config::{self, SECRETS_MAX};
use crate::crypto::client_secret::ClientSecret;
use crate::crypto::entropy::SystemEntropy;
use crate::domain::secret::Secret;

/// Keys on a slow disk take their time.
const RELOAD_PATIENCE: Duration = Duration::from_secs(30);

/// Add, list, rotate and disable OAuth clients.
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub(super) struct ClientsArgs {
    #[command(subcommand)]
    command: ClientsCommand,
}

#[derive(Debug, Subcommand)]
enum ClientsCommand {
    Add(AddArgs),
    List(ListArgs),
    Rotate(RotateArgs),
    Disable(DisableArgs),
}

/// Add a client, and print its secret, which is kept nowhere.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tokengate clients add reports --file clients.toml --scope read --scope export
      A machine that gets tokens for itself.
  tokengate clients add billing --file clients.toml --introspects
      A service that asks what tokens are worth.

The file holds the SHA-256 of the secret. oauth.clients_file names it; give it to every node, and reload. Comments in it are not \
kept.")]
struct AddArgs {
    id: String,
    /// A scope that its tokens may have; may be repeated.
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// An audience of its tokens, one of tokens.audience; may be repeated. Left out: all of those.
    #[arg(long, value_name = "AUDIENCE")]
    audience: Vec<String>,
    /// It asks what tokens are worth (introspection), and gets tokens for itself only with --scope or --audience.
    #[arg(long)]
    introspects: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// List the clients: how many secrets each has, and what it may do.
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    place: PlaceArgs,
}

/// Give a client another secret, beside the present one.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tokengate clients rotate reports --file clients.toml
      Both secrets are good from the next reload on; an older third one is not.
  tokengate clients rotate reports --file clients.toml --finish
      Once the client uses the new one: the former is good no more.
  tokengate clients rotate reports --file clients.toml --at-once
      The secret has leaked: the new one alone is good.

Tokens that were given before stay good until they expire: tokengate revoke --subject client:reports ends them.")]
struct RotateArgs {
    id: String,
    /// End the former secret, and make none.
    #[arg(long, conflicts_with = "at_once")]
    finish: bool,
    /// End every former secret.
    #[arg(long)]
    at_once: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Disable a client, and have a running gateway refuse it and end its tokens.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tokengate clients disable reports --config tokengate.toml

The gateway that is asked reloads, and ends the tokens of the client on all nodes. The other nodes know its secret until they reload too.

Exit code 0: done. 1: the file says so, but the gateway did not do its part; the output says why.")]
struct DisableArgs {
    id: String,
    /// Change the file alone.
    #[arg(long)]
    file_only: bool,
    #[arg(long, help = "The file of clients; left out: oauth.clients_file", value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Args)]
struct PlaceArgs {
    #[arg(long, help = "The file of clients; left out: oauth.clients_file", value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) fn run(args: &ClientsArgs) -> Result<(), Failure> {
    match &args.command {
        ClientsCommand::Add(args) => add(args),
        ClientsCommand::List(args) => list(args),
        ClientsCommand::Rotate(args) => rotate(args),
        ClientsCommand::Disable(args) => disable(args),
    }
}

impl PlaceArgs {
    fn file(&self) -> Result<PathBuf, Failure> {
        file_of(self.file.as_ref(), &self.settings)
    }

    /// Whether the settings take a file of clients. Where the call names none, those that have the audiences and an endpoint for tokens.
    fn judge(&self, file: &Path, audiences: &[String]) -> Result<(), Failure> {
        let file = file.display().to_string();
        if self.file.is_none() || self.settings.file().is_some() {
            return self.settings.load_upstream_or_none_with(&[(config::CLIENTS_FILE_KEY, &file)]).map(|_| ());
        }
        let mut audience = audiences.to_vec();
        audience.sort_unstable();
        audience.dedup();
        let list = |texts: Vec<String>| toml::Value::from(texts).to_string();
        let mut set = vec![(config::CLIENTS_FILE_KEY, file), ("endpoints.token", "/oauth/token".to_owned())];
        if !audience.is_empty() {
            set.push(("tokens.audience", list(audience)));
        }
        let flags = set.into_iter().map(|(key, value)| config::Flag { name: "--file".to_owned(), key: key.to_owned(), value });
        let upstream = ("upstreams.default.url".to_owned(), "http://127.0.0.1:1".to_owned());
        let upstream = config::Flag { name: "stand-in".to_owned(), key: upstream.0, value: upstream.1 };
        let inputs = config::Inputs { flags: flags.chain([upstream]).collect(), ..config::Inputs::default() };
        config::load(&inputs).map(|_| ()).map_err(|invalid| Failure::refused(&invalid))
    }
}

fn file_of(named: Option<&PathBuf>, settings: &SettingsArgs) -> Result<PathBuf, Failure> {
    if let Some(file) = named {
        return Ok(file.clone());
    }
    let none = || Failure::Refused("these settings have no oauth.clients_file; name a file with --file".to_owned());
    settings.load_upstream_or_none()?.settings.oauth.clients_file.ok_or_else(none)
}

fn add(args: &AddArgs) -> Result<(), Failure> {
    if !config::is_client_id(&args.id) {
        return Err(Failure::Refused(
            "the id of a client has visible ASCII characters alone, with spaces between them at most".to_owned(),
        ));
    }
    let (secret, made) = ClientSecret::make(&SystemEntropy::new());
    let mut clients = ClientsEdit::open_or_new(&args.place.file()?)?;
    if clients.entry(&args.id).is_some() {
        return Err(Failure::Refused(format!("the client {} is there already; rotate gives it another secret", args.id)));
    }
    let is_machine = !args.introspects || !args.scope.is_empty() || !args.audience.is_empty();
    clients.add(Entry::new(&args.id, &made, args.introspects, is_machine, &args.scope, &args.audience));
    let audiences: Vec<String> = clients.file().entries().flat_map(Entry::audiences).collect();
    clients.write_if(|draft| args.place.judge(draft, &audiences))?;
    tell(&secret)
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let clients = ClientsFile::open(&args.place.file()?)?;
    let mut text = String::new();
    for entry in clients.entries() {
        let secrets = entry.secret_count();
        let state = if entry.is_disabled() { "disabled" } else { "enabled" };
        let id = printable(entry.id());
        let _ = writeln!(
            text,
            "{state:8} {secrets} {} {:24} {}",
            if secrets == 1 { "secret " } else { "secrets" },
            id,
            printable(&entry.told())
        );
    }
    say(&text)
}

fn rotate(args: &RotateArgs) -> Result<(), Failure> {
    let mut clients = ClientsEdit::open(&args.place.file()?)?;
    let entry = known(&mut clients, &args.id)?;
    if args.finish {
        entry.keep_secrets(1);
        clients.write()?;
        return say("the newest secret alone is good from the next reload on");
    }
    let (secret, made) = ClientSecret::make(&SystemEntropy::new());
    entry.keep_secrets(if args.at_once { 0 } else { SECRETS_MAX - 1 });
    entry.add_secret(&made);
    clients.write()?;
    tell(&secret)
}

fn disable(args: &DisableArgs) -> Result<(), Failure> {
    let written = match disable_in(&file_of(args.file.as_ref(), args.admin.settings())?, &args.id) {
        Err(Failure::Refused(why)) => return Err(Failure::Refused(why)),
        written => written,
    };
    let id = printable(&args.id);
    if args.file_only {
        written?;
        return say(&format!("{id} is disabled from the next reload on"));
    }
    let gateway = args.admin.client()?;
    let taken_over = written.and_then(|()| gateway.call("POST", "/reload", None, RELOAD_PATIENCE));
    // Whatever came of the file and the reload: its tokens are to end.
    let revocation = gateway.call("POST", "/revocations", Some(&json!({"client": args.id})), Duration::ZERO);
    match (taken_over, revocation) {
        (Ok(_), Ok(_)) => {
            say(&format!("{id} is disabled, and its tokens are revoked; other nodes know its secret until they reload"))
        }
        (Err(why), Ok(_)) => Err(Failure::Failed(format!(
            "the tokens of {id} are revoked, but the gateway does not know that it is disabled, and gives it tokens again in a minute: {}",
            why.text()
        ))),
        (Ok(_), Err(revocation)) => Err(Failure::Failed(format!(
            "{id} is disabled at this node, but its tokens are not known to be revoked on all: {}",
            revocation.text()
        ))),
        (Err(why), Err(revocation)) => Err(Failure::Failed(format!(
            "the gateway does not know that {id} is disabled: {}; nor are its tokens known to be revoked: {}",
            why.text(),
            revocation.text()
        ))),
    }
}

fn disable_in(file: &Path, id: &str) -> Result<(), Failure> {
    let mut clients = ClientsEdit::open(file)?;
    known(&mut clients, id)?.disable();
    clients.write()
}

fn known<'a>(clients: &'a mut ClientsEdit, id: &str) -> Result<&'a mut Entry, Failure> {
    let unknown = Failure::Refused(format!("there is no client {} in {}", printable(id), clients.path().display()));
    clients.entry(id).ok_or(unknown)
}

/// Alone on a line, for a script to take.
fn tell(secret: &Secret<String>) -> Result<(), Failure> {
    say(secret.expose())
}

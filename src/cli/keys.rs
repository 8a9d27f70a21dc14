//! `tokengate keys`: makes and lists signing keys.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output::{Failure, say};
use super::settings::SettingsArgs;
use crate::crypto::entropy::SystemEntropy;
use crate::crypto::key_files;
use crate::crypto::keyring::KeyRing;
use crate::domain::algorithm::Algorithm;

/// Make and list the keys that sign access tokens.
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    Generate(GenerateArgs),
    List(ListArgs),
}

/// Make a key and write it to a file of its own, never over another.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tokengate keys generate --directory keys
  tokengate keys generate --directory keys --algorithm EdDSA

A key is published as soon as its file is there. It signs when keys.signing names it, or when it is the only private \
key. To change keys: generate the new one, give every node its file, then name it in keys.signing. The old file stays \
until the last token that it signed has run out.")]
struct GenerateArgs {
    #[arg(long, help = "ES256, EdDSA or HS256; left out: tokens.algorithm. RSA keys are made by openssl", value_name = "ALGORITHM", value_parser = algorithm)]
    algorithm: Option<Algorithm>,
    /// The folder to write to; left out: keys.directory, or `keys` in the folder of the embedded store.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// List the keys: what each does, its algorithm, its id.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tokengate keys list --directory keys
  tokengate keys list --config tokengate.toml

signs: new tokens carry its signature. waits: it could sign, but another does. verifies: its public half alone is there.")]
struct ListArgs {
    /// The folder to read; left out: keys.directory, or `keys` in the folder of the embedded store.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The id of the key that signs, when several could; left out: keys.signing.
    #[arg(long, value_name = "KID")]
    signing: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    name.parse().map_err(|e: crate::domain::algorithm::UnknownAlgorithm| e.to_string())
}

pub(super) fn run(args: &KeysArgs) -> Result<(), Failure> {
    match &args.command {
        KeysCommand::Generate(args) => generate(args),
        KeysCommand::List(args) => list(args),
    }
}

fn generate(args: &GenerateArgs) -> Result<(), Failure> {
    let (directory, algorithm) = match (&args.directory, args.algorithm) {
        (Some(directory), Some(algorithm)) => (directory.clone(), algorithm),
        (Some(directory), None) => (directory.clone(), Algorithm::Es256),
        (None, given) => {
            let settings = args.settings.load()?.settings;
            (settings.keys.directory.ok_or_else(no_folder)?, given.unwrap_or(settings.tokens.algorithm))
        }
    };
    let made = key_files::generate(&directory, algorithm, &SystemEntropy::new()).map_err(|e| Failure::failed(&e))?;
    say(&format!("made {} key {} in {}", made.algorithm, made.kid, made.path.display()))?;
    match KeyRing::load(&directory, Some(&made.kid)) {
        Ok(ring) if ring.keys().len() == 1 => Ok(()),
        Ok(_) => say(&format!("other keys are there: this one signs once keys.signing = \"{}\" is set", made.kid)),
        Err(error) => Err(Failure::Failed(format!("the folder as a whole cannot be used:\n{error}"))),
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let (directory, signing) = if let Some(directory) = &args.directory {
        (directory.clone(), args.signing.clone())
    } else {
        let keys = args.settings.load()?.settings.keys;
        (keys.directory.ok_or_else(no_folder)?, args.signing.clone().or(keys.signing))
    };
    let ring = KeyRing::load(&directory, signing.as_deref()).map_err(|e| Failure::failed(&e))?;
    let mut text = String::new();
    for key in ring.keys() {
        let _ = writeln!(text, "{:9} {:6} {}", key.role.to_string(), key.key.algorithm().name(), key.kid);
    }
    say(&text)
}

fn no_folder() -> Failure {
    Failure::Refused("these settings keep keys in memory alone; name a folder with --directory".to_owned())
}

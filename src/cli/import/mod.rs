//! `tokengate import`: what another service kept becomes the gateway's.

mod columns;
mod csv;
mod extended_json;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod json;
mod json_list;
mod json_record;
mod moments;
mod ndjson;
mod progress;
mod record;
mod refresh_tokens;
mod rejects;
mod shared;
mod source;
mod token_form;
mod values;

use clap::{Args, Subcommand};

use super::output::Failure;

/// Take over what another service kept.
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub(super) struct ImportArgs {
    #[command(subcommand)]
    command: ImportCommand,
}

#[derive(Debug, Subcommand)]
enum ImportCommand {
    RefreshTokens(Box<refresh_tokens::RefreshTokensArgs>),
}

pub(super) fn run(args: &ImportArgs) -> Result<(), Failure> {
    match &args.command {
        ImportCommand::RefreshTokens(args) => refresh_tokens::run(args),
    }
}

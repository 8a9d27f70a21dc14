//! `tokengate schema`: the settings as a JSON Schema. Its page is `docs/tokengate.schema.json`.

use clap::Args;

use super::output::{Failure, say};
use crate::config;

/// Print the JSON Schema of the settings, by which editors complete and check a settings file.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  tokengate schema > tokengate.schema.json

A settings file names it in its first line: #:schema tokengate.schema.json")]
pub(super) struct SchemaArgs {}

pub(super) fn run() -> Result<(), Failure> {
    let schema = config::schema().map_err(|invalid| Failure::failed(&invalid))?;
    let text = serde_json::to_string_pretty(&schema).map_err(|error| Failure::failed(&error))?;
    say(&format!("{text}\n"))
}

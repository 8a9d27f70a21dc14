//! `tokengate openapi`: what the gateway answers itself, for programs. Its pages are `docs/openapi.json` and `docs/openapi-admin.json`.

use clap::Args;

use super::output::{Failure, say};
use super::settings::SettingsArgs;
use crate::{admin, openapi};

/// Print the own endpoints, at the paths that the settings say, as OpenAPI 3.1.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tokengate openapi --config tokengate.toml > openapi.json
  tokengate openapi --admin > openapi-admin.json

A running gateway has both at its admin listener: /openapi.json and /openapi-admin.json.")]
pub(super) struct OpenapiArgs {
    /// Print the admin listener instead.
    #[arg(long)]
    admin: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) fn run(args: &OpenapiArgs) -> Result<(), Failure> {
    let described =
        if args.admin { admin::description() } else { openapi::own_endpoints(&args.settings.load_upstream_or_none()?.settings) };
    let text = serde_json::to_string_pretty(&described).map_err(|error| Failure::failed(&error))?;
    say(&format!("{text}\n"))
}

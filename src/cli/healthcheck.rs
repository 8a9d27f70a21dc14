//! `tokengate healthcheck`: probes a running gateway, for images without curl.

use std::time::Duration;

use clap::Args;
use http::Uri;

use super::admin_client::{Call, probe_url, url};
use super::output::{Failure, say};
use super::settings::SettingsArgs;

/// Ask a running gateway whether it is alive. Exit code 0: it is; 1: it is not.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tokengate healthcheck
  tokengate healthcheck --ready
  tokengate healthcheck --url http://127.0.0.1:8080/healthz

Without --url, the admin listener of the settings is probed, or the main listener if that is off.")]
pub(super) struct HealthcheckArgs {
    /// What to ask.
    #[arg(long, value_name = "URL", value_parser = url, conflicts_with = "ready")]
    url: Option<Uri>,
    /// Ask whether it is ready for traffic, not only alive.
    #[arg(long)]
    ready: bool,
    /// How long connecting, and each part of the response, may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) fn run(args: &HealthcheckArgs) -> Result<(), Failure> {
    let url = match &args.url {
        Some(url) => url.clone(),
        None => probe_url(&args.settings.load_upstream_or_none()?.settings, args.ready)?,
    };
    let timeout = Duration::from_secs(args.timeout);
    let call = Call { method: "GET", url: &url, token: None, body: None, timeout };
    let response = call.send().map_err(|e| Failure::Failed(format!("{url}: {e}")))?;
    if (200..300).contains(&response.status) {
        return say(&format!("{url}: {}", response.status));
    }
    Err(Failure::Failed(format!("{url}: {} {}", response.status, response.text().trim()).trim_end().to_owned()))
}

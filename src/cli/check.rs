//! `tokengate check`: validates the settings and the files that they name, and probes what they name on request.

mod route;

use std::fmt::Write as _;

use clap::Args;

use super::output::{Failure, say};
use super::settings::SettingsArgs;
use crate::app;
use crate::config::{JwksSource, Settings, Store, shown_url};
use crate::crypto::jwks::ForeignKeys;

/// Check the settings, and the files that they name.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tokengate check --config tokengate.toml
  tokengate check --config tokengate.toml --online

Exit code 0: valid. 1: something does not respond. 2: faults, all of them named with their places.")]
pub(super) struct CheckArgs {
    /// Also probe the store, the upstreams and the key sets of other issuers.
    #[arg(long)]
    online: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let loaded = args.settings.load()?;
    let settings = &loaded.settings;
    let faults = app::file_faults(settings);
    if !faults.is_empty() {
        return Err(Failure::Refused(format!("the settings name what cannot be used:\n  {}", faults.join("\n  "))));
    }
    let mut text = summary(settings);
    let now = app::Ambient::of_system().clock.now();
    let of_files = app::permission_warnings(&loaded).into_iter().chain(app::certificate_warnings(settings, now));
    for warning in loaded.warnings().iter().cloned().chain(of_files) {
        let _ = writeln!(text, "warning: {warning}");
    }
    if !args.online {
        return say(&text);
    }
    let findings = app::probe_online(settings).map_err(|error| Failure::failed(&error))?;
    let mut unfit = Vec::new();
    for finding in findings {
        match finding.outcome {
            Ok(outcome) => {
                let _ = writeln!(text, "{}: {outcome}", finding.key);
            }
            Err(error) => unfit.push(format!("{}: {error}", finding.key)),
        }
        for warning in finding.warnings {
            let _ = writeln!(text, "warning: {}: {warning}", finding.key);
        }
    }
    say(&text)?;
    if unfit.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "the settings are valid, but what they name does not respond as it should:\n  {}",
        unfit.join("\n  ")
    )))
}

fn summary(settings: &Settings) -> String {
    let mut text = "the settings are valid\n".to_owned();
    let store = match &settings.store {
        Store::Memory => "memory: sessions end with the process".to_owned(),
        Store::Embedded(embedded) => format!("embedded, in {}", embedded.directory.display()),
        Store::Redis(redis) => format!("redis, {}", redis.place.servers.kind()),
    };
    let admin = settings.admin.address.as_ref().map_or_else(|| "off".to_owned(), ToString::to_string);
    let listeners = settings.listeners.iter().map(|listener| ("listen", listener.to_string()));
    for (name, value) in listeners.chain([("admin", admin), ("store", store)]) {
        let _ = writeln!(text, "  {name:9} {value}");
    }
    for route in settings.routes.listed() {
        let _ = writeln!(text, "  {:9} {}", "route", route::line(route, settings));
    }
    if let Some(hook) = &settings.claims_hook {
        let upstream = &settings.upstreams[hook.upstream];
        let _ = writeln!(text, "  {:9} asked on refresh at {}{}", "claims", upstream.targets.first().url, hook.path);
    }
    for issuer in &settings.issuers {
        let keys = match &issuer.jwks {
            JwksSource::Url(url) => format!("keys from {}", shown_url(&url.to_string())),
            JwksSource::File(path) => app::key_set(path, &issuer.algorithms).map_or_else(|e| e, |set| keys_line(&set)),
        };
        let _ = writeln!(text, "  {:9} {} with {keys}", "issuer", issuer.issuer);
    }
    text
}

fn keys_line(set: &ForeignKeys) -> String {
    let used: Vec<String> = set
        .keys()
        .iter()
        .map(|entry| format!("{} ({})", entry.kid.as_deref().unwrap_or("a key without kid"), entry.key.algorithm()))
        .collect();
    let skipped: Vec<String> = set.skipped().iter().map(|skipped| format!("; not used: {skipped}")).collect();
    format!("{}{}", used.join(", "), skipped.concat())
}

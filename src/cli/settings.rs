//! Gathers the settings of a call: file, environment, flags.

use std::path::{Path, PathBuf};

use clap::Args;

use super::output::Failure;
use crate::config::{self, Flag, Inputs, Loaded, SettingsFile};
use crate::files;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Settings")]
pub(super) struct SettingsArgs {
    /// Read settings from this TOML file.
    #[arg(long, value_name = "FILE", env = "TOKENGATE_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Where clients connect (listen.address).
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Threads that carry requests, 0 for one per core (listen.workers).
    #[arg(long, value_name = "N")]
    workers: Option<u16>,
    /// The API behind the gateway (upstreams.default.url).
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Set any key, as in tokens.lifetime=5m or routes.0.access=public; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

impl SettingsArgs {
    pub(super) fn load(&self) -> Result<Loaded, Failure> {
        config::load(&self.inputs()?).map_err(|invalid| Failure::refused(&invalid))
    }

    /// For commands that only need to know where a gateway listens: its upstream may have been a flag of that call.
    pub(super) fn load_upstream_or_none(&self) -> Result<Loaded, Failure> {
        self.load_upstream_or_none_with(&[])
    }

    /// The same, with further keys set, which win over all others.
    pub(super) fn load_upstream_or_none_with(&self, set: &[(&str, &str)]) -> Result<Loaded, Failure> {
        let mut inputs = self.inputs()?;
        let set = set.iter().map(|(key, value)| ("this call", *key, (*value).to_owned()));
        inputs.flags.extend(set.map(|(name, key, value)| Flag { name: name.to_owned(), key: key.to_owned(), value }));
        config::load(&inputs).or_else(|invalid| {
            let key = format!("upstreams.{}.url", config::UPSTREAM_DEFAULT);
            inputs.flags.push(Flag { name: "stand-in".to_owned(), key, value: "http://127.0.0.1:1".to_owned() });
            config::load(&inputs).map_err(|_| Failure::refused(&invalid))
        })
    }

    /// The settings file, if there is one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    fn inputs(&self) -> Result<Inputs, Failure> {
        let file = self.config.as_deref().map(read).transpose()?;
        Ok(Inputs { file, environment: environment(), flags: self.flags() })
    }

    /// The named flags win over `--set`.
    fn flags(&self) -> Vec<Flag> {
        let set = self.set.iter().map(|(key, value)| ("--set", key.as_str(), value.clone()));
        let named = [
            ("--listen", "listen.address", self.listen.clone()),
            ("--workers", "listen.workers", self.workers.map(|workers| workers.to_string())),
            ("--upstream", "upstreams.default.url", self.upstream.clone()),
        ];
        let named = named.into_iter().filter_map(|(name, key, value)| value.map(|value| (name, key, value)));
        set.chain(named).map(|(name, key, value)| Flag { name: name.to_owned(), key: key.to_owned(), value }).collect()
    }
}

pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("allowed is KEY=VALUE, such as tokens.lifetime=5m".to_owned()),
    }
}

fn read(path: &Path) -> Result<SettingsFile, Failure> {
    let name = path.display().to_string();
    let refuse = |error: &dyn std::fmt::Display| Failure::Refused(format!("the settings file {name} cannot be read: {error}"));
    match files::read_text(path, files::SETTINGS_BYTES_MAX) {
        Ok(text) => Ok(SettingsFile { name, text: text.to_string() }),
        Err(error) => Err(refuse(&error)),
    }
}

/// The one place where the environment is read.
pub(super) fn environment() -> Vec<(String, String)> {
    let variables = std::env::vars_os();
    variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))).collect()
}

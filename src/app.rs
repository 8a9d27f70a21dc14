//! The composition root: the only place where parts are wired, and the order of start and stop.

use crate::cli::demo::Demo;
use crate::config::Settings;

/// Why the gateway did not start, or ended on its own.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the parts are not wired yet")]
    Unwired,
}

/// Serves until a signal ends the process.
pub fn run(_settings: Settings) -> Result<(), StartError> {
    Err(StartError::Unwired)
}

/// The gateway with the demo's API behind it, until a signal ends both.
pub fn run_demo(_demo: &Demo) -> Result<(), StartError> {
    Err(StartError::Unwired)
}

/// Asks the store once whether it answers, as these settings would reach it. Changes nothing in it.
pub fn probe_store(_settings: &Settings) -> Result<(), StartError> {
    Err(StartError::Unwired)
}

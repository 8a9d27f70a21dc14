//! Where log lines go, and in what form.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _};
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;

use crate::config::{Log, LogFormat};

/// Sets the process's log up. The first call wins, as when a test starts several gateways in one process.
pub(super) fn init(log: &Log) {
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = SubscriberBuilder::default().with_env_filter(filter).with_writer(io::stderr);
    let first = match log.format {
        LogFormat::Text => builder.with_target(false).with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if first.is_ok() {
        std::panic::set_hook(Box::new(note_panic));
    }
}

/// Panics are told where and as everything else is: on lines that machines read too.
fn note_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let place = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    let message = panic.payload_as_str().unwrap_or("unknown");
    tracing::error!(thread = thread.name(), place, panic = message, backtrace, "panic");
}

//! Where log lines go, and in what form.

mod fields;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;

use self::fields::{EscapedJson, QuotedFields};
use crate::config::{Log, LogFormat};

/// Puts another filter in place.
type SetFilter = Box<dyn Fn(EnvFilter) + Send + Sync>;

static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

/// Sets the process's log up. The first call wins, as when a test starts several gateways in one process.
pub(super) fn init(log: &Log) {
    let builder = SubscriberBuilder::default();
    // What became of a filter that cannot be put in place cannot be logged.
    let (first, set_filter): (_, SetFilter) = match log.format {
        LogFormat::Text => {
            let builder =
                builder.fmt_fields(QuotedFields).with_writer(io::stderr).with_target(false).with_ansi(io::stderr().is_terminal());
            let builder = builder.with_env_filter(filter(log)).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), Box::new(move |filter| handle.reload(filter).unwrap_or_default()))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_writer(|| EscapedJson(io::stderr()));
            let builder = builder.with_env_filter(filter(log)).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), Box::new(move |filter| handle.reload(filter).unwrap_or_default()))
        }
    };
    if first.is_ok() {
        std::panic::set_hook(Box::new(note_panic));
        let _ = SET_FILTER.set(set_filter);
    }
}

/// From now on.
pub(super) fn set_level(log: &Log) {
    if let Some(set_filter) = SET_FILTER.get() {
        set_filter(filter(log));
    }
}

fn filter(log: &Log) -> EnvFilter {
    EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"))
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

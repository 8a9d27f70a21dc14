//! Where log lines go, and in what form.

mod fields;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use self::fields::{EscapedJson, QuotedFields};
use crate::config::{Log, LogFormat};

/// What may be set anew.
struct Switches {
    filter: Handle<EnvFilter, Registry>,
    is_json: Arc<AtomicBool>,
}

static SWITCHES: OnceLock<Switches> = OnceLock::new();

/// Sets the process's log up. The first call wins, as when a test starts several gateways in one process.
pub(super) fn init(log: &Log) {
    let (filter, set_filter) = reload::Layer::new(filter(log));
    let is_json = Arc::new(AtomicBool::new(is_json(log)));
    let text =
        fmt::layer().fmt_fields(QuotedFields).with_writer(io::stderr).with_target(false).with_ansi(io::stderr().is_terminal());
    let json = fmt::layer().json().flatten_event(true).with_writer(|| EscapedJson(io::stderr()));
    let output = Output { text, json, is_json: Arc::clone(&is_json) };
    if tracing_subscriber::registry().with(filter).with(output).try_init().is_ok() {
        std::panic::set_hook(Box::new(note_panic));
        let _ = SWITCHES.set(Switches { filter: set_filter, is_json });
    }
}

/// From now on.
pub(super) fn set(log: &Log) {
    if let Some(switches) = SWITCHES.get() {
        // What became of a filter that cannot be put in place cannot be logged.
        let _ = switches.filter.reload(filter(log));
        switches.is_json.store(is_json(log), Ordering::Relaxed);
    }
}

const fn is_json(log: &Log) -> bool {
    match log.format {
        LogFormat::Text => false,
        LogFormat::Json => true,
    }
}

/// Writes events in one of two forms. Spans are noted in both, for one may last while the form changes, and each needs what it noted itself.
struct Output<T, J> {
    text: T,
    json: J,
    is_json: Arc<AtomicBool>,
}

impl<S, T, J> Layer<S> for Output<T, J>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    T: Layer<S>,
    J: Layer<S>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.text.on_new_span(attributes, id, context.clone());
        self.json.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.text.on_record(id, values, context.clone());
        self.json.on_record(id, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if self.is_json.load(Ordering::Relaxed) {
            self.json.on_event(event, context);
        } else {
            self.text.on_event(event, context);
        }
    }
}

/// h2 warns of frames that clients chose to send, of each one: anybody could fill the log. Settings that name it are obeyed.
fn filter(log: &Log) -> EnvFilter {
    EnvFilter::try_new(format!("h2=off,{}", log.level)).unwrap_or_else(|_| EnvFilter::new("info,h2=off"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_can_make_h2_say_is_left_out_unless_it_is_asked_for() {
        let directives = |level: &str| {
            let filter = filter(&Log { format: LogFormat::Text, level: level.to_owned(), access: None }).to_string();
            let mut directives: Vec<_> = filter.split(',').map(str::to_owned).collect();
            directives.sort();
            directives
        };
        assert_eq!(directives("info"), ["h2=off", "info"]);
        assert_eq!(directives("warn,h2=debug"), ["h2=debug", "warn"]);
    }
}

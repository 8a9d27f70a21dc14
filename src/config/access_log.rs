//! `[log.access]`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::parse::{self, Parsed};
use super::reading::{Form, Reading};
use super::section::Section;
use super::setting::open_settings;
use crate::domain::access_log::{Field, Format, Keep, QueryValues, Sample, Sampling};

/// What is written of each request, where, and of which.
#[derive(Clone, Debug)]
pub struct AccessLog {
    pub keep: Keep,
    pub format: Format,
    pub to: LogDestination,
    /// No field twice, and at least one.
    pub fields: Vec<Field>,
    pub query_values: QueryValues,
    pub queue_bytes_max: usize,
}

/// Where lines go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogDestination {
    Stderr,
    Stdout,
    File(PathBuf),
    /// A stream socket of this machine, at which somebody listens.
    Socket(PathBuf),
}

impl fmt::Display for LogDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stderr => f.write_str(STDERR),
            Self::Stdout => f.write_str(STDOUT),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Socket(path) => write!(f, "{SOCKET_PREFIX}{}", path.display()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Off,
    On,
    Sampled,
}

open_settings!(Mode, Format, LogDestination, Field, Sample);

const MODES: &[(&str, Mode)] = &[("off", Mode::Off), ("on", Mode::On), ("sampled", Mode::Sampled)];

const SLOW_MAX: Duration = Duration::from_hours(1);

impl AccessLog {
    /// `None`: off. The other keys are read all the same, so that what is wrong with them is told before they count.
    pub(super) fn read(s: &mut Section<'_>) -> Option<Self> {
        let mode = s.read("mode", parse::choice(MODES));
        let sample = s.read("sample", sample());
        let slow = s.read("slow", parse::or_off(parse::duration(Duration::ZERO, SLOW_MAX)));
        let log = Self {
            keep: match mode {
                Mode::Off | Mode::On => Keep::All,
                Mode::Sampled => Keep::Sampled(Sampling { sample, slow }),
            },
            format: s.read("format", parse::choice(&[("json", Format::Json), ("text", Format::Text)])),
            to: s.read("to", destination()),
            fields: s.read("fields", fields()),
            query_values: QueryValues::new(s.read("query_values", parse::list(parse::filled_text()))),
            queue_bytes_max: s.read("queue_bytes_max", parse::memory(64 << 10, 1 << 30)),
        };
        (mode != Mode::Off).then_some(log)
    }
}

fn sample() -> Reading<Sample> {
    let sample = parse::text().then(|text| Sample::of_percentage(&text).ok_or_else(String::new));
    sample.or_say(|| "allowed is a percentage from \"0%\" to \"100%\", with up to four decimals, such as \"0.1%\"".to_owned())
}

const STDERR: &str = "stderr";
const STDOUT: &str = "stdout";

const SOCKET_PREFIX: &str = "unix:";

fn destination() -> Reading<LogDestination> {
    parse::text().then(|text| destination_of(&text))
}

fn destination_of(text: &str) -> Parsed<LogDestination> {
    let allowed = || {
        "allowed: \"stderr\", \"stdout\", the path of a file with a slash in it, or \"unix:\" and the path of a socket".to_owned()
    };
    if text.trim().is_empty() {
        return Err(allowed());
    }
    match text.strip_prefix(SOCKET_PREFIX) {
        Some("") => Err(allowed()),
        Some(path) => Ok(LogDestination::Socket(path.into())),
        None if text == STDERR => Ok(LogDestination::Stderr),
        None if text == STDOUT => Ok(LogDestination::Stdout),
        // A word alone is more likely a misspelt one of ours.
        None if text.contains('/') && !text.ends_with('/') => Ok(LogDestination::File(text.into())),
        None => Err(allowed()),
    }
}

fn fields() -> Reading<Vec<Field>> {
    let names = || Field::ALL.into_iter().map(Field::name).collect::<Vec<_>>();
    let named = parse::text()
        .then(move |name| Field::named(&name).ok_or_else(|| format!("allowed: {}", names().join(", "))))
        .written(Form::words(&names()));
    parse::list(named).then(|fields| {
        if fields.is_empty() {
            return Err("allowed is a list of one or more fields".to_owned());
        }
        match fields.iter().enumerate().find(|(index, field)| fields[..*index].contains(field)) {
            Some((_, twice)) => Err(format!("\"{}\" stands there twice; allowed is each field once", twice.name())),
            None => Ok(fields),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn load(log: &str) -> Result<Option<AccessLog>, String> {
        let text = format!("upstreams.default.url = 'http://127.0.0.1:1'\n[log.access]\n{log}");
        Settings::from_toml(&text).map(|settings| settings.log.access).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn it_is_off_unless_it_is_asked_for() {
        assert!(load("").unwrap().is_none() && load("mode = 'off'").unwrap().is_none());
        let on = load("mode = 'on'").unwrap().unwrap();
        assert_eq!((on.keep, on.format, &on.to), (Keep::All, Format::Json, &LogDestination::Stderr));
        assert!(on.fields.contains(&Field::Path) && !on.fields.contains(&Field::Query), "{:?}", on.fields);
    }

    #[test]
    fn a_sample_and_what_is_slow_are_read() {
        let sampled = load("mode = 'sampled'\nsample = '0.5%'\nslow = '250ms'").unwrap().unwrap();
        let expected = Sampling { sample: Sample::of_percentage("0.5%").unwrap(), slow: Some(Duration::from_millis(250)) };
        assert_eq!(sampled.keep, Keep::Sampled(expected));
        let sampled = load("mode = 'sampled'\nslow = ''").unwrap().unwrap();
        assert_eq!(sampled.keep, Keep::Sampled(Sampling { sample: Sample::of_percentage("1%").unwrap(), slow: None }));
    }

    #[test]
    fn destinations_are_told_apart() {
        let to = |to: &str| load(&format!("mode = 'on'\nto = '{to}'")).map(|log| log.unwrap().to);
        assert_eq!(to("stderr"), Ok(LogDestination::Stderr));
        assert_eq!(to("stdout"), Ok(LogDestination::Stdout));
        assert_eq!(to("./access.log"), Ok(LogDestination::File("./access.log".into())));
        assert_eq!(to("unix:/run/log.sock"), Ok(LogDestination::Socket("/run/log.sock".into())));
        for wrong in ["", "syslog", "unix:", "access.log", "/var/log/"] {
            let fault = to(wrong).unwrap_err();
            assert!(fault.contains("log.access.to") && fault.contains("allowed: \"stderr\""), "{wrong}: {fault}");
        }
    }

    #[test]
    fn every_fault_names_its_key_at_once_also_while_it_is_off() {
        let fault =
            load("mode = 'yes'\nsample = 1\nslow = 5\nformat = 'xml'\nfields = ['path', 'cookie']\nqueue_bytes_max = '1B'")
                .unwrap_err();
        for key in ["mode", "sample", "slow", "format", "fields", "queue_bytes_max"] {
            assert!(fault.contains(&format!("log.access.{key}")), "{key}: {fault}");
        }
        assert!(fault.contains("user_agent"), "it names what is allowed: {fault}");
        assert!(load("fields = []").unwrap_err().contains("one or more"));
        assert!(load("fields = ['path', 'status', 'path']").unwrap_err().contains("\"path\" stands there twice"));
    }
}

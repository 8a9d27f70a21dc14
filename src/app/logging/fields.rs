//! How values stand in a line of the log: so that none can be taken for another field, another line or the terminal's command.
//!
//! Much of what is logged was chosen by others: subjects, paths, user agents, what servers say of themselves.

use std::fmt::{self, Debug, Write as _};
use std::io;

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{FormatFields, Writer};

use crate::domain::visible::is_visible;

/// The fields of an event as `name=value` with spaces between them. Text is quoted, and so is every other value that is not plain.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuotedFields;

impl<'writer> FormatFields<'writer> for QuotedFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line { writer, is_empty: true, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'writer> {
    writer: Writer<'writer>,
    is_empty: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn add(&mut self, field: &Field, value: &str, is_text: bool) {
        if self.result.is_err() {
            return;
        }
        let space = if std::mem::take(&mut self.is_empty) { "" } else { " " };
        self.result = match field.name() {
            // Ours, but for what it may have been made of.
            "message" => write!(self.writer, "{space}{}", escaped(value)),
            name if is_text || !is_plain(value) => write!(self.writer, "{space}{name}={value:?}"),
            name => write!(self.writer, "{space}{name}={value}"),
        };
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value, true);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, &format!("{value:?}"), false);
    }
}

/// Whether a value ends where the next space is, and cannot be taken for anything else.
fn is_plain(value: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '=' | '"' | '\\');
    !value.is_empty() && value.chars().all(is_plain)
}

/// Without line breaks, terminals' sequences and whatever cannot be seen; letters of all languages stay.
fn escaped(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for c in text.chars() {
        if is_visible(c) {
            visible.push(c);
        } else {
            visible.extend(c.escape_debug());
        }
    }
    visible
}

/// Lines of JSON, in which whatever cannot be seen is escaped: JSON allows U+2028 and the like as they are, and readers that divide a
/// log into lines do so there too.
#[derive(Clone, Copy, Debug)]
pub(super) struct EscapedJson<W>(pub(super) W);

impl<W: io::Write> io::Write for EscapedJson<W> {
    /// Takes whole lines, as the log writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match str::from_utf8(line) {
            Ok(text) if text.chars().any(|c| !is_kept(c)) => {
                self.0.write_all(escaped_json(text).as_bytes())?;
            }
            Ok(_) | Err(_) => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Outside of strings, lines of JSON are visible ASCII and the end of the line.
fn is_kept(c: char) -> bool {
    c == '\n' || is_visible(c)
}

fn escaped_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_kept(c) {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::SubscriberBuilder;

    use super::*;
    use crate::domain::ids::{SessionId, Subject};
    use crate::sessions::LogoutScope;
    use crate::sessions::audit::audit;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    /// What attackers put into names.
    const FORGERIES: [&str; 9] = [
        "7 event=logout",
        "7\nINFO event=logout",
        "7\r\nINFO event=logout",
        "7\u{2028}INFO event=logout",
        "7\u{2029}INFO event=logout",
        "7\u{85}INFO event=logout",
        "7\" event=\"logout",
        "7\u{1b}[2J\u{1b}]0;owned\u{7}",
        "7\u{202e}tuogol\u{200b}\u{feff}\u{7f}",
    ];

    fn as_text(log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = SubscriberBuilder::default()
            .with_ansi(false)
            .without_time()
            .fmt_fields(QuotedFields)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        lines.text()
    }

    #[test]
    fn no_value_can_forge_a_field_or_a_line_of_text() {
        for forgery in FORGERIES {
            let named = forgery.to_owned();
            let line = as_text(|| {
                tracing::info!(as_str = named, as_displayed = %forgery, as_debugged = ?forgery, end = true, "said {forgery}");
            });
            let line = line.strip_suffix('\n').unwrap();
            assert!(line.chars().all(|c| !c.is_control() && !"\u{2028}\u{2029}\u{202e}\u{200b}\u{feff}".contains(c)), "{line:?}");
            let mut outside = String::new();
            let (mut quoted, mut escapes) = (false, false);
            for c in line[line.find("as_str").unwrap()..].chars() {
                match (quoted, escapes, c) {
                    (true, true, _) => escapes = false,
                    (true, false, '\\') => escapes = true,
                    (_, false, '"') => quoted = !quoted,
                    (false, _, c) => outside.push(c),
                    (true, false, _) => {}
                }
            }
            assert_eq!(outside, "as_str= as_displayed= as_debugged= end=true", "{line}");
        }
    }

    #[test]
    fn lines_of_the_audit_hold_values() {
        let line = as_text(|| {
            audit!(
                info,
                "logout",
                scope = LogoutScope::Session,
                subject = Some(Subject::new("7").unwrap()),
                session = None::<SessionId>,
                address = Some(IpAddr::from([192, 0, 2, 7])),
                ended = 1_u64,
            );
        });
        assert!(line.ends_with("event=\"logout\" scope=\"session\" subject=\"7\" address=192.0.2.7 ended=1\n"), "{line}");
        let forged = as_text(|| audit!(info, "logout", subject = Subject::new("7 event=\"x\u{2028}").unwrap()));
        assert!(forged.ends_with("event=\"logout\" subject=\"7 event=\\\"x\\u{2028}\"\n"), "{forged}");
    }

    #[test]
    fn plain_values_stand_as_they_are_and_text_of_all_languages_can_be_read() {
        let line = as_text(|| {
            tracing::info!(event = "logout", subject = "Zoë O'Hara", ended = 2, address = %"2001:db8::1", wait = ?std::time::Duration::from_secs(1), none = None::<&str>, "done: 100 %");
        });
        assert!(
            line.ends_with(": done: 100 % event=\"logout\" subject=\"Zoë O'Hara\" ended=2 address=2001:db8::1 wait=1s\n"),
            "{line}"
        );
    }

    #[test]
    fn no_value_can_forge_a_line_of_json() {
        for forgery in FORGERIES {
            let lines = Lines::default();
            let writer = lines.clone();
            let subscriber =
                SubscriberBuilder::default().json().flatten_event(true).with_writer(move || EscapedJson(writer.clone())).finish();
            tracing::subscriber::with_default(subscriber, || tracing::info!(subject = forgery, shown = %forgery, "zoë"));
            let text = lines.text();
            let line = text.strip_suffix('\n').unwrap();
            assert!(line.chars().all(is_visible), "{line:?}");
            let read: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!((read["subject"].as_str(), read["shown"].as_str()), (Some(forgery), Some(forgery)));
            assert!(line.contains("zoë"));
        }
    }
}

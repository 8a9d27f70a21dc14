//! Sections of PEM that a reader would pass over without a word.

/// What of a file with certificates would not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unread {
    /// Such as a byte order mark, a space, or the end of the section before.
    #[error("has something before BEGIN in line {line}, so that this section would be passed over")]
    Hidden { line: usize },
    #[error("holds a section {label:?} in line {line}, which would be passed over; allowed is CERTIFICATE")]
    Label { line: usize, label: String },
}

const BEGIN: &[u8] = b"-----BEGIN ";

/// Looks at each section: it must be one that is read, or whose label `is_passed_over` knowingly. Comments are no sections.
///
/// # Errors
/// The first that is not.
pub(super) fn check(pem: &[u8], is_passed_over: impl Fn(&str) -> bool) -> Result<(), Unread> {
    for (index, text) in pem.split(|byte| *byte == b'\n').enumerate() {
        let line = index + 1;
        match text.windows(BEGIN.len()).position(|bytes| bytes == BEGIN) {
            None => {}
            Some(0) => {
                let label = String::from_utf8_lossy(&text[BEGIN.len()..]);
                let label = label.trim_end().trim_end_matches('-');
                if label != "CERTIFICATE" && !is_passed_over(label) {
                    return Err(Unread::Label { line, label: label.to_owned() });
                }
            }
            Some(_) if text.starts_with(b"#") => {}
            Some(_) => return Err(Unread::Hidden { line }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_section_is_passed_over_unnamed() {
        let section = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        let plain = section("CERTIFICATE");
        let read = |text: &str| check(text.as_bytes(), |label| label.ends_with("PRIVATE KEY"));
        for good in [
            plain.clone(),
            plain.replace('\n', "\r\n"),
            format!("# Issuer: CN=a\nsubject=CN = a\n\n{plain}{plain}"),
            format!("{plain}{}", section("EC PRIVATE KEY")),
            format!("# -----BEGIN CERTIFICATE-----\n{plain}"),
        ] {
            assert_eq!(read(&good), Ok(()), "{good}");
        }
        let hidden = |line| Err(Unread::Hidden { line });
        assert_eq!(read(&format!("\u{feff}{plain}")), hidden(1));
        assert_eq!(read(&format!("{plain}\u{feff}{plain}")), hidden(4), "files one behind the other");
        assert_eq!(read(&format!("{plain} {plain}")), hidden(4));
        assert_eq!(read(&format!("{}{plain}", plain.trim_end())), hidden(3));
        for label in ["TRUSTED CERTIFICATE", "X509 CERTIFICATE", "X509 CRL", "certificate"] {
            let unread = Unread::Label { line: 4, label: label.to_owned() };
            assert_eq!(read(&format!("{plain}{}", section(label))), Err(unread));
        }
    }
}

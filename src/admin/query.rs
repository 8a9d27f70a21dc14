//! What stands behind the question mark.

use std::time::Duration;

use http::Uri;

use crate::sessions::nodes::PATIENCE_MAX;

/// How long a call waits for the other nodes unless it says so.
const PATIENCE_DEFAULT: Duration = Duration::from_secs(10);

/// The parameters of a call, each of them known to it and named once.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// The error is for the caller.
    pub(super) fn parse(uri: &Uri, known: &[&str]) -> Result<Self, String> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                return Err(format!("Unknown parameter \"{}\"; allowed here: {}.", name.escape_debug(), known.join(", ")));
            }
            if pairs.iter().any(|(other, _)| *other == *name) {
                return Err(format!("The parameter \"{name}\" stands there twice."));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// How long to wait for the other nodes: `wait=all`, with a `timeout` such as `5s` or a number of seconds. `None`: not at all.
    pub(super) fn patience(&self) -> Result<Option<Duration>, String> {
        let timeout = match self.value("timeout") {
            None => PATIENCE_DEFAULT,
            Some(text) => span(text).filter(|span| *span <= PATIENCE_MAX).ok_or_else(|| {
                format!("timeout: allowed is a span such as 500ms, 5s or 1m, up to {}s.", PATIENCE_MAX.as_secs())
            })?,
        };
        match (self.value("wait"), self.value("timeout")) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err("timeout has no meaning without wait=all.".to_owned()),
            (Some("all"), _) => Ok(Some(timeout)),
            (Some(_), _) => Err("wait: allowed is \"all\".".to_owned()),
        }
    }
}

/// Seconds, or a number with a unit.
fn span(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    text.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(query: &str) -> Result<Option<Duration>, String> {
        Query::parse(&format!("/revocations?{query}").parse().unwrap(), &["wait", "timeout"])?.patience()
    }

    #[test]
    fn a_call_waits_when_it_says_so_and_no_longer_than_is_allowed() {
        assert_eq!(patience(""), Ok(None));
        assert_eq!(patience("wait=all"), Ok(Some(PATIENCE_DEFAULT)));
        for (text, millis) in [("500ms", 500), ("5s", 5000), ("5", 5000), ("1m", 60_000), ("0", 0)] {
            assert_eq!(patience(&format!("wait=all&timeout={text}")), Ok(Some(Duration::from_millis(millis))), "{text}");
        }
        for bad in [
            "wait=some",
            "timeout=5s",
            "wait=all&timeout=61s",
            "wait=all&timeout=-5s",
            "wait=all&timeout=",
            "wait=all&wait=all",
            "x=1",
        ] {
            assert!(patience(bad).is_err(), "{bad}");
        }
    }
}

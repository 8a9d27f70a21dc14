//! How alike two names are, to tell a typo from a name of its own.

/// The candidate that is most like the name, if that is at least `least`.
pub(super) fn nearest<'a>(candidates: impl Iterator<Item = &'a str>, name: &str, least: f64) -> Option<&'a str> {
    let best = candidates.max_by(|a, b| likeness(a, name).total_cmp(&likeness(b, name)))?;
    (likeness(best, name) >= least).then_some(best)
}

/// From 0 to 1: `headerTimeout`, `header-timeout` and `header_timeout` are one name.
pub(super) fn likeness(one: &str, other: &str) -> f64 {
    strsim::jaro_winkler(&spelling(one), &spelling(other))
}

fn spelling(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect()
}

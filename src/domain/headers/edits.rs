//! Fields that a route sets, adds and removes.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::names::NamePattern;
use super::sink::FieldSink;

/// What a route changes in the fields of its requests, or of their responses. Whose a field is was judged before: see
/// `names`.
#[derive(Clone, Debug)]
pub struct FieldEdits {
    /// In the place of what came under that name, in any spelling.
    set: Vec<(HeaderName, HeaderValue)>,
    /// Beside what came.
    added: Vec<(HeaderName, HeaderValue)>,
    /// What goes: the names that are set, and those that are removed.
    dropped: Vec<NamePattern>,
}

impl FieldEdits {
    /// `None`: nothing is changed.
    #[must_use]
    pub fn new(
        set: Vec<(HeaderName, HeaderValue)>,
        added: Vec<(HeaderName, HeaderValue)>,
        removed: Vec<NamePattern>,
    ) -> Option<Self> {
        let names = set.iter().map(|(name, _)| NamePattern::exactly(name));
        let dropped: Vec<NamePattern> = names.chain(removed).collect();
        (!dropped.is_empty() || !added.is_empty()).then_some(Self { set, added, dropped })
    }

    /// The same, and `name` is removed too.
    #[must_use]
    pub fn removing(edits: Option<Self>, name: &HeaderName) -> Self {
        let mut edits = edits.unwrap_or(Self { set: Vec::new(), added: Vec::new(), dropped: Vec::new() });
        edits.dropped.push(NamePattern::exactly(name));
        edits
    }

    /// Whether what came under this name goes no further.
    pub(super) fn drops(&self, name: &str) -> bool {
        self.dropped.iter().any(|pattern| pattern.covers(name))
    }

    pub(super) fn write(&self, out: &mut impl FieldSink) {
        for (name, value) in self.set.iter().chain(&self.added) {
            out.field(name, value);
        }
    }

    /// Changes the fields of a response.
    pub fn apply(&self, headers: &mut HeaderMap) {
        let dropped: Vec<HeaderName> = headers.keys().filter(|name| self.drops(name.as_str())).cloned().collect();
        for name in dropped {
            headers.remove(name);
        }
        self.write(headers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> Vec<(HeaderName, HeaderValue)> {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_is_set_stands_alone_what_is_added_beside_and_what_is_removed_is_gone() {
        let edits = FieldEdits::new(
            fields(&[("x-set", "ours"), ("x-new", "1")]),
            fields(&[("x-more", "ours")]),
            vec!["x-debug-*".parse().unwrap(), "server".parse().unwrap()],
        );
        let mut headers: HeaderMap = fields(&[
            ("x-set", "theirs"),
            ("x_set", "theirs"),
            ("x-more", "theirs"),
            ("x-debug-a", "1"),
            ("server", "s"),
            ("etag", "\"1\""),
        ])
        .into_iter()
        .collect();
        let edits = edits.unwrap();
        edits.apply(&mut headers);
        assert_eq!(["x.set", "X_More", "x-debug-b", "etag"].map(|name| edits.drops(name)), [true, false, true, false]);
        let values = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((values("x-set"), values("x-new")), (vec!["ours"], vec!["1"]));
        assert_eq!(values("x-more"), ["theirs", "ours"]);
        assert_eq!(headers.len(), 5, "{headers:?}");
    }

    #[test]
    fn edits_that_change_nothing_are_none() {
        assert!(FieldEdits::new(Vec::new(), Vec::new(), Vec::new()).is_none());
    }
}

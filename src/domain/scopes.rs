//! Scopes that a client asks for (RFC 6749, section 3.3).

/// Of the scopes that were granted those that are asked for, in the order of the grant; `None`: one of them was not granted. `asked` is words
/// with spaces between them.
#[must_use]
pub fn narrowed(granted: &[String], asked: &str) -> Option<Vec<String>> {
    let asked: Vec<&str> = asked.split(' ').filter(|scope| !scope.is_empty()).collect();
    let is_granted = |scope: &&str| granted.iter().any(|one| one == scope);
    asked.iter().all(is_granted).then(|| granted.iter().filter(|one| asked.contains(&one.as_str())).cloned().collect())
}

//! What the reference, `config/tokengate.toml`, says of each key in its comments.

use std::collections::BTreeMap;

/// The comments before keys and tables, by `listen.address`, `routes[]`, `upstreams.NAME.url`. A key that follows another one without a
/// comment of its own shares that of the other.
pub(super) fn texts(reference: &str) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    let mut lists: Vec<String> = Vec::new();
    let (mut table, mut comment, mut shared) = (String::new(), Vec::new(), String::new());
    for line in reference.lines() {
        if let Some(prose) = line.strip_prefix("# ") {
            comment.push(prose);
            continue;
        }
        let line = line.strip_prefix('#').unwrap_or(line);
        if let Some(name) = line.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]")) {
            lists.push(name.to_owned());
            table = pattern(name, &lists);
            texts.insert(table.clone(), comment.join("\n"));
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = pattern(name, &lists);
            texts.insert(table.clone(), comment.join("\n"));
        } else if let Some(key) = key(line) {
            if !comment.is_empty() {
                shared = comment.join("\n");
            }
            texts.insert(format!("{table}.{key}"), shared.clone());
        }
        comment.clear();
    }
    texts
}

/// `routes.redirect` as `routes[].redirect`, where `[[routes]]` was seen.
fn pattern(name: &str, lists: &[String]) -> String {
    let mut path = String::new();
    let mut out = String::new();
    for segment in name.split('.') {
        let dot = if path.is_empty() { "" } else { "." };
        path = format!("{path}{dot}{segment}");
        let entries = if lists.contains(&path) { "[]" } else { "" };
        out = format!("{out}{dot}{segment}{entries}");
    }
    out
}

/// What stands before ` = `.
fn key(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(" = ")?;
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    is_key.then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_belongs_to_the_keys_that_follow_it() {
        let texts = texts(
            "# Of all.\n\n[a]\n# One,\n# and more.\none = 1\n#two = 2\n\n# Entries.\n#[[b]]\n# Its name.\n#name = \"x\"\n#[b.c]\n# D.\n#d = 1\n",
        );
        let expected = [
            ("a", ""),
            ("a.one", "One,\nand more."),
            ("a.two", "One,\nand more."),
            ("b[]", "Entries."),
            ("b[].c", ""),
            ("b[].c.d", "D."),
            ("b[].name", "Its name."),
        ];
        assert_eq!(texts.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect::<Vec<_>>(), expected);
    }
}

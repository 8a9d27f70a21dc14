//! Configurations as the pages show them.

use std::fs;
use std::path::Path;

/// A page of `docs/beside`.
pub(super) struct Page(String);

impl Page {
    pub(super) fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/beside").join(name);
        Self(fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// The block of this file: what stands behind the language says which it is.
    pub(super) fn file(&self, name: &str) -> String {
        let is_begin = |line: &&str| line.starts_with("```") && line.ends_with(&format!(" {name}"));
        let mut lines = self.0.lines().skip_while(|line| !is_begin(line));
        assert!(lines.next().is_some(), "the page shows no {name}");
        let block: Vec<&str> = lines.take_while(|line| *line != "```").collect();
        block.join("\n") + "\n"
    }
}

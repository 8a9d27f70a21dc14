//! No file depends on itself by way of others: whoever reads one can read what it builds upon first, and it can be tested and
//! replaced without what builds upon it.
//!
//! A file depends on those whose items it names, wherever it imports them from: a name that a module passes on leads to the file
//! that it comes from, and passing on is no dependency. Two things do not count. A module is one with the files directly below it:
//! they name its types (`super::Shared`), and are where the rest of it stands. And tests may name what they like.

use std::collections::{BTreeMap, BTreeSet};

use super::paths::{self, Source, Target};
use super::{dependencies, sources};

/// Imports that still close circles: the file, and what it should not depend on. The list may only get shorter.
const LEFT: &[(&str, &str)] = &[];

/// How many names in a row may stand for one another.
const ALIASES_MAX: usize = 8;

#[test]
fn no_file_depends_on_itself_by_way_of_others() {
    let mut graph = Graph::of(&sources(), &dependencies());
    for (from, to) in LEFT {
        let closes_a_circle = graph.depends(from, to) && graph.reached_from(to).contains(from);
        assert!(closes_a_circle, "{from} and {to} are no circle any more: take them from the list");
    }
    for (from, to) in LEFT {
        graph.forget(from, to);
    }
    let circles: Vec<String> = graph.circles().iter().map(|circle| graph.in_words(circle)).collect();
    assert!(circles.is_empty(), "\n{}\n", circles.join("\n"));
}

/// By file: those it depends on, each with the line of an import.
#[derive(Default)]
struct Graph(BTreeMap<String, BTreeMap<String, usize>>);

impl Graph {
    fn of(files: &[(Vec<String>, String)], crates: &BTreeSet<String>) -> Self {
        let read: BTreeMap<String, (&[String], Source)> = files
            .iter()
            .map(|(module, text)| (module.join("::"), (module.as_slice(), paths::read(module, text, crates))))
            .collect();
        let for_tests: Vec<String> = read
            .iter()
            .flat_map(|(module, (_, source))| source.test_modules.iter().map(move |child| format!("{module}::{child}")))
            .collect();
        let mut graph = Self::default();
        for (name, (module, source)) in &read {
            if for_tests.iter().any(|tests| super::is_at_or_below(name, tests)) {
                continue;
            }
            for reference in source.references.iter().filter(|reference| !reference.in_tests && !reference.is_export) {
                let Target::Internal(path) = &reference.target else { continue };
                let Some(home) = home(path, &read) else { continue };
                let is_of_one_module = home == *name || module[..module.len() - 1].join("::") == home;
                if !is_of_one_module && !for_tests.contains(&home) {
                    graph.0.entry(name.clone()).or_default().entry(home).or_insert(reference.line);
                }
            }
        }
        graph
    }

    fn depends(&self, from: &str, to: &str) -> bool {
        self.0.get(from).is_some_and(|targets| targets.contains_key(to))
    }

    fn forget(&mut self, from: &str, to: &str) {
        self.0.get_mut(from).and_then(|targets| targets.remove(to));
    }

    /// The files of each circle, or of several that have files in common.
    fn circles(&self) -> Vec<BTreeSet<&str>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            self.0.keys().map(|file| (file.as_str(), self.reached_from(file))).collect();
        let circles: BTreeSet<BTreeSet<&str>> = reached
            .iter()
            .filter(|(file, reached)| reached.contains(*file))
            .map(|(file, _)| {
                reached[file].iter().copied().filter(|other| reached.get(other).is_some_and(|back| back.contains(file))).collect()
            })
            .collect();
        circles.into_iter().collect()
    }

    fn reached_from(&self, file: &str) -> BTreeSet<&str> {
        let (mut reached, mut open) = (BTreeSet::new(), vec![file]);
        while let Some(file) = open.pop() {
            for target in self.0.get(file).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(target.as_str()) {
                    open.push(target);
                }
            }
        }
        reached
    }

    fn in_words(&self, circle: &BTreeSet<&str>) -> String {
        let imports = circle.iter().flat_map(|&file| {
            let targets = self.0[file].iter().filter(|(target, _)| circle.contains(target.as_str()));
            targets.map(move |(target, line)| format!("  {file}, line {line}: depends on {target}"))
        });
        format!("a circle of {} files:\n{}", circle.len(), imports.collect::<Vec<_>>().join("\n"))
    }
}

/// The file whose item an absolute path names; `None` for a module itself, whose items are named elsewhere.
fn home(path: &[String], files: &BTreeMap<String, (&[String], Source)>) -> Option<String> {
    let mut path = path.to_vec();
    for _ in 0..ALIASES_MAX {
        let (module, source, rest) = (1..=path.len()).rev().find_map(|length| {
            let module = path[..length].join("::");
            files.get(&module).map(|(_, source)| (module, source, &path[length..]))
        })?;
        let name = rest.first()?;
        match source.imports.get(name) {
            // A macro that is defined here passes itself on by its own name.
            Some(imported) if *imported != path => path = [imported.as_slice(), &rest[1..]].concat(),
            Some(_) | None => return Some(module),
        }
    }
    panic!("{} stands for itself", path.join("::"));
}

mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let module = |name: &str| name.split("::").map(str::to_owned).collect();
        let files: Vec<(Vec<String>, String)> = files.iter().map(|(name, text)| (module(name), (*text).to_owned())).collect();
        let graph = Graph::of(&files, &dependencies());
        graph.circles().iter().map(|circle| circle.iter().copied().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn a_circle_is_found_however_its_imports_are_written() {
        for back in [
            "use super::one::One;",
            "use crate::x::{one, two}; fn f() { one::g(); }",
            "fn f() -> crate::x::one::One { todo!() }",
            "fn f() { let _ = vec![super::one::g()]; }",
            "use super::one::*;",
            "impl super::one::One { }",
        ] {
            let files = [("x", "mod one; mod two;"), ("x::one", "use super::two::Two;"), ("x::two", back)];
            assert_eq!(circles(&files), ["x::one x::two"], "{back}");
        }
    }

    #[test]
    fn a_circle_of_many_is_found() {
        let files = [("a", "use crate::b::B;"), ("b", "use crate::c::C;"), ("c", "use crate::a::A;"), ("d", "use crate::a::A;")];
        assert_eq!(circles(&files), ["a b c"]);
    }

    #[test]
    fn a_name_that_is_passed_on_leads_to_where_it_comes_from() {
        let root = ("x", "mod one; mod two; pub use one::One; pub(super) use two::Two;");
        assert_eq!(circles(&[root, ("x::one", "use super::Two;"), ("x::two", "")]), [""; 0]);
        assert_eq!(circles(&[root, ("x::one", "use super::Two;"), ("x::two", "use crate::x::One;")]), ["x::one x::two"]);
        assert_eq!(circles(&[root, ("x::one", "use crate::y::Why;"), ("x::two", ""), ("y", "use crate::x::One;")]), ["x::one y"]);
    }

    #[test]
    fn a_module_is_one_with_the_files_directly_below_it() {
        let files = [("x", "mod one; fn f() -> one::One {} struct X;"), ("x::one", "use super::X;")];
        assert_eq!(circles(&files), [""; 0]);
        let deeper = [("x", "use one::two::Two; struct X;"), ("x::one", "mod two;"), ("x::one::two", "use super::super::X;")];
        assert_eq!(circles(&deeper), ["x x::one::two"]);
    }

    #[test]
    fn tests_may_name_what_they_like() {
        let one = ("x::one", "#[cfg(test)] mod tests { use super::super::two::Two; }");
        assert_eq!(circles(&[("x", ""), one, ("x::two", "use super::one::One;")]), [""; 0]);
        let root = ("x", "mod one; #[cfg(any(test, fuzzing))] mod fuzz;");
        let files = [root, ("x::one", "use super::fuzz::F;"), ("x::fuzz", "use super::one::One;")];
        assert_eq!(circles(&files), [""; 0]);
    }
}

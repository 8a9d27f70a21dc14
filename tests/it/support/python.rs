//! Programs in Python, each in the environment of its folder below `tests/`, which tests/run makes.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use super::leash::Leashed;

/// What a program says, line by line.
pub(crate) type Lines = std::io::Lines<BufReader<ChildStdout>>;

/// Starts a program of `tests/<folder>`.
pub(crate) fn python(folder: &str, program: &str, arguments: &[&str]) -> (Leashed, Lines) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let interpreter = folder.join("venv/bin/python");
    assert!(interpreter.exists(), "make the environment in {}, as tests/run does", folder.display());
    let mut command = Command::new(interpreter);
    let mut leashed = Leashed::spawn(command.arg(program).args(arguments).current_dir(folder).stdout(Stdio::piped()));
    let lines = BufReader::new(leashed.process.stdout.take().unwrap()).lines();
    (leashed, lines)
}

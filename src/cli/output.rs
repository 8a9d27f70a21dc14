//! Output and exit codes of commands.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// It tried and did not succeed.
    Failed(String),
    /// The call or the settings are wrong.
    Refused(String),
}

impl Failure {
    pub(super) fn failed(cause: &impl fmt::Display) -> Self {
        Self::Failed(cause.to_string())
    }

    pub(super) fn refused(cause: &impl fmt::Display) -> Self {
        Self::Refused(cause.to_string())
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Failed(text) | Self::Refused(text) => text,
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed(_) => ExitCode::from(1),
            Self::Refused(_) => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tokengate: {}", self.text())
    }
}

/// Writes to standard output. A reader that went away (`| head`) is no failure.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") });
    match written.and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::Failed(format!("cannot write the output: {error}"))),
    }
}

/// Writes a line to standard error; when even that fails, the exit code speaks.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

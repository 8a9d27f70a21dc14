//! Listening at an address that another socket of this process has, until that one goes.
//!
//! Linux lets addresses overlap whose sockets are one user's and all set `SO_REUSEPORT`. They set it for as long as binding takes.

use std::io;

use super::coverage::Coverage;

/// What listens already.
pub trait Neighbour: Sync {
    fn coverage(&self) -> Coverage;

    /// Whether a socket may be bound beside it from now on; `false` makes it as it was.
    ///
    /// # Errors
    /// The system does not know the option.
    fn let_others_beside(&self, allow: bool) -> io::Result<()>;
}

/// Calls `listen`, whose sockets have to set `SO_REUSEPORT`, while the neighbours with which `wanted` overlaps allow it. `in_use` is the
/// error if there is none.
///
/// # Errors
/// Another process listens there, or a neighbour that is not named.
pub fn beside<T>(
    wanted: &Coverage,
    neighbours: &[&dyn Neighbour],
    in_use: io::Error,
    listen: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let overlapping: Vec<_> = neighbours.iter().filter(|neighbour| neighbour.coverage().overlaps(wanted)).collect();
    if overlapping.is_empty() {
        return Err(in_use);
    }
    let allowed = overlapping.iter().try_for_each(|neighbour| neighbour.let_others_beside(true));
    let listening = allowed.and_then(|()| listen());
    let restored = overlapping.iter().map(|neighbour| neighbour.let_others_beside(false));
    restored.collect::<io::Result<()>>()?;
    listening
}

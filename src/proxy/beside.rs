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
    each(&overlapping, |neighbour| neighbour.let_others_beside(false))?;
    listening
}

/// Does this to all of them, whichever fails.
///
/// # Errors
/// The first one's that fails.
pub(super) fn each<T>(all: &[T], act: impl Fn(&T) -> io::Result<()>) -> io::Result<()> {
    // Not one after the other until one fails.
    let outcomes: Vec<_> = all.iter().map(act).collect();
    outcomes.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Notes what it was told. One may fail to be as it was.
    struct Noting {
        told: Mutex<Vec<bool>>,
        is_stuck: bool,
    }

    impl Noting {
        const fn new(is_stuck: bool) -> Self {
            Self { told: Mutex::new(Vec::new()), is_stuck }
        }

        fn told(&self) -> Vec<bool> {
            self.told.lock().unwrap().clone()
        }
    }

    impl Neighbour for Noting {
        fn coverage(&self) -> Coverage {
            Coverage { address: "0.0.0.0:1".parse().unwrap(), takes_both_families: false }
        }

        fn let_others_beside(&self, allow: bool) -> io::Result<()> {
            self.told.lock().unwrap().push(allow);
            if self.is_stuck && !allow { Err(io::Error::other("stuck")) } else { Ok(()) }
        }
    }

    #[test]
    fn a_neighbour_that_cannot_be_as_it_was_keeps_no_other_from_that() {
        for stuck in [None, Some(0), Some(1)] {
            let neighbours = [0, 1].map(|index| Noting::new(stuck == Some(index)));
            let all = neighbours.each_ref().map(|one| one as &dyn Neighbour);
            let listening = beside(&neighbours[0].coverage(), &all, io::ErrorKind::AddrInUse.into(), || Ok("listening"));
            assert_eq!(neighbours.map(|one| one.told()), [[true, false], [true, false]]);
            match stuck {
                None => assert_eq!(listening.unwrap(), "listening"),
                Some(_) => assert_eq!(listening.unwrap_err().to_string(), "stuck"),
            }
        }
    }
}

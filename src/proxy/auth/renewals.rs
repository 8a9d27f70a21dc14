//! One worker's part in the renewal of open streams: it tells all workers of the tokens that it sees.

use std::cell::RefCell;
use std::sync::Arc;

use crate::crypto::verifier::Verified;
use crate::domain::ids::SessionId;
use crate::proxy::open_streams::{Era, OpenStreams};

#[derive(Debug)]
pub struct Renewals {
    open: Arc<OpenStreams>,
    /// The tokens that were news in each of the last ticks, the present first.
    lately: RefCell<[Vec<Verified>; TICKS_REPEATED]>,
}

/// A stream is enrolled by the second tick that finds it, and workers tick at different times: a token that was seen before that, and
/// after the stream began, is offered once more when the stream is surely there.
const TICKS_REPEATED: usize = 3;

/// More are not repeated: so many signatures take a tick at least.
const REPEATED_MAX: usize = 1024;

impl Renewals {
    pub const fn new(open: Arc<OpenStreams>) -> Self {
        Self { open, lately: RefCell::new([const { Vec::new() }; TICKS_REPEATED]) }
    }

    pub const fn open(&self) -> &Arc<OpenStreams> {
        &self.open
    }

    pub fn era(&self, session: SessionId) -> Era {
        self.open.era(session)
    }

    /// Tells of a token that is good at this moment, and news.
    pub fn saw(&self, token: Verified) {
        self.open.offer(&token);
        let present = &mut self.lately.borrow_mut()[0];
        if token.principal.session.is_some() && present.len() < REPEATED_MAX {
            present.push(token);
        }
    }

    /// Passes one tick.
    pub fn tick(&self) {
        let mut lately = self.lately.borrow_mut();
        for token in lately.iter().flatten() {
            self.open.offer(token);
        }
        lately.rotate_right(1);
        lately[0].clear();
    }
}

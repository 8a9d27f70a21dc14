//! The store of a single node: everything in memory, made durable in one file.

mod draft;
mod shared;
mod state;

pub(super) use shared::Shared;
pub(super) use state::State;

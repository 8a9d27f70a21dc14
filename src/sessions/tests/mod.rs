//! Promises about sessions, against the memory store, with a clock moved by hand.

mod administering;
mod claims_hook;
mod exchanging;
mod importing;
mod logging_in;
mod logging_out;
mod property;
mod refreshing;
mod statistics;
pub(crate) mod store;
mod subject_tokens;
pub(crate) mod world;

pub(crate) use store::{Fault, TestStore};
pub(crate) use world::{DAY, ManualClock, World, legacy_token, policy, refresh_token, subject};

//! Who a request speaks for, and whether it may pass.

pub mod admission;
pub mod renewals;
pub mod ticket_reader;
pub mod token_cache;

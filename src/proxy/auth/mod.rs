//! Who a request speaks for, and whether it may pass.

pub mod admission;
pub mod renewals;
pub mod token_cache;

//! What runs beside requests, on the control plane: supervised, named, and waited for at the end.

pub mod acknowledgements;
mod backoff;
mod clock_watch;
#[cfg(test)]
mod fake_log;
pub mod presence;
pub mod revocation_feed;
pub mod rules;
pub mod statistics;
pub mod store_watch;
pub mod supervisor;
pub mod sweeper;
pub mod withdrawals;

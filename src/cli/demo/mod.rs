//! `tokengate demo`: a gateway with everything behind it, on one machine, with nothing installed.

pub mod api;
pub mod banner;
pub mod users;

//! The data plane.

pub mod body;
pub mod connection;
pub mod control;
pub mod reply;
pub mod tunnel;
pub mod upstream;
pub mod watch;

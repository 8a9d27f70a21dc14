//! The data plane.

pub mod body;
pub mod control;
pub mod reply;

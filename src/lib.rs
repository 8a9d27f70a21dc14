//! Tokengate: a gateway that validates access tokens, forwards to upstreams, and keeps sessions alive and revocable.
//!
//! See `ARCHITECTURE.md` for the map.

#[cfg(not(panic = "unwind"))]
compile_error!("a panic is to cost one request: build with panic = \"unwind\"");

pub mod admin;
pub mod app;
pub mod bounded;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod domain;
pub mod endpoints;
pub mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod openapi;
pub mod outbound;
pub mod proxy;
pub mod sessions;
pub mod store;
pub mod tasks;

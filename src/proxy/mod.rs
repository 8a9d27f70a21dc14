//! The data plane: what carries requests. `request/gateway.rs` is the path of a request, readable top to bottom.

mod accepted;
mod acceptors;
pub mod access_log;
pub mod auth;
pub mod beside;
pub mod bond;
pub mod bound;
pub mod client;
pub mod control;
pub mod coverage;
mod entropy;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http1;
mod http2;
mod incoming;
pub mod keepalive;
pub mod limiter;
pub mod listener;
mod meter;
pub mod open_streams;
pub mod policy;
pub mod port;
pub mod pulse;
mod queue;
pub mod reply;
pub mod request;
pub mod route_limits;
pub mod seats;
pub mod snapshot;
mod tls_socket;
pub mod upstream;
pub mod watch;

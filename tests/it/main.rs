//! The one integration binary: everything that is tested from outside the library.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access_log;
mod beside;
mod cli;
mod demo;
mod examples;
mod faults;
mod gateway;
mod grpc;
mod hostile;
mod http2;
mod import;
mod layers;
mod migration;
mod promises;
mod redis;
mod routes;
mod servers;
mod store;
mod support;
mod tls;
mod upkeep;
mod websockets;

//! HTTP/2 as clients speak it: h2 knows the protocol; here is what one connection may take up, and how a stream becomes an exchange.

pub mod connection;
pub mod exchange;
pub(in crate::proxy::client) mod head;
mod io;
pub mod serve;
mod stream;

//! HTTP/1.1 as clients speak it, as far as hyper's parser leaves it to us.

pub mod connection;
pub(in crate::proxy) mod heads;
mod held;
mod interim;
mod io;
pub mod linger;
pub mod serve;

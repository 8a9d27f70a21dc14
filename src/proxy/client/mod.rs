//! Clients: their connections, and the exchanges on them.

pub mod arrival;
pub mod connection;
pub mod exchange;
pub mod handler;
pub mod http1;
pub mod http2;
pub mod serve;
pub mod stream;
pub mod tunnel;
pub mod unread;

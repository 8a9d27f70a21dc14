//! Clients: their connections, and the exchanges on them.

pub mod arrival;
pub mod connection;
pub mod exchange;
pub mod http1;
pub mod stream;
pub mod tunnel;

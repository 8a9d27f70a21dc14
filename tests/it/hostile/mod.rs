//! Raw bytes from clients and upstreams that mean no good, against a running gateway on real sockets.

mod base_path;
mod client;
mod expectations;
mod fields;
mod framing;
mod hosts;
mod interim;
mod issuers;
mod lifetimes;
mod limits;
mod login_limits;
mod logins;
mod logs;
mod old_tokens;
mod panics;
mod partner;
mod readings;
mod rig;
mod stale;
mod streams;
mod targets;
mod tokens;
mod upgrades;
mod uploads;
mod upstream;
mod upstream_faults;

//! What Tokengate decides, apart from how it is carried out: no async, no sockets, no clock, no randomness.
//!
//! Time and entropy are arguments. Every function here can be run a million times in a property test.

pub mod access_claims;
pub mod addresses;
pub mod affinity;
pub mod algorithm;
pub mod balance;
pub mod claim_policy;
pub mod claims;
pub mod client_limits;
pub mod cookies;
pub mod cors;
pub mod demands;
pub mod deployment_secret;
pub mod ejection;
pub mod eligibility;
pub mod field_list;
pub mod frame_meter;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod headers;
pub mod host;
pub mod ids;
pub mod imported;
pub mod interim;
pub mod json;
pub mod lag;
pub mod legacy;
pub mod login_kind;
pub mod media_type;
pub mod navigation;
pub mod network;
pub mod node;
pub mod origin;
pub mod pace;
pub mod page;
pub mod path;
pub mod peer;
pub mod per_upstream;
pub mod placeholder;
pub mod probing;
#[cfg(test)]
mod providers;
pub mod proxy_protocol;
pub mod rate;
pub mod redis_url;
pub mod replica;
pub mod revocation;
pub mod rotation;
pub mod route;
pub mod routing;
pub mod scheme;
pub mod secret;
pub mod session;
pub mod session_policy;
pub mod share;
pub mod sign_in;
pub mod slowness;
pub mod spelling;
pub mod stable_hash;
pub mod stats;
pub mod subjects;
pub mod ticket;
pub mod ticket_parameter;
pub mod time;
pub mod upstream_report;
pub mod vouching;

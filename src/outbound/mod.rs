//! Requests of the gateway's own to other servers, made on the control plane: key sets of issuers, the claims hook, the names of
//! upstreams, and probes of their health.

pub mod claims_client;
mod fetch;
mod flood;
pub mod jwks_client;
pub mod kept;
pub mod probe;
pub mod prober;
pub mod resolver;

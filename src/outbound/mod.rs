//! Requests of the gateway's own to other servers, made on the control plane: key sets of issuers, the claims hook, and the
//! names of upstreams.

pub mod claims_client;
mod fetch;
pub mod jwks_client;
pub mod kept;
pub mod resolver;

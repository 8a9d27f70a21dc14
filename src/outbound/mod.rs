//! Requests of the gateway's own to other servers, made on the control plane: key sets of issuers, and the claims hook.

pub mod claims_client;
mod fetch;
pub mod jwks_client;
pub mod kept;

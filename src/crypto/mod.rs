//! Keys, signatures and tokens: the only place that knows ring and jsonwebtoken.
//!
//! Key material is parsed once and kept in immutable snapshots; nothing here asks the clock, and what is random comes from
//! [`entropy`].

pub mod access_token;
pub mod authorities;
pub mod certificate_keys;
pub mod certificates;
pub mod client_certificate;
pub mod client_identity;
pub mod client_secret;
pub mod deployment_secret;
mod der;
pub mod entropy;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod imported_token;
pub mod issuers;
pub mod jwks;
pub mod key;
pub mod key_files;
pub mod key_wishes;
pub mod keyring;
pub mod legacy_key;
pub mod password;
mod pem_sections;
pub mod provider;
pub mod refresh_token;
pub mod server_authorities;
pub mod ticket;
pub mod tls_server;
mod token_header;
pub mod verifier;
pub mod websocket;

#[cfg(test)]
pub(crate) mod testing;

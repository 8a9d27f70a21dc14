//! Turns [`TlsOptions`] into what rustls wants, with ring as the provider.

use std::sync::Arc;

use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use super::options::{RedisOptionsError, TlsOptions};

pub(super) fn client_config(options: &TlsOptions) -> Result<ClientConfig, RedisOptionsError> {
    let of_web = || Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| RedisOptionsError::Tls(error.to_string()))?
        .with_root_certificates(options.authorities.clone().unwrap_or_else(of_web));
    Ok(match &options.identity {
        None => builder.with_no_client_auth(),
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key)))),
    })
}

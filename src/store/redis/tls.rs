//! Turns [`TlsOptions`] into what rustls wants, with ring as the provider.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::options::{RedisOptionsError, TlsOptions};

pub(super) fn client_config(options: &TlsOptions) -> Result<ClientConfig, RedisOptionsError> {
    let refuse = |error: &dyn std::fmt::Display| RedisOptionsError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(&error))?
        .with_root_certificates(roots(options.authorities_pem.as_deref())?);
    match &options.identity_pem {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|error| refuse(&error))?;
            builder.with_client_auth_cert(certificates(chain)?, key).map_err(|error| refuse(&error))
        }
    }
}

fn roots(authorities_pem: Option<&str>) -> Result<RootCertStore, RedisOptionsError> {
    let Some(pem) = authorities_pem else {
        return Ok(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect());
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| RedisOptionsError::Tls(error.to_string()))?;
    }
    Ok(roots)
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, RedisOptionsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| RedisOptionsError::Tls(error.to_string()))?;
    if certificates.is_empty() {
        return Err(RedisOptionsError::Tls("no certificate in the PEM text".into()));
    }
    Ok(certificates)
}

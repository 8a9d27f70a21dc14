//! The certificate by which the gateway shows another server who it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

use super::certificates::CertificatePair;

/// A certificate with its key, from two files. It may be renewed: the next handshake takes the new one.
#[derive(Debug)]
pub struct ClientIdentity {
    certificate_file: PathBuf,
    key_file: PathBuf,
    pair: ArcSwap<CertificatePair>,
}

impl ClientIdentity {
    /// `pair` is what the files hold.
    pub fn new(certificate_file: PathBuf, key_file: PathBuf, pair: CertificatePair) -> Self {
        Self { certificate_file, key_file, pair: ArcSwap::from_pointee(pair) }
    }

    /// From now on it is this one. Whether that is another than before.
    pub fn show(&self, pair: CertificatePair) -> bool {
        let is_another = !self.pair.load().is_same(&pair);
        if is_another {
            self.pair.store(Arc::new(pair));
        }
        is_another
    }

    pub fn pair(&self) -> Arc<CertificatePair> {
        self.pair.load_full()
    }

    pub fn certificate_file(&self) -> &Path {
        &self.certificate_file
    }

    pub fn key_file(&self) -> &Path {
        &self.key_file
    }
}

impl ResolvesClientCert for ClientIdentity {
    /// Whatever authorities the server names: it judges itself, and its words are clearer than a handshake without a certificate.
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let key = Arc::clone(self.pair.load().certified_key());
        key.key.choose_scheme(schemes).is_some().then_some(key)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

//! Who vouches for the servers of an upstream, by a file that may be renewed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::tls_server::Authorities;

/// The authorities of one file. The next handshake believes those that it holds then.
pub struct ServerAuthorities {
    file: PathBuf,
    present: ArcSwap<Present>,
}

struct Present {
    certificates: Vec<CertificateDer<'static>>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl ServerAuthorities {
    /// `pem` is what the file holds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_pem(file: PathBuf, pem: &[u8]) -> Result<Self, String> {
        Ok(Self { file, present: ArcSwap::from_pointee(Present::of_pem(pem)?) })
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// From now on it is these. Whether they are others than before.
    ///
    /// # Errors
    /// As [`Self::of_pem`]: those before go on.
    pub fn trust(&self, pem: &[u8]) -> Result<bool, String> {
        let next = Present::of_pem(pem)?;
        let are_others = self.present.load().certificates != next.certificates;
        if are_others {
            self.present.store(Arc::new(next));
        }
        Ok(are_others)
    }
}

impl Present {
    fn of_pem(pem: &[u8]) -> Result<Self, String> {
        let Authorities { roots, der } = Authorities::of_pem(pem)?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        Ok(Self { certificates: der, verifier: verifier.map_err(|error| error.to_string())? })
    }
}

impl ServerCertVerifier for ServerAuthorities {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.present.load().verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.present.load().verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.present.load().verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.present.load().verifier.supported_verify_schemes()
    }
}

impl fmt::Debug for ServerAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerAuthorities").field("file", &self.file).finish_non_exhaustive()
    }
}

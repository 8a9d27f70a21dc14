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

use super::authorities::Authorities;

/// The authorities of one file. The next handshake believes those that it holds then.
pub struct ServerAuthorities {
    file: PathBuf,
    present: ArcSwap<Present>,
}

struct Present {
    authorities: Authorities,
    verifier: Arc<WebPkiServerVerifier>,
}

impl ServerAuthorities {
    /// # Errors
    /// They can vouch for nobody.
    pub fn new(file: PathBuf, authorities: Authorities) -> Result<Self, String> {
        Ok(Self { file, present: ArcSwap::from_pointee(Present::of(authorities)?) })
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// From now on it is these. Whether they are others than before.
    ///
    /// # Errors
    /// As [`Self::new`]: those before go on.
    pub fn trust(&self, authorities: Authorities) -> Result<bool, String> {
        let are_others = self.present.load().authorities != authorities;
        if are_others {
            self.present.store(Arc::new(Present::of(authorities)?));
        }
        Ok(are_others)
    }
}

impl Present {
    fn of(authorities: Authorities) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(authorities.roots()), provider).build();
        Ok(Self { authorities, verifier: verifier.map_err(|error| error.to_string())? })
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

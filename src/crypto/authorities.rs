//! Who vouches for the certificates of others.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::pem_sections;

/// The authorities of one file.
#[derive(Clone, Debug)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
    der: Vec<CertificateDer<'static>>,
}

impl PartialEq for Authorities {
    /// What is made of their certificates says nothing more.
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Authorities {}

impl Authorities {
    /// # Errors
    /// What is wrong with the file.
    pub fn of_pem(pem: &[u8]) -> Result<Self, String> {
        pem_sections::check(pem, |_| false).map_err(|unread| unread.to_string())?;
        let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let der = read.map_err(|error| format!("holds no PEM that can be read: {error}"))?;
        let mut roots = RootCertStore::empty();
        for (index, certificate) in der.iter().enumerate() {
            let added = roots.add(certificate.clone());
            added.map_err(|error| format!("holds what cannot vouch at position {}: {error}", index + 1))?;
        }
        if der.is_empty() { Err("holds no CERTIFICATE section".to_owned()) } else { Ok(Self { roots: Arc::new(roots), der }) }
    }

    pub const fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    #[test]
    fn no_authority_is_dropped_without_a_word() {
        let authority = || {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
        };
        let (one, other) = (authority(), authority());
        let read = |text: &str| Authorities::of_pem(text.as_bytes()).map(|authorities| authorities.der.len());
        assert_eq!(read(&format!("# one\n{one}\n# other\n{other}")), Ok(2));
        for broken in [
            format!("{one}\u{feff}{other}"),
            format!("\u{feff}{one}{other}"),
            one.clone() + &other.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
            one.clone() + &other.replace("CERTIFICATE", "X509 CERTIFICATE"),
        ] {
            let fault = read(&broken).unwrap_err();
            assert!(fault.contains("passed over"), "{fault}");
        }
    }
}

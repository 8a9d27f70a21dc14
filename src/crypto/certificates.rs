//! Certificates that the gateway shows to clients, with their keys, and which of them each client is shown.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::X509Version;

use super::certificate_keys::{self, KeyFileFault, UnusableKind};
use super::pem_sections::{self, Unread};
use crate::domain::time::Timestamp;

/// The most that is read of a file with certificates, in bytes.
pub const CHAIN_FILE_BYTES_MAX: usize = 256 * 1024;

/// The most certificates in a chain; clients take no longer ones.
const CHAIN_MAX: usize = 10;

/// A certificate with those between it and the root, and its key.
#[derive(Clone, Debug)]
pub struct CertificatePair {
    key: Arc<CertifiedKey>,
    /// In lower case, as they stand in the certificate: `*.example.com` too.
    names: Vec<String>,
    pub not_before: Timestamp,
    /// Of the certificate of the chain that expires first.
    pub not_after: Timestamp,
}

/// Why two files are no pair. Nothing of a key is in it.
#[derive(Debug, thiserror::Error)]
pub enum PairFault {
    #[error("holds no PEM that can be read: {0}")]
    CertificatePem(pem::Error),
    #[error("{0}")]
    Unread(#[from] Unread),
    #[error("holds no CERTIFICATE section")]
    NoCertificate,
    #[error("holds more than {CHAIN_MAX} certificates; a chain is the certificate and those between it and the root")]
    LongChain,
    #[error("holds what is no certificate at position {position}")]
    Unreadable { position: usize },
    #[error("holds a certificate of X.509 version 1, which names no hosts: have it issued anew, with subjectAltName")]
    Version,
    #[error("holds a certificate for {0}: have one issued for another key")]
    KeyKind(UnusableKind),
    #[error("holds a certificate that cannot be used: {0}")]
    Unusable(rustls::Error),
    #[error("{0}")]
    KeyFile(#[from] KeyFileFault),
    #[error("holds a key that cannot be used: {0}")]
    Key(rustls::Error),
    #[error("holds the key of another certificate")]
    Mismatch,
}

impl PairFault {
    /// Whether it lies with the file of the certificate, and not with that of the key.
    pub const fn is_of_certificate(&self) -> bool {
        match self {
            Self::CertificatePem(_)
            | Self::Unread(_)
            | Self::NoCertificate
            | Self::LongChain
            | Self::Unreadable { .. }
            | Self::Version
            | Self::KeyKind(_)
            | Self::Unusable(_) => true,
            Self::KeyFile(_) | Self::Key(_) | Self::Mismatch => false,
        }
    }
}

impl CertificatePair {
    /// # Errors
    /// Why the two cannot be used together. That a certificate is expired is no fault.
    pub fn of_pem(certificates: &[u8], key: &[u8]) -> Result<Self, PairFault> {
        // Others keep the key, and what belongs to it, in the same file.
        pem_sections::check(certificates, |label| !label.to_ascii_uppercase().contains("CERTIFICATE"))?;
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(certificates).collect::<Result<_, _>>().map_err(PairFault::CertificatePem)?;
        if chain.len() > CHAIN_MAX {
            return Err(PairFault::LongChain);
        }
        let facts: Vec<Facts> = chain
            .iter()
            .enumerate()
            .map(|(index, certificate)| Facts::of(certificate).ok_or(PairFault::Unreadable { position: index + 1 }))
            .collect::<Result<_, _>>()?;
        let not_before = facts.iter().map(|facts| facts.not_before).max().ok_or(PairFault::NoCertificate)?;
        let not_after = facts.iter().map(|facts| facts.not_after).min().ok_or(PairFault::NoCertificate)?;
        let own = facts.into_iter().next().ok_or(PairFault::NoCertificate)?;
        if !own.has_extensions {
            return Err(PairFault::Version);
        }
        own.key.map_err(PairFault::KeyKind)?;
        let key = certificate_keys::private_key(key)?;
        let key = CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => PairFault::Mismatch,
            error @ rustls::Error::InvalidCertificate(_) => PairFault::Unusable(error),
            error => PairFault::Key(error),
        })?;
        Ok(Self { key: Arc::new(key), names: own.names, not_before, not_after })
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub const fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// Whether it shows the same chain: then the key is the same too.
    pub fn is_same(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }

    /// Whether it may take the place of one that is shown. What others refuse never takes that of what they accept.
    ///
    /// # Errors
    /// Why not.
    pub fn succeeds(&self, shown: &Self, now: Timestamp) -> Result<(), NoSuccessor> {
        match (shown.standing(now).is_valid(), self.standing(now)) {
            (true, Standing::Expired) => Err(NoSuccessor::Expired),
            (true, Standing::NotYetValid) => Err(NoSuccessor::NotYetValid),
            (_, Standing::Good | Standing::Expiring) | (false, Standing::Expired | Standing::NotYetValid) => Ok(()),
        }
    }

    pub fn standing(&self, now: Timestamp) -> Standing {
        let notice = (self.not_after.since(self.not_before) / NOTICE_SHARE).min(NOTICE_MAX);
        if self.not_after <= now {
            Standing::Expired
        } else if now < self.not_before {
            Standing::NotYetValid
        } else if self.not_after.saturating_sub(notice) <= now {
            Standing::Expiring
        } else {
            Standing::Good
        }
    }
}

/// How long before its end a certificate is told of, …
const NOTICE_MAX: Duration = Duration::from_secs(14 * 24 * 3600);

/// … or this share of its life, if that is shorter: whoever renews does so long before.
const NOTICE_SHARE: u32 = 4;

/// What a certificate is worth at a moment, its chain included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Standing {
    Good,
    /// Not for long any more.
    Expiring,
    NotYetValid,
    Expired,
}

/// Why a certificate does not take the place of the one that is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoSuccessor {
    #[error("holds a certificate that has expired, while the one in use is still valid")]
    Expired,
    #[error("holds a certificate that is not valid yet, while the one in use is: it is taken when its time has come")]
    NotYetValid,
}

impl Standing {
    const fn is_valid(self) -> bool {
        match self {
            Self::Good | Self::Expiring => true,
            Self::NotYetValid | Self::Expired => false,
        }
    }

    /// The alarm that it raises, and how it is told to people.
    pub const fn told(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Good => None,
            Self::Expiring => Some(("expiring", "expires soon")),
            Self::NotYetValid => Some(("not_yet_valid", "is not valid yet")),
            Self::Expired => Some(("expired", "has expired")),
        }
    }
}

/// The names of certificates, for people.
pub fn names_of(pairs: &[CertificatePair]) -> String {
    let names: Vec<&str> = pairs.iter().flat_map(CertificatePair::names).map(String::as_str).collect();
    names.join(", ")
}

/// What a certificate says of itself.
struct Facts {
    names: Vec<String>,
    /// Whether it is of the version that has any.
    has_extensions: bool,
    key: Result<(), UnusableKind>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Facts {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (rest, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let validity = certificate.validity();
        rest.is_empty().then(|| Self {
            names: dns_names(&certificate),
            has_extensions: certificate.version() == X509Version::V3,
            key: certificate_keys::check(certificate.public_key()),
            not_before: Timestamp::from_secs(validity.not_before.timestamp()),
            not_after: Timestamp::from_secs(validity.not_after.timestamp()),
        })
    }
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

/// The certificates of one listener. Never empty.
#[derive(Debug)]
pub struct Certificates {
    pairs: Vec<CertificatePair>,
    /// Which of them have a name, in full.
    exact: HashMap<String, Vec<usize>>,
    /// Which have `*.` and this name.
    below: HashMap<String, Vec<usize>>,
}

impl Certificates {
    /// `None`: there is none.
    pub fn new(pairs: Vec<CertificatePair>) -> Option<Self> {
        if pairs.is_empty() {
            return None;
        }
        let (mut exact, mut below) = (HashMap::<String, Vec<usize>>::new(), HashMap::<String, Vec<usize>>::new());
        for (index, pair) in pairs.iter().enumerate() {
            for name in &pair.names {
                let (names, name) = name.strip_prefix("*.").map_or((&mut exact, name.as_str()), |parent| (&mut below, parent));
                names.entry(name.to_owned()).or_default().push(index);
            }
        }
        Some(Self { pairs, exact, below })
    }

    pub fn pairs(&self) -> &[CertificatePair] {
        &self.pairs
    }

    /// Whether clients are shown the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.pairs.len() == other.pairs.len() && self.pairs.iter().zip(&other.pairs).all(|(one, other)| one.is_same(other))
    }

    /// Of those with the name that is asked for, else of those with a wildcard for it, else of all: the first whose key the client
    /// takes, or the first.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> &CertificatePair {
        let name = name.map(str::to_ascii_lowercase).unwrap_or_default();
        let parent = name.split_once('.').map(|(_, parent)| parent).unwrap_or_default();
        let named = self.exact.get(&name).or_else(|| self.below.get(parent));
        let among: Vec<&CertificatePair> =
            named.map_or_else(|| self.pairs.iter().collect(), |named| named.iter().map(|index| &self.pairs[*index]).collect());
        let taken = among.iter().find(|pair| pair.key.key.choose_scheme(schemes).is_some());
        taken.or(among.first()).copied().unwrap_or(&self.pairs[0])
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.choose(hello.server_name(), hello.signature_schemes()).key))
    }
}

#[cfg(test)]
mod tests_of_files;

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, date_time_ymd};

    use super::*;

    fn made(names: &[&str], key: &KeyPair) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        params.self_signed(key).unwrap().pem()
    }

    fn pair(names: &[&str], ecdsa: bool) -> CertificatePair {
        let key = KeyPair::generate_for(if ecdsa { &PKCS_ECDSA_P256_SHA256 } else { &PKCS_ED25519 }).unwrap();
        CertificatePair::of_pem(made(names, &key).as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }

    const ANY: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];

    #[test]
    fn the_name_in_full_comes_before_a_wildcard_and_that_before_the_first() {
        let pairs = [&["first.example"][..], &["*.a.example", "b.example"], &["x.a.example", "Upper.Example"]];
        let certificates = Certificates::new(pairs.iter().map(|names| pair(names, true)).collect()).unwrap();
        for (name, index) in [
            ("first.example", 0),
            ("x.a.example", 2),
            ("X.A.Example", 2),
            ("y.a.example", 1),
            ("b.example", 1),
            ("upper.example", 2),
            ("a.example", 0),
            ("z.y.a.example", 0),
            ("nobody.example", 0),
            (".", 0),
            ("", 0),
        ] {
            let chosen = certificates.choose(Some(name), ANY);
            let position = certificates.pairs.iter().position(|pair| std::ptr::eq(pair, chosen));
            assert_eq!(position, Some(index), "{name}");
        }
        assert!(std::ptr::eq(certificates.choose(None, ANY), &raw const certificates.pairs[0]));
        assert!(Certificates::new(Vec::new()).is_none());
    }

    #[test]
    fn of_two_with_one_name_each_client_gets_the_one_that_it_takes() {
        let certificates = Certificates::new(vec![pair(&["a.example"], false), pair(&["a.example"], true)]).unwrap();
        for (schemes, index) in [
            (&[SignatureScheme::ECDSA_NISTP256_SHA256][..], 1),
            (&[SignatureScheme::ED25519], 0),
            (&[SignatureScheme::RSA_PSS_SHA256], 0),
        ] {
            let chosen = certificates.choose(Some("a.example"), schemes);
            assert!(std::ptr::eq(chosen, &raw const certificates.pairs[index]), "{schemes:?}");
        }
    }

    #[test]
    fn a_pair_that_is_none_says_which_file_is_at_fault() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let certificate = made(&["a.example"], &key);
        let long = certificate.repeat(CHAIN_MAX + 1);
        let odd = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        let key_pem = key.serialize_pem();
        for (certificate, key, is_of_certificate, text) in [
            ("", key_pem.as_str(), true, "no CERTIFICATE"),
            ("-----BEGIN CERTIFICATE-----\nMAA", &key_pem, true, "no PEM"),
            (odd, &key_pem, true, "position 1"),
            (&format!("{certificate}{odd}"), &key_pem, true, "position 2"),
            (&long, &key_pem, true, "more than"),
            (&certificate, "", false, "no PRIVATE KEY"),
            (&certificate, &certificate, false, "no PRIVATE KEY"),
            (&certificate, "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n", false, "cannot be used"),
            (&certificate, &other.serialize_pem(), false, "another certificate"),
        ] {
            let fault = CertificatePair::of_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(fault.to_string().contains(text), "{text}: {fault}");
            assert_eq!(fault.is_of_certificate(), is_of_certificate, "{fault}");
        }
    }

    #[test]
    fn a_certificate_is_told_of_before_its_end_and_a_short_one_not_from_its_beginning() {
        use Standing::{Expired, Expiring, Good, NotYetValid};
        let at = |day: u8| Timestamp::from_secs(date_time_ymd(2026, 1, day).unix_timestamp());
        let mut pair = pair(&["a.example"], true);
        assert_eq!(pair.standing(Timestamp::from_secs(date_time_ymd(2026, 12, 17).unix_timestamp())), Standing::Good);
        assert_eq!(pair.standing(Timestamp::from_secs(date_time_ymd(2026, 12, 18).unix_timestamp())), Standing::Expiring);
        (pair.not_before, pair.not_after) = (at(2), at(10));
        let standings: Vec<Standing> = [1, 2, 7, 8, 9, 10].map(|day| pair.standing(at(day))).into();
        assert_eq!(standings, [NotYetValid, Good, Good, Expiring, Expiring, Expired]);
    }

    #[test]
    fn what_others_refuse_never_takes_the_place_of_what_they_accept() {
        let at = |day: u8| Timestamp::from_secs(date_time_ymd(2026, 1, day).unix_timestamp());
        let of_days = |not_before: u8, not_after: u8| {
            let mut pair = pair(&["a.example"], true);
            (pair.not_before, pair.not_after) = (at(not_before), at(not_after));
            pair
        };
        let now = at(10);
        let (valid, expiring, expired, early) = (of_days(1, 30), of_days(1, 11), of_days(1, 10), of_days(11, 30));
        for shown in [&valid, &expiring] {
            assert_eq!(valid.succeeds(shown, now), Ok(()));
            assert_eq!(expiring.succeeds(shown, now), Ok(()));
            assert_eq!(expired.succeeds(shown, now), Err(NoSuccessor::Expired));
            assert_eq!(early.succeeds(shown, now), Err(NoSuccessor::NotYetValid));
            assert_eq!(early.succeeds(shown, at(11)), Ok(()), "its time has come");
        }
        for shown in [&expired, &early] {
            for next in [&valid, &expiring, &expired, &early] {
                assert_eq!(next.succeeds(shown, now), Ok(()), "nothing is lost");
            }
        }
    }

    #[test]
    fn a_chain_expires_with_the_first_of_it() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["ca.example".to_owned()]).unwrap();
        params.not_after = date_time_ymd(2026, 6, 1);
        let chain = made(&["a.example", "*.b.example"], &key) + &params.self_signed(&key).unwrap().pem();
        let pair = CertificatePair::of_pem(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        assert_eq!(pair.names(), ["a.example", "*.b.example"]);
        assert_eq!(pair.not_after.secs(), date_time_ymd(2026, 6, 1).unix_timestamp());
    }
}

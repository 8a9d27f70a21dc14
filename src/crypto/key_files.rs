//! Key files: PEM and secrets in a folder, read strictly, written once and never overwritten.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::EcdsaKeyPair;
use rustls::pki_types::pem::{self, PemObject as _, SectionKind};
use zeroize::Zeroizing;

use super::entropy::{Entropy, draw};
use super::key::{KeyFault, SigningKey, VerifyingKey};
use crate::domain::algorithm::Algorithm;
use crate::domain::deployment_secret::{self, SecretError};
use crate::files;

/// The most that is read of one key file, in bytes.
pub const KEY_FILE_BYTES_MAX: usize = 64 * 1024;
/// The most keys that a folder may hold.
pub const KEYS_MAX: usize = 64;
/// The longest `kid`, in bytes.
pub const KID_BYTES_MAX: usize = 64;

/// One key, read.
pub(super) struct KeyFile {
    pub(super) kid: Arc<str>,
    pub(super) verifying: VerifyingKey,
    pub(super) signing: Option<SigningKey>,
}

/// Everything that is wrong with a folder of keys.
#[derive(Debug)]
pub struct KeyError(pub Vec<KeyProblem>);

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for KeyError {}

impl From<KeyProblem> for KeyError {
    fn from(problem: KeyProblem) -> Self {
        Self(vec![problem])
    }
}

/// One thing that is wrong, where, and what mends it. Holds nothing of any key.
#[derive(Debug, thiserror::Error)]
pub enum KeyProblem {
    #[error("{}: cannot be read: {error}", .path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{}: cannot be written: {error}", .path.display())]
    Unwritable { path: PathBuf, error: io::Error },
    #[error("{}: exists already, and key files are never overwritten", .path.display())]
    Exists { path: PathBuf },
    #[error("{}: holds more than {KEYS_MAX} keys", .dir.display())]
    TooMany { dir: PathBuf },
    #[error("{}: its name without the ending must be a key id: up to {KID_BYTES_MAX} of A-Z a-z 0-9 . _ -", .path.display())]
    Kid { path: PathBuf },
    #[error("{}: is not PEM: {error}", .path.display())]
    Pem { path: PathBuf, error: pem::Error },
    #[error("{}: holds no PRIVATE KEY or PUBLIC KEY section", .path.display())]
    NoSection { path: PathBuf },
    #[error(
        "{}: is in an older format; turn it into PKCS#8 with: openssl pkcs8 -topk8 -nocrypt -in OLD.pem -out NEW.pem",
        .path.display()
    )]
    OldFormat { path: PathBuf },
    #[error("{}: holds more than one key", .path.display())]
    ManySections { path: PathBuf },
    #[error("{}: the key {fault}", .path.display())]
    Key { path: PathBuf, fault: KeyFault },
    #[error("{}: the secret {error}", .path.display())]
    Secret { path: PathBuf, error: SecretError },
    #[error("{}: another file of the folder has a different key under the same id", .path.display())]
    KidTaken { path: PathBuf },
    #[error("{}: no private key or secret; make one with: tokengate keys generate", .dir.display())]
    NothingSigns { dir: PathBuf },
    #[error("{}: no private key or secret with the id {kid:?}, which is to sign", .dir.display())]
    NoSuchSigningKey { dir: PathBuf, kid: String },
    #[error("{}: several keys could sign ({kids}); name the one that does", .dir.display())]
    SigningKeyNotNamed { dir: PathBuf, kids: String },
    #[error("{algorithm} keys are not generated here; make one with: {command}")]
    NotGenerated { algorithm: Algorithm, command: &'static str },
    #[error("a key could not be generated: the system's random source failed")]
    Random,
}

/// A key that was just made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Generated {
    pub kid: String,
    pub path: PathBuf,
    pub algorithm: Algorithm,
}

/// Makes a key for this algorithm (ES256, `EdDSA` or an HMAC one) and writes it into the folder, which is made when missing: readable by
/// its owner alone, whole or not at all, never over another. Its name, and so its `kid`, is the algorithm and the beginning of the
/// key's thumbprint (RFC 7638); for an HMAC key, of a random number.
///
/// ECDSA keys are drawn from the operating system whatever `entropy` is: ring takes no other source.
///
/// # Errors
/// RSA and ES384, which ring or we do not generate: the error names the command that does.
pub fn generate(dir: &Path, algorithm: Algorithm, entropy: &dyn Entropy) -> Result<Generated, KeyError> {
    let Drawn { name, text } = draw_key(algorithm, entropy)?;
    let path = dir.join(&name);
    write_new(dir, &path, text.as_bytes())?;
    let kid = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    Ok(Generated { kid, path, algorithm })
}

/// A key like those of [`generate`] that is written nowhere.
pub(super) fn ephemeral(algorithm: Algorithm, entropy: &dyn Entropy) -> Result<KeyFile, KeyError> {
    let Drawn { name, text } = draw_key(algorithm, entropy)?;
    Ok(parse_file(Path::new(&name), text.as_bytes())?)
}

/// A new key as the file that it will be.
struct Drawn {
    name: String,
    text: Zeroizing<String>,
}

fn draw_key(algorithm: Algorithm, entropy: &dyn Entropy) -> Result<Drawn, KeyError> {
    let (suffix, ending, text) = match algorithm {
        Algorithm::Es256 => {
            let random = ring::rand::SystemRandom::new();
            let der = EcdsaKeyPair::generate_pkcs8(&ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                .map_err(|_| KeyProblem::Random)?;
            (name_of(der.as_ref())?, "pem", private_pem(der.as_ref()))
        }
        Algorithm::EdDsa => {
            // The private half alone, as OpenSSL writes it: it cannot read the newer form with both (RFC 8410, section 7).
            let seed = Zeroizing::new(draw::<32>(entropy));
            let der = Zeroizing::new([ED25519_PKCS8.as_slice(), seed.as_slice()].concat());
            (name_of(&der)?, "pem", private_pem(&der))
        }
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => {
            let secret = Zeroizing::new(draw::<64>(entropy));
            let text = Zeroizing::new(format!("{}\n", STANDARD.encode(secret.as_slice())));
            (URL_SAFE_NO_PAD.encode(draw::<12>(entropy)), "secret", text)
        }
        Algorithm::Es384 => {
            return Err(not_generated(algorithm, "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out KEY.pem"));
        }
        Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 | Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 => {
            return Err(not_generated(algorithm, "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out KEY.pem"));
        }
    };
    let kid = format!("{}-{}", algorithm.name().to_lowercase(), &suffix[..suffix.len().min(16)]);
    Ok(Drawn { name: format!("{kid}.{ending}"), text })
}

/// `PrivateKeyInfo` up to the 32 bytes of the seed (RFC 8410, section 7).
pub(super) const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

fn not_generated(algorithm: Algorithm, command: &'static str) -> KeyError {
    KeyProblem::NotGenerated { algorithm, command }.into()
}

fn name_of(pkcs8: &[u8]) -> Result<String, KeyError> {
    let (_, verifying) = SigningKey::from_pkcs8(pkcs8).map_err(|_| KeyProblem::Random)?;
    Ok(verifying.thumbprint().unwrap_or_default())
}

fn private_pem(der: &[u8]) -> Zeroizing<String> {
    const LINE: usize = 64;
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(body.len() + body.len() / LINE + 64));
    text.push_str("-----BEGIN PRIVATE KEY-----\n");
    for (index, letter) in body.chars().enumerate() {
        if index > 0 && index % LINE == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str("\n-----END PRIVATE KEY-----\n");
    text
}

/// Writes beside, then links into place: a link, unlike a rename, never replaces what is there.
fn write_new(dir: &Path, path: &Path, content: &[u8]) -> Result<(), KeyError> {
    let unwritable = |error: io::Error| KeyError::from(KeyProblem::Unwritable { path: path.into(), error });
    make_private_dir(dir).map_err(unwritable)?;
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(unwritable)?;
    let linked = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match linked.and(removed).and_then(|()| File::open(dir)?.sync_all()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(KeyProblem::Exists { path: path.into() }.into()),
        Err(error) => Err(unwritable(error)),
    }
}

fn make_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Reads the keys of a folder, in the order of their file names.
pub(super) fn read_folder(dir: &Path) -> Result<Vec<KeyFile>, KeyError> {
    let mut problems = Vec::new();
    let mut keys: BTreeMap<Arc<str>, KeyFile> = BTreeMap::new();
    for path in key_paths(dir)? {
        match read_file(&path) {
            Ok(file) => match keys.get_mut(&file.kid) {
                None => {
                    keys.insert(file.kid.clone(), file);
                }
                Some(other) if other.verifying.identity() == file.verifying.identity() => {
                    other.signing = other.signing.take().or(file.signing);
                }
                Some(_) => problems.push(KeyProblem::KidTaken { path }),
            },
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(keys.into_values().collect()) } else { Err(KeyError(problems)) }
}

fn key_paths(dir: &Path) -> Result<Vec<PathBuf>, KeyError> {
    let unreadable = |error| KeyError::from(KeyProblem::Unreadable { path: dir.into(), error });
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let path = dir.join(&name);
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        let is_key = path.extension().is_some_and(|ending| ending == "pem" || ending == "secret");
        if is_key && !is_hidden {
            paths.push(path);
        }
        if paths.len() > 2 * KEYS_MAX {
            return Err(KeyProblem::TooMany { dir: dir.into() }.into());
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_file(path: &Path) -> Result<KeyFile, KeyProblem> {
    parse_file(path, &read_bounded(path)?)
}

fn parse_file(path: &Path, content: &[u8]) -> Result<KeyFile, KeyProblem> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (stem, is_secret) = match name.strip_suffix(".secret") {
        Some(stem) => (stem, true),
        None => (name.strip_suffix(".pem").unwrap_or_default(), false),
    };
    let kid = stem.strip_suffix(".pub").unwrap_or(stem);
    if !is_kid(kid) {
        return Err(KeyProblem::Kid { path: path.into() });
    }
    let fault = |fault| KeyProblem::Key { path: path.into(), fault };
    if is_secret {
        let text = std::str::from_utf8(content).unwrap_or("?");
        let secret = deployment_secret::decode(text).map_err(|error| KeyProblem::Secret { path: path.into(), error })?;
        let (signing, verifying) = SigningKey::hmac(Algorithm::Hs256, &Zeroizing::new(secret)).map_err(fault)?;
        return Ok(KeyFile { kid: kid.into(), verifying, signing: Some(signing) });
    }
    let (kind, der) = read_section(path, content)?;
    match kind {
        SectionKind::PrivateKey => {
            let (signing, verifying) = SigningKey::from_pkcs8(&der).map_err(fault)?;
            Ok(KeyFile { kid: kid.into(), verifying, signing: Some(signing) })
        }
        SectionKind::PublicKey => {
            let verifying = VerifyingKey::from_spki(&der).map_err(fault)?;
            Ok(KeyFile { kid: kid.into(), verifying, signing: None })
        }
        SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => Err(KeyProblem::OldFormat { path: path.into() }),
        _ => Err(KeyProblem::NoSection { path: path.into() }),
    }
}

/// The one key section of a PEM file; OpenSSL's `EC PARAMETERS` and text around it are passed over.
fn read_section(path: &Path, content: &[u8]) -> Result<(SectionKind, Zeroizing<Vec<u8>>), KeyProblem> {
    let mut found = None;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(content) {
        let (kind, der) = section.map_err(|error| KeyProblem::Pem { path: path.into(), error })?;
        if found.replace((kind, Zeroizing::new(der))).is_some() {
            return Err(KeyProblem::ManySections { path: path.into() });
        }
    }
    found.ok_or(KeyProblem::NoSection { path: path.into() })
}

fn read_bounded(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
    files::read(path, KEY_FILE_BYTES_MAX).map_err(|error| KeyProblem::Unreadable { path: path.into(), error })
}

fn is_kid(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=KID_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::crypto::entropy::SystemEntropy;
    use crate::crypto::keyring::{KeyRing, Role};

    /// A folder of its own below the build's, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let name: [u8; 8] = draw(&SystemEntropy::new());
            let path = std::env::temp_dir().join(format!("tokengate-keys-{:016x}", u64::from_be_bytes(name)));
            Self(path)
        }

        fn write(&self, name: &str, content: &str) {
            fs::create_dir_all(&self.0).unwrap();
            fs::write(self.0.join(name), content).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn made(folder: &Folder, algorithm: Algorithm) -> Generated {
        generate(&folder.0, algorithm, &SystemEntropy::new()).unwrap()
    }

    fn refusal(folder: &Folder, signing: Option<&str>) -> String {
        KeyRing::load(&folder.0, signing).unwrap_err().to_string()
    }

    #[test]
    fn a_generated_key_signs_after_it_was_loaded() {
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Hs256] {
            let folder = Folder::new();
            let made = made(&folder, algorithm);
            let ring = KeyRing::load(&folder.0, None).unwrap();
            assert_eq!(ring.keys().len(), 1);
            assert_eq!((&*ring.keys()[0].kid, ring.keys()[0].role), (made.kid.as_str(), Role::Signs));
            assert_eq!(ring.keys()[0].key.algorithm(), algorithm);
            let token = ring.signer().unwrap().encode(&()).unwrap();
            let (message, signature) = token.rsplit_once('.').unwrap();
            assert!(ring.keys()[0].key.verify(message.as_bytes(), signature));
            assert!(!ring.keys()[0].key.verify(b"another message", signature));
        }
    }

    #[test]
    fn key_files_are_for_their_owner_alone() {
        let folder = Folder::new();
        let made = made(&folder, Algorithm::Es256);
        assert_eq!(fs::metadata(&made.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder.0).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn a_key_file_is_never_overwritten() {
        let folder = Folder::new();
        let made = made(&folder, Algorithm::Es256);
        let before = fs::read(&made.path).unwrap();
        let error = write_new(&folder.0, &made.path, b"other").unwrap_err();
        assert!(matches!(error.0[..], [KeyProblem::Exists { .. }]), "{error}");
        assert_eq!(fs::read(&made.path).unwrap(), before);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn rsa_keys_are_left_to_openssl_by_name() {
        let folder = Folder::new();
        let error = generate(&folder.0, Algorithm::Rs256, &SystemEntropy::new()).unwrap_err().to_string();
        assert!(error.contains("openssl genpkey -algorithm RSA"), "{error}");
        assert!(!folder.0.exists());
    }

    #[test]
    fn the_key_that_signs_is_named_once_there_are_several() {
        let folder = Folder::new();
        let (first, second) = (made(&folder, Algorithm::Es256), made(&folder, Algorithm::EdDsa));
        assert!(refusal(&folder, None).contains(&first.kid));
        assert!(refusal(&folder, Some("nobody")).contains("\"nobody\""));
        let ring = KeyRing::load(&folder.0, Some(&second.kid)).unwrap();
        let roles: Vec<_> = ring.keys().iter().map(|key| (key.kid.to_string(), key.role)).collect();
        assert!(roles.contains(&(first.kid, Role::Waits)) && roles.contains(&(second.kid, Role::Signs)));
        assert_eq!(ring.jwks().matches("\"kid\"").count(), 2, "a key is published before it signs");
    }

    #[test]
    fn a_symmetric_key_is_never_published() {
        let folder = Folder::new();
        made(&folder, Algorithm::Hs256);
        let ring = KeyRing::load(&folder.0, None).unwrap();
        assert_eq!(ring.jwks(), r#"{"keys":[]}"#);
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_file() {
        let folder = Folder::new();
        folder.write("empty.pem", "");
        folder.write("a b.pem", "x");
        folder.write("old.pem", "-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n");
        folder.write("odd.pem", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n");
        folder.write("short.secret", "c2hvcnQ=");
        folder.write("notes.txt", "not a key");
        folder.write(".hidden.pem", "not read");
        let text = refusal(&folder, None);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        for (name, cause) in [
            ("a b.pem", "key id"),
            ("empty.pem", "no PRIVATE KEY"),
            ("odd.pem", "supported kind"),
            ("old.pem", "openssl pkcs8 -topk8"),
            ("short.secret", "openssl rand"),
        ] {
            assert!(lines.iter().any(|line| line.contains(name) && line.contains(cause)), "{name}: {text}");
        }
    }

    #[test]
    fn an_empty_or_missing_folder_says_how_to_begin() {
        let folder = Folder::new();
        assert!(refusal(&folder, None).contains("cannot be read"));
        folder.write("notes.txt", "");
        assert!(refusal(&folder, None).contains("tokengate keys generate"));
    }

    #[test]
    fn files_of_any_size_are_read_within_bounds() {
        let folder = Folder::new();
        folder.write("huge.secret", &"A".repeat(KEY_FILE_BYTES_MAX + 1));
        assert!(refusal(&folder, None).contains("larger than"));
    }
}

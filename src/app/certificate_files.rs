//! What files with certificates hold.

use std::path::Path;

use crate::config::CertificateFiles;
use crate::crypto::authorities::Authorities;
use crate::crypto::certificates::{CHAIN_FILE_BYTES_MAX, CertificatePair};
use crate::domain::time::Timestamp;
use crate::files;

/// Who vouches for the certificates of others.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn authorities(file: &Path) -> Result<Authorities, String> {
    let pem = files::read(file, files::PEM_BYTES_MAX).map_err(unreadable)?;
    Authorities::of_pem(&pem)
}

/// What is wrong with a pair, and in which of its files.
pub(super) struct PairProblem<'a> {
    pub(super) key: &'static str,
    pub(super) path: &'a Path,
    pub(super) error: String,
}

impl<'a> PairProblem<'a> {
    fn of_certificate(files: &'a CertificateFiles, error: String) -> Self {
        Self { key: "certificate_file", path: &files.certificate, error }
    }

    /// `section` is where the settings name the files.
    pub(super) fn under(&self, section: &str) -> String {
        let Self { key, path, error } = self;
        format!("{section}.{key} = \"{}\": {error}", path.display())
    }
}

/// What the files hold.
///
/// # Errors
/// They hold no pair.
pub(super) fn pair(files: &CertificateFiles) -> Result<CertificatePair, PairProblem<'_>> {
    let of_certificate = |error| PairProblem::of_certificate(files, error);
    let of_key = |error: String| PairProblem { key: "key_file", path: &files.key, error };
    let certificates =
        files::read(&files.certificate, CHAIN_FILE_BYTES_MAX).map_err(|error| of_certificate(unreadable(error)))?;
    let key = files::read(&files.key, KEY_BYTES_MAX).map_err(|error| of_key(unreadable(error)))?;
    CertificatePair::of_pem(&certificates, &key).map_err(|fault| {
        let text = fault.to_string();
        if fault.is_of_certificate() { of_certificate(text) } else { of_key(text) }
    })
}

/// The same, to be shown in the place of `shown`.
///
/// # Errors
/// They hold no pair, or one that is worth less than what is shown.
pub(super) fn next_pair<'a>(
    files: &'a CertificateFiles,
    shown: &CertificatePair,
    now: Timestamp,
) -> Result<CertificatePair, PairProblem<'a>> {
    let pair = pair(files)?;
    let succession = pair.succeeds(shown, now);
    succession.map(|()| pair).map_err(|refused| PairProblem::of_certificate(files, refused.to_string()))
}

/// The most that is read of a file with a key, in bytes.
const KEY_BYTES_MAX: usize = 64 * 1024;

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn unreadable(error: std::io::Error) -> String {
    format!("cannot be read: {error}")
}

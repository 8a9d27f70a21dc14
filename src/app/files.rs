//! The files that the settings name: how they are read, and what is wrong with them.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use super::{data_plane, issuers, keys, legacy, stores, watched_keys};
use crate::config::{JwksSource, Settings};

/// The largest PEM file that is read, in bytes. All public authorities together have a quarter of a megabyte.
pub(super) const PEM_BYTES_MAX: usize = 4 << 20;

/// The whole of a regular file: a pipe would be waited for, for ever.
pub(super) fn read(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let refuse = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    let mut bytes = Vec::new();
    if !fs::metadata(path)?.is_file() {
        return Err(refuse("no regular file".to_owned()));
    }
    File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max { Err(refuse(format!("larger than {bytes_max} bytes"))) } else { Ok(bytes) }
}

/// Everything for which a start would refuse what is in the files, by the code that a start runs. Nothing is made, and nobody is asked.
pub fn faults(settings: &Settings) -> Vec<String> {
    let mut faults = keys::faults(settings);
    faults.extend(
        settings.upstreams.iter().filter_map(|upstream| data_plane::upstream(upstream).err()).map(|error| error.to_string()),
    );
    for (index, issuer) in settings.issuers.iter().enumerate() {
        match &issuer.jwks {
            JwksSource::File(path) => {
                let error = watched_keys::key_set(path, &issuer.algorithms).err();
                faults.extend(error.map(|error| format!("issuers[{index}].jwks_file = \"{}\": {error}", path.display())));
            }
            JwksSource::Url(url) => faults.extend(issuers::key_client(issuer, url).err().map(|error| error.to_string())),
        }
    }
    faults.extend(settings.legacy.iter().filter_map(|legacy| legacy::key(legacy).err()).map(|error| error.to_string()));
    faults.extend(stores::fault(settings).map(|error| error.to_string()));
    faults
}

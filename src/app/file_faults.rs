//! What is wrong with the files that the settings name.

use super::{access_log, certificates, data_plane, issuers, keys, legacy, stores, watched_keys};
use crate::config::{JwksSource, Settings};

/// Everything for which a start would refuse what is in the files, by the code that a start runs. Nothing is made, and nobody is asked.
pub fn faults(settings: &Settings) -> Vec<String> {
    let mut faults = keys::faults(settings);
    faults.extend(certificates::faults(settings));
    faults.extend(settings.upstreams.iter().filter_map(data_plane::file_fault).map(|error| error.to_string()));
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
    faults.extend(settings.log.access.as_ref().and_then(access_log::fault).map(|error| error.to_string()));
    faults.extend(stores::fault(settings).map(|error| error.to_string()));
    faults
}

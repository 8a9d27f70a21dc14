//! What a key can hold, how much of it may be shown, and in what form a reload compares it.

use std::fmt::{self, Debug, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode, Uri};
use ipnet::IpNet;

use crate::domain::algorithm::Algorithm;
use crate::domain::claim_policy::ClaimPath;
use crate::domain::deployment_secret::DeploymentSecret;
use crate::domain::headers::NamePattern;
use crate::domain::host::HostPattern;
use crate::domain::ids::Partitions;
use crate::domain::login_kind::LoginKind;
use crate::domain::origin::OriginPattern;
use crate::domain::pace::ByteRate;
use crate::domain::secret::Secret;
use crate::domain::share::Share;
use crate::domain::subjects::SubjectPrefix;
use crate::domain::time::Timestamp;

/// How much of a value is shown: printed with the settings, and repeated in faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Disclosure {
    /// All of it. Of anything that looks like a URL, credentials and query are left out even so.
    Open,
    /// A URL that may hold a password: printed without it. A fault does not repeat it: in text that is not a URL, a
    /// password cannot be recognised.
    Credentials,
    /// Nothing.
    Secret,
}

/// A value that a key can hold. Its type alone decides how much of it may be shown: a type that does not say so is no setting.
pub(super) trait Setting {
    const DISCLOSURE: Disclosure;

    /// Writes a form in which two values are the same text if and only if they mean the same: `"60s"` and `"1m"` are one.
    fn write_effective(&self, out: &mut String);

    fn effective(&self) -> Effective {
        let mut text = String::new();
        self.write_effective(&mut text);
        Effective(Secret::new(text))
    }
}

/// What a key says, in a form that can be compared. It may be a secret.
#[derive(Clone)]
pub(super) struct Effective(Secret<String>);

impl PartialEq for Effective {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose() == other.0.expose()
    }
}

impl Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Effective")
    }
}

/// A key's value, and which of the known keys it is.
#[derive(Clone, Debug)]
pub(super) struct EffectiveKey {
    /// `routes[].prefix`.
    pub(super) pattern: String,
    pub(super) value: Effective,
}

/// A value, and the file that it was read from; `None`: the settings hold it themselves.
#[derive(Clone, Debug)]
pub struct FromFile<T> {
    pub value: T,
    pub file: Option<PathBuf>,
}

/// Declares types whose values may be shown. Their `Debug` form is compared.
macro_rules! open_settings {
    ($($setting:ty),+ $(,)?) => {
        $(impl $crate::config::setting::Setting for $setting {
            const DISCLOSURE: $crate::config::setting::Disclosure = $crate::config::setting::Disclosure::Open;

            fn write_effective(&self, out: &mut String) {
                $crate::config::setting::write_debug(self, out);
            }
        })+
    };
}
pub(super) use open_settings;

open_settings!(bool, u8, u16, u32, u64, usize, String, Duration, PathBuf);
open_settings!(HeaderName, Method, StatusCode, Uri, IpAddr, IpNet);
open_settings!(
    Algorithm,
    ByteRate,
    ClaimPath,
    HostPattern,
    LoginKind,
    NamePattern,
    OriginPattern,
    Partitions,
    Share,
    SubjectPrefix,
    Timestamp
);

pub(super) fn write_debug(value: &impl Debug, out: &mut String) {
    // Writing to a text does not fail.
    let _ = write!(out, "{value:?}");
}

impl Setting for Secret<String> {
    const DISCLOSURE: Disclosure = Disclosure::Secret;

    fn write_effective(&self, out: &mut String) {
        write_debug(self.expose(), out);
    }
}

impl Setting for Secret<Vec<u8>> {
    const DISCLOSURE: Disclosure = Disclosure::Secret;

    fn write_effective(&self, out: &mut String) {
        write_debug(self.expose(), out);
    }
}

impl Setting for DeploymentSecret {
    const DISCLOSURE: Disclosure = Disclosure::Secret;

    fn write_effective(&self, out: &mut String) {
        write_debug(&self.expose(), out);
    }
}

impl<T: Setting> Setting for Vec<T> {
    const DISCLOSURE: Disclosure = T::DISCLOSURE;

    fn write_effective(&self, out: &mut String) {
        out.push('[');
        for item in self {
            item.write_effective(out);
            out.push(',');
        }
        out.push(']');
    }
}

impl<T: Setting> Setting for Option<T> {
    const DISCLOSURE: Disclosure = T::DISCLOSURE;

    fn write_effective(&self, out: &mut String) {
        match self {
            Some(value) => value.write_effective(out),
            None => out.push_str("off"),
        }
    }
}

/// An entry of a table with keys of the operator's choice.
impl<T: Setting> Setting for (String, T) {
    const DISCLOSURE: Disclosure = T::DISCLOSURE;

    fn write_effective(&self, out: &mut String) {
        write_debug(&self.0, out);
        out.push('=');
        self.1.write_effective(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_of_secrets_is_a_secret() {
        assert_eq!(<Option<Vec<Secret<String>>>>::DISCLOSURE, Disclosure::Secret);
        assert_eq!(<(String, Secret<Vec<u8>>)>::DISCLOSURE, Disclosure::Secret);
        assert_eq!(<Option<Vec<String>>>::DISCLOSURE, Disclosure::Open);
    }

    #[test]
    fn values_that_differ_have_different_forms_and_show_nothing() {
        let texts = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>().effective();
        assert!(texts(&["a,b"]) != texts(&["a", "b"]) && texts(&["a", "b"]) == texts(&["a", "b"]));
        let secrets = |items: &[&str]| items.iter().map(|item| Secret::new((*item).to_owned())).collect::<Vec<_>>().effective();
        assert!(secrets(&["a\",\"b"]) != secrets(&["a", "b"]) && secrets(&["a"]) != secrets(&["b"]));
        assert!(None::<u8>.effective() != Some(0_u8).effective());
        assert_eq!(format!("{:?}", secrets(&["hunter2"])), "Effective");
    }
}

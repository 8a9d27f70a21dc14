//! What is measured, and the last measurements.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

macro_rules! gauge {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What is measured from time to time. Names are stable: they are stored and scraped.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Gauge { $($(#[$doc])* $variant,)* }

        impl Gauge {
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// Snake case with its unit last, stable across versions.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

gauge! {
    /// Sessions that have neither ended nor expired, in the whole deployment.
    Sessions = "sessions",
    /// Subjects with at least one such session.
    Subjects = "subjects",
    /// Revocations in the log, over all partitions; marks of nodes are none.
    LogEntries = "log_entries",
    /// What the store takes up: memory of Redis, or the file of the embedded store.
    StoreBytes = "store_bytes",
    /// Revocations that this node holds in memory.
    ReplicaEntries = "replica_entries",
    /// From the writing of a revocation to its arrival in a node's replica, over the last minutes.
    RevocationLagP50 = "revocation_lag_p50_micros",
    RevocationLagP99 = "revocation_lag_p99_micros",
    RevocationLagMax = "revocation_lag_max_micros",
    /// When the first of the certificates expires that this node shows to clients, since 1970.
    CertificateExpiry = "certificate_expiry_seconds",
    /// The same of those that it shows to upstreams.
    UpstreamCertificateExpiry = "upstream_certificate_expiry_seconds",
}

impl Gauge {
    /// Whether it tells of one node, and not of the deployment.
    #[must_use]
    pub const fn is_of_node(self) -> bool {
        match self {
            Self::Sessions | Self::Subjects | Self::LogEntries | Self::StoreBytes => false,
            Self::ReplicaEntries
            | Self::RevocationLagP50
            | Self::RevocationLagP99
            | Self::RevocationLagMax
            | Self::CertificateExpiry
            | Self::UpstreamCertificateExpiry => true,
        }
    }
}

const GAUGES: usize = Gauge::ALL.len();

/// Stands for a gauge that has nothing to tell.
const UNSET: u64 = u64::MAX;

/// The last measurement of each gauge in this process. Any thread may set and read.
#[derive(Debug)]
pub struct Gauges([AtomicU64; GAUGES]);

impl Gauges {
    #[must_use]
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(UNSET) }; GAUGES])
    }

    pub fn set(&self, gauge: Gauge, value: u64) {
        self.put(gauge, Some(value));
    }

    /// `None`: there is nothing to measure.
    pub fn put(&self, gauge: Gauge, value: Option<u64>) {
        self.0[gauge as usize].store(value.map_or(UNSET, |value| value.min(UNSET - 1)), Ordering::Relaxed);
    }

    /// Sets those that `readings` has.
    pub fn set_all(&self, readings: &Readings) {
        readings.iter().for_each(|(gauge, value)| self.set(gauge, value));
    }

    #[must_use]
    pub fn readings(&self) -> Readings {
        Readings(std::array::from_fn(|i| Some(self.0[i].load(Ordering::Relaxed)).filter(|value| *value != UNSET)))
    }
}

impl Default for Gauges {
    fn default() -> Self {
        Self::new()
    }
}

/// What was measured; not everything can be everywhere. Written as a map from names to values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Readings([Option<u64>; GAUGES]);

impl Readings {
    #[must_use]
    pub const fn value(&self, gauge: Gauge) -> Option<u64> {
        self.0[gauge as usize]
    }

    pub const fn set(&mut self, gauge: Gauge, value: u64) {
        self.0[gauge as usize] = Some(value);
    }

    pub fn iter(&self) -> impl Iterator<Item = (Gauge, u64)> {
        Gauge::ALL.into_iter().zip(self.0).filter_map(|(gauge, value)| Some((gauge, value?)))
    }
}

impl Extend<(Gauge, u64)> for Readings {
    fn extend<I: IntoIterator<Item = (Gauge, u64)>>(&mut self, readings: I) {
        readings.into_iter().for_each(|(gauge, value)| self.set(gauge, value));
    }
}

impl FromIterator<(Gauge, u64)> for Readings {
    fn from_iter<I: IntoIterator<Item = (Gauge, u64)>>(readings: I) -> Self {
        let mut all = Self::default();
        all.extend(readings);
        all
    }
}

impl Serialize for Readings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (gauge, value) in self.iter() {
            map.serialize_entry(gauge.name(), &value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Readings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let named = std::collections::BTreeMap::<String, u64>::deserialize(deserializer)?;
        let known = |gauge: Gauge| Some((gauge, *named.get(gauge.name())?));
        Ok(Gauge::ALL.into_iter().filter_map(known).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_set_is_read() {
        let gauges = Gauges::new();
        assert_eq!(gauges.readings(), Readings::default());
        gauges.set(Gauge::Subjects, 0);
        gauges.set(Gauge::StoreBytes, u64::MAX);
        let readings = gauges.readings();
        assert_eq!((readings.value(Gauge::Subjects), readings.value(Gauge::Sessions)), (Some(0), None));
        assert_eq!(readings.value(Gauge::StoreBytes), Some(u64::MAX - 1));
        gauges.put(Gauge::Subjects, None);
        assert_eq!(gauges.readings().value(Gauge::Subjects), None, "there is nothing to measure any more");
    }

    #[test]
    fn readings_are_written_by_name_and_those_of_another_version_are_passed_over() {
        let readings: Readings = [(Gauge::Sessions, 3), (Gauge::StoreBytes, 4096)].into_iter().collect();
        let text = serde_json::to_string(&readings).unwrap();
        assert_eq!(text, r#"{"sessions":3,"store_bytes":4096}"#);
        let newer = text.replace('{', r#"{"of_a_newer_version":1,"#);
        assert_eq!(serde_json::from_str::<Readings>(&newer).unwrap(), readings);
    }
}

//! Lifetimes and sizes of tokens.

use std::time::Duration;

use super::{MINIMAL, assert_one_fault, minimal_and};
use crate::config::Settings;

#[test]
fn times_that_do_not_fit_together_are_refused() {
    assert_one_fault("tokens = { lifetime = \"1m\", leeway = \"1m\" }", &["tokens.leeway", "tokens.lifetime"]);
    assert_one_fault("tokens = { lifetime = \"4s\" }", &["tokens.lifetime", "5s"]);
    assert!(Settings::from_toml(&minimal_and("tokens = { lifetime = \"5s\" }")).is_ok());
    assert_one_fault("refresh = { idle_lifetime = \"91d\" }", &["refresh.idle_lifetime", "refresh.absolute_lifetime"]);
    assert_one_fault("refresh = { idle_lifetime = \"1m\", leeway = \"5m\" }", &["refresh.leeway"]);
    assert_one_fault("revocation = { heartbeat = \"11s\" }", &["revocation.heartbeat", "third"]);
    assert_one_fault("revocation = { retention = \"15m\" }", &["revocation.retention", "at least 16m"]);
}

#[test]
fn revocations_are_kept_as_long_as_the_longest_lived_token() {
    assert_eq!(Settings::from_toml(MINIMAL).unwrap().revocation.retention.span(), Duration::from_secs(16 * 60));
    let foreign = "[[issuers]]\nissuer = \"i\"\naudiences = [\"a\"]\nalgorithms = [\"ES256\"]\njwks_file = \"f\"\nlifetime_max = \"2d\"\nshares_subjects = true";
    let settings = Settings::from_toml(&minimal_and(foreign)).unwrap();
    assert_eq!(settings.revocation.retention.span(), Duration::from_secs(2 * 86_400 + 120));
}

#[test]
fn tokens_fit_into_what_they_come_in() {
    assert_one_fault("tokens = { bytes_max = \"31KiB\" }", &["tokens.bytes_max", "listen.header_bytes_max"]);
    let both = |other: &str| format!("tokens.bytes_max = \"12KiB\"\n{other}");
    assert_one_fault(&both("listen.header_bytes_max = \"8KiB\""), &["tokens.bytes_max", "listen.header_bytes_max"]);
    assert_one_fault(&both("endpoints.body_bytes_max = \"8KiB\""), &["endpoints.body_bytes_max", "tokens.bytes_max"]);
    for (alone, bytes_max) in [
        ("", 12 << 10),
        ("listen.header_bytes_max = \"8KiB\"", 6 << 10),
        ("listen.header_bytes_max = \"2KiB\"", 1 << 10),
        ("endpoints.body_bytes_max = \"8KiB\"", 7 << 10),
        ("listen.header_bytes_max = \"1MiB\"", 12 << 10),
    ] {
        assert_eq!(
            Settings::from_toml(&minimal_and(alone)).unwrap().tokens.bytes_max,
            bytes_max,
            "nobody asked for more: {alone}"
        );
    }
    let settings = Settings::from_toml(&minimal_and("tokens = { bytes_max = \"30KiB\" }")).unwrap();
    assert_eq!(settings.tokens.bytes_max, 30 << 10);
    assert!(Settings::from_toml(&minimal_and("listen.header_bytes_max = \"8KiB\"\ntokens.bytes_max = \"6KiB\"")).is_ok());
}

//! Probes of the servers of an upstream.

use std::time::Duration;

use http::StatusCode;

use super::{faults, inputs, load};
use crate::config::Health;
use crate::domain::per_upstream::UpstreamIndex;

fn health(keys: &str) -> Option<Health> {
    let file = format!("[upstreams.api]\nurl = 'http://a'\n{keys}");
    load(&inputs(&file, &[], &[])).unwrap().settings.upstreams[UpstreamIndex::FIRST].health.clone()
}

#[test]
fn servers_are_probed_where_a_path_is_given() {
    assert!(health("").is_none());
    let by_default = health("[upstreams.api.health]\npath = '/healthz?deep=1&b=%2F'").unwrap();
    assert_eq!(by_default.path, "/healthz?deep=1&b=%2F");
    assert_eq!(by_default.statuses, [StatusCode::OK, StatusCode::NO_CONTENT]);
    assert!(by_default.host.is_none() && by_default.timeout < by_default.interval);
    let often = health("health = { path = '/', interval = '500ms' }").unwrap();
    assert_eq!(often.timeout, Duration::from_millis(500));
    let health = health("health = { path = '/', host = 'API.example:81', statuses = [301], interval = '1m' }").unwrap();
    assert_eq!(health.host.unwrap().field(), "api.example:81");
    assert_eq!((health.statuses, health.interval), (vec![StatusCode::MOVED_PERMANENTLY], Duration::from_mins(1)));
}

#[test]
fn probes_that_can_never_work_are_refused() {
    for (keys, parts) in [
        ("interval = '1s'", &["health.path", "is missing", "/healthz"][..]),
        ("path = 'healthz'", &["health.path", "allowed is a path"]),
        ("path = '/a b'", &["health.path", "allowed is a path"]),
        ("path = '/a#b'", &["health.path", "allowed is a path"]),
        ("path = '/'\nstatuses = []", &["health.statuses", "[200, 204]"]),
        ("path = '/'\nstatuses = [101]", &["health.statuses", "item 1", "200 to 599"]),
        ("path = '/'\nhost = 'http://a'", &["health.host", "allowed is a host"]),
        ("path = '/'\ninterval = '1s'\ntimeout = '3s'", &["health.timeout", "longer than `interval`"]),
        ("path = '/'\ninterval = '1s'\ntimeout = '2s'", &["health.timeout", "longer than `interval`"]),
        ("path = '/'\nunhealthy_after = 0", &["health.unhealthy_after", "from 1 to 100"]),
        ("path = '/'\npaths = ['/']", &["health.paths", "path"]),
    ] {
        let faults = faults(&format!("[upstreams.api]\nurl = 'http://a'\n[upstreams.api.health]\n{keys}"));
        assert_eq!(faults.len(), 1, "{keys}: {faults:#?}");
        for part in parts {
            assert!(faults[0].contains(part), "{keys}: `{part}` is missing from {}", faults[0]);
        }
    }
}

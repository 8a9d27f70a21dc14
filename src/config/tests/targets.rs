//! The servers of an upstream.

use super::{faults, inputs, load};
use crate::config::Settings;
use crate::config::UpstreamProtocol;
use crate::domain::affinity::{Balance, HashBy};
use crate::domain::per_upstream::UpstreamIndex;

fn settings(keys: &str) -> Settings {
    load(&inputs(&format!("[upstreams.api]\n{keys}"), &[], &[])).unwrap().settings
}

#[test]
fn servers_are_named_by_one_url_by_several_or_with_weights() {
    for (keys, expected) in [
        ("url = 'http://a:1'", vec![("url", "http://a:1", 1)]),
        ("urls = ['http://a:1/v2', 'http://b/v2/']", vec![("urls[0]", "http://a:1/v2", 1), ("urls[1]", "http://b/v2", 1)]),
        (
            "[[upstreams.api.targets]]\nurl = 'https://a'\n[[upstreams.api.targets]]\nurl = 'https://b'\nweight = 7",
            vec![("targets[0].url", "https://a", 1), ("targets[1].url", "https://b", 7)],
        ),
    ] {
        let settings = settings(keys);
        let targets = settings.upstreams[UpstreamIndex::FIRST].targets.iter();
        let read: Vec<_> = targets.map(|target| (target.key.clone(), target.url.to_string(), target.weight)).collect();
        let expected: Vec<_> = expected.into_iter().map(|(key, url, weight)| (key.to_owned(), url.to_owned(), weight)).collect();
        assert_eq!(read, expected);
    }
}

#[test]
fn servers_that_cannot_be_one_upstream_are_refused() {
    for (keys, parts) in [
        ("", &["upstreams.api.url", "is missing", "urls = ["][..]),
        ("urls = []", &["upstreams.api.url"]),
        ("url = 'http://a'\nurls = ['http://b']", &["upstreams.api.urls", "`url` is given too"]),
        ("urls = ['http://b']\ntargets = [{ url = 'http://b' }]", &["upstreams.api.targets", "`urls` is given too"]),
        ("urls = ['http://a', 'https://b']", &["upstreams.api.urls", "http://a and https://b", "same scheme and path"]),
        ("urls = ['http://a/x', 'http://b/y']", &["upstreams.api.urls", "same scheme and path"]),
        ("urls = ['http://a', 'http://b', 'http://a']", &["upstreams.api.urls", "http://a twice"]),
        ("targets = [{ weight = 2 }]", &["upstreams.api.targets[0].url", "is missing"]),
        ("targets = [{ url = 'http://a', weight = 0 }]", &["upstreams.api.targets[0].weight", "1000"]),
        ("urls = ['http://a', 'nonsense']", &["upstreams.api.urls", "allowed is"]),
    ] {
        let faults = faults(&format!("[upstreams.api]\n{keys}"));
        assert_eq!(faults.len(), 1, "{keys}: {faults:#?}");
        for part in parts {
            assert!(faults[0].contains(part), "{keys}: `{part}` is missing from {}", faults[0]);
        }
    }
}

#[test]
fn requests_are_divided_as_is_said() {
    for (keys, expected) in [
        ("", Balance::LeastRequests),
        ("balance = 'least_requests'", Balance::LeastRequests),
        ("balance = 'hash'", Balance::Hash(HashBy::Subject)),
        ("balance = 'hash'\nhash_by = 'session'", Balance::Hash(HashBy::Session)),
    ] {
        assert_eq!(settings(&format!("url = 'http://a'\n{keys}")).upstreams[UpstreamIndex::FIRST].balance, expected, "{keys}");
    }
}

#[test]
fn what_servers_are_shown_and_must_show_goes_by_tls() {
    let keys =
        "url = 'https://127.0.0.1'\nclient_certificate_file = 'a.pem'\nclient_key_file = 'a.key'\nserver_name = 'API.internal'";
    let settings = settings(keys);
    let upstream = &settings.upstreams[UpstreamIndex::FIRST];
    let files = upstream.client_certificate.as_ref().unwrap();
    assert_eq!((files.certificate.to_str(), files.key.to_str()), (Some("a.pem"), Some("a.key")));
    assert_eq!(upstream.server_name.as_deref(), Some("api.internal"));
    for (keys, parts) in [
        ("balance = 'random'", &["upstreams.api.balance", "\"least_requests\", \"hash\""][..]),
        ("hash_by = 'session'", &["upstreams.api.hash_by", "without balance = \"hash\""]),
        ("balance = 'hash'\nhash_by = 'address'", &["upstreams.api.hash_by", "\"subject\", \"session\""]),
        ("client_certificate_file = 'a'", &["upstreams.api.client_certificate_file", "needs `client_key_file`"]),
        ("client_key_file = 'a'", &["upstreams.api.client_key_file", "needs `client_certificate_file`"]),
        ("server_name = 'a:443'", &["upstreams.api.server_name", "without a port"]),
    ] {
        let faults = faults(&format!("[upstreams.api]\nurl = 'https://a'\n{keys}"));
        assert_eq!(faults.len(), 1, "{keys}: {faults:#?}");
        for part in parts {
            assert!(faults[0].contains(part), "{keys}: `{part}` is missing from {}", faults[0]);
        }
    }
    for key in ["ca_file", "server_name"] {
        let faults = faults(&format!("[upstreams.api]\nurl = 'http://a'\n{key} = 'b'"));
        assert!(faults.len() == 1 && faults[0].contains(key) && faults[0].contains("http upstream"), "{faults:#?}");
    }
}

#[test]
fn slow_servers_are_left_out_where_that_is_asked_for() {
    let factor = |keys: &str| settings(&format!("url = 'http://a'\n{keys}")).upstreams[UpstreamIndex::FIRST].ejection.slow_factor;
    assert_eq!((factor(""), factor("eject_slow_factor = 0"), factor("eject_slow_factor = 5")), (None, None, Some(5)));
    let faults = faults("[upstreams.api]\nurl = 'http://a'\neject_slow_factor = 1");
    assert!(faults.len() == 1 && faults[0].contains("from 2 to 1000"), "{faults:#?}");
}

#[test]
fn what_is_said_of_http_2_needs_an_upstream_that_speaks_it() {
    let settings = settings("url = 'http://a'\nprotocol = 'http2'\n[upstreams.api.http2]\nstreams_max = 7");
    let upstream = &settings.upstreams[UpstreamIndex::FIRST];
    let http2 = upstream.http2;
    assert_eq!((upstream.protocol, http2.streams_max, http2.stream_window_bytes), (UpstreamProtocol::Http2, 7, 1 << 18));
    for (keys, parts) in [
        ("[upstreams.api.http2]\nstreams_max = 7", ["upstreams.api.http2.streams_max", "protocol = \"http2\""]),
        ("protocol = 'h2'", ["upstreams.api.protocol", "http1"]),
        ("protocol = 'http2'\n[upstreams.api.http2]\nstreams_max = 0", ["upstreams.api.http2.streams_max", "10000"]),
    ] {
        let faults = faults(&format!("[upstreams.api]\nurl = 'http://a'\n{keys}"));
        assert_eq!(faults.len(), 1, "{keys}: {faults:#?}");
        assert!(parts.iter().all(|part| faults[0].contains(part)), "{keys}: {}", faults[0]);
    }
}

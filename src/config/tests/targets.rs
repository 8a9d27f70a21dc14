//! The servers of an upstream.

use super::{faults, inputs, load};
use crate::config::Settings;
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

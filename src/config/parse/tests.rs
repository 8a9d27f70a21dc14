use std::time::Duration;

use http::Method;
use ipnet::IpNet;
use proptest::prelude::*;

use super::measure::{duration_from, size_from};
use super::*;
use crate::config::pointer::pointer;
use crate::config::upstream_url::upstream_url;

fn value(text: &str) -> Value {
    Value::new(None, text)
}

fn any_duration(text: &str) -> Option<Duration> {
    duration(Duration::ZERO, Duration::MAX).of(&value(text)).ok()
}

#[test]
fn spans_of_time_need_their_units() {
    for (text, millis) in
        [("500ms", 500), ("15m", 900_000), ("7d", 604_800_000), ("1h30m", 5_400_000), ("1d2h3m4s5ms", 93_784_005), ("0s", 0)]
    {
        assert_eq!(any_duration(text), Some(Duration::from_millis(millis)), "{text}");
    }
    let bad = [
        "",
        "10",
        "s",
        "1.5s",
        "-1s",
        "1 s",
        "1S",
        "10min",
        "1m1h",
        "1s1s",
        "99999999999999999999s",
        "1844674407370955162d",
        "1s ",
        "١s",
    ];
    for text in bad {
        assert_eq!(any_duration(text), None, "{text}");
    }
    assert!(duration(Duration::ZERO, Duration::MAX).of(&Value::new(None, 10)).is_err());
}

#[test]
fn a_span_out_of_bounds_is_told_the_bounds() {
    let within = duration(Duration::from_millis(100), Duration::from_secs(90));
    assert!(within.of(&value("100ms")).is_ok() && within.of(&value("90s")).is_ok());
    for text in ["99ms", "91s"] {
        let message = within.of(&value(text)).unwrap_err();
        assert!(message.ends_with("from 100ms to 90s"), "{message}");
    }
}

#[test]
fn sizes_need_their_units() {
    let read = |text: &str| size(0, u64::MAX).of(&value(text)).ok();
    for (text, bytes) in [("0B", 0), ("512B", 512), ("64KiB", 65_536), ("1MiB", 1 << 20), ("2GiB", 2 << 30)] {
        assert_eq!(read(text), Some(bytes), "{text}");
    }
    for text in ["", "B", "KiB", "64", "64kb", "64KB", "1.5MiB", "-1B", "+1B", "1 MiB", "99999999999GiB"] {
        assert_eq!(read(text), None, "{text}");
    }
    assert!(size(1 << 10, 1 << 20).of(&value("2MiB")).unwrap_err().ends_with("from 1KiB to 1MiB"));
}

#[test]
fn numbers_are_whole_and_within_bounds() {
    let read = number(1, 10);
    assert_eq!(read.of(&Value::new(None, 10)), Ok(10));
    assert_eq!(read.of(&value("7")), Ok(7));
    for bad in [Value::new(None, 0), Value::new(None, -1), Value::new(None, 11), Value::new(None, 1.0), value("x"), value("1.0")]
    {
        assert_eq!(read.of(&bad), Err("allowed is a whole number from 1 to 10".to_owned()), "{bad:?}");
    }
}

#[test]
fn rates_are_permits_in_a_period() {
    let read =
        |text: &str| rate().of(&value(text)).ok().map(|rate| (rate.permits.get(), rate.period.as_secs(), rate.burst.get()));
    assert_eq!(read("10/1m"), Some((10, 60, 10)));
    assert_eq!(read("10/1m burst 20"), Some((10, 60, 20)));
    for text in
        ["", "10", "0/1m", "10/0s", "10/2d", "10/1m burst", "10/1m burst 0", "10/1m burst 2 3", "10/1m peak 2", "-1/1s", "10/m"]
    {
        assert_eq!(read(text), None, "{text}");
    }
    assert_eq!(rate().of(&value("10/90s burst 20")).unwrap().to_string(), "10/90s burst 20");
    assert_eq!(or_off(rate()).of(&value("")), Ok(None));
}

#[test]
fn lists_name_the_item_that_is_wrong() {
    let networks = list(network());
    assert_eq!(networks.of(&value("")).unwrap().len(), 0);
    assert_eq!(
        networks.of(&value("10.0.0.1/8,::1")).unwrap(),
        ["10.0.0.0/8".parse().unwrap(), "::1/128".parse::<IpNet>().unwrap()]
    );
    let message = networks.of(&Value::new(None, vec!["::1", "10.0.0.0/33"])).unwrap_err();
    assert!(message.starts_with("item 2 (\"10.0.0.0/33\"): allowed is a network"), "{message}");
    let message = networks.of(&Value::new(None, vec!["x", "::1", "10.0.0.0/33"])).unwrap_err();
    assert!(message.contains("item 1 (\"x\")") && message.contains("; item 3 (\"10.0.0.0/33\")"), "{message}");
    assert!(networks.of(&Value::new(None, 5)).is_err());
}

#[test]
fn paths_of_urls_are_canonical() {
    let read = |text: &str| url_path().of(&value(text)).ok();
    for (text, path) in
        [("/", "/"), ("/api", "/api"), ("/api/", "/api"), ("/.well-known/a.json", "/.well-known/a.json"), ("/a:b@c", "/a:b@c")]
    {
        assert_eq!(read(text).as_deref(), Some(path), "{text}");
    }
    for text in ["", "api", "//", "/a//b", "/./a", "/a/..", "/a%2fb", "/a;b", "/a?b", "/a#b", "/a\\b", "/a b", "/ä", "/a\0"] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn urls_of_upstreams_hold_scheme_host_and_port_alone() {
    for text in [
        "http://h",
        "http://h/",
        "https://h:8443",
        "http://[::1]:80",
        "http://127.0.0.1:3000",
        "http://h/x",
        "http://h/v2/x-y/",
        "unix:/run/api.sock",
    ] {
        assert!(upstream_url().of(&value(text)).is_ok(), "{text}");
    }
    for text in [
        "",
        "h:80",
        "h",
        "ftp://h",
        "http://",
        "http://:80",
        "http://h:",
        "http://h:0",
        "http://h:99999",
        "http://u@h",
        "http://h//",
        "http://h//x",
        "http://h/x//",
        "http://h/x/../y",
        "http://h/./x",
        "http://h/x%2fy",
        "http://h/x;y",
        "http://h/x?q",
        "http://h/x#f",
        "http://h#f",
        "http://h/ü",
        "http://h/?q",
        "http://h?q",
        "unix:",
        "unix:api.sock",
        "unix:/run/",
        "unix:/run/a\nb",
        "unix://h/x/",
    ] {
        assert!(upstream_url().of(&value(text)).is_err(), "{text}");
    }
}

#[test]
fn origins_are_as_browsers_send_them() {
    for text in ["https://app.example.com", "http://localhost:3000", "https://*.example.com", "capacitor://localhost"] {
        assert_eq!(origin().of(&value(text)).map(|origin| origin.to_string()).as_deref(), Ok(text));
    }
    for text in [
        "https://app.example.com/",
        "https://App.example.com",
        "https://app.example.com:443",
        "http://a:80",
        "app.example.com",
        "null",
        "*",
    ] {
        assert!(origin().of(&value(text)).is_err(), "{text}");
    }
}

#[test]
fn hosts_of_routes_are_names_or_all_names_below_one() {
    let read = |text: &str| host_pattern().of(&value(text)).map(|host| host.to_string()).ok();
    for (text, host) in [
        ("API.example.com.", "api.example.com"),
        ("*.Example.com", "*.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("[::0001]", "[::1]"),
    ] {
        assert_eq!(read(text).as_deref(), Some(host), "{text}");
    }
    for text in ["", "*", "*example.com", "a.*.com", "a:80", "a/b", "http://a", "bü cher.example"] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn methods_are_upper_case_and_forwardable() {
    assert_eq!(method().of(&value("PATCH")), Ok(Method::PATCH));
    assert!(method().of(&value("PURGE")).is_ok());
    for text in ["get", "", "GE T", "CONNECT"] {
        assert!(method().of(&value(text)).is_err(), "{text}");
    }
}

#[test]
fn pointers_are_those_of_rfc_6901() {
    for text in ["/", "/user/id", "/a~1b/m~0n", "/0"] {
        assert_eq!(pointer().of(&value(text)).unwrap().as_str(), text);
    }
    for text in ["", "user/id", "/a~", "/a~2", "$.user"] {
        assert!(pointer().of(&value(text)).is_err(), "{text}");
    }
}

#[test]
fn deployment_secrets_are_a_list_or_one_a_line_and_each_is_strong() {
    let hex = "0f1e2d3c".repeat(8);
    let base64 = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA==";
    for text in [hex.as_str(), base64, base64.trim_end_matches('='), " c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA==\n"] {
        assert_eq!(deployment_secrets().of(&value(text)).map(|secrets| secrets.len()), Ok(1), "{text}");
    }
    for text in ["hunter2", "correct horse battery staple and correct horse", &hex[..62], &"00".repeat(32)] {
        let message = deployment_secrets().of(&value(text)).unwrap_err();
        assert!(message.ends_with("make one with: openssl rand -base64 32") && !message.contains(text), "{message}");
    }
    assert!(deployment_secrets().of(&Value::new(None, 7)).is_err());
    assert_eq!(deployment_secrets().of(&value(&format!("{hex}\n\n{base64}\n"))).unwrap().len(), 2);
    assert!(deployment_secrets().of(&value(&format!("{hex}\nshort"))).unwrap_err().starts_with("secret 2: "));
    assert!(deployment_secrets().of(&Value::new(None, Vec::<String>::new())).is_err());
}

proptest! {
    #[test]
    fn a_span_reads_back_from_its_text(millis in 0..u64::MAX / 2) {
        let span = Duration::from_millis(millis);
        prop_assert_eq!(duration_from(&duration_text(span)), Some(span));
    }

    #[test]
    fn a_size_reads_back_from_its_text(bytes: u64) {
        prop_assert_eq!(size_from(&size_text(bytes)), Some(bytes));
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC{0,40}|[0-9a-zA-Z/:.~%\\[\\]@ -]{0,40}") {
        let value = Value::new(None, text);
        let _ = (duration_from(value.to_string().as_str()), size_from(&value.to_string()), rate().of(&value), network().of(&value));
        let _ = (url_path().of(&value), upstream_url().of(&value), origin().of(&value), pointer().of(&value), deployment_secrets().of(&value), method().of(&value));
    }
}

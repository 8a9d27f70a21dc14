use super::*;

fn forwarding() -> Forwarding {
    Forwarding::new(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()])
}

fn known(peer: &str) -> Peer {
    Peer::Known((peer.parse::<IpAddr>().unwrap(), 0).into())
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

/// The client, and what the upstream is told, a line for each field.
fn told(peer: &str, fields: &[(&'static str, &str)]) -> (String, String) {
    let (hop, headers) = (Hop::new(known(peer), Scheme::Http), headers(fields));
    let forwarding = forwarding();
    let origin = forwarding.origin(&hop, &headers);
    let mut out = Vec::new();
    origin.write(Some(&HeaderValue::from_static("api.example")), &mut out);
    (origin.address().to_string(), String::from_utf8(out).unwrap().replace("\r\n", "\n"))
}

fn client(peer: &str, field: &str) -> String {
    told(peer, &[("x-forwarded-for", field)]).0
}

#[test]
fn a_stranger_is_not_believed() {
    assert_eq!(client("192.0.2.1", "203.0.113.9"), "192.0.2.1");
    let (client, lines) = told("192.0.2.1", &[("forwarded", "for=203.0.113.9;proto=https"), ("x-forwarded-proto", "https")]);
    assert_eq!(client, "192.0.2.1");
    let ours = "x-forwarded-for: 192.0.2.1\nx-forwarded-proto: http\nx-forwarded-host: api.example\n\
                forwarded: for=192.0.2.1;proto=http;host=\"api.example\"\n";
    assert_eq!(lines, ours);
}

#[test]
fn behind_trusted_peers_the_right_most_stranger_is_the_client() {
    assert_eq!(client("10.0.0.1", "198.51.100.7, 203.0.113.9, 10.0.0.2"), "203.0.113.9");
    assert_eq!(client("::ffff:10.0.0.1", "203.0.113.9:4711"), "203.0.113.9");
    assert_eq!(client("::1", "[2001:db8::1]:80"), "2001:db8::1");
    assert_eq!(client("10.0.0.1", "10.0.0.3, 10.0.0.2"), "10.0.0.3");
    assert_eq!(client("10.0.0.1", "203.0.113.9, garbage"), "10.0.0.1");
    assert_eq!(client("10.0.0.1", "203.0.113.9, garbage, 10.0.0.2"), "10.0.0.2");
}

#[test]
fn an_empty_element_is_none() {
    for field in ["203.0.113.9,", ",203.0.113.9", "203.0.113.9, ,\t, 10.0.0.2", " , 203.0.113.9 , "] {
        assert_eq!(client("10.0.0.1", field), "203.0.113.9", "{field}");
    }
    assert_eq!(told("10.0.0.1", &[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "")]).0, "203.0.113.9");
    assert_eq!(client("10.0.0.1", ","), "10.0.0.1");
    assert!(told("10.0.0.1", &[("x-forwarded-for", "203.0.113.9,")]).1.contains("x-forwarded-for: 203.0.113.9, 10.0.0.1\n"));
}

#[test]
fn forwarded_is_believed_where_x_forwarded_for_is_absent() {
    let field = "for=\"[2001:db8::1]:4711\";proto=https;host=shop.example, for=10.0.0.2;proto=http";
    let (client, lines) = told("10.0.0.1", &[("forwarded", field)]);
    assert_eq!(client, "2001:db8::1");
    let ours = "x-forwarded-for: [2001:db8::1]:4711, 10.0.0.2, 10.0.0.1\nx-forwarded-proto: https\nx-forwarded-host: shop.example\n\
                x-real-ip: 2001:db8::1\n\
                forwarded: for=\"[2001:db8::1]:4711\";proto=https;host=\"shop.example\", for=10.0.0.2, for=10.0.0.1\n";
    assert_eq!(lines, ours);

    let (client, _) = told("10.0.0.1", &[("forwarded", "for=203.0.113.9"), ("x-forwarded-for", " , ")]);
    assert_eq!(client, "203.0.113.9", "an empty list says nothing");
    let both = [("forwarded", "for=6.6.6.6;proto=https"), ("x-forwarded-for", "203.0.113.9")];
    let (client, lines) = told("10.0.0.1", &both);
    assert_eq!(client, "203.0.113.9");
    assert!(!lines.contains("6.6.6.6") && lines.contains("x-forwarded-proto: http\n"), "{lines}");
}

#[test]
fn what_is_believed_of_x_forwarded_for_stands_in_forwarded_too() {
    let fields = [
        ("x-forwarded-for", "198.51.100.7, 203.0.113.9:80, 10.0.0.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
    ];
    let (client, lines) = told("10.0.0.1", &fields);
    assert_eq!(client, "203.0.113.9");
    let ours = "x-forwarded-for: 198.51.100.7, 203.0.113.9:80, 10.0.0.2, 10.0.0.1\nx-forwarded-host: shop.example\nx-real-ip: 203.0.113.9\n\
                forwarded: for=198.51.100.7, for=\"203.0.113.9:80\";proto=https;host=\"shop.example\", for=10.0.0.2, for=10.0.0.1\n";
    assert_eq!(lines, ours);
}

#[test]
fn the_parts_of_a_split_field_are_one_list() {
    let (client, lines) = told("10.0.0.1", &[("forwarded", "for=203.0.113.9"), ("forwarded", "for=10.0.0.2, for=10.0.0.3")]);
    assert_eq!(client, "203.0.113.9");
    assert!(lines.contains("x-forwarded-for: 203.0.113.9, 10.0.0.2, 10.0.0.3, 10.0.0.1\n"), "{lines}");
}

#[test]
fn nobody_is_believed_beyond_what_cannot_be_read() {
    for field in ["for=203.0.113.9, for=unknown", "for=203.0.113.9, for=_hidden", "for=203.0.113.9;x=\", for=198.51.100.7"] {
        assert_eq!(told("10.0.0.1", &[("forwarded", field)]).0, "10.0.0.1", "{field}");
    }
    let (client, lines) = told("10.0.0.1", &[("forwarded", "for=203.0.113.9;x=\""), ("forwarded", "for=10.0.0.2")]);
    assert_eq!(client, "10.0.0.2");
    assert!(lines.contains("x-forwarded-for: unknown, 10.0.0.2, 10.0.0.1\n"), "{lines}");
    let (_, lines) = told("10.0.0.1", &[("x-forwarded-for", "a\"b\\, 203.0.113.9")]);
    assert!(lines.contains("x-forwarded-for: unknown, 203.0.113.9, 10.0.0.1\n"), "{lines}");
    let hostile = [("x-forwarded-proto", "ht\"tp"), ("x-forwarded-host", "a\\\"b")];
    assert!(told("10.0.0.1", &hostile).1.contains("forwarded: for=10.0.0.1;host=\"api.example\"\n"));
}

#[test]
fn a_host_is_told_in_one_form_whoever_tells_it() {
    let host = |fields: &[(&'static str, &str)]| {
        let lines = told("10.0.0.1", fields).1;
        let host = lines.lines().find_map(|line| line.strip_prefix("x-forwarded-host: ")).unwrap().to_owned();
        assert_eq!(lines.matches("x-forwarded-host").count(), 1, "{lines}");
        assert!(lines.contains(&format!("host=\"{host}\"")), "{lines}");
        host
    };
    for (said, told) in [
        ("shop.example", "shop.example"),
        ("Shop.Example.:0443", "shop.example:443"),
        ("shop.example., proxy.example", "shop.example"),
        ("[2001:DB8::0A]:80", "[2001:db8::a]:80"),
        ("a/b", "api.example"),
        ("127.1", "api.example"),
        ("", "api.example"),
        (", shop.example", "api.example"),
    ] {
        assert_eq!(host(&[("x-forwarded-host", said)]), told, "{said}");
        assert_eq!(host(&[("x-forwarded-host", said), ("x-forwarded-host", "evil.example")]), told, "{said}");
    }
    for (said, told) in [("Shop.Example.", "shop.example"), ("127.1", "api.example")] {
        assert_eq!(host(&[("forwarded", &format!("for=203.0.113.9;host=\"{said}\""))]), told, "{said}");
    }
}

#[test]
fn what_is_no_scheme_is_repeated_nowhere() {
    for proto in ["javascript:", "ht tp", "1http", "-", ""] {
        let lines = told("10.0.0.1", &[("x-forwarded-proto", proto)]).1;
        assert!(lines.contains("forwarded: for=10.0.0.1;host=\"api.example\"\n"), "{proto}: {lines}");
        let lines = told("10.0.0.1", &[("forwarded", &format!("for=203.0.113.9;proto=\"{proto}\""))]).1;
        assert!(lines.contains("x-forwarded-proto: http\n") && lines.contains(";proto=http;"), "{proto}: {lines}");
    }
    let good = [("x-forwarded-proto", "wss"), ("x-forwarded-host", "[2001:db8::1]:8443")];
    assert!(told("10.0.0.1", &good).1.contains("forwarded: for=10.0.0.1;proto=wss;host=\"[2001:db8::1]:8443\"\n"));
}

#[test]
fn no_more_steps_are_passed_on_than_are_read() {
    let steps = |lines: &str| {
        let field = lines.lines().find_map(|line| line.strip_prefix("x-forwarded-for: ")).unwrap();
        (field.split(", ").count() - 1, lines.matches("for=").count() - 1)
    };
    let long = vec!["10.0.0.9"; 4_000].join(",");
    let (client, lines) = told("10.0.0.1", &[("x-forwarded-for", &long)]);
    assert_eq!((client.as_str(), steps(&lines)), ("10.0.0.9", (STEPS_MAX, STEPS_MAX)));
    let long = vec!["for=10.0.0.9"; 4_000].join(",");
    let (_, lines) = told("10.0.0.1", &[("forwarded", &long), ("forwarded", &long)]);
    assert_eq!(steps(&lines), (STEPS_MAX, STEPS_MAX));
}

#[test]
fn a_proxy_that_nobody_named_is_noticed() {
    let disbelieved = |peer: &str, fields: &[(&'static str, &str)]| {
        let (hop, headers) = (Hop::new(known(peer), Scheme::Http), headers(fields));
        forwarding().origin(&hop, &headers).is_disbelieved(&headers)
    };
    assert!(disbelieved("192.0.2.1", &[("x-forwarded-for", "203.0.113.9")]));
    assert!(disbelieved("192.0.2.1", &[("forwarded", "for=203.0.113.9")]));
    assert!(!disbelieved("192.0.2.1", &[("x-forwarded-proto", "https")]));
    assert!(!disbelieved("10.0.0.1", &[("x-forwarded-for", "203.0.113.9")]));
}

//! Requests that two readers could take for different ones, and their honest neighbours, in the terms of no protocol: whatever door of
//! the gateway they are brought to, they are judged alike. What only one protocol can put is tested where that one is.

/// A request without a body, as every protocol can put it. Bytes, because what is no text is tried too.
#[derive(Clone, Debug)]
pub(crate) struct RequestCase {
    pub(crate) method: Vec<u8>,
    pub(crate) scheme: Vec<u8>,
    /// `:authority`, or the host of a URL as target, or where nothing else names one, the Host field.
    pub(crate) authority: Option<Vec<u8>>,
    /// Host fields beside it.
    pub(crate) hosts: Vec<Vec<u8>>,
    /// Path and query.
    pub(crate) path: Vec<u8>,
    /// In lower case.
    pub(crate) fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What becomes of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// The gateway takes it for malformed, and nothing of it goes any further.
    Refused,
    /// It goes on as this.
    Passes { method: String, target: String, host: String },
}

impl RequestCase {
    /// `GET /public` of the host `a`.
    pub(crate) fn plain() -> Self {
        Self {
            method: b"GET".to_vec(),
            scheme: b"http".to_vec(),
            authority: Some(b"a".to_vec()),
            hosts: Vec::new(),
            path: b"/public".to_vec(),
            fields: Vec::new(),
        }
    }

    pub(crate) fn method(method: impl AsRef<[u8]>) -> Self {
        Self { method: method.as_ref().to_vec(), ..Self::plain() }
    }

    pub(crate) fn scheme(scheme: impl AsRef<[u8]>) -> Self {
        Self { scheme: scheme.as_ref().to_vec(), ..Self::plain() }
    }

    pub(crate) fn authority(authority: impl AsRef<[u8]>) -> Self {
        Self { authority: Some(authority.as_ref().to_vec()), ..Self::plain() }
    }

    pub(crate) fn hosts(authority: Option<&str>, hosts: &[&str]) -> Self {
        let hosts = hosts.iter().map(|host| host.as_bytes().to_vec()).collect();
        Self { authority: authority.map(|authority| authority.as_bytes().to_vec()), hosts, ..Self::plain() }
    }

    pub(crate) fn path(path: impl AsRef<[u8]>) -> Self {
        Self { path: path.as_ref().to_vec(), ..Self::plain() }
    }

    pub(crate) fn field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        Self { fields: vec![(name.as_ref().to_vec(), value.as_ref().to_vec())], ..Self::plain() }
    }
}

/// Every case with its verdict. Paths below `/public` are open to everyone.
pub(crate) fn cases() -> Vec<(RequestCase, Verdict)> {
    let mut cases = passing();
    cases.extend(refused().into_iter().map(|case| (case, Verdict::Refused)));
    cases
}

fn passing() -> Vec<(RequestCase, Verdict)> {
    let as_what = |method: &str, target: &str, host: &str| Verdict::Passes {
        method: method.to_owned(),
        target: target.to_owned(),
        host: host.to_owned(),
    };
    let mut cases: Vec<(RequestCase, Verdict)> = Vec::new();
    for (path, target) in [
        ("/public", "/public"),
        ("/public?", "/public?"),
        ("/public?x=/../y&z=%2F", "/public?x=/../y&z=%2F"),
        ("/public/a%2Fb%41", "/public/a%2FbA"),
        ("/public/~a!$&'()*+,=:@-._", "/public/~a!$&'()*+,=:@-._"),
        ("/public?a=\\^`{|}", "/public?a=\\^`{|}"),
        // A fragment says nothing to a server, and goes no further.
        ("/public#/../api", "/public"),
        ("/public?x#y?z", "/public?x"),
        ("/public#", "/public"),
    ] {
        cases.push((RequestCase::path(path), as_what("GET", target, "a")));
    }
    for (authority, host) in [
        ("A.Example.", "a.example"),
        ("a:", "a"),
        ("a:0080", "a:80"),
        ("[::0001]:80", "[::1]:80"),
        ("api_1:3000", "api_1:3000"),
        ("127.0.0.1", "127.0.0.1"),
    ] {
        cases.push((RequestCase::authority(authority), as_what("GET", "/public", host)));
    }
    for scheme in ["http", "https", "HTTP", "Https"] {
        cases.push((RequestCase::scheme(scheme), as_what("GET", "/public", "a")));
    }
    for method in ["GET", "DELETE", "PATCH", "get", "X-MINE", "A!#$%&'*+-.^_`|~9"] {
        cases.push((RequestCase::method(method), as_what(method, "/public", "a")));
    }
    cases.push((RequestCase::hosts(None, &["B.example"]), as_what("GET", "/public", "b.example")));
    cases.push((RequestCase::hosts(Some("a"), &["A."]), as_what("GET", "/public", "a")));
    for (name, value) in [("x-a", &b"fine \xe4; \"1\""[..]), ("x-a", b""), ("x_a.b~c", b"1"), ("x-a", b"a\tb")] {
        cases.push((RequestCase::field(name, value), as_what("GET", "/public", "a")));
    }
    cases
}

fn refused() -> Vec<RequestCase> {
    let mut cases: Vec<RequestCase> = [
        &b""[..],
        b"*",
        b"public",
        b"?x",
        b"#x",
        b"//public",
        b"/public/../api",
        b"/public/./x",
        b"/public/%2e%2E/api",
        b"/public/..%2fapi",
        b"/public/%252e%252e/api",
        b"/public/..;x/api",
        b"/public/..%5capi",
        b"/public\\..\\api",
        b"/public/%00",
        b"/public/%zz",
        b"/public/%4",
        b"/public/%c0%ae",
        b"/public /x",
        b"/public\tx",
        b"/public\0",
        b"/public\x7f",
        b"/public\r\nx-a: 1",
        b"/public/\xe4",
        "/public/\u{e4}".as_bytes(),
        b"/public?\xe4",
        "/public?\u{e4}".as_bytes(),
        b"/public?a b",
        b"/public?a\"b",
        b"/public?a<b",
        b"/public?a>b",
    ]
    .into_iter()
    .map(RequestCase::path)
    .collect();
    let authorities = [
        &b""[..],
        b"a b",
        b"a/b",
        b"a,b",
        b"a;b",
        b"a..b",
        b".a",
        b"a:0",
        b"a:99999",
        b"a:+80",
        b"a:80:80",
        b"user@a",
        b"user:word@a",
        b"@a",
        b"a%41",
        b"a?b",
        b"a#b",
        b"a\\b",
        b"[::1",
        b"[::1]a",
        b"[fe80::1%25eth0]",
        b"::1",
        b"127.1",
        b"0x7f.0.0.1",
        b"a\0",
        b"a\tb",
        b"b\xfccher.example",
        "b\u{fc}cher.example".as_bytes(),
    ];
    cases.extend(authorities.into_iter().map(RequestCase::authority));
    // The same as a Host field that stands alone, and beside another name of the host.
    cases.extend(authorities.into_iter().map(|host| RequestCase {
        authority: None,
        hosts: vec![host.to_vec()],
        ..RequestCase::plain()
    }));
    cases.extend(authorities.into_iter().map(|host| RequestCase { hosts: vec![host.to_vec()], ..RequestCase::plain() }));
    for (authority, hosts) in
        [(None, &[][..]), (None, &["a", "a"]), (None, &["a", "b"]), (Some("a"), &["a", "a"]), (Some("a"), &["a", "b"])]
    {
        cases.push(RequestCase::hosts(authority, hosts));
    }
    cases.extend(["ftp", "httpx", "ws", "file", "", "h ttp", "http:"].map(RequestCase::scheme));
    cases.extend([&b""[..], b"GE T", b"GET\t", b"G\0T", b"G/T", b"G:T", b"G\xe4T", b"G(T", b"CONNECT"].map(RequestCase::method));
    let names: [&[u8]; 9] = [b"", b"x a", b"x\0a", b"x\ta", b"x-\xe4", b"x(a", b"x\"a", b"x/a", b"x-a\r\nx-b"];
    cases.extend(names.into_iter().map(|name| RequestCase::field(name, b"1")));
    let values: [&[u8]; 5] = [b"1\0", b"1\x7f", b"1\rx", b"1\x01", b"\x1b[0m"];
    cases.extend(values.into_iter().map(|value| RequestCase::field(b"x-a", value)));
    cases
}

/// Each byte there is, within each part of a request: where nobody has written a verdict down, the doors must agree.
pub(crate) fn sweep() -> impl Iterator<Item = RequestCase> {
    (0..=u8::MAX).flat_map(|byte| {
        let within = |before: &str, after: &str| [before.as_bytes(), &[byte], after.as_bytes()].concat();
        // Around a value of HTTP/1, these are none of it.
        let port = (!b" \t\r\n".contains(&byte)).then(|| RequestCase::authority(within("a:8", "")));
        [
            RequestCase::path(within("/public/x", "y")),
            RequestCase::path(within("/public?x", "y")),
            RequestCase::path(within("", "/public")),
            RequestCase::authority(within("a", "b")),
            RequestCase::method(within("GE", "T")),
        ]
        .into_iter()
        .chain(port)
    })
}

use proptest::prelude::*;

use super::*;

fn canonical(target: &str) -> Result<String, PathError> {
    CanonicalTarget::parse(target).map(|target| target.path_and_query().to_owned())
}

fn is_plain_target(target: &str) -> bool {
    matches!(CanonicalTarget::parse(target).unwrap().readings(), Readings::Plain(_))
}

/// Whether a path may be read as the place, itself or below it.
fn may_be(target: &str, place: &str) -> bool {
    Place::of(place).unwrap().may_hold(&CanonicalTarget::parse(target).unwrap().readings(), false)
}

#[test]
fn canonical_paths_are_borrowed() {
    for target in [
        "/",
        "/?",
        "/api/orders/42",
        "/a/b.c/d..e/...?x=%2f",
        "/a/",
        "/.well-known/jwks.json",
        "/a//b",
        "/a;b=c",
        "/caf%C3%A9?q=",
        "/a%20b",
    ] {
        let parsed = CanonicalTarget::parse(target).unwrap();
        assert!(matches!(parsed.path_and_query, Cow::Borrowed(_)), "{target}");
        assert_eq!(parsed.path_and_query(), target);
    }
}

#[test]
fn spellings_of_one_path_become_one() {
    assert_eq!(canonical("/%61pi/%7euser"), Ok("/api/~user".to_owned()));
    assert_eq!(canonical("/a%3ab"), Ok("/a%3Ab".to_owned()));
    assert_eq!(canonical("/a|b"), canonical("/a%7cb"));
    assert_eq!(canonical("/caf%c3%a9?q=%C3%A9"), Ok("/caf%C3%A9?q=%C3%A9".to_owned()));
    assert_eq!(canonical("/%61?%61=%2f"), Ok("/a?%61=%2f".to_owned()), "the query is not ours to respell");
}

#[test]
fn dot_segments_are_refused_in_every_disguise() {
    for target in [
        "/..",
        "/.",
        "/a/../b",
        "/a/./b",
        "/a/..",
        "/%2e%2e/a",
        "/a/.%2E",
        "/..;/a",
        "/a/..;x=1/b",
        "/a%2f..%2fb",
        "/a%5C..%5cb",
        "/x/..%3b/b",
        "/a/..?q",
        "/a/%252e%252e/b",
        "/a/%25252e./b",
        "/a/%25%32%65/b",
        "/a/%25%2532e%25%2532e/b",
        "/a%25%2532f..%25%2532fb",
        "/a%252f..%252fb",
        "/a;x%2f../b",
        "/a/..%23x",
        "/a/..%3Fx/b",
        "/a/.%253F",
    ] {
        assert_eq!(canonical(target), Err(PathError::DotSegment), "{target}");
    }
    for target in ["/...", "/a..", "/..a", "/.a", "/a./b", "/a/.../b", "/a%2e/b", "/a;.."] {
        assert!(canonical(target).is_ok(), "{target}");
    }
}

#[test]
fn what_nobody_reads_alike_is_refused() {
    for target in [
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%+1",
        "/a%00",
        "/a%0d%0a",
        "/a%7f",
        "/a%2500",
        "/a%25%25310",
        "/a\\b",
        "/a#b",
        "/a?b#c",
        "/é",
        "/a?é",
        "/a b",
        "/a?b c",
        "/%c0%ae%c0%ae/",
        "/a%c0%afb",
        "/a%e0%80%afb",
        "//evil.example/a",
        "",
        "a",
        "*",
        "?",
        "http://a/",
    ] {
        assert!(canonical(target).is_err(), "{target}");
    }
}

#[test]
fn only_what_everyone_reads_alike_is_plain() {
    for target in ["/", "/a/b/?c//d;e%2F+", "/.well-known/x", "/a@b:c", "/%61", "/v1.2/x", "/a.json", "/a.php", "/a:b/$c"] {
        assert!(is_plain_target(target), "{target}");
    }
    for target in [
        "/a//b",
        "/a;b",
        "/a%2Fb",
        "/a%5cb",
        "/%61%2fb",
        "/a%40b",
        "/a%252Fb",
        "/a.",
        "/a./b",
        "/a.?b",
        "/.../b",
        "/a+b",
        "/a::b",
        "/a:$b",
        "/a.php/b",
        "/a.PHP7/b",
        "/a.aspx/",
        "/a%2E/b",
    ] {
        assert!(!is_plain_target(target), "{target}");
    }
}

#[test]
fn a_path_may_be_what_lenient_upstreams_make_of_it() {
    for (target, place) in [
        ("/a/b/", "/a/b"),
        ("/a//b///", "/a/b"),
        ("/a;x=1/b;y", "/a/b"),
        ("/a%2Fb%5Cc", "/a/b/c"),
        ("/%40me", "/@me"),
        ("/a%25252Fb", "/a/b"),
        ("/login%3Bx", "/login"),
        ("/login;a%2Fb", "/login"),
        ("/login;a%2Fb", "/login/b"),
        ("/login%3Ba%252Fb", "/login"),
        ("/a%3Fb", "/a"),
        ("/a%23b/c", "/a"),
        ("/a.b.c", "/a"),
        ("/a.b.c", "/a.b"),
        ("/a.b/", "/a"),
        ("/a.%20./b", "/a/b"),
        ("/A/%C5%BF%E2%84%AA", "/a/sk"),
        ("/%C3%9F", "/ss"),
        ("/%EF%AC%81x", "/fix"),
        ("/%E9t%E9", "/ete"),
        ("/caf%C3%A9", "/cafe"),
        ("/x.php/a", "/a"),
        ("/x.php/a", "/x/a"),
        ("/b/x.php/a.php/c", "/b/a/c"),
        ("/x.php/y.php/z.php/a", "/anything"),
        ("/%2525252541", "/anything"),
    ] {
        assert!(may_be(target, place), "{target} {place}");
    }
    for (target, place) in [
        ("/a.b/c", "/a"),
        ("/ab", "/a"),
        ("/.a", "/a"),
        ("/a-b", "/a"),
        ("/a%20b", "/a"),
        ("/x/a", "/a"),
        ("/a:b", "/a"),
        ("/%252525x", "/a"),
    ] {
        assert!(!may_be(target, place), "{target} {place}");
    }
}

#[test]
fn a_place_has_one_reading() {
    for path in ["/", "/a", "/a/b.c", "/.well-known/x", "/caf%C3%A9", "/a%40b", "/index.php/a", "/c++", "/a%20b"] {
        assert!(Place::of(path).is_some(), "{path}");
    }
    for path in [
        "",
        "a",
        "/a/",
        "//",
        "/a//b",
        "/a;b",
        "/a?b",
        "/a%2Fb",
        "/a%5Cb",
        "/a%3Bb",
        "/a%3Fb",
        "/a%23",
        "/a%2541",
        "/a%c3%a9",
        "/...",
        "/%E2%80%A5",
    ] {
        assert!(Place::of(path).is_none(), "{path}");
    }
}

/// Decodes once, as an upstream would.
fn decoded_once(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < path.len() {
        match (path[at], decode(path, at + 1)) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

#[test]
fn another_prefix_keeps_the_rest_and_the_query() {
    let with = |target: &str, prefix: &str, other: &str| {
        let target = CanonicalTarget::parse(target).unwrap().with_prefix(prefix, other)?;
        Ok::<String, PathError>(target.path_and_query().to_owned())
    };
    for (target, prefix, other, expected) in [
        ("/api/x?q=/..", "/api", "", "/x?q=/.."),
        ("/api?q", "/api", "", "/?q"),
        ("/api/", "/api", "", "/"),
        ("/api/x", "/api", "/v2", "/v2/x"),
        ("/api", "/api", "/v2", "/v2"),
        ("/api/x", "/api", "/", "/x"),
        ("/x", "", "/v2", "/v2/x"),
        ("/api/%2F;a", "/api", "", "/%2F;a"),
        ("/api//x", "/api", "/v2", "/v2//x"),
    ] {
        assert_eq!(with(target, prefix, other).as_deref(), Ok(expected), "{target}");
    }
    assert_eq!(with("/api//evil.example/x", "/api", ""), Err(PathError::LooksLikeHost));
    assert_eq!(with("/api//", "/api", "/"), Err(PathError::LooksLikeHost));
}

proptest! {
    #[test]
    fn canonicalisation_is_idempotent(target in "/([ -~]|%[0-9a-fA-F]{2}){0,30}") {
        if let Ok(once) = canonical(&target) {
            prop_assert_eq!(canonical(&once), Ok(once.clone()));
            let parsed = CanonicalTarget::parse(&once).unwrap();
            prop_assert!(matches!(parsed.path_and_query, Cow::Borrowed(_)));
        }
    }

    #[test]
    fn the_path_means_the_same_before_and_after(target in "/([a-z/;@.]|%[2-7][0-9a-fA-F]){0,20}") {
        if let Ok(parsed) = CanonicalTarget::parse(&target) {
            prop_assert_eq!(decoded_once(parsed.path().as_bytes()), decoded_once(target.as_bytes()));
        }
    }

    #[test]
    fn no_number_of_decodings_reveals_a_dot_segment(target in "/([a.%2eEfF5cC/;]|%2e|%2F|%25|%5C){0,20}") {
        if let Ok(parsed) = CanonicalTarget::parse(&target) {
            let mut path = parsed.path().as_bytes().to_vec();
            for _ in 0..8 {
                let first_names = path.split(|byte| b"/\\".contains(byte)).map(|segment| segment.split(|b| *b == b';').next());
                prop_assert!(first_names.flatten().all(|segment| segment != b"." && segment != b".."));
                path = decoded_once(&path);
            }
        }
    }

    #[test]
    fn any_text_is_judged_without_panic(target in any::<String>()) {
        if let Ok(parsed) = CanonicalTarget::parse(&target) {
            let _ = Place::of("/a").unwrap().may_hold(&parsed.readings(), false);
        }
    }
}

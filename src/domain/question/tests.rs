use http::Request;

use super::*;

fn rules(dialect: Option<Dialect>) -> QuestionRules {
    QuestionRules { dialect, path_prefix: "/ext_authz".to_owned() }
}

fn asking(method: &str, target: &str, fields: &[(&'static str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(target).header(HOST, "gateway:8081");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// Method, host and target of the request in question.
fn read(dialect: Option<Dialect>, target: &str, fields: &[(&'static str, &str)]) -> Result<String, &'static str> {
    let question = rules(dialect).read(&asking("GET", target, fields))?;
    Ok(format!("{} {} {}", question.method, question.host.field().to_str().unwrap(), question.target))
}

const METHOD: (&str, &str) = ("x-original-method", "POST");
const URL: (&str, &str) = ("x-original-url", "https://A.example.:8443/x?y=/z");
const FORWARDED: [(&str, &str); 3] =
    [("x-forwarded-method", "PUT"), ("x-forwarded-host", "b.example"), ("x-forwarded-uri", "/u?v")];

#[test]
fn each_dialect_is_told_from_its_fields() {
    assert_eq!(read(None, "/", &[METHOD, URL]), Ok("POST a.example:8443 /x?y=/z".to_owned()));
    let uri = [METHOD, ("x-original-uri", "/x"), ("x-forwarded-host", "b")];
    assert_eq!(read(None, "/auth", &uri), Ok("POST b /x".to_owned()));
    assert_eq!(read(None, "/auth", &FORWARDED), Ok("PUT b.example /u?v".to_owned()));
    assert_eq!(read(None, "/ext_authz/x?y", &[]), Ok("GET gateway:8081 /x?y".to_owned()));
    assert_eq!(read(None, "/ext_authz//x", &[]), Ok("GET gateway:8081 //x".to_owned()), "judged like any other");
}

#[test]
fn what_decides_must_be_said() {
    for fields in [
        &[][..],
        &[METHOD],
        &[URL],
        &[METHOD, ("x-original-uri", "/x")],
        &FORWARDED[..1],
        &FORWARDED[..2],
        &FORWARDED[1..],
        &[FORWARDED[0], FORWARDED[2]],
        &[("x-forwarded-proto", "https"), ("x-forwarded-host", "a")],
    ] {
        assert!(read(None, "/", fields).is_err(), "{fields:?}");
        for dialect in [Dialect::Original, Dialect::Forwarded, Dialect::Path] {
            assert!(read(Some(dialect), "/", fields).is_err(), "{dialect:?} {fields:?}");
        }
    }
    for target in ["/", "/x", "/ext_authz", "/ext_authzx/y", "/EXT_AUTHZ/x"] {
        assert!(read(None, target, &[]).is_err(), "a proxy that says nothing asks about nothing: {target}");
    }
}

#[test]
fn nothing_is_said_twice_or_in_two_ways() {
    for fields in [
        &[METHOD, METHOD, URL][..],
        &[METHOD, URL, URL],
        &[METHOD, URL, ("x-original-uri", "/other")],
        &[METHOD, URL, ("x-forwarded-proto", "http"), ("x-forwarded-proto", "https")],
        &[METHOD, URL, FORWARDED[2]],
        &[METHOD, URL, FORWARDED[0]],
        &[FORWARDED[0], FORWARDED[1], FORWARDED[1], FORWARDED[2]],
        &[FORWARDED[0], ("x-forwarded-host", "a, b.example"), FORWARDED[2]],
        &[("x-forwarded-method", "GET, PUT"), FORWARDED[1], FORWARDED[2]],
    ] {
        assert!(read(None, "/", fields).is_err(), "{fields:?}");
    }
    assert!(read(None, "/ext_authz/x", &[METHOD, URL]).is_err());
    assert!(read(None, "/ext_authz/x", &FORWARDED).is_err());
    let agreeing = [METHOD, URL, ("x-original-uri", "/x?y=/z")];
    assert!(read(None, "/", &agreeing).is_ok());
}

#[test]
fn one_dialect_alone_counts_where_it_is_set() {
    let both: Vec<_> = [METHOD, URL].into_iter().chain(FORWARDED).collect();
    assert_eq!(read(Some(Dialect::Original), "/ext_authz/q", &both), Ok("POST a.example:8443 /x?y=/z".to_owned()));
    assert_eq!(read(Some(Dialect::Forwarded), "/ext_authz/q", &both), Ok("PUT b.example /u?v".to_owned()));
    assert_eq!(read(Some(Dialect::Path), "/ext_authz/q", &both), Ok("GET gateway:8081 /q".to_owned()));
}

#[test]
fn a_url_is_split_where_every_reader_splits_it() {
    for url in [
        "a/x",
        "/x",
        "//a/x",
        "ftp://a/x",
        "http:///x",
        "http://a",
        "http://a?b/x",
        "http://a#b/x",
        "http://u@a/x",
        "http://a,b/x",
        "http:\\\\a/x",
        "http://a\\b/x",
        "http://a b/x",
        "http://a:/b:c@d:99999/x",
        " http://a/x",
        "http://127.1/x",
    ] {
        let answer = read(None, "/", &[METHOD, ("x-original-url", url)]);
        let is_harmless = answer == Ok("POST a /b:c@d:99999/x".to_owned());
        assert!(answer.is_err() || is_harmless, "{url}: {answer:?}");
    }
}

#[test]
fn a_head_becomes_that_of_the_request_in_question() {
    let mut head = asking("GET", "/", &[METHOD, URL, ("cookie", "a=1")]);
    rules(None).read(&head).unwrap().put_into(&mut head).unwrap();
    assert_eq!((head.method.as_str(), head.uri.to_string()), ("POST", "/x?y=/z".to_owned()));
    assert_eq!((&head.headers[HOST], &head.headers["cookie"]), (&"a.example:8443".parse().unwrap(), &"a=1".parse().unwrap()));
    assert!(!head.headers.contains_key("x-original-url") && !head.headers.contains_key("x-original-method"));
    for target in ["*", "http://b/x", "x", "/x#y", "/x?y#z", "/a/../b", "/a b"] {
        let mut head = asking("GET", "/", &[FORWARDED[0], FORWARDED[1], ("x-forwarded-uri", target)]);
        assert!(rules(None).read(&head).unwrap().put_into(&mut head).is_err(), "{target}");
    }
    assert!(read(None, "/", &[("x-forwarded-method", "CONNECT"), FORWARDED[1], FORWARDED[2]]).is_err());
}

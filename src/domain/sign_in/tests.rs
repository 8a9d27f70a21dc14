use proptest::prelude::*;
use url::Url;

use super::*;

/// Values of the parameter that lead to another host, to some reader, or to nothing that a browser should be sent to.
const ELSEWHERE: &str = include_str!("elsewhere.txt");

/// Values that a page may follow.
const HERE: [&str; 14] = [
    "",
    "%2F",
    "/",
    "/orders",
    "%2Forders%3Fpage%3D2%26sort%3Dname",
    "/orders?page=2",
    "/search?q=a//b",
    "/a//b",
    "/@ada/repo",
    "/caf%25C3%25A9",
    "/https:/x",
    "/x%3Fnext%3D%2F%2Fevil.example",
    "/files/a%252Fb",
    "/~ada;v=1",
];

fn page(text: &str) -> SignIn {
    text.parse().unwrap()
}

fn location(template: &str, target: &str) -> String {
    page(template).location(&CanonicalTarget::parse(target).unwrap()).to_str().unwrap().to_owned()
}

/// The value of a parameter as pages read it.
fn read(location: &str, name: &str) -> Option<String> {
    let (_, query) = location.split_once('?')?;
    form_urlencoded::parse(query.as_bytes()).find(|(own, _)| own == name).map(|(_, value)| value.into_owned())
}

/// Whether a browser on a page of this host that is told to go there stays on the host, however often the page decodes it before.
fn stays(value: &str) -> bool {
    let base = Url::parse("https://app.example/login").unwrap();
    let mut text = value.to_owned();
    for _ in 0..6 {
        let is_here = Url::options().base_url(Some(&base)).parse(&text).is_ok_and(|url| url.origin() == base.origin());
        if !is_here {
            return false;
        }
        text = percent_decode_str(&text).decode_utf8_lossy().into_owned();
    }
    true
}

#[test]
fn the_page_learns_where_its_user_wanted_to_go() {
    for (target, told) in [
        ("/", "/"),
        ("/orders", "/orders"),
        ("/orders?page=2&sort=name", "/orders?page=2&sort=name"),
        ("/caf%C3%A9?q=a+b%20c#".trim_end_matches('#'), "/caf%C3%A9?q=a+b%20c"),
        ("/a/%2e%2fb".replace("%2e%2f", "%2F").as_str(), "/a/%2Fb"),
        ("/x?next=//evil.example", "/x?next=//evil.example"),
        ("/%2Fevil.example", "/"),
        ("/%5cevil.example", "/"),
        ("/%252fevil.example?x", "/"),
        ("/%EF%BC%8Fevil.example", "/"),
    ] {
        let location = location("/login?lang=de&next={path}", target);
        assert!(location.starts_with("/login?lang=de&next="), "{location}");
        assert_eq!(read(&location, "next").as_deref(), Some(told), "{target}");
    }
    assert_eq!(location("/login", "/orders"), "/login");
}

#[test]
fn what_is_too_long_is_told_in_short() {
    let query = format!("/orders?q={}", "x".repeat(3000));
    assert_eq!(location("/login?next={path}", &query), "/login?next=/orders");
    assert_eq!(location("/login?next={path}", &format!("/{}", "x".repeat(3000))), "/login?next=/");
}

#[test]
fn a_page_is_a_path_of_this_host_and_asks_last() {
    for text in ["/login", "/login?next={path}", "/?next={path}", "/auth/sign-in?lang=de&return_to={path}", "/login?x=1"] {
        let page = page(text);
        assert_eq!(page.to_string(), text);
        assert_eq!(page.path(), text.split('?').next().unwrap());
    }
    for text in [
        "",
        "login",
        "//evil.example",
        "/\\evil.example",
        "/%2Fevil.example",
        "https://login.example/?next={path}",
        "/login{path}",
        "/login?{path}",
        "/login?={path}",
        "/login?next=x{path}",
        "/login?next={path}&x=1",
        "/login?next={path}#x",
        "/login#x",
        "/login?next={rest}",
        "/login?next={path}{path}",
        "/login?next=/x&next={path}",
        "/login?NEXT=/x&next={path}",
        "/login?ne xt={path}",
        "/a/../login",
        "/login;x",
    ] {
        assert!(text.parse::<SignIn>().is_err(), "{text:?}");
    }
}

#[test]
fn whatever_leads_elsewhere_is_taken_out_of_the_pages_query() {
    let page = page("/login?next={path}");
    assert!(ELSEWHERE.lines().count() >= 100);
    for value in ELSEWHERE.lines() {
        for name in [
            "next",
            "NEXT",
            "n%65xt",
            "next%20",
            "+next",
            "next[]",
            "next%5B0%5D",
            "next.x",
            "[next]",
            "%5Bnext%5D",
            "[next][]",
            "next]",
            "next%00x",
        ] {
            let mended = page.mended(&format!("?lang=de&{name}={value}&x"));
            assert_eq!(mended.as_deref(), Some("?lang=de&x"), "{name}={value}");
        }
        assert_eq!(page.mended(&format!("?next={value}")).as_deref(), Some(""), "{value}");
        assert_eq!(page.mended(&format!("?next=/a&next={value}")).as_deref(), Some("?next=/a"), "{value}");
        if !value.starts_with(';') {
            let mended = page.mended(&format!("?x=1;next={value}"));
            assert_eq!(mended.as_deref(), Some(""), "{value}: to those who cut at semicolons");
        }
    }
}

#[test]
fn whatever_stays_here_stays_as_it_is() {
    let page = page("/login?next={path}");
    for value in HERE {
        assert_eq!(page.mended(&format!("?lang=de&next={value}&x")), None, "{value}");
    }
    for query in ["", "?", "?x=//evil.example", "?nextpage=//evil.example", "?no_next=//evil.example", "?next", "?next="] {
        assert_eq!(page.mended(query), None, "{query}");
    }
    assert_eq!("/login".parse::<SignIn>().unwrap().mended("?next=//evil.example"), None, "a page that does not ask");
    let page = self::page("/login?return_to={path}");
    for name in ["return.to", "return+to", "return%20to", "return[to", "[return_to]"] {
        assert_eq!(page.mended(&format!("?{name}=//evil.example")).as_deref(), Some(""), "{name}");
    }
    for name in ["returnxto", "return-to", "[return_together]", "x[return_to]", "%00return_to"] {
        assert_eq!(page.mended(&format!("?{name}=//evil.example")), None, "{name}");
    }
}

proptest! {
    #[test]
    fn no_target_and_no_parameter_sends_a_browser_to_another_host(
        text in "(/|\\\\|%2[fF]|%5[cC]|%25|%2[eE]|%0[9aAdD]|%20|%EF%BC%8F|evil.example|https:|[.;?#@:a&=+\t ]){0,9}"
    ) {
        let page = page("/login?next={path}");
        if let Ok(target) = CanonicalTarget::parse(&text) {
            let location = page.location(&target);
            let location = location.to_str().unwrap();
            let told = read(location, "next").unwrap();
            prop_assert!(stays(location) && stays(&told), "{} of {}", told, text);
            let (_, query) = location.split_at(page.path().len());
            prop_assert_eq!(page.mended(query), None, "our own is never taken out");
        }
        let query = format!("?next={text}");
        let kept = page.mended(&query).unwrap_or(query);
        if let Some(told) = read(&kept, "next") {
            prop_assert!(stays(&told), "{}", told);
        }
        prop_assert_eq!(page.mended(&kept), None, "once is enough");
    }
}

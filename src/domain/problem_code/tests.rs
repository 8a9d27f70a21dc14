use std::collections::HashSet;

use super::*;

#[test]
fn codes_are_words_in_the_order_of_their_names_and_come_with_errors() {
    let names: Vec<&str> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
    assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
    for (code, name) in ProblemCode::ALL.iter().zip(&names) {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(name.replace('_', ""), format!("{code:?}").to_lowercase(), "the name is that of the variant");
        let statuses: HashSet<_> = code.statuses().iter().collect();
        assert!(statuses.len() == code.statuses().len() && statuses.iter().all(|status| status.as_u16() >= 400), "{name}");
    }
}

#[test]
fn what_is_written_about_a_code_fits_into_a_row() {
    for code in ProblemCode::ALL {
        for text in [code.when(), code.for_clients(), code.for_operators()] {
            assert!(text.ends_with('.') && !text.contains(['|', '\n']) && text.matches('`').count() % 2 == 0, "{code}: {text}");
        }
    }
}

#[test]
fn a_type_is_the_base_with_the_code_at_its_end() {
    let code = ProblemCode::TokenExpired;
    assert_eq!(ProblemTypes::default().of(code), "about:blank");
    for (base, uri) in [
        ("https://docs.example/errors#", "https://docs.example/errors#token_expired"),
        ("https://docs.example/errors/", "https://docs.example/errors/token_expired"),
        ("http://[::1]:8080/e?code=", "http://[::1]:8080/e?code=token_expired"),
        ("https://docs.example/%C3%A4/", "https://docs.example/%C3%A4/token_expired"),
        ("urn:example:problem:", "urn:example:problem:token_expired"),
        ("tag:example.com,2026:", "tag:example.com,2026:token_expired"),
    ] {
        assert_eq!(base.parse::<ProblemTypes>().unwrap().of(code), uri);
    }
}

#[test]
fn what_is_no_absolute_uri_is_no_base() {
    let long = format!("https://docs.example/{}", "x".repeat(1024));
    for text in [
        "",
        "errors#",
        "/errors#",
        "//docs.example/errors#",
        "https://",
        "https:// docs.example/",
        "https://docs.example/err ors#",
        "https://docs.example/\"errors",
        "https://docs.example/\\errors",
        "https://docs.example/ä",
        "https://docs.example/a#b#",
        "https://docs.example/%",
        "https://docs.example/%2",
        "https://docs.example/%zz",
        "https://ada:secret@docs.example/",
        "https://docs.example/\r\nx: y",
        &long,
    ] {
        assert_eq!(text.parse::<ProblemTypes>(), Err(NoBase), "{text}");
    }
}

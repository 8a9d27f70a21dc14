//! Where the types of refusals lead.

use super::{assert_one_fault, minimal_and};
use crate::config::Settings;
use crate::domain::problem_code::ProblemCode;

#[test]
fn a_base_of_types_is_an_absolute_uri() {
    let type_with = |text: &str| {
        let settings = Settings::from_toml(&minimal_and(text)).unwrap();
        settings.errors.types.of(ProblemCode::TokenExpired).into_owned()
    };
    assert_eq!(type_with(""), "about:blank");
    assert_eq!(type_with("errors = { type_base = \"\" }"), "about:blank");
    assert_eq!(type_with("errors = { type_base = \"https://docs.example/e#\" }"), "https://docs.example/e#token_expired");
    for base in ["/errors#", "docs.example", "https://docs.example/a b", "https://docs.example/#a#"] {
        let file = format!("errors = {{ type_base = \"{base}\" }}");
        assert_one_fault(&file, &["errors.type_base", "absolute URI", "\"\" switches it off"]);
    }
    assert_one_fault("errors = { type_base = 7 }", &["errors.type_base", "absolute URI"]);
    assert_one_fault("errors = { types_base = \"\" }", &["errors.types_base", "type_base"]);
}

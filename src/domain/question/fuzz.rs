//! What must hold for whatever a question says.

use http::Request;
use http::header::HOST;

use super::{Dialect, QuestionRules, SAID_ONCE};
use crate::domain::fuzz::Input;

/// A dialect; method and target of a question, then its fields: what is read is said there, once, and is all that is judged.
pub fn question(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let dialects = [Dialect::Original, Dialect::Forwarded, Dialect::Path, Dialect::Grpc];
    let rules = QuestionRules {
        dialect: dialects.get(usize::from(input.byte()) % (dialects.len() + 1)).copied(),
        path_prefix: "/ext_authz".to_owned(),
    };
    let (Some(method), Some(target)) = (input.text(), input.text()) else { return };
    let Ok(request) = Request::builder().method(method).uri(target).body(()) else { return };
    let (mut head, ()) = request.into_parts();
    head.headers = input.fields();
    let Ok(question) = rules.read(&head) else { return };
    assert!(SAID_ONCE.iter().all(|name| head.headers.get_all(name).iter().count() <= 1));
    let is_told = head.headers.values().any(|value| value.as_bytes().ends_with(question.target.as_bytes()));
    assert!(is_told || target.contains(&question.target), "{} is made up", question.target);
    let (host, asked) = (question.host.field().clone(), question.target.clone());
    if question.put_into(&mut head).is_ok() {
        assert_eq!(head.uri.to_string(), asked, "what was asked about is judged");
        assert!(head.headers.get_all(HOST).iter().eq([&host]));
        assert!(
            QuestionRules { dialect: None, ..rules }.read(&head).is_err() || asked.starts_with("/ext_authz/"),
            "another is left"
        );
    }
}

//! What must hold for the calls of operators.

use http::Uri;

use super::query::Query;
use super::revocations::Wanted;
use crate::domain::fuzz::Input;
use crate::sessions::Order;
use crate::sessions::nodes::PATIENCE_MAX;

/// A query as a line, then the body of a revocation: nothing is ended that was not named.
pub fn admin_calls(bytes: &[u8]) {
    const KNOWN: [&str; 2] = ["wait", "timeout"];
    let mut input = Input::new(bytes);
    if let Ok(uri) = Uri::try_from([b"/revocations?", input.line()].concat())
        && let Ok(query) = Query::parse(&uri, &KNOWN)
    {
        let asked = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        assert!(asked.count() <= KNOWN.len(), "{uri}");
        if let Ok(Some(patience)) = query.patience() {
            assert!(patience <= PATIENCE_MAX && query.value("wait") == Some("all"), "{uri}");
        }
    }
    let body = input.rest();
    let Ok(Ok(order)) = serde_json::from_slice::<Wanted>(body).map(Wanted::order) else { return };
    let said: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    let said = |name: &str| said.get(name).filter(|value| !value.is_null()).cloned();
    match order {
        Order::Session(id) => assert_eq!(said("session"), Some(id.to_string().into())),
        Order::Subject { subject, issued_before } => {
            assert_eq!(said("subject"), Some(subject.as_str().into()));
            assert_eq!(said("issuedBefore").is_some(), issued_before.is_some());
        }
        Order::Client(id) => assert_eq!((said("client"), said("subject")), (Some(id.into()), None)),
        Order::Token { issuer, token } => {
            assert_eq!((said("jti"), said("issuer")), (Some(token.as_str().into()), issuer.map(|issuer| (*issuer).into())));
        }
        Order::Everyone { .. } => {
            assert_eq!(said("everyone"), Some(true.into()));
            assert!(said("issuedBefore").is_some() && said("subject").is_none() && said("session").is_none());
        }
    }
}

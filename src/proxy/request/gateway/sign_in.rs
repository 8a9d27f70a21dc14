//! Browsers that are to log in first.

use http::request::Parts;
use http::{HeaderValue, Method};

use crate::domain::navigation;
use crate::domain::route::Route;
use crate::proxy::client::tunnel::handshake;
use crate::proxy::reply::{self, Reply};
use crate::proxy::request::context::RequestContext;
use crate::proxy::request::refusal::Refusal;

/// What a browser is told of a refusal by this route: where to log in, if that would help and it is about to show a page.
pub(super) fn or_sign_in(refusal: Refusal, context: &RequestContext<'_>, route: &Route, head: &Parts) -> Refusal {
    match (refusal, &route.sign_in) {
        (Refusal::Denied(denial), Some(sign_in))
            if denial.is_for_want_of_a_session() && shows_a_page(head) && !sign_in.may_be_at(&context.target) =>
        {
            Refusal::SignIn { denial, location: sign_in.location(&context.target) }
        }
        (refusal, _) => refusal,
    }
}

fn shows_a_page(head: &Parts) -> bool {
    head.method == Method::GET && !handshake::wants_websocket(head) && navigation::shows_a_page(&head.headers)
}

/// What becomes of a request for the page for logging in that says to go on to another host from there. `query` is without that.
pub(super) fn without_detour(query: &str, context: &RequestContext<'_>, head: &Parts) -> Result<Reply, Refusal> {
    // A body is not sent again to another address.
    if ![Method::GET, Method::HEAD].contains(&head.method) {
        return Err(Refusal::Malformed("The page to go on to is not one of this host."));
    }
    let target = context.target.with_query(query);
    let location = HeaderValue::try_from(target.path_and_query());
    location.map(reply::see_other).map_err(|_| Refusal::Malformed("The target cannot be written."))
}

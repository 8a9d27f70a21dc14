//! `/refresh`: a token in JSON, a form or a cookie; its successor in the same way.

use http::StatusCode;

use super::credentials::{self, Source};
use super::json_object::JsonObject;
use super::options::EndpointOptions;
use super::refusal::{Dialect, Refusal};
use super::{Inner, cookies, login, tokens};
use crate::proxy::control::OwnRequest;
use crate::proxy::reply::{self, Reply};

impl Inner {
    pub(super) async fn refresh(&self, request: &OwnRequest, options: &EndpointOptions) -> Result<Reply, Refusal> {
        let limits = self.limits.load();
        limits.admit_refresh_from(request.address).map_err(Refusal::RateLimited)?;
        let call = credentials::read(&request.head, &request.body, options)?;
        match (call.dialect, call.grant_type.as_deref(), call.has_body) {
            (Dialect::Json, _, _) | (Dialect::OAuth, Some("refresh_token"), _) | (Dialect::OAuth, None, false) => {}
            (Dialect::OAuth, Some(_), _) => return Err(Refusal::UnsupportedGrantType),
            (Dialect::OAuth, None, true) => return Err(Refusal::Malformed("The parameter grant_type is missing.")),
        }
        let Some((token, source)) = call.token else {
            return Err(if options.cookies.is_some() { Refusal::RefreshCookieMissing } else { Refusal::RefreshTokenMissing });
        };
        if let Some(session) = self.sessions.session_of(token.expose()) {
            limits.admit_refresh_of(session).map_err(Refusal::RateLimited)?;
        }
        drop(limits);
        let client = login::client_of(&request.head, request.address);
        let pair = self.sessions.refresh(token.expose(), &client).await?;
        let tokens_in_body = match (source, &options.cookies) {
            (Source::Cookie, Some(cookies)) => cookies.tokens_in_body,
            (Source::Cookie, None) | (Source::Body, _) => true,
        };
        let mut reply = match call.dialect {
            Dialect::OAuth if tokens_in_body => reply::json(StatusCode::OK, &tokens::OAuthAnswer::from(&pair)),
            Dialect::OAuth | Dialect::Json => {
                let mut object = JsonObject::new();
                tokens::merge(&mut object, &pair, &options.login.members, tokens_in_body);
                reply::json(StatusCode::OK, &object)
            }
        };
        if source == Source::Cookie {
            cookies::set(reply.headers_mut(), options, &pair)?;
        }
        Ok(reply)
    }
}

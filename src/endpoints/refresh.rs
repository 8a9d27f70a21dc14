//! `/refresh`: a refresh token, or a legacy token, in JSON, a form or a cookie; its successor in the same way.

use std::net::IpAddr;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;

use super::credentials::{self, Source};
use super::grant_types::REFRESH_TOKEN;
use super::json_object::JsonObject;
use super::options::EndpointOptions;
use super::refusal::{Dialect, Refusal};
use super::{Inner, cookies, login, tokens};
use crate::crypto::refresh_token::RefreshToken;
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::scopes;
use crate::domain::subject_token::SubjectToken;
use crate::proxy::control::OwnRequest;
use crate::proxy::reply::{self, Reply};
use crate::sessions::{TokenPair, TokenText};

impl Inner {
    pub(super) async fn refresh(&self, request: &OwnRequest, options: &EndpointOptions) -> Result<Reply, Refusal> {
        self.limits.admit_refresh_from(request.address).map_err(Refusal::RateLimited)?;
        self.refresh_admitted(request, options).await
    }

    /// The same for a call that was counted already.
    pub(super) async fn refresh_admitted(&self, request: &OwnRequest, options: &EndpointOptions) -> Result<Reply, Refusal> {
        let call = credentials::read(&request.head, &request.body, options)?;
        match (call.dialect, call.grant_type.as_deref(), call.has_body) {
            (Dialect::Json, _, _) | (Dialect::OAuth, Some(REFRESH_TOKEN), _) | (Dialect::OAuth, None, false) => {}
            (Dialect::OAuth, Some(_), _) => return Err(Refusal::UnsupportedGrantType),
            (Dialect::OAuth, None, true) => return Err(Refusal::Malformed("The parameter grant_type is missing.")),
        }
        let Some((token, source)) = call.token else {
            return Err(if options.cookies.is_some() { Refusal::RefreshCookieMissing } else { Refusal::RefreshTokenMissing });
        };
        let token = self.sessions.read(token.expose());
        let pair = self.pair_for(&token, &request.head, request.address, options).await?;
        if call.dialect == Dialect::OAuth {
            check_scope(call.scope.as_deref(), &pair.scopes)?;
        }
        // An exchange is a login: its tokens go where those of a login go.
        let into_cookies = source == Source::Cookie || exchangeable(&token).is_some();
        let tokens_in_body = match &options.cookies {
            Some(cookies) if into_cookies => cookies.tokens_in_body,
            Some(_) | None => true,
        };
        let mut reply = match call.dialect {
            Dialect::OAuth if tokens_in_body => tokens::oauth_response(&pair),
            Dialect::OAuth | Dialect::Json => {
                let mut object = JsonObject::new();
                tokens::merge(&mut object, &pair, &options.login.members, tokens_in_body);
                reply::json(StatusCode::OK, &object)
            }
        };
        if into_cookies {
            cookies::set(reply.headers_mut(), options, &pair)?;
        }
        Ok(reply)
    }

    /// What a token is exchanged for, within the limits of its session or of those who try tokens.
    pub(super) async fn pair_for(
        &self,
        token: &TokenText,
        head: &Parts,
        address: IpAddr,
        options: &EndpointOptions,
    ) -> Result<TokenPair, Refusal> {
        self.admit_token(token, address).map_err(Refusal::RateLimited)?;
        let client = login::client_of(head, address);
        match exchangeable(token) {
            Some(legacy) => {
                login::believe_origin(head, options)?;
                Ok(self.sessions.exchange(legacy, &client, None).await?)
            }
            None => Ok(self.sessions.refresh(token, &client).await?),
        }
    }

    /// Whether the token may be tried, by the limits of its session or of those who try tokens. `Err`: in how long.
    pub(super) fn admit_token(&self, token: &TokenText, address: IpAddr) -> Result<(), Duration> {
        match (exchangeable(token), token) {
            (Some(SubjectToken { session, .. }), _) | (None, TokenText::Ours(RefreshToken { session, .. })) => {
                self.limits.admit_refresh_of(*session)
            }
            (None, TokenText::Legacy { imported: Some(_), .. } | TokenText::PerhapsImported(_)) => {
                self.limits.admit_lookup_from(address)
            }
            (None, TokenText::Legacy { imported: None, .. } | TokenText::Unknown) => Ok(()),
        }
    }
}

/// The legacy token that is exchanged for a session. One that is never exchanged may still be a refresh token that was imported.
pub(super) fn exchangeable(token: &TokenText) -> Option<&SubjectToken> {
    match token {
        TokenText::Legacy { token, .. } => Some(&**token).filter(|token| token.exchange != ExchangeRule::Never),
        TokenText::Ours(_) | TokenText::PerhapsImported(_) | TokenText::Unknown => None,
    }
}

/// A refresh never widens what was granted (RFC 6749, section 6). What was granted may be asked for in part; the response says that it
/// is the whole.
fn check_scope(asked: Option<&str>, granted: &[String]) -> Result<(), Refusal> {
    let is_within = asked.is_none_or(|asked| scopes::narrowed(granted, asked).is_some());
    if is_within { Ok(()) } else { Err(Refusal::ScopeNotGranted) }
}

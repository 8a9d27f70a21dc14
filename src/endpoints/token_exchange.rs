//! Token exchange (RFC 8693): a token of somebody else becomes a session of ours. It is a login, whose password was asked for elsewhere.

use super::form::Form;
use super::options::EndpointOptions;
use super::refusal::Refusal;
use super::tokens::OAuthResponse;
use super::{Inner, cookies, credentials, login, tokens};
use crate::domain::claims::Denial;
use crate::domain::subject_token::SubjectTokenType;
use crate::proxy::control::OwnRequest;
use crate::proxy::reply::Reply;

/// What is issued (RFC 8693, section 3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// What is asked for.
struct Asked<'a> {
    subject_token: &'a str,
    kind: SubjectTokenType,
    scope: Option<&'a str>,
    /// Audiences and resources.
    targets: Vec<&'a str>,
}

impl<'a> Asked<'a> {
    fn read(form: &'a Form<'_>) -> Result<Self, Refusal> {
        if form.text("actor_token").is_some() || form.text("actor_token_type").is_some() {
            return Err(Refusal::Malformed("Nobody acts for others here: leave out actor_token and actor_token_type."));
        }
        if form.text("requested_token_type").is_some_and(|urn| urn != ACCESS_TOKEN) {
            return Err(Refusal::Malformed(
                "Access tokens alone are issued, with a refresh token: leave out requested_token_type.",
            ));
        }
        let missing = |detail| move || Refusal::Malformed(detail);
        let subject_token = form.text("subject_token").ok_or_else(missing("The parameter subject_token is missing."))?;
        let kind = form.text("subject_token_type").ok_or_else(missing("The parameter subject_token_type is missing."))?;
        let kind = SubjectTokenType::of_urn(kind);
        let kind =
            kind.ok_or_else(missing("Allowed of subject_token_type are access_token, id_token and jwt, as URNs of RFC 8693."))?;
        Ok(Self { subject_token, kind, scope: form.text("scope"), targets: form.targets().collect() })
    }
}

impl Inner {
    pub(super) async fn exchange_token(
        &self,
        request: &OwnRequest,
        form: &Form<'_>,
        options: &EndpointOptions,
    ) -> Result<Reply, Refusal> {
        self.limits.admit_refresh_from(request.address).map_err(Refusal::RateLimited)?;
        // Not needed; what comes must be right.
        options.clients.authenticate(&request.head.headers, form)?;
        login::believe_origin(&request.head, options)?;
        let asked = Asked::read(form)?;
        if !self.sessions.are_audiences(&asked.targets) {
            return Err(Refusal::TargetInvalid);
        }
        let token = self.sessions.read_subject_token(asked.subject_token, asked.kind).await.map_err(|denial| match denial {
            Denial::IssuerKeysUnavailable(_) => Refusal::Denied(denial),
            refused => Refusal::SubjectToken(refused),
        })?;
        let token = match asked.scope {
            Some(scope) => token.narrowed(scope).ok_or(Refusal::ScopeNotGranted)?,
            None => token,
        };
        self.limits.admit_refresh_of(token.session).map_err(Refusal::RateLimited)?;
        let client = login::client_of(&request.head, request.address);
        let old = credentials::old_refresh_token(&request.head, &request.body, options);
        let pair = self.sessions.exchange(&token, &client, old.as_ref()).await.map_err(Refusal::Exchange)?;
        let response = OAuthResponse::from(&pair).issuing(ACCESS_TOKEN);
        let mut reply = tokens::oauth_response(if options.tokens_in_login_body() { response } else { response.without_tokens() });
        cookies::set(reply.headers_mut(), options, &pair)?;
        Ok(reply)
    }
}

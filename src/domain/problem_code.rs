//! The codes of all refusals that clients see: one table that says what each means, and to whom.

mod types;

#[cfg(test)]
mod tests;

pub use types::{NoBase, ProblemTypes};

use std::fmt;

use http::StatusCode;

/// Declares the codes: their names, their statuses (the usual one first), and what is written about each for people.
macro_rules! codes {
    ($($code:ident = $name:literal [$($status:ident),+] when: $when:literal client: $client:literal operator: $operator:literal)+) => {
        /// What a refusal is called, for programs. A code keeps its name and its meaning.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum ProblemCode {
            $(#[doc = $when] $code,)+
        }

        impl ProblemCode {
            /// In the order of their names.
            pub const ALL: &[Self] = &[$(Self::$code,)+];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)+
                }
            }

            /// The statuses that it comes with, the usual one first.
            #[must_use]
            pub const fn statuses(self) -> &'static [StatusCode] {
                match self {
                    $(Self::$code => &[$(StatusCode::$status,)+],)+
                }
            }

            /// When a request is refused so. Markdown of one line.
            #[must_use]
            pub const fn when(self) -> &'static str {
                match self {
                    $(Self::$code => $when,)+
                }
            }

            /// What a client does about it. Markdown of one line.
            #[must_use]
            pub const fn for_clients(self) -> &'static str {
                match self {
                    $(Self::$code => $client,)+
                }
            }

            /// What an operator does about it. Markdown of one line.
            #[must_use]
            pub const fn for_operators(self) -> &'static str {
                match self {
                    $(Self::$code => $operator,)+
                }
            }
        }
    };
}

codes! {
    AddressRefused = "address_refused" [FORBIDDEN]
        when: "The route is not open to the caller's address (`routes.allow`, `routes.deny`)."
        client: "Does not repeat it from there."
        operator: "Behind a proxy that `listen.trusted_peers` does not name, every client has the proxy's address."
    AudienceNotGranted = "audience_not_granted" [BAD_REQUEST]
        when: "A token is asked for, for an `audience` or `resource` that was not granted."
        client: "Leaves it out, or names one of those that its tokens have."
        operator: "Compares it with `clients.audiences` and `tokens.audience`."
    BodyMalformed = "body_malformed" [BAD_REQUEST]
        when: "The body broke off, or is not framed as its head announces."
        client: "Sends the request again, whole."
        operator: "Looks at the proxy or the network in front if there are many."
    BodyTimeout = "body_timeout" [REQUEST_TIMEOUT]
        when: "The body came more slowly than `listen.body_rate_min`, or paused for longer than `listen.body_idle_timeout`."
        client: "Sends the request again."
        operator: "For clients with slow uplinks, lowers the rate or raises the timeout."
    BodyTooLarge = "body_too_large" [PAYLOAD_TOO_LARGE]
        when: "The body is larger than `routes.body_bytes_max`, or at an own endpoint than `endpoints.body_bytes_max`."
        client: "Sends less."
        operator: "Raises the limit if such bodies are to be taken."
    CertificateExpired = "certificate_expired" [FORBIDDEN]
        when: "The client's certificate of this connection has expired since it was shown."
        client: "Connects again with its new certificate."
        operator: "Has clients renew their certificates earlier."
    ClaimsInsufficient = "claims_insufficient" [FORBIDDEN]
        when: "The token lacks a claim that the route demands (`routes.claims`)."
        client: "Shows that the user may not do this. A refresh helps only if the claims hook has meanwhile been told otherwise."
        operator: "Compares `routes.claims` with what `login.claims` takes from the API's response."
    ClaimsUnknown = "claims_unknown" [SERVICE_UNAVAILABLE]
        when: "At a refresh, the claims hook gave no response that can be used, and `claims_hook.on_failure` is `\"refuse\"`."
        client: "Keeps its tokens, and refreshes again after `Retry-After`."
        operator: "Looks into the log for the cause. `\"keep\"` would go on with the previous claims."
    ClientInvalid = "client_invalid" [UNAUTHORIZED]
        when: "The credentials of an OAuth client are missing or wrong, at introspection, revocation or the token endpoint."
        client: "Sends the id and secret of its entry in `clients`, by HTTP Basic or in the form."
        operator: "Compares them with the entry."
    ClientUnauthorized = "client_unauthorized" [BAD_REQUEST]
        when: "An OAuth client asks for what its entry does not allow: tokens for itself, or introspection."
        client: "Does not repeat it."
        operator: "Compares it with `clients.grants` and `clients.introspects`."
    EncodingUnsupported = "encoding_unsupported" [UNSUPPORTED_MEDIA_TYPE]
        when: "The body of a login is compressed or not in UTF-8, so that its account cannot be read."
        client: "Sends it uncompressed, in UTF-8."
        operator: "Nothing: limits by account (`limits.login.account`) need to read it."
    FormExpected = "form_expected" [BAD_REQUEST]
        when: "The token endpoint, revocation and introspection take forms alone."
        client: "Sends `application/x-www-form-urlencoded`."
        operator: "Nothing."
    GrantTypeUnsupported = "grant_type_unsupported" [BAD_REQUEST]
        when: "A form asks for a grant that is not offered here."
        client: "Sends one of `grant_types_supported` of the metadata; logins go to the API's own paths."
        operator: "Nothing. `client_credentials` is offered at `endpoints.token` where a client has it among its `grants`."
    InternalError = "internal_error" [INTERNAL_SERVER_ERROR]
        when: "A part of the gateway failed. The failure cost this request alone."
        client: "Keeps its tokens, and tries again later."
        operator: "Finds the line of the log with the request's id, and reports it as a bug."
    IssuerKeysUnavailable = "issuer_keys_unavailable" [SERVICE_UNAVAILABLE]
        when: "The keys of the token's issuer could not be fetched, so nobody can say what the token is worth."
        client: "Keeps its token, and repeats the request after `Retry-After`."
        operator: "Looks at `issuer_keys` of the readiness probe, and at the issuer (`issuers.jwks_url`)."
    LoginTooOld = "login_too_old" [UNAUTHORIZED]
        when: "The route wants a more recent login (`routes.max_login_age`)."
        client: "Asks for the password, logs in, and repeats the request. A refresh does not help; the session stays good for everything else."
        operator: "Nothing."
    MediaTypeUnsupported = "media_type_unsupported" [UNSUPPORTED_MEDIA_TYPE]
        when: "An own endpoint got a body that is neither JSON nor a form."
        client: "Sends `application/json` or `application/x-www-form-urlencoded`."
        operator: "Nothing."
    MetadataMissing = "metadata_missing" [NOT_FOUND]
        when: "`tokens.issuer` is no URL, so there is no OAuth metadata."
        client: "Takes the addresses from its own settings."
        operator: "Makes `tokens.issuer` the gateway's public origin if clients are to find it by metadata."
    MethodNotAllowed = "method_not_allowed" [METHOD_NOT_ALLOWED]
        when: "The route or own endpoint has other methods, which `Allow` names."
        client: "Uses one of those."
        operator: "Adds the method to `routes.methods` if the API has it."
    OriginRefused = "origin_refused" [FORBIDDEN]
        when: "The token came in a cookie, with a call that another site may have made the browser send."
        client: "Calls from a page of a known origin, or sends the field that `cookies.csrf_header` names."
        operator: "Adds the pages' origin to `cookies.csrf_origins`."
    Overloaded = "overloaded" [SERVICE_UNAVAILABLE]
        when: "`endpoints.calls_max` calls of this kind are under way on this node. This one was not begun."
        client: "Keeps its tokens, and repeats the call after `Retry-After`."
        operator: "Looks for a slow store, or for a flood of calls."
    OwnEndpoint = "own_endpoint" [MISDIRECTED_REQUEST]
        when: "A proxy asked for a decision about a request that the gateway has to answer itself."
        client: "Nothing: the proxy has to be mended."
        operator: "Has the proxy pass these paths to the gateway without asking (docs/beside)."
    RateLimited = "rate_limited" [TOO_MANY_REQUESTS]
        when: "More requests than `routes.limit` or `limits` allow, by address, account or session."
        client: "Keeps its tokens, and waits for as long as `Retry-After` says."
        operator: "Raises the limit for honest traffic. Behind a proxy that `listen.trusted_peers` does not name, all clients share one address."
    RefreshContended = "refresh_contended" [SERVICE_UNAVAILABLE]
        when: "Others kept changing the session meanwhile. Nothing was decided."
        client: "Repeats the refresh with the same token after `Retry-After`."
        operator: "Looks for a client that refreshes in parallel without end."
    RefreshTokenInvalid = "refresh_token_invalid" [UNAUTHORIZED, BAD_REQUEST]
        when: "The refresh token is unknown, expired or revoked, or it was used again after its successor. 400 where a form was sent."
        client: "Forgets its tokens, and has the user log in. No other code but `refresh_token_missing` with 401 means that."
        operator: "Finds the cause in `refreshes_total` and in the log; `reused` is a stolen token, or a client that keeps an old one."
    RefreshTokenMissing = "refresh_token_missing" [BAD_REQUEST, UNAUTHORIZED]
        when: "A refresh without a refresh token. 401 where it should have come in a cookie, which has run out or was never there, and no form was sent."
        client: "With 401: has the user log in. With 400: sends the token."
        operator: "With cookies, compares the path and the domain of the cookie with where browsers call."
    RequestMalformed = "request_malformed" [BAD_REQUEST]
        when: "The request is broken, or two servers could read it in two ways."
        client: "Mends what `detail` names."
        operator: "Nothing, unless a proxy in front writes such requests."
    RevocationsStale = "revocations_stale" [SERVICE_UNAVAILABLE]
        when: "The node has not been able to confirm for `revocation.max_staleness` that it knows every logout."
        client: "Keeps its tokens, and repeats the request after `Retry-After`."
        operator: "Looks at the store. Routes with `routes.when_stale = \"serve\"` go on meanwhile."
    RouteNotFound = "route_not_found" [NOT_FOUND]
        when: "No route matches the host and the path."
        client: "Calls another address."
        operator: "Adds a route if something is to be served there."
    ScopeInsufficient = "scope_insufficient" [FORBIDDEN]
        when: "The token lacks a scope that the route demands (`routes.scopes`)."
        client: "Shows that the user may not do this."
        operator: "Compares `routes.scopes` with what the login grants."
    ScopeNotGranted = "scope_not_granted" [BAD_REQUEST]
        when: "A refresh asks for a scope that the login did not give, or a client for one that its entry does not have."
        client: "Leaves `scope` out, or asks for less."
        operator: "Nothing."
    SessionNotFound = "session_not_found" [NOT_FOUND]
        when: "The caller has no session of that id."
        client: "Reads the list of sessions again: it may have ended."
        operator: "Nothing."
    ShuttingDown = "shutting_down" [SERVICE_UNAVAILABLE]
        when: "The node is about to stop."
        client: "Repeats the call; another node takes it."
        operator: "If clients see it often, raises `shutdown.drain_delay`, so that the balancer notices in time."
    SigningUnavailable = "signing_unavailable" [SERVICE_UNAVAILABLE]
        when: "No key can sign tokens."
        client: "Keeps its tokens, and repeats the call after `Retry-After`."
        operator: "Looks at `tokengate keys list` and at the log."
    StoreFull = "store_full" [SERVICE_UNAVAILABLE]
        when: "The store has no room for another session. Logouts still work."
        client: "Keeps its tokens, and repeats the call after `Retry-After`."
        operator: "Gives Redis more memory, or the disk more room."
    StoreUnavailable = "store_unavailable" [SERVICE_UNAVAILABLE]
        when: "The store did not complete the call in time. It may have taken effect all the same."
        client: "Keeps its tokens, and repeats the call after `Retry-After`: that is safe."
        operator: "Looks at `store` of the readiness probe, and at the store itself."
    SubjectBarred = "subject_barred" [FORBIDDEN, SERVICE_UNAVAILABLE]
        when: "All sessions of the account that begin before a moment ahead are revoked, and a login now would be one of them. 503 for an OAuth client that asks for a token for itself."
        client: "Tells the user; a login later may work. With 503: repeats the call after `Retry-After`."
        operator: "Nothing, if the revocation was meant so: it is over at its moment."
    SubjectTokenInvalid = "subject_token_invalid" [BAD_REQUEST]
        when: "At a token exchange, the `subject_token` is none that is exchanged here: expired, for another audience, of another issuer, revoked, or exchanged before."
        client: "Gets a new token from its issuer, and exchanges that."
        operator: "Compares the token with the entry of `issuers`: `exchange`, `exchange_audiences`, `types`, `algorithms`. The log has the cause at the level debug."
    TargetTooLong = "target_too_long" [URI_TOO_LONG]
        when: "The target takes more than half of `listen.header_bytes_max`."
        client: "Sends the data in a body."
        operator: "Raises the limit if such targets are to be taken."
    TicketInvalid = "ticket_invalid" [UNAUTHORIZED]
        when: "The ticket is unknown, spent, too old, or of another path."
        client: "Gets a new ticket for each connection, and opens it at once."
        operator: "If honest clients are slower than that, raises `tickets.lifetime`."
    TicketMisused = "ticket_misused" [BAD_REQUEST]
        when: "A ticket came twice, or beside an access token, or with a request that opens no stream."
        client: "Sends one ticket and no token, and opens a WebSocket or an event stream with it."
        operator: "Nothing."
    TimedOut = "timed_out" [SERVICE_UNAVAILABLE]
        when: "The call took longer than `endpoints.call_timeout`. It is finished all the same."
        client: "Keeps its tokens, and repeats the call: that is safe."
        operator: "Looks for a slow store."
    TlsRequired = "tls_required" [BAD_REQUEST]
        when: "Clear text came to a listener that speaks TLS."
        client: "Uses `https`."
        operator: "For browsers, adds a listener that redirects (`listeners.redirect`)."
    TokenAmbiguous = "token_ambiguous" [BAD_REQUEST]
        when: "The request has more than one access token, or two cookies of one name."
        client: "Sends one token, in one place. Cookies that came twice are cleared: the user logs in again."
        operator: "With cookies, lists those of earlier domains and paths in `cookies.former`."
    TokenExpired = "token_expired" [UNAUTHORIZED]
        when: "The access token has expired."
        client: "Refreshes once, and repeats the request."
        operator: "Nothing. Many of them after a change: compares the clocks of the issuers with the gateway's."
    TokenInvalid = "token_invalid" [UNAUTHORIZED]
        when: "The access token is not one that is accepted here: its form, signature, key, issuer, audience or a claim."
        client: "Refreshes once, and repeats the request."
        operator: "Finds the cause in the log at level debug."
    TokenMissing = "token_missing" [UNAUTHORIZED]
        when: "The route needs an access token, and none came."
        client: "Sends one, or has the user log in."
        operator: "Makes the route public (`routes.access`) if it is meant to be."
    TokenRevoked = "token_revoked" [UNAUTHORIZED]
        when: "The session of the access token was ended, or the token, its subject or everybody was revoked."
        client: "Refreshes once; a refused refresh means that the user logs in."
        operator: "Finds who ended it in the audit lines of the log."
    TokenTooLarge = "token_too_large" [BAD_GATEWAY]
        when: "What the account is granted does not fit into a token (`tokens.bytes_max`) or into a cookie. Nothing was stored or spent."
        client: "Keeps its tokens; a refresh works again once the grant is smaller."
        operator: "Maps fewer claims in `login.claims`, or raises the limit. The log has the weight of each claim."
    TokenUnusable = "token_unusable" [BAD_GATEWAY]
        when: "What the account is granted makes no token that would be accepted: a claim nests too deeply."
        client: "Keeps its tokens, and tells the user."
        operator: "Maps that claim in `login.claims` from further inside, or leaves it out."
    TokenWithoutId = "token_without_id" [BAD_REQUEST]
        when: "The token of another issuer has no id (`jti`), so that it cannot be ended alone."
        client: "Logs out with the scope `all`."
        operator: "Has the issuer give its tokens ids."
    TooManyConnections = "too_many_connections" [TOO_MANY_REQUESTS]
        when: "The address has `listen.connections_per_address_max` connections already. This one is closed."
        client: "Uses the connections that it has."
        operator: "Raises the limit if many users share an address; names proxies in front in `listen.trusted_peers`."
    UpgradeUnsupported = "upgrade_unsupported" [NOT_IMPLEMENTED]
        when: "A WebSocket was asked for, and the upstream is spoken to by HTTP/2."
        client: "Does without a WebSocket."
        operator: "Gives these routes an upstream without `upstreams.NAME.protocol = \"http2\"`."
    UpstreamBusy = "upstream_busy" [SERVICE_UNAVAILABLE]
        when: "The upstream has as many requests as `upstreams.NAME.connections_max` allows, or takes no more. This one did not reach it."
        client: "Repeats the request after `Retry-After`."
        operator: "Adds servers, or raises the limit or `upstreams.NAME.connections_wait`."
    UpstreamFailed = "upstream_failed" [BAD_GATEWAY]
        when: "The upstream broke off, or its response cannot be used. The request may have taken effect."
        client: "Repeats only what may safely be done twice."
        operator: "Finds the cause in the log, and looks at the upstream."
    UpstreamTimeout = "upstream_timeout" [GATEWAY_TIMEOUT]
        when: "The upstream did not connect, read or respond within its timeouts. The request may have taken effect."
        client: "Repeats only what may safely be done twice."
        operator: "Looks at the upstream, or raises `upstreams.NAME.response_timeout` for routes that take long."
    UpstreamUnreachable = "upstream_unreachable" [BAD_GATEWAY]
        when: "No connection to the upstream could be made. The request did not reach it."
        client: "Repeats the request after `Retry-After`."
        operator: "Starts the upstream, or corrects `upstreams.NAME.url`."
}

impl ProblemCode {
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.statuses()[0]
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

//! The values of labels.

use http::{Method, StatusCode};

use crate::domain::claims::Denial;
use crate::domain::login_kind::LoginKind;
use crate::domain::route::{Endpoint, OwnEndpoint};

/// A fixed set of values.
pub trait Label: Copy + 'static {
    /// Every value, each at its index.
    fn all() -> &'static [Self];

    fn index(self) -> usize;

    /// Stable, snake case.
    fn name(self) -> &'static str;
}

macro_rules! label {
    ($(#[$doc:meta])* $label:ident { $($(#[$of_variant:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $label { $($(#[$of_variant])* $variant,)* }

        impl $label {
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];
        }

        impl Label for $label {
            fn all() -> &'static [Self] {
                &Self::ALL
            }

            fn index(self) -> usize {
                self as usize
            }

            fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

label! {
    /// What a method asks for: anybody may invent methods.
    MethodClass {
        /// GET and HEAD.
        Read = "read",
        /// POST, PUT, PATCH, DELETE.
        Write = "write",
        Other = "other",
    }
}

impl MethodClass {
    #[must_use]
    pub fn of(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD => Self::Read,
            Method::POST | Method::PUT | Method::PATCH | Method::DELETE => Self::Write,
            _ => Self::Other,
        }
    }
}

label! {
    /// The first digit of the final status.
    StatusClass {
        /// The client went before there was a response.
        None = "none",
        /// 101 alone: interim responses are not counted.
        Informational = "1xx",
        Success = "2xx",
        Redirection = "3xx",
        ClientError = "4xx",
        ServerError = "5xx",
    }
}

impl StatusClass {
    #[must_use]
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            // A three-digit status beyond 599 is treated as a 5xx (RFC 9110, section 15).
            _ => Self::ServerError,
        }
    }
}

label! {
    /// How a request ended.
    Outcome {
        /// With the whole response of an upstream.
        Forwarded = "forwarded",
        /// As a tunnel.
        Switched = "switched",
        /// With a response of the gateway that is no refusal.
        Answered = "answered",
        /// For what the caller is, or is not.
        Denied = "denied",
        /// For being one too many.
        Limited = "limited",
        /// For what the request is.
        Refused = "refused",
        /// For want of something that the decision needs.
        Unavailable = "unavailable",
        UpstreamError = "upstream_error",
        UpstreamTimeout = "upstream_timeout",
        /// No connection to the upstream became free, or it took no more.
        UpstreamBusy = "upstream_busy",
        /// Within the response, by the end of the caller's session or token.
        SessionEnded = "session_ended",
        /// The client went, or its request broke off.
        ClientGone = "client_gone",
        /// By a fault of the gateway.
        Failed = "failed",
    }
}

impl Outcome {
    /// Of a caller who is refused.
    #[must_use]
    pub const fn of_denial(denial: &Denial) -> Self {
        match denial {
            Denial::NoToken
            | Denial::Ambiguous(_)
            | Denial::CookieRepeated
            | Denial::TicketMisused(_)
            | Denial::Invalid(_)
            | Denial::KeyUnknown
            | Denial::KeyDisputed
            | Denial::TicketInvalid
            | Denial::Expired
            | Denial::SessionOver
            | Denial::Revoked(_)
            | Denial::InsufficientScope(_)
            | Denial::InsufficientClaims(_)
            | Denial::LoginTooOld(_)
            | Denial::OriginRefused => Self::Denied,
            Denial::RefreshLimited(_) => Self::Limited,
            Denial::IssuerKeysUnavailable(_) | Denial::RevocationsStale | Denial::StoreUnavailable | Denial::Undecided(_) => {
                Self::Unavailable
            }
        }
    }

    /// Of a response that an own endpoint made.
    #[must_use]
    pub fn of_own(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Denied,
            StatusCode::TOO_MANY_REQUESTS => Self::Limited,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            StatusCode::BAD_GATEWAY => Self::UpstreamError,
            StatusCode::GATEWAY_TIMEOUT => Self::UpstreamTimeout,
            status if status.is_server_error() => Self::Failed,
            status if status.is_client_error() => Self::Refused,
            _ => Self::Answered,
        }
    }
}

label! {
    /// What a request met that no route took.
    EndpointName {
        Login = "login",
        Register = "register",
        QuickRegister = "quick_register",
        Refresh = "refresh",
        Logout = "logout",
        Sessions = "sessions",
        CurrentSession = "session",
        Ticket = "ticket",
        Token = "token",
        Revoke = "revoke",
        Introspect = "introspect",
        Jwks = "jwks",
        Metadata = "metadata",
        Health = "health",
        Ready = "ready",
        /// A browser's question whether a page may call.
        Preflight = "preflight",
        /// Another proxy's question about a request.
        Decision = "decision",
        /// From clear text to https.
        Redirect = "redirect",
        /// Nothing, or what was refused before that was known.
        Nothing = "none",
    }
}

impl From<Endpoint> for EndpointName {
    fn from(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Login(LoginKind::Login) => Self::Login,
            Endpoint::Login(LoginKind::Register) => Self::Register,
            Endpoint::Login(LoginKind::QuickRegister) => Self::QuickRegister,
            Endpoint::Own(OwnEndpoint::Refresh) => Self::Refresh,
            Endpoint::Own(OwnEndpoint::Logout) => Self::Logout,
            Endpoint::Own(OwnEndpoint::Sessions | OwnEndpoint::Session(_)) => Self::Sessions,
            Endpoint::Own(OwnEndpoint::CurrentSession) => Self::CurrentSession,
            Endpoint::Own(OwnEndpoint::Ticket) => Self::Ticket,
            Endpoint::Own(OwnEndpoint::Token) => Self::Token,
            Endpoint::Own(OwnEndpoint::Revoke) => Self::Revoke,
            Endpoint::Own(OwnEndpoint::Introspect) => Self::Introspect,
            Endpoint::Own(OwnEndpoint::Jwks) => Self::Jwks,
            Endpoint::Own(OwnEndpoint::Metadata) => Self::Metadata,
            Endpoint::Own(OwnEndpoint::Health) => Self::Health,
            Endpoint::Own(OwnEndpoint::Ready) => Self::Ready,
        }
    }
}

label! {
    /// What became of a line of the access log.
    AccessLogLine {
        Written = "written",
        /// Its destination took nothing for long.
        Dropped = "dropped",
    }
}

label! {
    /// What stays open for long.
    StreamKind {
        /// `text/event-stream`.
        EventStream = "event_stream",
        /// `application/grpc` and its like.
        Grpc = "grpc",
        /// Another response whose length nobody knew when it began.
        Unsized = "unsized",
        WebSocketHttp1 = "websocket_http1",
        WebSocketHttp2 = "websocket_http2",
    }
}

label! {
    /// Which limit refused somebody.
    Limit {
        RouteByAddress = "route_by_address",
        RouteBySubject = "route_by_subject",
        LoginByAddress = "login_by_address",
        LoginByAccount = "login_by_account",
        /// Of an account, from where it has logged in before.
        LoginByOwner = "login_by_owner",
        LoginUnreadable = "login_unreadable",
        RefreshByAddress = "refresh_by_address",
        RefreshBySession = "refresh_by_session",
        LookupByAddress = "lookup_by_address",
        /// Of OAuth clients that ask for tokens for themselves.
        ClientByAddress = "client_by_address",
        ClientById = "client_by_id",
    }
}

label! {
    /// A handshake that came to its end.
    TlsHandshake {
        Tls12Full = "1.2 full",
        Tls12Resumed = "1.2 resumed",
        Tls13Full = "1.3 full",
        Tls13Resumed = "1.3 resumed",
    }
}

impl TlsHandshake {
    /// Version and kind, each the value of a label.
    #[must_use]
    pub const fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Tls12Full => ("1.2", "full"),
            Self::Tls12Resumed => ("1.2", "resumed"),
            Self::Tls13Full => ("1.3", "full"),
            Self::Tls13Resumed => ("1.3", "resumed"),
        }
    }
}

label! {
    /// Why a handshake with a client failed.
    TlsFailure {
        Late = "late",
        /// Others needed the seat.
        GivenUp = "given_up",
        ClearText = "clear_text",
        NoTls = "no_tls",
        /// None of the versions, ciphers or curves that the client offers is taken here, or it broke the protocol.
        Protocol = "protocol",
        /// That of the client is missing, not vouched for, expired or cannot be read.
        Certificate = "certificate",
        /// The client broke it off with an alert: most often it does not believe our certificate.
        ByClient = "by_client",
        /// The connection ended.
        Lost = "lost",
    }
}

label! {
    /// Who ended a client's stream of HTTP/2 before its time.
    ResetBy {
        Client = "client",
        Gateway = "gateway",
    }
}

label! {
    /// The error codes of RFC 9113, section 7, and whatever else somebody sends.
    Http2Reset {
        NoError = "no_error",
        ProtocolError = "protocol_error",
        InternalError = "internal_error",
        FlowControlError = "flow_control_error",
        SettingsTimeout = "settings_timeout",
        StreamClosed = "stream_closed",
        FrameSizeError = "frame_size_error",
        RefusedStream = "refused_stream",
        Cancel = "cancel",
        CompressionError = "compression_error",
        ConnectError = "connect_error",
        EnhanceYourCalm = "enhance_your_calm",
        InadequateSecurity = "inadequate_security",
        Http11Required = "http_1_1_required",
        Unknown = "unknown",
    }
}

impl Http2Reset {
    /// By the code on the wire.
    #[must_use]
    pub fn of(code: u32) -> Self {
        let known = usize::try_from(code).ok().and_then(|code| Self::ALL.get(code).copied());
        known.unwrap_or(Self::Unknown)
    }
}

label! {
    /// What is asked of the store.
    StoreCommand {
        Create = "create",
        Load = "load",
        Swap = "swap",
        Acknowledge = "acknowledge",
        PageOf = "page_of",
        EndCreatedBefore = "end_created_before",
        Import = "import",
        Imported = "imported",
        Settle = "settle",
        Probe = "probe",
        Revoke = "revoke",
        Register = "register",
        Unregister = "unregister",
        Nodes = "nodes",
        Mark = "mark",
        GiveReceipt = "give_receipt",
        Receipts = "receipts",
        KeepTicket = "keep_ticket",
        ReadTicket = "read_ticket",
        SpendTicket = "spend_ticket",
        Lease = "lease",
        Release = "release",
        Sweep = "sweep",
        RecordSweep = "record_sweep",
        Measure = "measure",
        RecordMeasurement = "record_measurement",
        Count = "count",
        Statistics = "statistics",
        Inspect = "inspect",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn is_sound<L: Label + std::fmt::Debug>() {
        let names: HashSet<_> = L::all().iter().map(|value| value.name()).collect();
        assert_eq!(names.len(), L::all().len(), "{names:?}");
        assert!(L::all().iter().enumerate().all(|(index, value)| value.index() == index));
    }

    #[test]
    fn values_have_names_and_places_of_their_own() {
        is_sound::<MethodClass>();
        is_sound::<StatusClass>();
        is_sound::<Outcome>();
        is_sound::<EndpointName>();
        is_sound::<StreamKind>();
        is_sound::<Limit>();
        is_sound::<TlsHandshake>();
        is_sound::<TlsFailure>();
        is_sound::<ResetBy>();
        is_sound::<Http2Reset>();
        is_sound::<StoreCommand>();
    }

    #[test]
    fn whatever_somebody_sends_has_a_value() {
        assert_eq!(MethodClass::of(&Method::from_bytes(b"BREW").unwrap()), MethodClass::Other);
        assert_eq!(MethodClass::of(&Method::HEAD), MethodClass::Read);
        assert_eq!(StatusClass::of(StatusCode::from_u16(999).unwrap()), StatusClass::ServerError);
        assert_eq!(StatusClass::of(StatusCode::SWITCHING_PROTOCOLS), StatusClass::Informational);
        assert_eq!(Http2Reset::of(8), Http2Reset::Cancel);
        assert_eq!(Http2Reset::of(0xd), Http2Reset::Http11Required);
        assert_eq!((Http2Reset::of(14), Http2Reset::of(u32::MAX)), (Http2Reset::Unknown, Http2Reset::Unknown));
    }
}

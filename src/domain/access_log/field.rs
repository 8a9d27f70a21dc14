//! What a line can tell.

macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident = $name:literal,)*) => {
        /// A member of a line.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Field { $($(#[$doc])* $field,)* }

        impl Field {
            /// In the order in which they are listed for people.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$field),*];

            /// In lines and settings.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$field => $name,)* }
            }
        }
    };
}

fields! {
    /// When the response had ended.
    Time = "time",
    /// The name of the node.
    Node = "node",
    RequestId = "request_id",
    /// Of the trace that the request says it belongs to.
    TraceId = "trace_id",
    /// Whose request it is, as far as trusted peers vouch for it.
    Client = "client",
    /// The other end of the connection, or whom a PROXY header names.
    Peer = "peer",
    /// Of the certificate that the connection's client has shown.
    CertificateSubject = "certificate_subject",
    /// Of the token that was accepted.
    Subject = "subject",
    /// The id of its session, which opens nothing.
    Session = "session",
    Method = "method",
    Scheme = "scheme",
    /// In the form that decides.
    Host = "host",
    /// In the form that decides and is forwarded, or as it came where there is none.
    Path = "path",
    /// What values it has is left out.
    Query = "query",
    Protocol = "protocol",
    UserAgent = "user_agent",
    /// Without a user's name, a password, or values of its query.
    Referer = "referer",
    /// The name of the route.
    Route = "route",
    /// What the request met instead of a route.
    Endpoint = "endpoint",
    Upstream = "upstream",
    /// The server of the upstream.
    Target = "target",
    /// Of the final response.
    Status = "status",
    /// How the request ended.
    Outcome = "outcome",
    /// Of a refusal.
    Code = "code",
    /// Of the request's body, and from the client in a tunnel.
    RequestBytes = "request_bytes",
    /// Of the response's body, and to the client in a tunnel.
    ResponseBytes = "response_bytes",
    /// In seconds, to the end of the response or tunnel.
    Duration = "duration",
    /// In seconds, until an upstream was asked.
    GatewayDuration = "gateway_duration",
    /// In seconds, from then until the head of its response was there.
    UpstreamDuration = "upstream_duration",
}

impl Field {
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_by_its_name() {
        for (index, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!((Field::named(field.name()), field.index()), (Some(field), index));
        }
    }
}

//! The grants of the token endpoint, by their names.

/// RFC 6749, section 6.
pub(super) const REFRESH_TOKEN: &str = "refresh_token";

/// RFC 8693, section 2.1.
pub(super) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// RFC 6749, section 4.4.
pub(super) const CLIENT_CREDENTIALS: &str = "client_credentials";

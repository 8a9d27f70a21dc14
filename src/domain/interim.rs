//! Interim responses (1xx): those before the final one.

/// How many an upstream, or another server that is asked, may send before it is given up on.
pub const INTERIM_RESPONSES_MAX: u32 = 16;

//! What the secrets that we make begin with, so that programs which look for secrets in texts know them. None is a JWT.

pub const REFRESH_TOKEN: &str = "tgr_";
pub const TICKET: &str = "tgt_";
pub const CLIENT_SECRET: &str = "tgc_";

/// Whatever is made with one of these is kept out of logs.
pub const ALL: [&str; 3] = [REFRESH_TOKEN, TICKET, CLIENT_SECRET];

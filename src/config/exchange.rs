//! How often a token of somebody else becomes a session of ours, as `[[issuers]]` and `[[legacy]]` say it.

use super::parse::{self, Parsed};
use super::setting::open_settings;
use crate::domain::exchange_rule::ExchangeRule;

open_settings!(ExchangeRule);

pub(super) fn rule(value: &config::Value) -> Parsed<ExchangeRule> {
    parse::choice(&[("never", ExchangeRule::Never), ("once", ExchangeRule::Once), ("many", ExchangeRule::Many)])(value)
}

/// Of `true`, the careful one of the two is meant.
pub(super) fn rule_or_flag(value: &config::Value) -> Parsed<ExchangeRule> {
    match parse::flag(value) {
        Ok(true) => Ok(ExchangeRule::Once),
        Ok(false) => Ok(ExchangeRule::Never),
        Err(_) => rule(value),
    }
}

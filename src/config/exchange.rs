//! How often a token of somebody else becomes a session of ours, as `[[issuers]]` and `[[legacy]]` say it.

use super::parse;
use super::reading::{Form, Reading};
use super::setting::open_settings;
use crate::domain::exchange_rule::ExchangeRule;

open_settings!(ExchangeRule);

pub(super) fn rule() -> Reading<ExchangeRule> {
    parse::choice(&[("never", ExchangeRule::Never), ("once", ExchangeRule::Once), ("many", ExchangeRule::Many)])
}

/// Of `true`, the careful one of the two is meant.
pub(super) fn rule_or_flag() -> Reading<ExchangeRule> {
    let (rule, flag) = (rule(), parse::flag());
    let form = Form::Either(vec![rule.form.clone(), flag.form.clone()]);
    Reading::new(form, move |value| match flag.of(value) {
        Ok(true) => Ok(ExchangeRule::Once),
        Ok(false) => Ok(ExchangeRule::Never),
        Err(_) => rule.of(value),
    })
}

//! Who may use a route, and how often.

use std::time::Duration;

use config::{Value, ValueKind};

use crate::config::parse::{self, Parsed};
use crate::config::reading::{Form, Reading};
use crate::config::section::Section;
use crate::config::setting::open_settings;
use crate::domain::access_claims::LOGIN_CLAIM;
use crate::domain::addresses::AddressRule;
use crate::domain::claim_policy::ClaimPath;
use crate::domain::claims::RESERVED_CLAIMS;
use crate::domain::demands::{ClaimDemand, TokenDemands};
use crate::domain::route::{Access, LimitBy, RevocationCheck, RouteLimit, WhenStale};
use crate::domain::share::Share;
use crate::domain::sign_in::SignIn;

/// What a route demands of its callers.
pub(super) struct Admittance {
    pub(super) addresses: AddressRule,
    pub(super) access: Access,
    pub(super) limit: Option<RouteLimit>,
    pub(super) when_stale: WhenStale,
    pub(super) revocation: RevocationCheck,
    pub(super) enforced: Share,
    pub(super) sign_in: Option<SignIn>,
}

#[derive(Clone, Copy, Debug)]
enum AccessKind {
    Optional,
    Token,
    Public,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Enforce,
    Observe,
}

open_settings!(AccessKind, Mode, LimitBy, RevocationCheck, SignIn, WhenStale);

impl Admittance {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let kind = s.read(
            "access",
            parse::choice(&[("token", AccessKind::Token), ("optional", AccessKind::Optional), ("public", AccessKind::Public)]),
        );
        let access = access(s, kind);
        let when_stale = s.read("when_stale", parse::choice(&[("reject", WhenStale::Reject), ("serve", WhenStale::Serve)]));
        let revocation =
            s.read("revocation", parse::choice(&[("replica", RevocationCheck::Replica), ("strict", RevocationCheck::Strict)]));
        let mode = s.read("mode", parse::choice(&[("enforce", Mode::Enforce), ("observe", Mode::Observe)]));
        let enforce_share = s.read("enforce_share", parse::share());
        if matches!(kind, AccessKind::Public) && (matches!(mode, Mode::Observe) || !enforce_share.is_all()) {
            let key = if matches!(mode, Mode::Observe) { "mode" } else { "enforce_share" };
            s.fault(key, "has no meaning for a public route: it refuses no token");
        }
        let sign_in = s.optional("sign_in", parse::text().then(|text| text.parse::<SignIn>().map_err(str::to_owned)));
        if matches!(kind, AccessKind::Public) && sign_in.is_some() {
            s.fault("sign_in", "has no meaning for a public route: nobody has to log in there");
        }
        Self {
            addresses: addresses(s),
            access,
            limit: limit(s, kind),
            when_stale,
            revocation,
            enforced: match mode {
                Mode::Enforce => enforce_share,
                Mode::Observe => Share::NONE,
            },
            sign_in,
        }
    }
}

fn access(s: &mut Section<'_>, kind: AccessKind) -> Access {
    let scopes = s.read("scopes", parse::list(scope()));
    let audiences = s.read("audiences", parse::list(parse::filled_text()));
    let claims = s.map("claims", claim_values(), |path, values| judged_by_route(path).map(|()| values));
    let login_age_max = s.optional("max_login_age", parse::duration(Duration::from_secs(1), Duration::from_hours(24 * 3650)));
    match kind {
        AccessKind::Token => {}
        AccessKind::Optional | AccessKind::Public => {
            let lists = ["scopes", "audiences", "claims"].into_iter().filter(|key| !s.has_default(key));
            for key in lists.chain(login_age_max.map(|_| "max_login_age")) {
                s.fault(key, "has no meaning for a route that is public or optional; allowed with access = \"token\" alone");
            }
        }
    }
    match kind {
        AccessKind::Public => Access::Public,
        AccessKind::Optional => Access::Optional,
        AccessKind::Token => Access::Token(TokenDemands {
            audiences: audiences.into(),
            scopes: scopes.into(),
            claims: claims.into_iter().map(|(path, values)| ClaimDemand { path: ClaimPath::new(&path), values }).collect(),
            login_age_max,
        }),
    }
}

fn addresses(s: &mut Section<'_>) -> AddressRule {
    let (allowed, denied) = (s.read("allow", parse::list(parse::network())), s.read("deny", parse::list(parse::network())));
    AddressRule::new(allowed, denied).unwrap_or_else(|nobody| {
        s.fault("deny", nobody.to_string());
        AddressRule::default()
    })
}

fn limit(s: &mut Section<'_>, access: AccessKind) -> Option<RouteLimit> {
    let rate = s.read("limit", parse::or_off(parse::rate()));
    let by = s.optional("limit_by", parse::choice(&[("subject", LimitBy::Subject), ("address", LimitBy::Address)]));
    if by.is_some() && rate.is_none() {
        s.fault("limit_by", "has no meaning without `limit`");
    }
    let by = match (access, by) {
        (AccessKind::Public, Some(LimitBy::Subject)) => {
            s.fault("limit_by", "no subject is known on a public route; allowed is \"address\"");
            LimitBy::Address
        }
        (AccessKind::Public, Some(LimitBy::Address) | None) => LimitBy::Address,
        (AccessKind::Optional | AccessKind::Token, by) => by.unwrap_or(LimitBy::Subject),
    };
    rate.map(|rate| RouteLimit { rate, by })
}

/// `scope-token` of RFC 6749, section 3.3.
pub(in crate::config) fn scope() -> Reading<String> {
    parse::filled_text().then(|text| {
        let is_scope = text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        if is_scope { Ok(text) } else { Err("allowed is one scope: visible ASCII without space, \" and \\".to_owned()) }
    })
}

/// Claims by which the gateway judges tokens are no claims any more once it has.
fn judged_by_route(path: &str) -> Parsed<()> {
    let claim = ClaimPath::new(path);
    let claim = claim.claim();
    if claim.is_empty() {
        return Err("allowed is the name of a claim, or a JSON pointer such as \"/realm_access/roles\"".to_owned());
    }
    if RESERVED_CLAIMS.contains(&&*claim) || claim == LOGIN_CLAIM {
        let instead = match &*claim {
            "aud" => "instead: audiences",
            "scope" => "instead: scopes",
            LOGIN_CLAIM => "instead: max_login_age",
            _ => "allowed are other claims",
        };
        return Err(format!("the gateway judges `{claim}` itself; {instead}"));
    }
    Ok(())
}

/// The values of which a claim must have one; a single one may stand without a list.
fn claim_values() -> Reading<Vec<String>> {
    const ALLOWED: &str = "allowed is a text, a whole number, true or false, or a list of them that is not empty";
    let single = |value: &Value| match &value.kind {
        ValueKind::String(text) if !text.is_empty() => Ok(text.clone()),
        ValueKind::Boolean(flag) => Ok(flag.to_string()),
        ValueKind::I64(number) => Ok(number.to_string()),
        ValueKind::U64(number) => Ok(number.to_string()),
        _ => Err(ALLOWED.to_owned()),
    };
    let scalar = Form::Either(vec![Form::Text { pattern: "" }, Form::WholeNumber, Form::Flag]);
    Reading::new(Form::Either(vec![scalar.clone(), Form::List(Box::new(scalar))]), move |value| match &value.kind {
        ValueKind::Array(items) if items.is_empty() => Err(format!("without a value nobody could pass; {ALLOWED}")),
        ValueKind::Array(items) => items.iter().map(single).collect(),
        _ => single(value).map(|one| vec![one]),
    })
}

//! `[cookies]`, `[cors]`: what browsers need.

use std::time::Duration;

use super::parse;
use super::section::{Parsed, Section};
use crate::domain::cookies::{ATTRIBUTE_BYTES_MAX, FormerCookie, HOST_PREFIX, NAME_BYTES_MAX, SECURE_PREFIX};
use crate::domain::cors::{Cors, Origins};
use crate::domain::origin::CookieOrigins;

/// Tokens in cookies.
#[derive(Clone, Debug)]
pub struct Cookies {
    pub access_name: String,
    pub refresh_name: String,
    pub same_site: SameSite,
    pub secure: bool,
    /// `None`: the host that set it alone.
    pub domain: Option<String>,
    pub path: String,
    /// Whether answers carry the tokens in their body as well.
    pub tokens_in_body: bool,
    /// Whose calls count that change something.
    pub origins: CookieOrigins,
    /// Where earlier settings kept them: no more than `FORMER_MAX`.
    pub former: Vec<FormerCookie>,
}

/// Each may cost three lines of an answer.
const FORMER_MAX: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SameSite {
    Strict,
    Lax,
    None,
}

impl SameSite {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

impl Cookies {
    /// `None`: off.
    pub(super) fn read(s: &mut Section<'_>) -> Option<Self> {
        let enabled = s.read("enabled", parse::flag);
        let secure = s.read("secure", parse::flag);
        let cookies = Self {
            access_name: s.read("access_name", cookie_name),
            refresh_name: s.read("refresh_name", cookie_name),
            same_site: s.read(
                "same_site",
                parse::choice(&[("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)]),
            ),
            secure,
            domain: s.optional("domain", domain),
            path: s.read("path", cookie_path),
            tokens_in_body: s.read("tokens_in_body", parse::flag),
            origins: CookieOrigins {
                listed: s.read("csrf_origins", parse::list(parse::origin)),
                field: s.read("csrf_header", parse::header_name),
                secure,
            },
            former: Vec::new(),
        };
        let former = s.list("former", former);
        if former.len() > FORMER_MAX {
            s.fault("former", format!("at most {FORMER_MAX} are allowed"));
        }
        let cookies = Self { former: former.into_iter().flatten().collect(), ..cookies };
        if !enabled {
            return None;
        }
        if cookies.access_name == cookies.refresh_name {
            s.fault("refresh_name", "must differ from cookies.access_name");
        }
        for (key, name) in [("access_name", &cookies.access_name), ("refresh_name", &cookies.refresh_name)] {
            if name.starts_with(HOST_PREFIX) && !(cookies.secure && cookies.path == "/" && cookies.domain.is_none()) {
                s.fault(key, "a name with __Host- needs secure = true, path = \"/\" and no domain: browsers drop it otherwise");
            }
            if name.starts_with(SECURE_PREFIX) && !cookies.secure {
                s.fault(key, "a name with __Secure- needs secure = true: browsers drop it otherwise");
            }
        }
        if cookies.same_site == SameSite::None && !cookies.secure {
            s.fault("same_site", "\"none\" needs secure = true: browsers drop the cookie otherwise");
        }
        Some(cookies)
    }
}

fn former(s: &mut Section<'_>) -> Option<FormerCookie> {
    let name = s.require("name", cookie_name);
    let (domain, path) = (s.optional("domain", domain), s.optional("path", cookie_path));
    let name = name?;
    if name.starts_with(HOST_PREFIX) && (domain.is_some() || path.as_deref().is_some_and(|path| path != "/")) {
        s.fault("name", "a name with __Host- had path \"/\" and no domain: browsers drop it otherwise");
    }
    Some(FormerCookie { name, domain, path })
}

/// `token` of RFC 9110, as RFC 6265 asks for.
fn cookie_name(value: &config::Value) -> Parsed<String> {
    let text = parse::filled_text(value)?;
    let is_token = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if is_token && text.len() <= NAME_BYTES_MAX {
        Ok(text)
    } else {
        Err(format!("allowed is a cookie name of at most {NAME_BYTES_MAX} bytes: ASCII letters, digits and !#$%&'*+-.^_`|~"))
    }
}

fn cookie_path(value: &config::Value) -> Parsed<String> {
    let path = parse::url_path(value)?;
    if path.len() <= ATTRIBUTE_BYTES_MAX {
        Ok(path)
    } else {
        Err(format!("must not be longer than {ATTRIBUTE_BYTES_MAX} bytes: browsers pass over a longer one"))
    }
}

fn domain(value: &config::Value) -> Parsed<String> {
    let text = parse::filled_text(value)?;
    let is_domain = text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        });
    if is_domain {
        Ok(text)
    } else {
        Err("allowed is a domain in lower case without a leading dot, such as \"example.com\"".to_owned())
    }
}

/// `[cors]`. `None`: off, because no origin is allowed.
pub(super) fn cors(s: &mut Section<'_>) -> Option<Cors> {
    // `None`: any.
    let any_or_origin = |value: &config::Value| match parse::text(value)?.as_str() {
        "*" => Ok(None),
        _ => parse::origin(value).map(Some),
    };
    let origins = s.read("allowed_origins", parse::list(any_or_origin));
    let is_any = origins.contains(&None);
    let (count, listed) = (origins.len(), origins.into_iter().flatten().collect());
    let cors = Cors {
        allowed_methods: s.read("allowed_methods", parse::list(parse::method)),
        allowed_headers: s.read("allowed_headers", parse::list(parse::header_name)),
        exposed_headers: s.read("exposed_headers", parse::list(parse::header_name)),
        allow_credentials: s.read("allow_credentials", parse::flag),
        max_age: s.read("max_age", parse::duration(Duration::ZERO, Duration::from_hours(24))),
        allowed_origins: if is_any { Origins::Any } else { Origins::Listed(listed) },
    };
    if is_any && count > 1 {
        s.fault("allowed_origins", "\"*\" stands alone");
    }
    if is_any && cors.allow_credentials {
        s.fault("allowed_origins", "\"*\" is not allowed with allow_credentials = true: list the origins");
    }
    (count > 0).then_some(cors)
}

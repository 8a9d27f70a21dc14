//! `[cookies]`, `[cors]`: what browsers need.

use std::time::Duration;

use http::HeaderValue;

use super::parse;
use super::reading::{Form, Reading};
use super::section::Section;
use super::setting::open_settings;
use crate::domain::cookies::{
    ATTRIBUTE_BYTES_MAX, CookieMode, FormerCookie, HOST_PREFIX, NAME_BYTES_MAX, OwnCookies, SECURE_PREFIX, SameSite, Slot,
};
use crate::domain::cors::{Cors, Origins};
use crate::domain::in_flight::InFlight;
use crate::domain::origin::CookieOrigins;
use crate::domain::path::CanonicalTarget;
use crate::domain::route::EndpointPaths;

open_settings!(SameSite, SiteData);

/// Each may cost three fields of a response.
const FORMER_MAX: usize = 16;

/// `[cookies]`. `None`: off, so that tokens travel in bodies and the Authorization field alone.
pub(super) fn cookies(s: &mut Section<'_>, endpoints: &EndpointPaths) -> Option<CookieMode> {
    let enabled = s.read("enabled", parse::flag());
    let secure = s.read("secure", parse::flag());
    let access_name = s.read("access_name", cookie_name());
    let refresh_name = s.read("refresh_name", cookie_name());
    let same_site =
        s.read("same_site", parse::choice(&[("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)]));
    let domain = s.optional("domain", domain());
    let path = s.read("path", cookie_path());
    let tokens_in_body = s.read("tokens_in_body", parse::flag());
    let signed_out = s.read("signed_out", parse::or_off(page())).and_then(|page| HeaderValue::try_from(page).ok());
    let clear_site_data = clear_site_data(&s.read("clear_site_data", parse::list(parse::choice(&SITE_DATA))));
    let refresh_in_flight = s.read("refresh_in_flight", parse::flag());
    let ahead = s.read("refresh_ahead", parse::duration(Duration::ZERO, Duration::from_hours(24)));
    let in_flight = refresh_in_flight.then_some(InFlight { ahead });
    let origins = CookieOrigins {
        listed: s.read("csrf_origins", parse::list(parse::origin())),
        field: s.read("csrf_header", parse::header_name()),
        secure,
    };
    let former = s.list("former", former);
    if former.len() > FORMER_MAX {
        s.fault("former", format!("at most {FORMER_MAX} are allowed"));
    }
    let former: Vec<FormerCookie> = former.into_iter().flatten().collect();
    if !enabled {
        return None;
    }
    if access_name == refresh_name {
        s.fault("refresh_name", "must differ from cookies.access_name");
    }
    for (key, name) in [("access_name", &access_name), ("refresh_name", &refresh_name)] {
        if name.starts_with(HOST_PREFIX) && !(secure && path == "/" && domain.is_none()) {
            s.fault(key, "a name with __Host- needs secure = true, path = \"/\" and no domain: browsers drop it otherwise");
        }
        if name.starts_with(SECURE_PREFIX) && !secure {
            s.fault(key, "a name with __Secure- needs secure = true: browsers drop it otherwise");
        }
    }
    if same_site == SameSite::None && !secure {
        s.fault("same_site", "\"none\" needs secure = true: browsers drop the cookie otherwise");
    }
    let narrow = refresh_cookie_path(&refresh_name, endpoints);
    let before_tokens = refresh_cookie_path(&refresh_name, &EndpointPaths { token: None, ..endpoints.clone() });
    // In flight it is read on every path.
    let refresh_path = if refresh_in_flight { "/".to_owned() } else { narrow.clone() };
    // Where browsers kept it before the settings had it read elsewhere too, it would be a second one.
    let mut former = former;
    let mut places = vec![narrow, before_tokens];
    places.dedup();
    for narrower in places.into_iter().filter(|place| *place != refresh_path) {
        let place = |domain| FormerCookie { name: refresh_name.clone(), domain, path: Some(narrower.clone()) };
        former.extend([place(domain.clone()), place(None)]);
    }
    let access = Slot { name: access_name, domain: domain.clone(), path };
    let refresh = Slot { name: refresh_name, domain, path: refresh_path };
    Some(CookieMode {
        own: OwnCookies::new(access, refresh, &former, same_site, secure),
        tokens_in_body,
        origins,
        in_flight,
        signed_out,
        clear_site_data,
    })
}

/// Where browsers send the refresh cookie: no further than the endpoints that read it. The longest path that lies above all of them; a
/// `__Host-` name demands `/`.
fn refresh_cookie_path(refresh_name: &str, endpoints: &EndpointPaths) -> String {
    let readers = [&endpoints.refresh, &endpoints.logout, &endpoints.token].into_iter().flatten().chain(endpoints.logins());
    let readers: Vec<Vec<&str>> = readers.map(|path| path.split('/').skip(1).collect()).collect();
    let Some((first, others)) = readers.split_first().filter(|_| !refresh_name.starts_with(HOST_PREFIX)) else {
        return "/".to_owned();
    };
    let shared =
        first.iter().enumerate().take_while(|(i, segment)| others.iter().all(|other| other.get(*i) == Some(*segment))).count();
    Some(format!("/{}", first[..shared].join("/")))
        .filter(|path| path.len() <= ATTRIBUTE_BYTES_MAX)
        .unwrap_or_else(|| "/".to_owned())
}

fn former(s: &mut Section<'_>) -> Option<FormerCookie> {
    let name = s.require("name", cookie_name());
    let (domain, path) = (s.optional("domain", domain()), s.optional("path", cookie_path()));
    let name = name?;
    if name.starts_with(HOST_PREFIX) && (domain.is_some() || path.as_deref().is_some_and(|path| path != "/")) {
        s.fault("name", "a name with __Host- had path \"/\" and no domain: browsers drop it otherwise");
    }
    Some(FormerCookie { name, domain, path })
}

/// What a browser can be told to clear (Clear-Site-Data).
const SITE_DATA: [(&str, SiteData); 4] = [
    ("cache", SiteData("cache")),
    ("cookies", SiteData("cookies")),
    ("storage", SiteData("storage")),
    ("executionContexts", SiteData("executionContexts")),
];

#[derive(Clone, Copy, Debug)]
struct SiteData(&'static str);

fn clear_site_data(kinds: &[SiteData]) -> Option<HeaderValue> {
    let quoted: Vec<String> = kinds.iter().map(|SiteData(kind)| format!("\"{kind}\"")).collect();
    HeaderValue::try_from(quoted.join(", ")).ok().filter(|value| !value.is_empty())
}

/// A path on the same host, perhaps with a query.
fn page() -> Reading<String> {
    parse::filled_text().then(|text| {
        let is_page = CanonicalTarget::parse(&text).is_ok_and(|target| target.path_and_query() == text && target.stays_on_host());
        if is_page { Ok(text) } else { Err("allowed is a path on the same host, such as \"/\" or \"/bye?x=1\"".to_owned()) }
    })
}

/// `token` of RFC 9110, as RFC 6265 asks for.
fn cookie_name() -> Reading<String> {
    parse::filled_text().then(|text| {
        let is_token = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        if is_token && text.len() <= NAME_BYTES_MAX {
            Ok(text)
        } else {
            Err(format!("allowed is a cookie name of at most {NAME_BYTES_MAX} bytes: ASCII letters, digits and !#$%&'*+-.^_`|~"))
        }
    })
}

fn cookie_path() -> Reading<String> {
    parse::url_path().then(|path| {
        if path.len() <= ATTRIBUTE_BYTES_MAX {
            Ok(path)
        } else {
            Err(format!("must not be longer than {ATTRIBUTE_BYTES_MAX} bytes: browsers pass over a longer one"))
        }
    })
}

fn domain() -> Reading<String> {
    parse::filled_text().then(|text| {
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
    })
}

/// `[cors]`. `None`: off, because no origin is allowed.
pub(super) fn cors(s: &mut Section<'_>) -> Option<Cors> {
    // `None`: any.
    let origin = parse::origin();
    let form = Form::Either(vec![Form::words(&["*"]), origin.form.clone()]);
    let any_or_origin = Reading::new(form, move |value| match parse::text().of(value)?.as_str() {
        "*" => Ok(None),
        _ => origin.of(value).map(Some),
    });
    let origins = s.read("allowed_origins", parse::list(any_or_origin));
    let is_any = origins.contains(&None);
    let (count, listed) = (origins.len(), origins.into_iter().flatten().collect());
    let cors = Cors {
        allowed_methods: s.read("allowed_methods", parse::list(parse::method())),
        allowed_headers: s.read("allowed_headers", parse::list(parse::header_name())),
        exposed_headers: s.read("exposed_headers", parse::list(parse::header_name())),
        allow_credentials: s.read("allow_credentials", parse::flag()),
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

#[cfg(test)]
mod tests {
    fn path_of(refresh_name: &str, prefix: &str) -> String {
        path_with("", refresh_name, prefix)
    }

    fn path_with(further: &str, refresh_name: &str, prefix: &str) -> String {
        let settings = crate::config::Settings::from_toml(&format!(
            "upstreams.default.url = 'http://127.0.0.1:1'\nendpoints.prefix = '{prefix}'\n{further}\n\
             cookies = {{ enabled = true, access_name = 'a', refresh_name = '{refresh_name}' }}"
        ));
        let field = settings.unwrap().cookies.unwrap().own.refresh("t", 1).unwrap();
        let path = field.to_str().unwrap().split("; ").find_map(|attribute| attribute.strip_prefix("Path="));
        path.unwrap().to_owned()
    }

    #[test]
    fn the_refresh_cookie_goes_no_further_than_its_readers() {
        assert_eq!(path_of("__Secure-refresh", "/auth/v1"), "/auth/v1");
        assert_eq!(path_of("__Secure-refresh", ""), "/");
        assert_eq!(path_of("__Host-refresh", "/auth"), "/", "the name demands it");
    }

    #[test]
    fn the_token_endpoint_reads_the_refresh_cookie_too_and_ends_the_one_that_was_kept_without_it() {
        let others = "endpoints = { login = ['/auth/login'], register = [], quick_register = [], refresh = '/auth/refresh', \
                      logout = '/auth/logout', token = '";
        let with = |token: &str| {
            let text = format!(
                "upstreams.default.url = 'http://127.0.0.1:1'\n{others}{token}' }}\n\
                 cookies = {{ enabled = true, access_name = '__Host-a', refresh_name = '__Secure-r' }}"
            );
            let own = crate::config::Settings::from_toml(&text).unwrap().cookies.unwrap().own;
            let paths = |fields: Vec<http::HeaderValue>| {
                let paths = fields.iter().filter_map(|field| {
                    let field = field.to_str().unwrap();
                    field
                        .starts_with("__Secure-r=")
                        .then(|| field.split("; ").find_map(|part| part.strip_prefix("Path=")).unwrap())
                });
                paths.map(str::to_owned).collect::<Vec<_>>()
            };
            (paths(vec![own.refresh("t", 1).unwrap()]), paths(own.all_emptied().to_vec()))
        };
        assert_eq!(with("").0, ["/auth"]);
        assert_eq!(with("/auth/token").0, ["/auth"]);
        let (set, cleared) = with("/oauth/token");
        assert_eq!(set, ["/"]);
        assert!(cleared.contains(&"/auth".to_owned()) && cleared.contains(&"/".to_owned()), "{cleared:?}");
    }
}

//! The gateway's own cookies: where browsers keep them, and where they may have kept them under other settings.

use http::HeaderValue;

use crate::domain::in_flight::InFlight;
use crate::domain::origin::CookieOrigins;

/// A browser keeps one value for each name, domain and path (RFC 6265, section 5.3), and sends all that fit under the one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    pub name: String,
    /// `None`: the host that set it alone.
    pub domain: Option<String>,
    pub path: String,
}

/// Where cookies were kept before the settings changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FormerCookie {
    pub name: String,
    /// `None`: the host that set it alone.
    pub domain: Option<String>,
    /// `None`: any of `/` and the paths of today.
    pub path: Option<String>,
}

/// With which requests from other sites a browser sends a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SameSite {
    Strict,
    Lax,
    None,
}

impl SameSite {
    /// The value of the attribute.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// How tokens travel in cookies.
#[derive(Clone, Debug)]
pub struct CookieMode {
    pub own: OwnCookies,
    /// Whether responses carry the tokens in their body as well.
    pub tokens_in_body: bool,
    /// Which origins' calls count that change something.
    pub origins: CookieOrigins,
    /// `None`: browsers refresh by themselves.
    pub in_flight: Option<InFlight>,
    /// The value of Location for a browser that shows a page and has logged out; `None`: it gets JSON, as scripts do.
    pub signed_out: Option<HeaderValue>,
    /// The value of Clear-Site-Data after a logout.
    pub clear_site_data: Option<HeaderValue>,
}

/// Browsers drop a cookie of this prefix unless it is secure, of path `/` and without a domain.
pub const HOST_PREFIX: &str = "__Host-";
/// Browsers drop a cookie of this prefix unless it is secure.
pub const SECURE_PREFIX: &str = "__Secure-";

#[derive(Clone, Debug)]
pub struct OwnCookies {
    access: Slot,
    refresh: Slot,
    /// Each name once, former ones too: what an upstream does not get.
    names: Vec<String>,
    /// `Set-Cookie` fields that empty the slots beside the two.
    others_emptied: Vec<HeaderValue>,
    /// The same, and the two.
    all_emptied: Vec<HeaderValue>,
    same_site: SameSite,
    secure: bool,
}

/// `Set-Cookie` fields that bring a browser new tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewCookies {
    pub access: HeaderValue,
    /// `None`: the browser keeps the one that it has.
    pub refresh: Option<HeaderValue>,
    /// What leaves nothing beside the two.
    pub others_emptied: Vec<HeaderValue>,
}

impl NewCookies {
    pub fn fields(&self) -> impl Iterator<Item = &HeaderValue> {
        self.others_emptied.iter().chain([&self.access]).chain(&self.refresh)
    }
}

impl OwnCookies {
    #[must_use]
    pub fn new(access: Slot, refresh: Slot, former: &[FormerCookie], same_site: SameSite, secure: bool) -> Self {
        let mut slots = vec![access.clone(), refresh.clone()];
        let mut add = |slot: Slot| {
            if !slots.contains(&slot) && slot.can_be_set() {
                slots.push(slot);
            }
        };
        for slot in [&access, &refresh] {
            for domain in [slot.domain.clone(), None] {
                for path in [slot.path.as_str(), "/"] {
                    add(Slot { name: slot.name.clone(), domain: domain.clone(), path: path.to_owned() });
                }
            }
        }
        for FormerCookie { name, domain, path } in former {
            let paths = path.as_deref().map_or_else(|| vec!["/", &access.path, &refresh.path], |path| vec![path]);
            for path in paths {
                add(Slot { name: name.clone(), domain: domain.clone(), path: path.to_owned() });
            }
        }
        let mut names: Vec<String> = slots.iter().map(|slot| slot.name.clone()).collect();
        names.extend(former.iter().map(|former| former.name.clone()));
        names.sort_unstable();
        names.dedup();
        let emptied = |slots: &[Slot]| slots.iter().filter_map(|slot| slot.set("", 0, same_site, secure)).collect();
        let (others_emptied, all_emptied) = (emptied(&slots[2..]), emptied(&slots));
        Self { access, refresh, names, others_emptied, all_emptied, same_site, secure }
    }

    #[must_use]
    pub fn access_name(&self) -> &str {
        &self.access.name
    }

    #[must_use]
    pub fn refresh_name(&self) -> &str {
        &self.refresh.name
    }

    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// A `Set-Cookie` field; `None` where no browser would keep it.
    #[must_use]
    pub fn access(&self, token: &str, lives_secs: u64) -> Option<HeaderValue> {
        self.access.set(token, lives_secs, self.same_site, self.secure)
    }

    /// A `Set-Cookie` field; `None` where no browser would keep it.
    #[must_use]
    pub fn refresh(&self, token: &str, lives_secs: u64) -> Option<HeaderValue> {
        self.refresh.set(token, lives_secs, self.same_site, self.secure)
    }

    /// The largest access token that browsers keep.
    #[must_use]
    pub fn access_bytes_max(&self) -> usize {
        COOKIE_BYTES_MAX.saturating_sub(self.access.name.len())
    }

    /// Fields that leave nothing beside what [`OwnCookies::access`] and [`OwnCookies::refresh`] set.
    #[must_use]
    pub fn others_emptied(&self) -> &[HeaderValue] {
        &self.others_emptied
    }

    /// Fields that leave nothing.
    #[must_use]
    pub fn all_emptied(&self) -> &[HeaderValue] {
        &self.all_emptied
    }
}

/// The most that browsers keep of one cookie, name and value (RFC 6265bis, section 5.6).
const COOKIE_BYTES_MAX: usize = 4096;

/// Longer attributes they pass over: a cookie would get another path.
pub const ATTRIBUTE_BYTES_MAX: usize = 1024;

/// So that there is room for every refresh token, whose length is known.
pub const NAME_BYTES_MAX: usize = 256;

impl Slot {
    fn can_be_set(&self) -> bool {
        !self.name.starts_with(HOST_PREFIX) || self.domain.is_none() && self.path == "/"
    }

    fn set(&self, value: &str, lives_secs: u64, same_site: SameSite, secure: bool) -> Option<HeaderValue> {
        let Self { name, domain, path } = self;
        if name.len() + value.len() > COOKIE_BYTES_MAX {
            return None;
        }
        let mut text = format!("{name}={value}; Path={path}; Max-Age={lives_secs}; HttpOnly; SameSite={}", same_site.name());
        if secure || name.starts_with(HOST_PREFIX) || name.starts_with(SECURE_PREFIX) {
            text.push_str("; Secure");
        }
        if let Some(domain) = domain {
            text.push_str("; Domain=");
            text.push_str(domain);
        }
        let mut field = HeaderValue::try_from(text).ok()?;
        field.set_sensitive(true);
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(name: &str, domain: Option<&str>, path: &str) -> Slot {
        Slot { name: name.to_owned(), domain: domain.map(str::to_owned), path: path.to_owned() }
    }

    fn emptied(fields: &[HeaderValue]) -> Vec<String> {
        let told = |field: &HeaderValue| field.to_str().unwrap().replace("; Max-Age=0; HttpOnly; SameSite=Lax; Secure", "");
        fields.iter().map(told).collect()
    }

    #[test]
    fn names_that_only_we_can_set_have_one_place_each() {
        let own = OwnCookies::new(slot("__Host-a", None, "/"), slot("__Host-r", None, "/"), &[], SameSite::Lax, true);
        assert!(own.others_emptied().is_empty());
        assert_eq!(emptied(own.all_emptied()), ["__Host-a=; Path=/", "__Host-r=; Path=/"]);
    }

    #[test]
    fn every_place_is_emptied_that_these_or_former_settings_could_have_set() {
        let former = [
            FormerCookie { name: "__Host-r".to_owned(), domain: None, path: None },
            FormerCookie { name: "a".to_owned(), domain: Some("old.example".to_owned()), path: Some("/app".to_owned()) },
        ];
        let own = OwnCookies::new(
            slot("a", Some("example.com"), "/"),
            slot("r", Some("example.com"), "/auth"),
            &former,
            SameSite::Lax,
            true,
        );
        assert_eq!(own.names(), ["__Host-r", "a", "r"]);
        let others = [
            "a=; Path=/",
            "r=; Path=/; Domain=example.com",
            "r=; Path=/auth",
            "r=; Path=/",
            "__Host-r=; Path=/",
            "a=; Path=/app; Domain=old.example",
        ];
        assert_eq!(emptied(own.others_emptied()), others);
        let two = ["a=; Path=/; Domain=example.com", "r=; Path=/auth; Domain=example.com"];
        assert_eq!(emptied(own.all_emptied()), [&two[..], &others[..]].concat());
    }

    #[test]
    fn what_no_browser_would_keep_is_not_set() {
        let own = OwnCookies::new(slot("a", None, "/"), slot("r", None, "/"), &[], SameSite::Lax, true);
        assert_eq!(own.access_bytes_max(), 4095);
        assert!(own.access(&"x".repeat(4095), 1).is_some() && own.access(&"x".repeat(4096), 1).is_none());
    }
}

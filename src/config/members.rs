//! `[login.members]`: where a token pair stands in JSON responses.

use super::parse;
use super::pointer::Pointer;
use super::reading::Reading;
use super::section::Section;
use super::setting::open_settings;

/// The places of the members that are merged into the upstream's JSON, and into JSON responses of `/refresh`. Empty: left out.
#[derive(Clone, Debug)]
pub struct Members {
    /// Never empty.
    pub access_token: Vec<MemberPath>,
    pub refresh_token: Vec<MemberPath>,
    pub token_type: Vec<MemberPath>,
    pub expires_in: Vec<MemberPath>,
    pub generation: Vec<MemberPath>,
}

/// The names that lead to a member, from the outermost object on. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberPath(Vec<String>);

open_settings!(MemberPath);

/// How deep a member may stand.
const DEPTH_MAX: usize = 8;

impl MemberPath {
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// The name of a member of the outermost object; `None` for one that stands deeper.
    pub fn as_name(&self) -> Option<&str> {
        match self.0.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }

    /// Whether both cannot be there at once: one is the other, or an object on the other's way.
    fn is_in_the_way_of(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }
}

impl Members {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let mut taken: Vec<MemberPath> = Vec::new();
        let mut places = |key: &'static str| {
            let places = s.read(key, parse::list(path()));
            for place in &places {
                if taken.iter().any(|other| other.is_in_the_way_of(place)) {
                    s.fault(key, "two members of the same name, or one within the other");
                }
                taken.push(place.clone());
            }
            places
        };
        let (mut access_token, refresh_token) = (places("access_token"), places("refresh_token"));
        let (token_type, expires_in) = (places("token_type"), places("expires_in"));
        let (generation, token) = (places("generation"), places("token"));
        if access_token.is_empty() {
            s.fault("access_token", "must not be empty: clients would get no token");
        }
        access_token.extend(token);
        Self { access_token, refresh_token, token_type, expires_in, generation }
    }
}

fn path() -> Reading<MemberPath> {
    parse::filled_text().then(|text| {
        let Some(pointer) = text.strip_prefix('/') else { return Ok(MemberPath(vec![text])) };
        let _: Pointer = text.parse()?;
        let names: Vec<String> = pointer.split('/').map(|name| name.replace("~1", "/").replace("~0", "~")).collect();
        match names.len() {
            0..=DEPTH_MAX => Ok(MemberPath(names)),
            depth => Err(format!("{depth} objects deep; allowed are {DEPTH_MAX}")),
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;

    fn read(lines: &str) -> Result<Settings, String> {
        let text = format!("upstreams.default.url = 'http://127.0.0.1:1'\n[login.members]\n{lines}");
        Settings::from_toml(&text).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn a_member_has_one_place_or_several_by_name_or_by_pointer() {
        let members = read("access_token = ['accessToken', '/data/tokens/a~1b']\ntoken = 'token'\nrefresh_token = '/data/r'");
        let members = members.unwrap().login.members;
        let places: Vec<&[String]> = members.access_token.iter().map(super::MemberPath::names).collect();
        assert_eq!(places, [["accessToken"].as_slice(), &["data", "tokens", "a/b"], &["token"]]);
        assert_eq!(members.refresh_token[0].names(), ["data", "r"]);
        assert_eq!(members.refresh_token[0].as_name(), None);
    }

    #[test]
    fn places_that_cannot_be_taken_at_once_are_refused() {
        for lines in [
            "access_token = ['a', 'a']",
            "access_token = '/data'\nrefresh_token = '/data/refresh'",
            "token = 'refreshToken'",
            "token = '/refreshToken/x'",
            "token = '/refreshToken'",
        ] {
            assert!(read(lines).unwrap_err().contains("same name"), "{lines}");
        }
        for lines in ["access_token = []", "access_token = ''"] {
            assert!(read(lines).unwrap_err().contains("clients would get no token"), "{lines}");
        }
        assert!(read("token = '/a~2'").unwrap_err().contains("JSON pointer"));
        assert!(read("token = '/1/2/3/4/5/6/7/8/9'").unwrap_err().contains("9 objects deep"));
    }
}

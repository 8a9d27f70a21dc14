//! `url`, `urls` or `[[targets]]` of an upstream: the servers that it is.

use std::fmt;
use std::str::FromStr;

use super::parse;
use super::section::Section;
use super::upstream_url::{UpstreamUrl, upstream_url};

/// The most servers of one upstream.
const TARGETS_MAX: usize = 256;

/// The largest weight.
const WEIGHT_MAX: u32 = 1000;

const MISSING: &str = "is missing; an example: url = \"http://127.0.0.1:3000\", or of several servers urls = [\"http://10.0.0.1:3000\", \"http://10.0.0.2:3000\"]";

/// One server, by its address or by a name that may have several.
#[derive(Clone, Debug)]
pub struct Target {
    /// The key that names it within its upstream: `urls[1]`.
    pub key: String,
    pub url: UpstreamUrl,
    /// How many requests it gets beside the others; each of its addresses does.
    pub weight: u32,
}

/// The servers of one upstream, which differ in host and port alone. Never empty.
#[derive(Clone, Debug)]
pub struct Targets(Vec<Target>);

impl Targets {
    /// `None` when there are none, or faulty ones, after that was noted.
    pub(super) fn read(s: &mut Section<'_>) -> Option<Self> {
        let given: Vec<&str> = ["url", "urls", "targets"].into_iter().filter(|key| s.has_any(&[key])).collect();
        let url = s.optional("url", upstream_url());
        let urls = s.optional("urls", parse::list(upstream_url()));
        let listed =
            s.list("targets", |s| (s.require("url", upstream_url()), s.read("weight", parse::number_u32(1, WEIGHT_MAX))));
        let key = match given[..] {
            [key] => key,
            [] => {
                s.fault("url", MISSING);
                return None;
            }
            [first, other, ..] => {
                s.fault(other, format!("`{first}` is given too; allowed is one of `url`, `urls` and `targets`"));
                return None;
            }
        };
        let single = url.map(|url| Target { key: "url".to_owned(), url, weight: 1 });
        let of_list = |(index, url)| Target { key: format!("urls[{index}]"), url, weight: 1 };
        let of_table = |(index, (url, weight)): (usize, (Option<UpstreamUrl>, u32))| {
            Some(Target { key: format!("targets[{index}].url"), url: url?, weight })
        };
        let targets: Vec<Target> = match key {
            "url" => vec![single?],
            "urls" => urls?.into_iter().enumerate().map(of_list).collect(),
            _ => listed.into_iter().enumerate().map(of_table).collect::<Option<_>>()?,
        };
        match Self::fault(&targets) {
            None => Some(Self(targets)),
            Some(fault) => {
                s.fault(key, fault);
                None
            }
        }
    }

    /// Why these cannot be one upstream.
    fn fault(targets: &[Target]) -> Option<String> {
        let Some((first, others)) = targets.split_first() else {
            return Some("names no server; allowed is one or more".to_owned());
        };
        if targets.len() > TARGETS_MAX {
            return Some(format!("names {} servers; allowed are {TARGETS_MAX}", targets.len()));
        }
        let is_of_a_kind =
            |other: &&Target| other.url.is_tls() == first.url.is_tls() && other.url.base_path() == first.url.base_path();
        if let Some(other) = others.iter().find(|other| !is_of_a_kind(other)) {
            return Some(format!(
                "{} and {} differ in more than host and port; allowed are the same scheme and path",
                first.url, other.url
            ));
        }
        let is_repeated = |(index, target): &(usize, &Target)| targets[..*index].iter().any(|other| other.url == target.url);
        let (_, repeated) = targets.iter().enumerate().find(is_repeated)?;
        Some(format!("names {} twice; for more requests, give it a greater weight in [[targets]]", repeated.url))
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Target> {
        self.0.iter()
    }

    pub fn first(&self) -> &Target {
        &self.0[0]
    }

    /// The same for all.
    pub fn is_tls(&self) -> bool {
        self.first().url.is_tls()
    }

    /// What is put before the paths of requests, the same for all.
    pub fn base_path(&self) -> &str {
        self.first().url.base_path()
    }
}

/// One server, by its URL.
impl FromStr for Targets {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        Ok(Self(vec![Target { key: "url".to_owned(), url: url.parse()?, weight: 1 }]))
    }
}

impl<'a> IntoIterator for &'a Targets {
    type Item = &'a Target;
    type IntoIter = std::slice::Iter<'a, Target>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first().url.fmt(f)?;
        match self.0.len() {
            1 => Ok(()),
            count => write!(f, " and {} more", count - 1),
        }
    }
}

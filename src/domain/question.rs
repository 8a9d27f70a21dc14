//! A proxy's question about a request: about which one it is asked.
//!
//! Whatever decides about the request must be said, once: a proxy that forgets to say it is refused at its first request, before anybody
//! finds out that clients can say it for the proxy.

use http::header::HOST;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use super::headers::framing::effective_host;
use super::host::{Host, LastHost};
use super::path::{CanonicalTarget, PathError};

const X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// None of them may come twice, whichever counts.
const SAID_ONCE: [HeaderName; 7] =
    [X_ORIGINAL_URL, X_ORIGINAL_URI, X_ORIGINAL_METHOD, X_FORWARDED_METHOD, X_FORWARDED_URI, X_FORWARDED_HOST, X_FORWARDED_PROTO];

/// How a proxy says about which request it asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// X-Original-URL, or X-Original-URI with X-Forwarded-Host, and X-Original-Method.
    Original,
    /// X-Forwarded-Method, -Host and -Uri.
    Forwarded,
    /// By the question itself: its method and Host, and its path behind a prefix.
    Path,
    /// By a call of gRPC, which is read where its messages are known.
    Grpc,
}

/// How questions are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuestionRules {
    /// `None`: each question shows it.
    pub dialect: Option<Dialect>,
    /// What stands before the path in the dialect of paths. Canonical, without a slash at its end, and not empty: a proxy that says
    /// nothing at all must not be taken for one that asks about the path of its question.
    pub path_prefix: String,
}

/// The request in question, as far as the question does not carry its fields along.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    pub method: Method,
    pub host: Host,
    /// In origin-form. Not judged.
    pub target: String,
    /// In which it was asked.
    pub dialect: Dialect,
}

impl Dialect {
    /// Whether proxies take a field of the request for empty where a yes does not have it. Otherwise they leave it as it is.
    #[must_use]
    pub const fn replaces_what_is_missing(self) -> bool {
        match self {
            Self::Original | Self::Forwarded => true,
            // Envoy's.
            Self::Path | Self::Grpc => false,
        }
    }
}

impl QuestionRules {
    /// Whether calls of gRPC are taken.
    pub fn takes_calls(&self) -> bool {
        self.dialect.is_none_or(|dialect| dialect == Dialect::Grpc)
    }

    /// # Errors
    /// Fixed text for the proxy's operator: something is missing, is said twice, or can be read in two ways.
    pub fn read(&self, asking: &Parts) -> Result<Question, &'static str> {
        if SAID_ONCE.into_iter().any(|name| asking.headers.get_all(name).iter().nth(1).is_some()) {
            return Err("A field that says which request is asked about came twice.");
        }
        let question = match self.dialect.map_or_else(|| self.shown(asking), Ok)? {
            Dialect::Original => original(&asking.headers),
            Dialect::Forwarded => forwarded(&asking.headers),
            Dialect::Path => self.by_path(asking),
            Dialect::Grpc => Err("Questions are taken here as calls of gRPC alone."),
        }?;
        if question.method == Method::CONNECT {
            return Err("CONNECT is not supported.");
        }
        Ok(question)
    }

    /// The one dialect of which there is a sign.
    fn shown(&self, asking: &Parts) -> Result<Dialect, &'static str> {
        let says = |names: &[&HeaderName]| names.iter().any(|name| asking.headers.contains_key(*name));
        let signs = [
            (Dialect::Original, says(&[&X_ORIGINAL_URL, &X_ORIGINAL_URI, &X_ORIGINAL_METHOD])),
            (Dialect::Forwarded, says(&[&X_FORWARDED_METHOD, &X_FORWARDED_URI])),
            (Dialect::Path, self.behind_prefix(asking).is_some()),
        ];
        let mut shown = signs.into_iter().filter_map(|(dialect, is_shown)| is_shown.then_some(dialect));
        match (shown.next(), shown.next()) {
            (Some(dialect), None) => Ok(dialect),
            (Some(_), Some(_)) => Err("The question is asked in two dialects: decision.dialect says which one counts."),
            (None, _) => Err("The question does not say about which request it is asked."),
        }
    }

    /// By HTTP/2 too.
    fn behind_prefix<'a>(&self, asking: &'a Parts) -> Option<&'a str> {
        let target = asking.uri.path_and_query().map_or("", PathAndQuery::as_str);
        target.strip_prefix(&self.path_prefix).filter(|rest| rest.starts_with('/'))
    }

    fn by_path(&self, asking: &Parts) -> Result<Question, &'static str> {
        let target = self.behind_prefix(asking).ok_or("The question's path does not begin with decision.path_prefix.")?;
        let host = effective_host(&asking.method, &asking.uri, asking.version, &asking.headers, &LastHost::default())?;
        let host = host.ok_or("The Host field is missing.")?;
        Ok(Question { method: asking.method.clone(), host, target: target.to_owned(), dialect: Dialect::Path })
    }
}

fn original(headers: &HeaderMap) -> Result<Question, &'static str> {
    let method = method(headers, &X_ORIGINAL_METHOD).ok_or("X-Original-Method is missing or no method.")?;
    let uri = text(headers, &X_ORIGINAL_URI)?;
    let Some(url) = text(headers, &X_ORIGINAL_URL)? else {
        let target = uri.ok_or("X-Original-URL is missing.")?.to_owned();
        let host = forwarded_host(headers).ok_or("X-Original-URI needs X-Forwarded-Host with one host beside it.")?;
        return Ok(Question { method, host, target, dialect: Dialect::Original });
    };
    let (host, target) = split(url).ok_or("X-Original-URL is no URL of http or https.")?;
    if uri.is_some_and(|uri| uri != target) {
        return Err("X-Original-URL and X-Original-URI name two paths.");
    }
    Ok(Question { method, host, target: target.to_owned(), dialect: Dialect::Original })
}

fn forwarded(headers: &HeaderMap) -> Result<Question, &'static str> {
    let method = method(headers, &X_FORWARDED_METHOD).ok_or("X-Forwarded-Method is missing or no method.")?;
    let host = forwarded_host(headers).ok_or("X-Forwarded-Host is missing or not one host.")?;
    let target = text(headers, &X_FORWARDED_URI)?.ok_or("X-Forwarded-Uri is missing.")?.to_owned();
    Ok(Question { method, host, target, dialect: Dialect::Forwarded })
}

fn forwarded_host(headers: &HeaderMap) -> Option<Host> {
    Host::of_field(headers.get(&X_FORWARDED_HOST)?).ok()
}

fn method(headers: &HeaderMap, name: &HeaderName) -> Option<Method> {
    Method::from_bytes(headers.get(name)?.as_bytes()).ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, &'static str> {
    headers
        .get(name)
        .map(HeaderValue::to_str)
        .transpose()
        .map_err(|_| "A field that says which request is asked about is no text.")
}

/// Host and target of an absolute URL. What stands between is looked for by hand: a parser of URLs would mend what is to be refused.
fn split(url: &str) -> Option<(Host, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let is_web = ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
    let at = rest.find('/').filter(|_| is_web)?;
    let (authority, target) = rest.split_at(at);
    Some((Host::parse(authority.as_bytes()).ok()?, target))
}

impl Question {
    /// Makes the head of the question that of the request in question: what is judged is one head, and nothing is left in it that names
    /// another request.
    ///
    /// # Errors
    /// The target is none.
    pub fn put_into(self, head: &mut Parts) -> Result<(), PathError> {
        // By its own rules first: what a parser of URLs leaves out of a target would not be judged.
        CanonicalTarget::parse(&self.target)?;
        head.uri = Uri::try_from(self.target).map_err(|_| PathError::BadCharacter)?;
        head.method = self.method;
        // What the question's own connection makes of it, as an extended CONNECT.
        head.extensions.clear();
        head.version = Version::HTTP_11;
        head.headers.insert(HOST, self.host.field().clone());
        for name in [X_ORIGINAL_URL, X_ORIGINAL_URI, X_ORIGINAL_METHOD, X_FORWARDED_METHOD, X_FORWARDED_URI] {
            head.headers.remove(name);
        }
        Ok(())
    }
}

#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod tests;

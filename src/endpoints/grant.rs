//! What an upstream's response to a login grants: whose session it becomes, and what its tokens say. Or why it becomes none.

use std::collections::HashSet;

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::json_object::JsonObject;
use crate::config::{self, Pointer};
use crate::domain::ids::Subject;
use crate::domain::json::{self, JsonError};
use crate::domain::media_type;
use crate::domain::session::Grant;
use crate::domain::subjects::SubjectError;
use crate::proxy::control::UpstreamResponse;
use crate::sessions::claims_hook::PresentClaims;

/// How many scopes one response may grant.
pub(super) const SCOPES_MAX: usize = 256;

/// How deeply a response may nest.
const DEPTH_MAX: u8 = 100;

/// A response that becomes a session.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) subject: Subject,
    pub(super) grant: Grant,
    /// Where the response names the subject.
    pub(super) id_at: Pointer,
    /// What the client gets, before the tokens are put into it.
    pub(super) object: JsonObject,
}

/// Why a response becomes none, and is passed on as it is.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum NoSession<'a> {
    /// The upstream refused.
    NotSuccessful,
    /// All would be well but for its status.
    Status,
    NotPlainJson,
    NotOneObject,
    /// It says two things of which clients may read either.
    Repeats,
    /// Which of `login.requires` does not hold.
    Lacks(&'a str),
    /// Which of `login.unless` holds.
    Says(&'a str),
    /// No pointer leads to anything; where an id stands that could be meant.
    NobodyNamed {
        id_at: Option<String>,
    },
    /// The pointer that decided, and leads to what is no id.
    IdUnusable(&'a str),
    /// The pointer that decided; the id begins as the subjects of another issuer or of machines do.
    IdReserved(&'a str, SubjectError),
    /// There is no place in it for the tokens.
    NoRoom,
}

/// Judges a response. Every rule of what makes a session stands here, in the order in which a refusal is told.
///
/// `with_tokens`: whether it has to carry the tokens.
pub(super) fn judge<'a>(
    response: &UpstreamResponse,
    login: &'a config::Login,
    with_tokens: bool,
) -> Result<Granted, NoSession<'a>> {
    if !response.head.status.is_success() {
        return Err(NoSession::NotSuccessful);
    }
    if !is_plain_json(&response.head.headers) {
        return Err(NoSession::NotPlainJson);
    }
    let members = json::object(&response.body, DEPTH_MAX).map_err(|error| match error {
        JsonError::DuplicateMember => NoSession::Repeats,
        JsonError::Malformed | JsonError::NotAnObject | JsonError::TooDeep => NoSession::NotOneObject,
    })?;
    let object = JsonObject::parse(&response.body).ok_or(NoSession::NotOneObject)?;
    let value = Value::Object(members);
    if let Some(says) = login.unless.iter().find(|condition| condition.holds(&value)) {
        return Err(NoSession::Says(says.as_str()));
    }
    if let Some(lacks) = login.requires.iter().find(|condition| !condition.holds(&value)) {
        return Err(NoSession::Lacks(lacks.as_str()));
    }
    let (subject, id_at) = named_subject(&value, login)?;
    if !login.statuses.contains(&response.head.status) {
        return Err(NoSession::Status);
    }
    if with_tokens && !has_room(&object, &login.members) {
        return Err(NoSession::NoRoom);
    }
    Ok(Granted { subject, grant: grant(&value, login), id_at: id_at.clone(), object })
}

/// Whether each of the tokens that clients are to find has a place.
fn has_room(object: &JsonObject, members: &config::Members) -> bool {
    let can_be_set = |places: &Vec<config::MemberPath>| places.iter().any(|place| object.can_set_at(place.names()));
    can_be_set(&members.access_token) && (members.refresh_token.is_empty() || can_be_set(&members.refresh_token))
}

fn named_subject<'a>(response: &Value, login: &'a config::Login) -> Result<(Subject, &'a Pointer), NoSession<'a>> {
    let mut found = login.subject.iter().filter_map(|pointer| Some((pointer, response.pointer(pointer.as_str())?)));
    match found.next() {
        Some((pointer, value)) => {
            let subject = subject(value).ok_or(NoSession::IdUnusable(pointer.as_str()))?;
            let subject = login.reserved.ours(subject).map_err(|error| NoSession::IdReserved(pointer.as_str(), error))?;
            Ok((subject, pointer))
        }
        None => Err(NoSession::NobodyNamed { id_at: id_elsewhere(response) }),
    }
}

/// A string as it is, or an integer in digits.
fn subject(value: &Value) -> Option<Subject> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    Subject::new(&text).ok()
}

impl NoSession<'_> {
    /// Tells the log what to do about it. Nothing of the response but its status, and names that stand in the settings or below.
    pub(super) fn tell(&self, response: &UpstreamResponse, login: &config::Login) {
        let status = response.head.status.as_u16();
        let warn = |cause: &str| tracing::warn!(status, cause, "an upstream's login response made no session");
        let advise = |cause: &str, set: &str| tracing::warn!(status, cause, set, "an upstream's login response made no session");
        let on_purpose = |setting: &str, condition: &str| {
            tracing::info!(status, setting, condition, "an upstream's login response asks for more, and made no session");
        };
        match self {
            Self::NotSuccessful => {}
            Self::Status => {
                let mut codes: Vec<u16> = login.statuses.iter().map(StatusCode::as_u16).collect();
                codes.push(status);
                advise("its status is not among login.statuses", &format!("login.statuses = {codes:?}"));
            }
            Self::NotPlainJson => warn("not JSON without a content encoding"),
            Self::NotOneObject => warn("not one JSON object"),
            Self::Repeats => warn("a member appears twice"),
            Self::Lacks(condition) => on_purpose("login.requires", condition),
            Self::Says(condition) => on_purpose("login.unless", condition),
            Self::NobodyNamed { id_at: Some(pointer) } => {
                advise("none of login.subject leads to anything", &format!("login.subject = [\"{pointer}\"]"));
            }
            Self::NobodyNamed { id_at: None } => {
                advise("none of login.subject leads to anything", "login.subject = [the JSON pointer to the user's id]");
            }
            Self::IdUnusable(pointer) => {
                let cause = format!("what stands at {pointer} is no usable id: a text of up to 255 bytes, or an integer");
                warn(&cause);
            }
            Self::IdReserved(pointer, error) => {
                warn(&format!("the id at {pointer} {error}: the users of another issuer, or machines (oauth.subject_prefix)"));
            }
            Self::NoRoom => {
                let set = "login.members.access_token and login.members.refresh_token = names that lead through objects alone";
                advise("something else stands on the way to the members of the tokens", set);
            }
        }
    }
}

/// Objects in which responses hold users, those that stand for one first.
const AROUND_IDS: [&str; 23] = [
    "user",
    "account",
    "profile",
    "currentUser",
    "current_user",
    "me",
    "member",
    "customer",
    "identity",
    "principal",
    "data",
    "result",
    "results",
    "payload",
    "response",
    "body",
    "status",
    "session",
    "attributes",
    "auth",
    "authentication",
    "login",
    "_embedded",
];
const STANDING_FOR_USERS: usize = 10;

/// What ids are called, those that can only be users' first.
const IDS: [&str; 16] = [
    "userId",
    "user_id",
    "userID",
    "uid",
    "sub",
    "UserSub",
    "localId",
    "accountId",
    "account_id",
    "id",
    "_id",
    "uuid",
    "pk",
    "ID",
    "Id",
    "objectId",
];
const IDS_OF_USERS: usize = 9;

/// How many objects deep an id is looked for.
const ID_DEPTH_MAX: usize = 3;

/// Where the likeliest id of a user stands. The pointer is made of names of the lists above alone: it goes to the log.
fn id_elsewhere(response: &Value) -> Option<String> {
    let mut found: Vec<((bool, usize), String)> = Vec::new();
    let mut objects: Vec<(String, bool, &Value)> = vec![(String::new(), false, response)];
    for depth in 0..=ID_DEPTH_MAX {
        let mut inner = Vec::new();
        for (path, is_user, object) in objects {
            for (place, name) in IDS.iter().enumerate().filter(|(_, name)| object.get(**name).and_then(subject).is_some()) {
                let is_likely = is_user || place < IDS_OF_USERS;
                found.push(((!is_likely, depth), format!("{path}/{name}")));
            }
            for (place, name) in AROUND_IDS.iter().enumerate() {
                if let Some(value) = object.get(*name) {
                    inner.push((format!("{path}/{name}"), place < STANDING_FOR_USERS, value));
                }
            }
        }
        objects = inner;
    }
    found.into_iter().min_by_key(|(rank, _)| *rank).map(|(_, pointer)| pointer)
}

fn is_plain_json(headers: &HeaderMap) -> bool {
    let encodings = headers.get_all(CONTENT_ENCODING);
    let is_plain = encodings.iter().all(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"));
    is_plain && media_type::is_json(headers)
}

/// Reads what an upstream says of a subject at a later time, from the places where its login responses say it.
#[must_use]
pub fn present_claims(response: &Value, login: &config::Login) -> PresentClaims {
    let Grant { scopes, claims, .. } = grant(response, login);
    let speaks_of_scopes = login.scopes.iter().any(|pointer| response.pointer(pointer.as_str()).is_some());
    PresentClaims { scopes: speaks_of_scopes.then_some(scopes), claims }
}

/// All of it: what is too much is for others to refuse, and not to be lost here.
fn grant(value: &Value, login: &config::Login) -> Grant {
    let at = |pointer: &Pointer| value.pointer(pointer.as_str());
    let named = login.scopes.iter().filter_map(at).flat_map(|named| match named {
        Value::String(text) => text.split(' ').collect(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    });
    let mut seen = HashSet::new();
    let scopes = named.filter(|text| is_scope_token(text) && seen.insert(*text)).map(str::to_owned).collect();
    let claims = login.claims.iter();
    let claims: Map<String, Value> = claims.filter_map(|(name, pointer)| Some((name.clone(), at(pointer)?.clone()))).collect();
    Grant { scopes, claims, logged_in_at: None }
}

/// `scope-token` of RFC 6749, section 3.3.
fn is_scope_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~'))
}

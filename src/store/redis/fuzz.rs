//! What must hold for what Redis, its sentinels and its nodes reply, and for where they are said to be.

use fred::types::Value;

use super::codec::{self, FIELDS};
use super::discovery::{cluster, sentinel};
use super::error::{Code, Failure, Redirection, ServerError};
use super::guard::Verdict;
use super::options::{ADDRESSES_MAX, Address, Deployment, RedisOptions};
use crate::domain::fuzz::Input;
use crate::domain::ids::{Partitions, SessionId};
use crate::domain::node::Node;
use crate::domain::revocation::Revocation;
use crate::domain::stats::Snapshot;
use crate::domain::time::Timestamp;
use crate::store::{LogBatch, LogCursor};

/// A kind of reply, then what it holds: damage is told and never a panic, and what is read is written so that it is read again.
pub fn redis_records(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 5 {
        0 => session(&mut input),
        1 => log(&mut input),
        2 => members(input),
        3 => {
            let reply = value(&mut input, 4);
            let id = SessionId::from_bytes([7; 16]);
            let _ = (codec::stored(id, &reply), codec::logged(&reply), codec::expiring(&reply), codec::session_id(&reply));
            let _ =
                (codec::integer(&reply), codec::position(&reply), codec::number(&reply), sentinel::claim(&reply, Some(&reply)));
        }
        _ => {
            let text = Value::Bytes(input.rest().to_vec().into());
            if let Ok(Some(node)) = codec::from_json::<Node>(&text) {
                assert_eq!(codec::from_json(&codec::json(&node).expect("written").into()).ok(), Some(Some(node)));
            }
            if let Ok(Some(counts)) = codec::from_json::<Snapshot>(&text) {
                assert_eq!(codec::from_json(&codec::json(&counts).expect("written").into()).ok(), Some(Some(counts)));
            }
        }
    }
}

/// The fields of a record as lines.
fn session(input: &mut Input<'_>) {
    let id = SessionId::from_bytes([7; 16]);
    let fields: Vec<Value> = FIELDS.iter().map(|_| Value::Bytes(input.line().to_vec().into())).collect();
    let Ok(Some(stored)) = codec::stored(id, &Value::Array(fields.clone())) else { return };
    let record = codec::record(&stored.session).expect("a record is written");
    let written = [&fields[..4], &[record.into()]].concat();
    assert_eq!(codec::stored(id, &Value::Array(written)).ok(), Some(Some(stored.clone())));
    let (now, far) = (Timestamp::from_millis(0), 1 << 43);
    let ttl = codec::ttl_millis(&stored.session, now);
    assert!((1..far).contains(&ttl) && (1..far).contains(&codec::span_millis(stored.session.last_used_at, now)));
    let member = codec::expiry_member(id, &stored.session.subject);
    assert_eq!(codec::expiring(&Value::Bytes(member.into())).ok(), Some((id, stored.session.subject)));
}

/// Entries of the log: position, kind and text as lines.
fn log(input: &mut Input<'_>) {
    let mut line = || Value::Bytes(input.line().to_vec().into());
    let nothing = || Value::from("");
    let entries: Vec<Value> =
        (0..3).map(|_| Value::Array(vec![line(), Value::Array(vec![nothing(), nothing(), line(), line()])])).collect();
    let Ok(logged) = codec::logged(&Value::Array(entries)) else { return };
    for entry in &logged {
        assert_eq!(codec::position(&codec::stream_id(entry.position).into()), Some(entry.position));
        let mut batch = LogBatch { revocations: Vec::new(), canaries: Vec::new(), cursor: LogCursor(Vec::new()), unread: None };
        if entry.read_into(&mut batch).is_ok() {
            assert_eq!(batch.revocations.len() + batch.canaries.len(), 1);
        }
        for revocation in batch.revocations {
            let text = codec::log_entry(&revocation).expect("a revocation is written");
            assert_eq!(serde_json::from_str::<Revocation>(&text[1..]).ok(), Some(revocation));
        }
    }
}

fn members(input: Input<'_>) {
    let member = Value::Bytes(input.rest().to_vec().into());
    if let Ok((id, subject)) = codec::expiring(&member) {
        assert_eq!(codec::expiry_member(id, &subject), input.rest());
    }
    if let Ok(id) = codec::session_id(&member) {
        assert_eq!(id.as_bytes(), input.rest());
    }
}

/// Any reply there may be.
fn value(input: &mut Input<'_>, depth: u8) -> Value {
    match input.byte() {
        b'*' if depth > 0 => Value::Array((0..input.byte() % 8).map(|_| value(input, depth - 1)).collect()),
        b':' => Value::Integer(i64::from_be_bytes(input.bytes())),
        b',' => Value::Double(f64::from_be_bytes(input.bytes())),
        b'#' => Value::Boolean(input.byte() & 1 == 1),
        b'_' => Value::Null,
        _ => Value::Bytes(input.line().to_vec().into()),
    }
}

/// A slot, who was asked, then an error of a node or the reply to `CLUSTER NODES`: a server is a host and a port, and the latest
/// promotion owns the slot.
pub fn redis_topology(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let slot = u16::from_be_bytes(input.bytes()) % 16_384;
    let asked = Address { host: "seed".to_owned(), port: 1 };
    let Ok(reply) = std::str::from_utf8(input.rest()) else { return };
    let account = cluster::Account::read(reply, &asked);
    assert!(account.primaries().count() <= reply.lines().count() && account.primaries().all(|address| !address.host.is_empty()));
    assert!(account.names().all(|(address, named)| address.port == named.port && !named.host.is_empty()));
    let other = cluster::Account::read("x a:1@1 master - 0 0 5 connected 0-16383", &asked);
    let owner = cluster::owner(&[account, other], slot).expect("the second claims every slot");
    assert!(owner.epoch >= 5, "an older promotion won");

    if let Some(error) = ServerError::read(reply) {
        assert!(error.text == reply && error.to_store_error().to_string().ends_with(reply));
        match Redirection::of(&error, &asked) {
            Some(Redirection::Moved(to) | Redirection::Ask(to)) => {
                assert!(!to.host.is_empty() && matches!(error.code, Code::Moved | Code::Ask));
            }
            Some(Redirection::Wait) | None => {}
        }
        let _ = Verdict::of(&Failure::Refused(error));
    }
    let texts: Vec<Value> = reply.lines().map(Value::from).collect();
    if let Some(claim) = sentinel::claim(&Value::Array(texts.clone()), Some(&Value::Array(texts))) {
        assert_eq!(reply.lines().next(), Some(claim.primary.host.as_str()));
    }
}

/// User, password and service as lines, then a URL: credentials arrive as they were, and are not repeated.
pub fn redis_url(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (Some(user), Some(password), Some(service)) = (input.text(), input.text(), input.text()) else { return };
    let encoded = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let url = format!("redis+sentinel://{}:{}@a,[::1]:2/{}/3", encoded(user), encoded(password), encoded(service));
    match RedisOptions::from_url(&url, Partitions::ONE) {
        Ok(options) => {
            assert_eq!((options.username.clone(), options.database), (filled(user), 3));
            assert_eq!(options.password.as_ref().map(|password| password.expose().clone()), filled(password));
            let Deployment::Sentinel(sentinels) = &options.deployment else { panic!("not sentinels") };
            assert_eq!((sentinels.service.as_str(), sentinels.addresses.len()), (service, 2));
            let is_telling =
                password.len() >= 12 && !url.starts_with(password) && !user.contains(password) && !service.contains(password);
            assert!(!is_telling || !format!("{options:?}").contains(password), "the password is shown");
        }
        Err(error) => assert!(service.is_empty(), "{error}"),
    }
    let Ok(text) = std::str::from_utf8(input.rest()) else { return };
    let Ok(options) = RedisOptions::from_url(text, Partitions::ONE) else { return };
    let addresses: &[Address] = match &options.deployment {
        Deployment::Standalone(address) => std::slice::from_ref(address),
        Deployment::Sentinel(sentinels) => &sentinels.addresses,
        Deployment::Cluster(seeds) => seeds,
    };
    assert!((1..=ADDRESSES_MAX).contains(&addresses.len()));
    for address in addresses {
        assert_eq!(Address::parse(&address.to_string()).as_ref(), Some(address), "an address that cannot be told");
    }
    assert_eq!(options.tls.is_some(), text.starts_with("rediss"));
}

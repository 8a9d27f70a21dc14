//! What routes demand and do, through the real gateway: an upstream that records what reaches it stands behind.

mod addresses;
mod answers;
mod claims;
mod fields;
mod limits;
mod prefixes;

use crate::support::gateway::Gateway;
use crate::support::http::Message;

/// The value of a sample of `/metrics`.
fn metric(gateway: &Gateway, sample: &str) -> u64 {
    let metrics = gateway.admin().get("/metrics", None).expect(200).text();
    let line = metrics.lines().find_map(|line| line.split_once(sample)?.1.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no {sample}: {metrics}"))
}

/// Asserts a refusal in the form of all refusals.
#[track_caller]
fn assert_refused(answer: &Message, status: u16, code: &str) {
    assert_eq!((answer.status(), answer.member("code").as_str()), (status, code), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
}

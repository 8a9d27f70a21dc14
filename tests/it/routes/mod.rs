//! What routes demand and do, through the real gateway: an upstream that records what reaches it stands behind.

mod addresses;
mod claims;
mod fields;
mod limits;
mod prefixes;
mod responses;
mod sign_in;

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
fn assert_refused(response: &Message, status: u16, code: &str) {
    assert_eq!((response.status(), response.member("code").as_str()), (status, code), "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
}

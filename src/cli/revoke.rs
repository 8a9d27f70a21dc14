//! `tokengate revoke`: ends sessions and tokens through a running gateway.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{ArgGroup, Args};
use serde_json::{Map, Value, json};

use super::admin_client::{AdminArgs, AdminClient, printable};
use super::output::{Failure, say};

/// Deleting the records of millions of sessions takes its time. They are refused from the start.
const EVERYONE_PATIENCE: Duration = Duration::from_secs(600);

/// End a session, a subject's sessions, one token, or everything that is older than a moment.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("target").args(["subject", "client", "session", "jti"]),
    group = ArgGroup::new("what").args(["subject", "client", "session", "jti", "issued_before"]).required(true).multiple(true),
    after_long_help = "\
Examples:
  tokengate revoke --subject ann@example.com
      Everywhere she is logged in.
  tokengate revoke --session AAXF2cMmJ5gBAgMEBQYHCA --wait
      One device; returns when every node refuses it.
  tokengate revoke --subject ann --issued-before 2026-11-24T16:00:00Z
      What is older than a change of her password, say.
  tokengate revoke --issued-before 2026-11-24T16:00:00Z --wait 30
      Every session of everybody that began before then: after a leak.
  tokengate revoke --client reports
      The tokens that an OAuth client got for itself.
  tokengate revoke --jti 5b1c --issuer https://issuer.example.com/
      One token of another issuer.

Exit code 0: done, and with --wait known to every node. 1: not done, or not known everywhere in time; the output says which.
2: the call or the settings are wrong."
)]
pub(super) struct RevokeArgs {
    /// All sessions of this subject, and its tokens of other issuers.
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// The tokens that this OAuth client got for itself.
    #[arg(long, value_name = "ID", conflicts_with = "issued_before")]
    client: Option<String>,
    /// One session.
    #[arg(long, value_name = "ID", conflicts_with = "issued_before")]
    session: Option<String>,
    /// One token, by its id.
    #[arg(long, value_name = "JTI", conflicts_with = "issued_before")]
    jti: Option<String>,
    /// Whose token it is; left out, one of the gateway's own.
    #[arg(long, value_name = "ISSUER", requires = "jti")]
    issuer: Option<String>,
    /// What began before this moment (RFC 3339, or seconds since 1970): of the subject, or of everybody.
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    issued_before: Option<Value>,
    #[command(flatten)]
    done: DoneArgs,
}

/// What every call that ends something takes.
#[derive(Debug, Args)]
pub(super) struct DoneArgs {
    /// Return when every node has applied it, after so many seconds at the latest (10 if none are given).
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "10", value_parser = clap::value_parser!(u64).range(0..=60))]
    wait: Option<u64>,
    /// Print the gateway's response as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

fn moment(text: &str) -> Result<Value, String> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(seconds.into());
    }
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    parsed.map(|_| text.into()).map_err(|_| "allowed is a moment such as 2026-11-24T16:00:00Z, or seconds since 1970".to_owned())
}

pub(super) fn run(args: &RevokeArgs) -> Result<(), Failure> {
    let mut order = Map::new();
    let named = [
        ("subject", &args.subject),
        ("client", &args.client),
        ("session", &args.session),
        ("jti", &args.jti),
        ("issuer", &args.issuer),
    ];
    for (name, value) in named {
        order.extend(value.as_ref().map(|value| (name.to_owned(), json!(value))));
    }
    if let Some(moment) = &args.issued_before {
        order.insert("issuedBefore".to_owned(), moment.clone());
        if args.subject.is_none() {
            order.insert("everyone".to_owned(), true.into());
        }
    }
    let patience = if order.contains_key("everyone") { EVERYONE_PATIENCE } else { Duration::ZERO };
    args.done.ask("POST", "/revocations", Some(&Value::Object(order)), patience)
}

impl DoneArgs {
    /// Makes the gateway end something, and prints the outcome.
    /// It may take `longer` than others by itself.
    pub(super) fn ask(&self, method: &str, path: &str, body: Option<&Value>, longer: Duration) -> Result<(), Failure> {
        let client: AdminClient = self.admin.client()?;
        let waits = self.wait.map(|seconds| format!("?wait=all&timeout={seconds}s")).unwrap_or_default();
        let longer = longer + Duration::from_secs(self.wait.unwrap_or_default());
        let (status, response) = client.call(method, &format!("{path}{waits}"), body, longer)?;
        say(&if self.json { response.to_string() } else { told(&response) })?;
        let is_everywhere = status == 200;
        if is_everywhere { Ok(()) } else { Err(Failure::Failed("it is done, but not known to every node yet".to_owned())) }
    }
}

fn told(response: &Value) -> String {
    let mut text = match response["ended"].as_u64() {
        Some(1) => "ended 1 session".to_owned(),
        ended => format!("ended {} sessions", ended.unwrap_or_default()),
    };
    let named = |list: &Value| {
        let nodes = list.as_array().into_iter().flatten();
        let one = |node: &Value| format!("{} ({})", node["name"].as_str().unwrap_or("?"), node["id"].as_str().unwrap_or("?"));
        nodes.map(one).map(|name| printable(&name)).collect::<Vec<_>>().join(", ")
    };
    if response["nodes"].is_object() {
        let nodes = &response["nodes"];
        let _ = write!(text, "\nknown to: {}", named(&nodes["applied"]));
        if nodes["pending"].as_array().is_some_and(|pending| !pending.is_empty()) {
            let _ = write!(text, "\nnot known yet to: {}", named(&nodes["pending"]));
        }
    }
    if let Some(detail) = response["detail"].as_str() {
        let _ = write!(text, "\n{}", printable(detail));
    }
    text
}

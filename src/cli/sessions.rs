//! `tokengate sessions`: lists the live sessions of a running gateway.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::admin_client::{AdminArgs, printable};
use super::output::{Failure, say};
use super::revoke::DoneArgs;
use crate::domain::page::{PAGE_LIMIT_DEFAULT, Page};

/// List a subject's sessions, or end one.
#[derive(Debug, Args)]
pub(super) struct SessionsArgs {
    #[command(subcommand)]
    command: SessionsCommand,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    List(ListArgs),
    Revoke(RevokeArgs),
}

/// List the live sessions of a subject, newest first.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tokengate sessions list --subject ann@example.com
  tokengate sessions list --subject ann@example.com --json --url http://gateway:9180
  tokengate sessions list --subject ann@example.com --limit 200 --after AAXF2cMmJ5gBAgMEBQYHCA

Times are UTC. Exit code 0: listed, even if there are none; 1: the gateway did not respond; 2: the call or the settings are wrong.")]
struct ListArgs {
    /// Whose sessions.
    #[arg(long, value_name = "SUBJECT")]
    subject: String,
    /// How many at once, 1 to 200.
    #[arg(long, value_name = "COUNT", default_value_t = PAGE_LIMIT_DEFAULT, value_parser = limit)]
    limit: usize,
    /// Go on after this session: the last of a list that has more.
    #[arg(long, value_name = "ID", value_parser = session_id)]
    after: Option<String>,
    /// Print the gateway's response as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// End one session.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tokengate sessions revoke AAXF2cMmJ5gBAgMEBQYHCA
  tokengate sessions revoke AAXF2cMmJ5gBAgMEBQYHCA --wait 5

Ending a session that has ended already, or never was, is no fault: it ends 0 sessions.")]
struct RevokeArgs {
    /// Its id, as `sessions list` shows it.
    #[arg(value_name = "ID", value_parser = session_id)]
    id: String,
    #[command(flatten)]
    done: DoneArgs,
}

fn session_id(text: &str) -> Result<String, String> {
    let id = crate::domain::ids::SessionId::parse(text).ok_or("not a session id")?;
    Ok(id.to_string())
}

fn limit(text: &str) -> Result<usize, String> {
    Page::read(Some(text), None).map(|page| page.limit).map_err(str::to_owned)
}

pub(super) fn run(args: &SessionsArgs) -> Result<(), Failure> {
    match &args.command {
        SessionsCommand::List(args) => list(args),
        SessionsCommand::Revoke(args) => args.done.ask("DELETE", &format!("/sessions/{}", args.id), None, Duration::ZERO),
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("subject", &args.subject).append_pair("limit", &args.limit.to_string());
    if let Some(after) = &args.after {
        query.append_pair("after", after);
    }
    let query = query.finish();
    let (_, response) = args.admin.client()?.get(&format!("/sessions?{query}"))?;
    say(&if args.json { response.to_string() } else { table(&response) })
}

const COLUMNS: [(&str, &str); 6] = [
    ("id", "ID"),
    ("createdAt", "CREATED"),
    ("lastUsedAt", "LAST USED"),
    ("expiresAt", "EXPIRES"),
    ("address", "ADDRESS"),
    ("userAgent", "USER AGENT"),
];

fn table(response: &Value) -> String {
    let sessions = response["sessions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if sessions.is_empty() && response["next"].is_null() {
        return "no sessions".to_owned();
    }
    let heads = COLUMNS.map(|(_, head)| head.to_owned());
    let rows = sessions.iter().map(|session| COLUMNS.map(|(name, _)| cell(&session[name])));
    let rows: Vec<[String; COLUMNS.len()]> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    if let Some(next) = response["next"].as_str() {
        let _ = writeln!(text, "There are more: --after {}", printable(next));
    }
    text
}

/// What came from a client may hold anything.
fn cell(value: &Value) -> String {
    let text = value.as_str().unwrap_or("-");
    // To the second: `2026-11-24T16:00:00.123Z`.
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => jiff::Timestamp::from_second(at.as_second()).unwrap_or(at).to_string(),
        Err(_) => printable(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sessions_are_shown_in_columns_and_nothing_moves_the_cursor() {
        let response = json!({"sessions": [
            {"id": "AAXF2cMmJ5gBAgMEBQYHCA", "createdAt": "2026-11-24T16:00:00.123Z", "lastUsedAt": "2026-11-24T16:00:00Z",
             "expiresAt": "2026-12-01T16:00:00Z", "address": "192.0.2.1", "userAgent": "a\u{1b}[31mb"},
            {"id": "AAXF2cMmJ5gBAgMEBQYHCB", "createdAt": "2026-11-24T16:00:00Z", "lastUsedAt": "2026-11-24T16:00:00Z",
             "expiresAt": "2026-12-01T16:00:00Z", "address": "2001:db8::1"},
        ]});
        assert_eq!(
            table(&response),
            "ID                      CREATED               LAST USED             EXPIRES               ADDRESS      USER AGENT\n\
             AAXF2cMmJ5gBAgMEBQYHCA  2026-11-24T16:00:00Z  2026-11-24T16:00:00Z  2026-12-01T16:00:00Z  192.0.2.1    a [31mb\n\
             AAXF2cMmJ5gBAgMEBQYHCB  2026-11-24T16:00:00Z  2026-11-24T16:00:00Z  2026-12-01T16:00:00Z  2001:db8::1  -\n"
        );
        assert_eq!(table(&json!({"sessions": []})), "no sessions");
        let page = json!({"sessions": [response["sessions"][0]], "next": "AAXF2cMmJ5gBAgMEBQYHCA"});
        assert!(table(&page).ends_with("\nThere are more: --after AAXF2cMmJ5gBAgMEBQYHCA\n"));
    }
}

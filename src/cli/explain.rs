//! `tokengate explain`: what the code of a refusal means. Its page is `docs/errors.md`.

use std::fmt::Write as _;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use http::StatusCode;

use super::output::{Failure, say};
use crate::domain::problem_code::ProblemCode;

/// Say what a refusal of the gateway means, and what to do about it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tokengate explain token_revoked
  tokengate explain > errors.md")]
pub(super) struct ExplainArgs {
    #[arg(
        help = "The `code` of the refusal; left out: all of them, as a page of Markdown",
        value_name = "CODE",
        value_parser = PossibleValuesParser::new(names()).try_map(|name| ProblemCode::named(&name).ok_or("no refusal has it")),
        hide_possible_values = true
    )]
    code: Option<ProblemCode>,
}

pub(super) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    say(&args.code.map_or_else(page, explained))
}

fn names() -> impl Iterator<Item = &'static str> {
    ProblemCode::ALL.iter().map(|code| code.as_str())
}

fn explained(code: ProblemCode) -> String {
    let (when, client, operator) = (code.when(), code.for_clients(), code.for_operators());
    format!("{code} ({})\n\nwhen      {when}\nclient    {client}\noperator  {operator}\n", statuses(code))
}

fn statuses(code: ProblemCode) -> String {
    let numbers: Vec<&str> = code.statuses().iter().map(StatusCode::as_str).collect();
    numbers.join(", ")
}

const HEAD: &str = "\
# Errors

<!-- Written by `tokengate explain`, from src/domain/problem_code.rs. -->

A refusal of the gateway is `application/problem+json` (RFC 9457). Programs go by its `code`, which keeps its meaning; `detail` is for
people. With `errors.type_base`, its `type` leads to a page like this one: the base with the code at its end.

Whoever sent a form (RFC 6749) gets the same members as `application/json`, with `error` and `error_description`. A call of gRPC has the
code at the beginning of `grpc-message`. Responses of the upstream pass as they are. The admin listener has codes of its own.

**Two of these end a session**: `refresh_token_invalid`, and `refresh_token_missing` with 401. With all others, clients keep what they have.
Refusals with 503 and 429 mostly say in `Retry-After` when to come again; of those of the upstream, 502 `upstream_unreachable` does too.
`tokengate explain CODE` prints one row.

| `code` | status | when | what a client does | what an operator does |
| --- | --- | --- | --- | --- |
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for &code in ProblemCode::ALL {
        let (when, client, operator) = (code.when(), code.for_clients(), code.for_operators());
        // Writing to a text does not fail.
        let _ = writeln!(page, "| <a id=\"{code}\"></a>`{code}` | {} | {when} | {client} | {operator} |", statuses(code));
    }
    page
}

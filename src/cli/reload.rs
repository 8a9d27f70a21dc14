//! `tokengate reload`: has a running gateway read its settings again.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::admin_client::{AdminArgs, printable};
use super::output::{Failure, say};

/// Keys on a slow disk take their time.
const RELOAD_PATIENCE: Duration = Duration::from_secs(30);

/// Have a running gateway read its settings, keys and secrets again, and say what only a restart would change.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The same as SIGHUP, with a response. The gateway reads the file, the variables and the flags that it was started with; the settings \
given here only say where it is and which token it needs.

Exit code 0: reloaded, but for the keys that are named. 1: not reloaded, and the old settings stay in force.")]
pub(super) struct ReloadArgs {
    /// Print the gateway's response as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(args: &ReloadArgs) -> Result<(), Failure> {
    let (_, response) = args.admin.client()?.call("POST", "/reload", None, RELOAD_PATIENCE)?;
    say(&if args.json { response.to_string() } else { printed(&response) })
}

fn printed(response: &Value) -> String {
    let mut text = "reloaded\n".to_owned();
    for key in response["needsRestart"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let _ = writeln!(text, "needs a restart: {}", printable(key));
    }
    text
}

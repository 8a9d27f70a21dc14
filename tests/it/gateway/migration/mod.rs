//! Coming from what people have: legacy tokens, and the gateway in front of them in steps.

mod legacy_tokens;
mod ramp;

use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::gateway::{Gateway, Pair};
use crate::support::http::{Client, Message};
use crate::support::old_api;
use crate::support::upstream::{PASSWORD, Upstream};

/// The longest that anything may take which comes about by itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// With settings of its own beside those that accept legacy tokens.
fn with_legacy<'a>(set: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    old_api::LEGACY.iter().chain(set).copied().collect()
}

fn pair(set: &[(&str, &str)]) -> Pair {
    Pair::start(&with_legacy(set))
}

fn exchange(client: &mut Client, legacy_token: &str) -> Message {
    client.post("/refresh", &json!({"token": legacy_token}))
}

fn log_in(client: &mut Client, email: &str) -> Message {
    client.post("/login", &json!({"email": email, "password": PASSWORD})).expect(200)
}

/// How many sessions the subject has.
fn sessions(client: &mut Client, token: &str) -> usize {
    client.get("/sessions", Some(token)).expect(200).json()["sessions"].as_array().unwrap().len()
}

/// Settings that change between reloads, beside those that a gateway was started with.
struct Steps {
    gateway: Gateway,
    base: Option<String>,
    step: u32,
}

impl Steps {
    /// On one worker, so that what one request finds in force is in force for all.
    fn start(upstream: &Upstream, set: &[(&str, &str)]) -> Self {
        let set: Vec<_> = set.iter().copied().chain([("listen.workers", "1")]).collect();
        Self { gateway: Gateway::start(upstream, &set), base: None, step: 0 }
    }

    /// Takes these settings, in place of those of the step before: keys of the route of everything, and further tables. Returns
    /// when they are in force.
    fn take(&mut self, route: &str, further: &str) {
        self.step += 1;
        let mark = format!("/step-{}", self.step);
        let base = &mut self.base;
        self.gateway.reload(|text| {
            let base = base.get_or_insert(text);
            let of_api = "name = \"api\"\nprefix = \"/\"\n";
            assert!(base.contains(of_api));
            let route = base.replace(of_api, &format!("{of_api}{route}\n"));
            let marked =
                format!("[[routes]]\nname = \"step\"\nprefix = \"{mark}\"\naccess = \"public\"\nbody_bytes_max = \"0B\"\n");
            format!("{route}\n{marked}\n{further}\n")
        });
        // The worker takes them with its next tick; until then the path is one of many, and nobody there is refused.
        let mut client = self.gateway.client();
        let token = old_api::token("whoever looks");
        soon("the settings are in force", || client.call("POST", &mark, Some(&token), Some(&json!({}))).status() == 413);
    }
}

#[track_caller]
fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

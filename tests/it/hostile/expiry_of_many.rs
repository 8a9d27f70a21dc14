//! Many streams whose tokens expire: those go on whose session has a newer one.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokengate::domain::stats::Counter;

use super::rig::{Rig, Tokens};
use crate::support::open_streams::{Kind, OpenStreams, streaming_upstream, streams_of_each_kind};

const MINUTE: Duration = Duration::from_secs(60);

const SETTINGS: &str = "[store]\nkind = \"memory\"\n[revocation]\nmax_staleness = \"1h\"\n[limits.login]\nper_address = \"\"\n\
                        per_account = \"\"\n[limits.refresh]\nper_address = \"\"\n[[routes]]\nname = \"events\"\nprefix = \"/events\"\n";

#[test]
fn without_a_newer_token_all_streams_end_at_expiry_and_with_one_none_does() {
    let count = streams_of_each_kind();
    let upstream = streaming_upstream();
    let rig = Rig::start_from(upstream.address(), SETTINGS, |settings| settings.listen.workers = 2);
    let sessions: Vec<Tokens> = (0..count).map(|_| rig.log_in()).collect();
    let tokens: Vec<String> = sessions.iter().map(|tokens| tokens.access.clone()).collect();
    let streams = OpenStreams::open(rig.address(), &tokens);
    streams.assert_others_noticed_nothing(Duration::from_millis(300));

    rig.clock.advance(10 * MINUTE);
    for tokens in sessions.iter().step_by(2) {
        let refreshed = rig.post("/refresh", &json!({"refreshToken": tokens.refresh}).to_string());
        let newer = serde_json::from_str::<Value>(&refreshed.body).unwrap()["accessToken"].as_str().unwrap().to_owned();
        assert_eq!(rig.get("/api/me", &newer).status, 200);
    }
    streams.assert_others_noticed_nothing(Duration::from_millis(300));

    rig.clock.advance(6 * MINUTE);
    let (renewed, left) = (count.div_ceil(2), count / 2);
    let ends = streams.ended(Kind::ALL.len() * left);
    let of_sessions: HashSet<usize> = ends.iter().map(|end| end.session).collect();
    assert_eq!(of_sessions, (1..count).step_by(2).collect());
    streams.assert_others_noticed_nothing(Duration::from_millis(500));
    assert_eq!(rig.counted(Counter::StreamsRenewed), (Kind::ALL.len() * renewed) as u64);

    rig.clock.advance(15 * MINUTE);
    let last = streams.ended(Kind::ALL.len() * renewed);
    assert!(last.iter().all(|end| end.session % 2 == 0));
}

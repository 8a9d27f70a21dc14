//! Legacy tokens that are exchanged while the store's replies are lost, on two nodes.

use serde_json::json;

use super::eventually;
use super::rig::Rig;
use crate::support::fault_proxy::{FaultProxy, Loss};
use crate::support::gateway::Tokens;
use crate::support::http::{Client, Message};
use crate::support::old_api;
use crate::support::redis::RedisServer;
use crate::support::upstream::PASSWORD;

/// Two nodes, the first of which loses replies.
struct Stage {
    redis: RedisServer,
    proxy: FaultProxy,
    rig: Rig,
}

impl Stage {
    fn start(how: &str) -> Self {
        let redis = RedisServer::start();
        let proxy = FaultProxy::to(redis.port());
        let set: Vec<_> =
            old_api::LEGACY.into_iter().chain([("legacy.0.exchange", how), ("refresh.acknowledge_interval", "1s")]).collect();
        let rig = Rig::start(&[&proxy.url(), &redis.url()], &set);
        // The server knows the script from here on: what is lost is the reply of a write.
        exchange(&mut rig.nodes[0].client(), &old_api::token("first")).expect(200);
        Self { redis, proxy, rig }
    }

    /// The exchange of which the store's reply is lost. Returns when the store is there again.
    fn lose(&self, user: &str, old: &str, loss: Loss) {
        let mut client = self.rig.nodes[0].client();
        let before = self.proxy.losses();
        self.proxy.lose_reply(user, loss);
        let response = exchange(&mut client, old).expect(503);
        assert!(response.header("retry-after").is_some(), "{response:?}");
        assert_eq!(self.proxy.losses(), before + 1, "{}", response.text());
        eventually("the store is there again", || {
            client.post("/login", &json!({"email": "probe", "password": PASSWORD})).status() == 200
        });
    }

    fn sessions_of(&self, user: &str) -> usize {
        let keys = self.redis.cli(&["--scan", "--pattern", &format!("tg:*subject:{user}")]);
        keys.lines().map(|key| self.redis.cli(&["ZCARD", key]).parse::<usize>().unwrap()).sum()
    }
}

fn exchange(client: &mut Client, old: &str) -> Message {
    client.post("/refresh", &json!({"token": old}))
}

#[test]
fn an_exchange_whose_reply_was_lost_yields_the_same_pair_on_every_node() {
    let stage = Stage::start("once");
    for (index, loss) in Loss::ALL.into_iter().enumerate() {
        let user = format!("once-{index}");
        let old = old_api::token(&user);
        stage.lose(&user, &old, loss);
        let [mut a, mut b] = [stage.rig.nodes[0].client(), stage.rig.nodes[1].client()];
        let here = Tokens::of(&exchange(&mut a, &old).expect(200));
        let there = Tokens::of(&exchange(&mut b, &old).expect(200));
        assert_eq!(here.refresh, there.refresh, "{loss:?}");
        assert_eq!(stage.sessions_of(&user), 1, "{loss:?}");
        for tokens in [&here, &there] {
            b.get("/api/me", Some(&tokens.access)).expect(200);
        }
        a.refresh(&there.refresh).expect(200);
    }
}

#[test]
fn where_many_exchanges_are_allowed_a_lost_one_harms_none_and_ends() {
    let stage = Stage::start("many");
    for (index, loss) in Loss::ALL.into_iter().enumerate() {
        let user = format!("many-{index}");
        let old = old_api::token(&user);
        stage.lose(&user, &old, loss);
        for node in &stage.rig.nodes {
            let mut client = node.client();
            let tokens = Tokens::of(&exchange(&mut client, &old).expect(200));
            client.get("/api/me", Some(&tokens.access)).expect(200);
            client.refresh(&tokens.refresh).expect(200);
        }
        // Nobody has the tokens of the one that was lost.
        eventually("it is withdrawn", || stage.sessions_of(&user) == 2);
    }
}

//! The store did it, and its reply did not arrive.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokengate::domain::ids::{Partitions, SessionId, Subject};
use tokengate::domain::rotation::Rotation;
use tokengate::domain::session::{Grant, Lifetime, Session};
use tokengate::domain::time::Timestamp;
use tokengate::store::redis::{RedisOptions, RedisStore};
use tokengate::store::{SessionStore as _, StoreError};

use super::load::{Kind, under_load};
use super::rig::Rig;
use super::{eventually, is_ended};
use crate::support::fault_proxy::{Fault, FaultProxy, Loss};
use crate::support::gateway::Tokens;
use crate::support::http::{Client, Message};
use crate::support::redis::RedisServer;
use crate::support::upstream::PASSWORD;

/// Two nodes, the first of which loses replies.
struct Stage {
    redis: RedisServer,
    proxy: FaultProxy,
    rig: Rig,
}

impl Stage {
    fn start() -> Self {
        let redis = RedisServer::start();
        let proxy = FaultProxy::to(redis.port());
        // The node's own writes do not come between.
        let set = [("refresh.acknowledge_interval", "1s")];
        let rig = Rig::start(&[&proxy.url(), &redis.url()], &set);
        // The server knows the scripts from here on: what is lost is the reply of a write.
        let mut client = rig.nodes[0].client();
        let tokens = client.log_in("first");
        client.refresh(&tokens.refresh).expect(200);
        client.log_out(&tokens.access, "session").expect(200);
        let tokens = client.log_in("first");
        client.log_out(&tokens.access, "all").expect(200);
        Self { redis, proxy, rig }
    }

    fn clients(&self) -> [Client; 2] {
        [self.rig.nodes[0].client(), self.rig.nodes[1].client()]
    }

    /// The response to a call that fails at the store, which has done what it was asked. Returns when the store is there again.
    fn losing(&self, user: &str, loss: Loss, ask: impl FnOnce() -> Message) {
        let before = self.proxy.losses();
        self.proxy.lose_reply(user, loss);
        let response = ask().expect(503);
        assert!(response.header("retry-after").is_some(), "{response:?}");
        assert_eq!(self.proxy.losses(), before + 1, "{}", response.text());
        eventually("the store is there again", || {
            let probe = json!({"email": "probe", "password": PASSWORD});
            self.rig.nodes[0].client().post("/login", &probe).status() == 200
        });
    }

    /// Keys of the store that name the user.
    fn sessions_of(&self, user: &str) -> usize {
        let keys = self.redis.cli(&["--scan", "--pattern", &format!("tg:*subject:{user}")]);
        keys.lines().map(|key| self.redis.cli(&["ZCARD", key]).parse::<usize>().unwrap()).sum()
    }
}

fn generation(response: &Message) -> Value {
    response.json()["generation"].clone()
}

#[test]
fn a_rotation_whose_reply_is_lost_is_repeated_with_the_same_successor() {
    let stage = Stage::start();
    let [mut a, mut b] = stage.clients();
    for (round, loss) in Loss::ALL.into_iter().enumerate() {
        let user = format!("rotating-{round}");
        let tokens = a.log_in(&user);
        stage.losing(&user, loss, || a.refresh(&tokens.refresh));

        let retried = a.refresh(&tokens.refresh).expect(200);
        assert_eq!(generation(&retried), 2, "{loss:?}: it was rotated once, by the call that failed");
        let successor = Tokens::of(&retried);
        for node in [&mut b, &mut a] {
            let again = node.refresh(&tokens.refresh).expect(200);
            assert_eq!((Tokens::of(&again).refresh, generation(&again)), (successor.refresh.clone(), 2.into()), "{loss:?}");
        }
        a.get("/api/me", Some(&successor.access)).expect(200);
        b.get("/api/me", Some(&tokens.access)).expect(200);
    }
}

#[test]
fn a_logout_whose_reply_is_lost_has_happened_and_is_repeated_in_vain() {
    let stage = Stage::start();
    let [mut a, mut b] = stage.clients();
    for (round, loss) in Loss::ALL.into_iter().enumerate() {
        let user = format!("leaving-{round}");
        let (tokens, other) = (a.log_in(&user), b.log_in(&user));
        stage.losing(&user, loss, || a.log_out(&tokens.access, "session"));

        for node in [&mut a, &mut b] {
            eventually("both nodes hear of it from the log", || is_ended(node, &tokens));
            node.refresh(&tokens.refresh).expect(401);
        }
        for node in [&mut a, &mut b] {
            assert_eq!(node.log_out(&tokens.access, "session").expect(200).json()["ended"], 0, "{loss:?}");
            node.get("/api/me", Some(&other.access)).expect(200);
        }
        assert_eq!(stage.sessions_of(&user), 1);

        // The same for all sessions at once.
        stage.losing(&user, loss, || a.log_out(&other.access, "all"));
        for node in [&mut a, &mut b] {
            eventually("both nodes hear of it from the log", || is_ended(node, &other));
            assert_eq!(node.log_out(&other.access, "all").expect(200).json()["ended"], 0, "{loss:?}");
        }
        assert_eq!(stage.sessions_of(&user), 0);
    }
}

#[test]
fn a_login_whose_reply_is_lost_leaves_no_session_and_is_repeated() {
    let stage = Stage::start();
    let [mut a, mut b] = stage.clients();
    for (round, loss) in Loss::ALL.into_iter().enumerate() {
        let user = format!("coming-{round}");
        let login = json!({"email": user, "password": PASSWORD});
        stage.losing(&user, loss, || a.post("/login", &login));
        let tokens = Tokens::of(&a.post("/login", &login).expect(200));
        b.get("/api/me", Some(&tokens.access)).expect(200);
        b.refresh(&tokens.refresh).expect(200);
        eventually("the session that nobody was told of has ended", || stage.sessions_of(&user) == 1);
        for node in [&mut a, &mut b] {
            let devices = node.get("/sessions", Some(&tokens.access)).expect(200).json();
            assert_eq!(devices["sessions"].as_array().unwrap().len(), 1, "{loss:?}: {devices}");
        }
    }
}

#[tokio::test]
async fn a_session_that_is_stored_again_because_the_reply_was_lost_is_there_once() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::to(redis.port());
    let partitions = Partitions::new(4.try_into().unwrap());
    let mut options = RedisOptions::from_url(&proxy.url(), partitions).unwrap();
    options.call_timeout = Duration::from_secs(3);
    let store = Arc::new(RedisStore::connect(&options).await.unwrap());
    let now = Timestamp::from_secs(1_790_000_000);
    let subject = Subject::new("ann").unwrap();
    let session = |number: u8| Session {
        id: SessionId::new(partitions.of(&subject), now, [number; 8]),
        subject: subject.clone(),
        grant: Grant::default(),
        rotation: Rotation::first(),
        lifetime: Lifetime::starting(now, Duration::from_secs(3_600), Duration::from_secs(7_200)),
        client: tokengate::domain::session::Client::default(),
        last_used_at: now,
    };
    store.create(&session(0), None, now).await.unwrap();
    for (number, loss) in (1..).zip(Loss::ALL) {
        let session = session(number);
        proxy.lose_reply("ann", loss);
        let lost = store.create(&session, None, now).await;
        assert!(matches!(lost, Err(StoreError::Unconfirmed(_))), "{loss:?}: {lost:?}");
        let began = tokio::time::Instant::now();
        while let Err(error) = store.create(&session, None, now).await {
            assert!(began.elapsed() < super::PATIENCE, "{error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let stored = store.load(session.id).await.unwrap().unwrap();
        assert_eq!((stored.version.0, &stored.session), (1, &session), "stored once");
        assert_eq!(store.sessions_of(&subject, now).await.unwrap().len(), usize::from(number) + 1);
    }
}

#[test]
fn replies_lost_all_the_time_are_503_and_cost_no_session() {
    let redis = RedisServer::start();
    let [proxy, second] = [(); 2].map(|()| FaultProxy::to(redis.port()));
    let rig = Rig::start(&[&proxy.url(), &second.url()], &[("refresh.leeway", "0s"), ("store.redis.deadline", "500ms")]);
    let set = |fault| {
        for proxy in [&proxy, &second] {
            proxy.set(fault);
        }
    };
    let calls = under_load(&rig.nodes, || {
        for loss in Loss::ALL {
            set(Fault::LoseEvery(3, loss));
            thread::sleep(Duration::from_millis(1_500));
        }
        set(Fault::None);
        thread::sleep(Duration::from_secs(3));
    });
    let lost = proxy.losses() + second.losses();
    assert!(lost > 10, "too little load to show anything: {lost} lost");
    for call in &calls {
        assert!(call.status == 200 || (call.status == 503 && call.can_be_retried && call.kind == Kind::Own), "{call:?}");
    }
    for node in 0..2 {
        let last = calls.iter().rfind(|call| call.node == node && call.path == "/refresh").unwrap();
        assert_eq!(last.status, 200, "{last:?}");
    }
}

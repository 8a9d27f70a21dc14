//! Users with no more rights than are needed, of servers and of sentinels.

use std::time::Duration;

use tokengate::domain::ids::Generation;
use tokengate::domain::secret::Secret;
use tokengate::store::redis::{Deployment, RedisOptions, RedisStore};
use tokengate::store::{Acknowledgement, RevocationLog as _, SessionStore as _, Severity, Swap, Upkeep as _, Version};

use super::{RIGHTS, SystemClock, is_unavailable};
use crate::redis::node::options;
use crate::store::rig::{by_session, by_token, now, rotated, session};
use crate::support::redis::RedisServer;
use crate::support::redis::cluster::{Cluster, PRIMARIES};
use crate::support::redis::sentinel::Sentinels;

pub(super) fn add_user(server: &RedisServer, keys: &str, rights: &str) {
    let mut command = vec!["ACL", "SETUSER", "gate", "on", ">p w", keys];
    command.extend(rights.split_whitespace());
    assert_eq!(server.cli(&command), "OK");
}

async fn does_all_that_a_gateway_does(store: &RedisStore) {
    for number in 0..16 {
        let one = session(store.partitions(), &format!("user-{number}"), now(), number);
        store.create(&one, None, now()).await.unwrap();
        assert!(matches!(store.swap(Version(1), &rotated(&one, now())).await.unwrap(), Swap::Done(_)));
        store.acknowledge(&[Acknowledgement { session: one.id, generation: Generation(2) }]).await.unwrap();
        assert_eq!(store.sessions_of(&one.subject, now()).await.unwrap().len(), 1);
        assert_eq!(store.revoke(&by_session(one.id, now())).await.unwrap(), [one.id]);
    }
    let whole = store.follow(None, Duration::ZERO).await.unwrap();
    assert_eq!(whole.revocations.len(), 16);
    // Long enough for the wakers to listen.
    store.revoke(&by_token("issuer", "token", now())).await.unwrap();
    assert_eq!(store.follow(Some(&whole.cursor), Duration::from_secs(5)).await.unwrap().revocations.len(), 1);
    for findings in [store.verify(&SystemClock).await, store.inspect(&SystemClock).await] {
        assert!(findings.iter().all(|finding| finding.severity == Severity::Warning), "{findings:?}");
    }
}

#[tokio::test]
async fn a_user_of_the_servers_and_a_password_of_the_sentinels_suffice() {
    let topology = Sentinels::start_with(
        &["--requirepass", "servers", "--masterauth", "servers"],
        &["--requirepass", "sentinels"],
        "sentinel auth-pass gate servers",
    );
    for server in &topology.servers {
        add_user(server, "~tg:*", RIGHTS);
    }
    let with = |password: Option<&str>| {
        let mut options = options(&topology.url());
        options.username = Some("gate".to_owned());
        options.password = Some(Secret::new("p w".to_owned()));
        if let Deployment::Sentinel(sentinel) = &mut options.deployment {
            sentinel.password = password.map(|password| Secret::new(password.to_owned()));
        }
        RedisOptions { call_timeout: Duration::from_secs(10), ..options }
    };
    let store = RedisStore::connect(&with(Some("sentinels"))).await.unwrap();
    does_all_that_a_gateway_does(&store).await;
    for (wrong, said) in [(None, "NOAUTH"), (Some("other"), "WRONGPASS")] {
        let store = RedisStore::connect(&with(wrong)).await.unwrap();
        let refused = store.probe().await;
        assert!(is_unavailable(&refused) && refused.unwrap_err().to_string().contains(said));
    }
}

#[tokio::test]
async fn a_user_with_the_rights_for_a_cluster_suffices() {
    let cluster = Cluster::start();
    for node in &cluster.nodes {
        add_user(node, "~acme:*", &format!("{RIGHTS} +cluster|nodes +cluster|info +asking"));
    }
    let url = cluster.url().replace("redis-cluster://", "redis-cluster://gate:p%20w@");
    let options = RedisOptions { key_prefix: "acme:".into(), call_timeout: Duration::from_secs(10), ..options(&url) };
    let store = RedisStore::connect(&options).await.unwrap();
    does_all_that_a_gateway_does(&store).await;
    let prefixed = |node: &RedisServer| {
        let keys = node.cli(&["--scan"]);
        assert!(keys.lines().all(|key| key.starts_with("acme:{")), "{keys}");
        keys.lines().count()
    };
    assert!(cluster.nodes[..PRIMARIES].iter().map(prefixed).all(|keys| keys > 0), "every primary has some");
}

#[test]
fn the_documentation_names_every_right() {
    let documented = include_str!("../../../docs/operations.md");
    let command = documented.split("ACL SETUSER tokengate").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let named: Vec<&str> = command.split_whitespace().filter(|word| word.starts_with('+')).collect();
    for right in RIGHTS.split_whitespace().chain(["+cluster|nodes", "+cluster|info", "+asking", "+wait", "+config|get"]) {
        assert!(named.contains(&right), "{right}");
    }
}

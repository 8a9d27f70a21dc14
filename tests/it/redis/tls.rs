//! TLS to every deployment: each server is reached by the name or address that it announces, and held to it.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokengate::domain::ids::{Partition, SessionId};
use tokengate::domain::secret::Secret;
use tokengate::store::redis::{Deployment, RedisOptions, RedisStore, TlsOptions};
use tokengate::store::{RevocationLog as _, SessionStore as _, Swap, Version};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::node::{eventually, options};
use super::users::add_user;
use super::{RIGHTS, is_unavailable};
use crate::store::rig::{by_session, follow_for, now, rotated, session};
use crate::support::gateway::{Gateway, generate_keys};
use crate::support::redis::RedisServer;
use crate::support::redis::cluster::{Cluster, PRIMARIES};
use crate::support::redis::sentinel::{SERVICE, Sentinels};
use crate::support::redis::tls::Tls;
use crate::support::upstream::Upstream;

const ADDRESS: &str = "127.0.0.1";
const NAME: &str = "localhost";

/// With a deadline that a busy test machine does not run into.
async fn connect(options: RedisOptions, tls: TlsOptions) -> RedisStore {
    let patience = Duration::from_secs(10);
    let options = RedisOptions { tls: Some(tls), call_timeout: patience, connect_timeout: patience, ..options };
    RedisStore::connect(&options).await.unwrap()
}

/// In every partition a session is made, moved on and ended, and the log tells of its end. Rounds have sessions of their own.
async fn serves_every_partition(store: &RedisStore, round: u64) {
    let cursor = store.follow(None, Duration::ZERO).await.unwrap().cursor;
    let (partitions, mut served) = (store.partitions(), BTreeSet::new());
    for number in 0.. {
        let one = session(partitions, &format!("user-{number}"), now(), 1_000 * round + number);
        if !served.insert(one.id.partition()) {
            continue;
        }
        store.create(&one, None, now()).await.unwrap();
        assert!(matches!(store.swap(Version(1), &rotated(&one, now())).await.unwrap(), Swap::Done(_)));
        assert_eq!(store.revoke(&by_session(one.id, now())).await.unwrap(), [one.id]);
        if served.len() == usize::from(partitions.count()) {
            break;
        }
    }
    follow_for(store, Some(cursor), served.len()).await;
}

async fn every_partition_answers(store: &RedisStore) -> bool {
    for partition in 0..store.partitions().count() {
        if store.load(SessionId::new(Partition(partition), now(), [0; 8])).await.is_err() {
            return false;
        }
    }
    true
}

async fn refusal(options: RedisOptions, tls: TlsOptions) -> String {
    let refused = RedisStore::connect(&RedisOptions { tls: Some(tls), ..options }).await.unwrap().probe().await;
    assert!(is_unavailable(&refused), "{refused:?}");
    refused.unwrap_err().to_string()
}

/// Whom this authority does not vouch for, and who does not show what the servers ask for, is refused with the reason.
async fn strangers_are_refused(options: &RedisOptions, tls: &Tls) {
    let of_another = Tls::of(NAME).options();
    let wrong = TlsOptions { authorities: of_another.authorities, ..tls.options() };
    let said = refusal(options.clone(), wrong).await;
    assert!(said.contains("TLS: InvalidCertificate(UnknownIssuer)"), "{said}");
    let said = refusal(options.clone(), TlsOptions { identity: None, ..tls.options() }).await;
    assert!(said.contains("CertificateRequired"), "{said}");
    let wrong = TlsOptions { identity: of_another.identity, ..tls.options() };
    let said = refusal(options.clone(), wrong).await;
    assert!(said.contains("UnknownCA"), "{said}");
}

#[tokio::test]
async fn a_server_and_its_clients_are_held_to_their_authority() {
    let tls = Tls::of(NAME);
    let mut server = RedisServer::prepare(&[]).over(Some(&tls));
    server.run();
    let store = connect(options(&server.url()), tls.options()).await;
    serves_every_partition(&store, 1).await;
    strangers_are_refused(&options(&server.url()), &tls).await;
    let by_address = options(&server.url().replace(NAME, ADDRESS));
    let said = refusal(by_address, tls.options()).await;
    assert!(
        said.contains("NotValidForName") && said.contains(&format!("{ADDRESS}:{}", server.port())) && said.contains(NAME),
        "{said}"
    );
}

#[tokio::test]
async fn nobody_falls_back_to_plain_tcp() {
    let tls = Tls::of(ADDRESS);
    let plain = RedisServer::start();
    refusal(options(&plain.url()), tls.options()).await;
    let mut server = RedisServer::prepare(&[]).over(Some(&tls));
    server.run();
    let store = RedisStore::connect(&options(&server.url().replace("rediss", "redis"))).await.unwrap();
    assert!(is_unavailable(&store.probe().await));
}

/// Servers, sentinels and replication over TLS, a user of the servers, and passwords of both.
async fn a_failover_under_sentinels(host: &str) {
    let tls = Tls::of(host);
    let mut topology = Sentinels::start_over(
        Some(&tls),
        &["--requirepass", "servers", "--masterauth", "servers"],
        &["--requirepass", "sentinels"],
        "sentinel auth-pass gate servers",
    );
    for server in &topology.servers {
        add_user(server, "~tg:*", RIGHTS);
    }
    let mut with = options(&topology.url());
    (with.username, with.password) = (Some("gate".to_owned()), Some(Secret::new("p w".to_owned())));
    if let Deployment::Sentinel(sentinel) = &mut with.deployment {
        sentinel.password = Some(Secret::new("sentinels".to_owned()));
    }
    strangers_are_refused(&with, &tls).await;
    let store = connect(with, tls.options()).await;
    serves_every_partition(&store, 1).await;
    topology.servers[0].kill();
    let topology = spawn_blocking(move || {
        topology.await_promotion(1);
        topology
    });
    let topology = topology.await.unwrap();
    eventually("the new primary is in use", async || every_partition_answers(&store).await).await;
    serves_every_partition(&store, 2).await;
    drop(topology);
}

#[tokio::test]
async fn servers_are_followed_to_the_addresses_that_sentinels_tell() {
    a_failover_under_sentinels(ADDRESS).await;
}

#[tokio::test]
async fn servers_are_followed_to_the_names_that_sentinels_tell() {
    a_failover_under_sentinels(NAME).await;
}

#[tokio::test]
async fn whoever_is_not_asked_for_a_certificate_needs_none() {
    let tls = Tls::of_another(ADDRESS, ADDRESS);
    let topology = Sentinels::start_over(Some(&tls), &[], &[], "");
    let store = connect(options(&topology.url()), TlsOptions { identity: None, ..tls.options() }).await;
    serves_every_partition(&store, 1).await;
}

#[tokio::test]
async fn a_primary_whose_certificate_lacks_the_address_that_sentinels_tell_is_refused_by_name() {
    let tls = Tls::of_another(ADDRESS, NAME);
    let topology = Sentinels::start_over(Some(&tls), &[], &[], "");
    let by_name = options(&topology.url().replace(ADDRESS, NAME));
    let without_certificate = TlsOptions { identity: None, ..tls.options() };
    let said = refusal(by_name, without_certificate).await;
    let primary = topology.servers[0].address();
    assert!(said.contains("NotValidForName") && said.contains(&primary) && said.contains(NAME), "{said}");
}

/// All nodes over TLS, with a user: a slot that moves while it is in use, and a primary that dies.
async fn a_cluster_that_moves(host: &str, arguments: &[&str]) {
    let tls = Tls::of(host);
    let cluster = Cluster::start_over(Some(&tls), arguments);
    for node in &cluster.nodes {
        add_user(node, "~tg:*", &format!("{RIGHTS} +cluster|nodes +asking"));
    }
    let mut with = options(&cluster.url());
    (with.username, with.password) = (Some("gate".to_owned()), Some(Secret::new("p w".to_owned())));
    strangers_are_refused(&with, &tls).await;
    let store = Arc::new(connect(with, tls.options()).await);
    serves_every_partition(&store, 1).await;

    let kept = [1, 2].map(|number| session(store.partitions(), "alice", now(), number));
    for session in &kept {
        store.create(session, None, now()).await.unwrap();
    }
    let partition = kept[0].id.partition();
    let (moving, runtime) = (Arc::clone(&store), Handle::current());
    let mut cluster = spawn_blocking(move || {
        let slot = cluster.slot_of(&partition.0.to_string());
        // Told by the nodes themselves, before anybody was asked where the primaries are.
        cluster.migrate(slot, (cluster.owner_of(slot) + 1) % PRIMARIES, |moment| {
            for session in &kept {
                let loaded = runtime.block_on(moving.load(session.id));
                assert_eq!(loaded.unwrap().unwrap().session, *session, "{moment:?}");
            }
        });
        cluster
    })
    .await
    .unwrap();

    let slot = cluster.slot_of("0");
    let victim = cluster.owner_of(slot);
    cluster.nodes[victim].kill();
    let cluster = spawn_blocking(move || {
        cluster.await_owner(slot, Cluster::partner_of(victim));
        cluster
    });
    let cluster = cluster.await.unwrap();
    eventually("the new primary is in use", async || every_partition_answers(&store).await).await;
    serves_every_partition(&store, 2).await;
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_a_cluster_are_followed_to_their_addresses() {
    a_cluster_that_moves(ADDRESS, &[]).await;
}

/// As a Cluster is by default: who is sent on is told an address, while the name is known from the list of nodes alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_a_cluster_are_followed_to_the_names_that_they_announce_though_moves_tell_addresses() {
    a_cluster_that_moves(NAME, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_a_cluster_are_followed_to_the_names_that_moves_tell() {
    a_cluster_that_moves(NAME, &["--cluster-preferred-endpoint-type", "hostname"]).await;
}

/// From the settings of an operator, piece by piece, to a session.
#[test]
fn a_gateway_finds_its_store_over_tls_and_a_check_tells_why_it_does_not() {
    let (tls, other) = (Tls::of(NAME), Tls::of(NAME));
    let topology = Sentinels::start_over(
        Some(&tls),
        &["--requirepass", "servers", "--masterauth", "servers"],
        &[],
        "sentinel auth-pass gate servers",
    );
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let keys = generate_keys(folder.path()).display().to_string();
    let sentinels = topology.sentinels.each_ref().map(RedisServer::address).join(",");
    let [certificate, key] = tls.client_files().map(|file| file.display().to_string());
    let set = |authority: &Tls| {
        [
            ("store.kind", "redis".to_owned()),
            ("store.redis.deployment", "sentinel".to_owned()),
            ("store.redis.addresses", sentinels.clone()),
            ("store.redis.service", SERVICE.to_owned()),
            ("store.redis.tls", "true".to_owned()),
            ("store.redis.ca_file", authority.authority_file().display().to_string()),
            ("store.redis.certificate_file", certificate.clone()),
            ("store.redis.key_file", key.clone()),
            ("store.redis.password", "servers".to_owned()),
            ("keys.directory", keys.clone()),
            ("refresh.secret", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned()),
        ]
    };
    let settings = set(&tls);
    let gateway = Gateway::start_in(folder.path(), &upstream, &settings.each_ref().map(|(key, value)| (*key, value.as_str())));
    let mut client = gateway.client();
    let tokens = client.log_in("ann");
    client.refresh(&tokens.refresh).expect(200);
    client.log_out(&tokens.access, "session").expect(200);
    client.refresh(&tokens.refresh).expect(401);
    let check = |authority: &Tls| {
        let set = set(authority);
        let set = set.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]);
        let file = folder.path().join("tokengate.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
        command.args(["check", "--online", "--config"]).arg(file).args(set).env_clear().output().unwrap()
    };
    assert!(check(&tls).status.success());
    let refused = check(&other);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("UnknownIssuer"), "{said}");
}

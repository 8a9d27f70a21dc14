//! A primary, its replica, and three sentinels that watch over them.

use std::sync::Arc;

use super::tls::Tls;
use super::{RedisServer, host, wait_until};

/// How the sentinels call the primary, whoever it is.
pub(crate) const SERVICE: &str = "gate";

/// How long a server may be silent before a sentinel holds it for dead. Failing over takes one to two seconds more.
const DOWN_AFTER_MILLIS: u32 = 1_000;
const FAILOVER_TIMEOUT_MILLIS: u32 = 3_000;

pub(crate) struct Sentinels {
    /// The first is the primary at the start.
    pub(crate) servers: [RedisServer; 2],
    pub(crate) sentinels: [RedisServer; 3],
}

impl Sentinels {
    /// Ready for a failover.
    pub(crate) fn start() -> Self {
        Self::start_with(&[], &[], "")
    }

    /// `arguments` are for both servers; `of_sentinels`, and the `lines` of its file, for each sentinel.
    pub(crate) fn start_with(arguments: &[&str], of_sentinels: &[&str], lines: &str) -> Self {
        Self::start_over(None, arguments, of_sentinels, lines)
    }

    /// All of them over TLS, among themselves too.
    pub(crate) fn start_over(tls: Option<&Arc<Tls>>, arguments: &[&str], of_sentinels: &[&str], lines: &str) -> Self {
        let host = host(tls);
        let arguments = [arguments, &["--replica-announce-ip", host]].concat();
        let primary = RedisServer::prepare(&arguments).over(tls).run_somewhere();
        let port = primary.port().to_string();
        let of_replica = ["--replicaof", &format!("{host} {port}"), "--repl-diskless-sync-delay", "0"];
        let replica = RedisServer::prepare(&[arguments.as_slice(), &of_replica].concat()).over(tls).run_somewhere();
        // Whoever becomes primary later must not wait for further replicas either.
        primary.cli(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
        wait_until("the replica has what the primary has", || replica.is_synced_replica());
        let by_name = if tls.is_some_and(|tls| tls.is_by_name()) { "yes" } else { "no" };
        let file = format!(
            "sentinel resolve-hostnames {by_name}\n\
             sentinel announce-hostnames {by_name}\n\
             sentinel monitor {SERVICE} {host} {port} 2\n\
             sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MILLIS}\n\
             sentinel failover-timeout {SERVICE} {FAILOVER_TIMEOUT_MILLIS}\n{lines}\n"
        );
        let sentinels = [(); 3].map(|()| RedisServer::prepare_sentinel(&file, of_sentinels).over(tls).run_somewhere());
        let topology = Self { servers: [primary, replica], sentinels };
        topology.await_order();
        topology
    }

    /// Waits until all is ready for a failover: every sentinel knows the others, the primary, and the replica, which is in step.
    pub(crate) fn await_order(&self) {
        wait_until("the sentinels know each other and a replica in step", || {
            let primary = self.primary_index();
            self.servers[1 - primary].is_synced_replica()
                && self.sentinels.iter().all(|sentinel| {
                    let described = |what| sentinel.cli(&["SENTINEL", what, SERVICE]);
                    let has = |description: &str, name: &str, value: &str| {
                        description.lines().zip(description.lines().skip(1)).any(|pair| pair == (name, value))
                    };
                    let (master, replicas) = (described("MASTER"), described("REPLICAS"));
                    sentinel.info("sentinel_tilt") == "0"
                        && has(&master, "num-other-sentinels", "2")
                        && has(&master, "num-slaves", "1")
                        && has(&master, "flags", "master")
                        && has(&master, "port", &self.servers[primary].port().to_string())
                        && has(&replicas, "flags", "slave")
                })
        });
    }

    /// `redis+sentinel://…`, with every sentinel.
    pub(crate) fn url(&self) -> String {
        let secure = if self.sentinels[0].tls.is_some() { "s" } else { "" };
        format!("redis{secure}+sentinel://{}/{SERVICE}", self.sentinels.each_ref().map(RedisServer::address).join(","))
    }

    /// Of `servers`, which one the sentinels name as the primary.
    pub(crate) fn primary_index(&self) -> usize {
        let sentinel = self.sentinels.iter().find(|sentinel| sentinel.answers()).expect("a sentinel that answers");
        let named = sentinel.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]);
        let port = named.lines().last().unwrap_or_default().to_owned();
        self.servers.iter().position(|server| server.port().to_string() == port).expect("one of the two")
    }

    pub(crate) fn primary(&self) -> &RedisServer {
        &self.servers[self.primary_index()]
    }

    /// Waits until the sentinels name this one and it takes writes.
    pub(crate) fn await_promotion(&self, index: usize) {
        let server = &self.servers[index];
        wait_until("the promotion of the replica", || self.primary_index() == index && server.info("role") == "master");
    }
}

//! The search for primaries that have moved.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fred::types::Value;
use tokio::time::Instant;

use super::{Informants, Node, Owner, Shared};
use crate::store::StoreError;
use crate::store::redis::codec;
use crate::store::redis::discovery::cluster::{self, Account};
use crate::store::redis::discovery::{self, Claim, sentinel};
use crate::store::redis::error::Failure;
use crate::store::redis::link::{Command, Link};
use crate::store::redis::options::{Address, SentinelOptions};

/// How often it is asked where the primaries are, when all is well and when it is not.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);
const SEARCH_INTERVAL_IN_TROUBLE: Duration = Duration::from_millis(100);

/// Looks for the primaries again and again; soon after something went wrong.
pub(super) async fn search(shared: &Shared) {
    loop {
        let Some(found) = shared.stop.run_until_cancelled(shared.search_once()).await else { return };
        shared.note_failure(found.err());
        let rest = async {
            tokio::time::sleep(SEARCH_INTERVAL_IN_TROUBLE).await;
            if shared.is_well() {
                let _ = tokio::time::timeout(SEARCH_INTERVAL, shared.access.trouble.notified()).await;
            }
        };
        if shared.stop.run_until_cancelled(rest).await.is_none() {
            return;
        }
    }
}

impl Shared {
    fn is_well(&self) -> bool {
        self.routes().owners.iter().all(|owner| owner.as_ref().is_some_and(|owner| owner.node.link.is_well()))
    }

    fn note_failure(&self, failure: Option<String>) {
        let mut noted = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = failure.as_ref().filter(|failure| noted.as_ref() != Some(failure)) {
            tracing::warn!(%failure, "redis: not every primary is found");
        }
        *noted = failure;
    }

    async fn search_once(&self) -> Result<(), String> {
        match &self.informants {
            Informants::None => Ok(()),
            Informants::Sentinels { options, links } => {
                let claim = self.ask_sentinels(options, links).await?;
                self.adopt(vec![Some(claim); self.slots.len()], &HashSet::new());
                Ok(())
            }
            Informants::Nodes { seeds } => {
                let said = self.ask_nodes().await?;
                let claims: Vec<Option<Claim>> = self.slots.iter().map(|&slot| cluster::owner(&said, slot)).collect();
                let unserved = claims.iter().filter(|claim| claim.is_none()).count();
                let kept: HashSet<Address> = said.iter().flat_map(Account::primaries).chain(seeds).cloned().collect();
                self.routes_mut().names = said.iter().flat_map(Account::names).cloned().collect();
                self.adopt(claims, &kept);
                if unserved == 0 { Ok(()) } else { Err(format!("no node of the cluster serves {unserved} of the partitions")) }
            }
        }
    }

    async fn ask_sentinels(&self, options: &SentinelOptions, links: &[Link]) -> Result<Claim, String> {
        let deadline = Instant::now() + self.access.call_timeout;
        let ask = |link| async move {
            let command = |what: &'static str| Command::new("SENTINEL", vec![what.into(), options.service.as_str().into()]);
            let commands = vec![command("GET-MASTER-ADDR-BY-NAME"), command("MASTER")];
            let mut replies = ask(link, commands, deadline).await?.into_iter();
            let address = replies.next().unwrap_or(Ok(Value::Null)).map_err(|failure| link_failure(link, &failure))?;
            let description = replies.next().and_then(Result::ok);
            let unknown = || format!("the sentinels watch no service \"{}\"", options.service);
            sentinel::claim(&address, description.as_ref()).ok_or_else(unknown)
        };
        let (claims, refusal) = discovery::gather(links.iter().map(ask)).await;
        claims.into_iter().max().ok_or_else(|| refusal.unwrap_or_else(|| "no sentinel answers".to_owned()))
    }

    async fn ask_nodes(&self) -> Result<Vec<Account>, String> {
        let nodes = self.routes_mut().informants();
        let deadline = Instant::now() + self.access.call_timeout;
        let ask = |node: Arc<Node>| async move {
            let replies = ask(&node.link, vec![Command::new("CLUSTER", vec!["NODES".into()])], deadline).await?;
            let reply = replies.into_iter().next().unwrap_or(Ok(Value::Null));
            let reply = reply.map_err(|error| link_failure(&node.link, &error))?;
            Ok(Account::read(codec::text(&reply).unwrap_or_default(), &node.address))
        };
        let (said, refusal) = discovery::gather(nodes.into_iter().map(ask)).await;
        if said.is_empty() { Err(refusal.unwrap_or_else(|| "no node of the cluster answers".to_owned())) } else { Ok(said) }
    }

    /// Makes the claims come true, unless they are older than what is known. Closes what nobody needs any more.
    fn adopt(&self, claims: Vec<Option<Claim>>, kept: &HashSet<Address>) {
        let mut routes = self.routes_mut();
        for (partition, claim) in claims.into_iter().enumerate() {
            let Some(claim) = claim else { continue };
            let known = routes.owners.get(partition).and_then(Option::as_ref);
            if known.is_some_and(|owner| claim.epoch < owner.epoch) {
                continue;
            }
            if known.is_some_and(|owner| owner.node.address != claim.primary) {
                tracing::warn!(partition, primary = %claim.primary, "redis: another primary");
            }
            let node = routes.node(&claim.primary, &self.access, self.replication);
            routes.owners[partition] = Some(Owner { node, epoch: claim.epoch });
        }
        let owning: HashSet<u64> = routes.owners.iter().flatten().map(|owner| owner.node.number).collect();
        routes.nodes.retain(|address, node| owning.contains(&node.number) || kept.contains(address));
    }
}

/// Asks one informant, unless it is known to be silent.
async fn ask(link: &Link, commands: Vec<Command>, deadline: Instant) -> Result<Vec<Result<Value, Failure>>, String> {
    link.settled().await;
    link.admit().map_err(cause)?;
    link.send_in_a_row(commands, deadline).await.map_err(|error| link_failure(link, &error))
}

fn link_failure(link: &Link, failure: &Failure) -> String {
    cause(link.store_error(failure))
}

fn cause(error: StoreError) -> String {
    match error {
        StoreError::Unavailable(cause)
        | StoreError::Unconfirmed(cause)
        | StoreError::Full(cause)
        | StoreError::Unreadable(cause) => cause,
    }
}

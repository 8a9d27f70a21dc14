//! One call of the store: its commands go to the server that has the partition, wherever that is by now.

use std::sync::Arc;
use std::time::Duration;

use fred::types::Value;
use futures_util::future::join_all;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::codec;
use super::error::{Code, Failure, Redirection};
use super::fleet::{Fleet, Node};
use super::link::{Command, Link};
use super::options::{Address, Replication};
use super::scripts::Script;
use crate::domain::ids::Partition;
use crate::store::StoreError;

/// How often a command is sent on to another node, or tried again while its keys are being moved. The deadline of the call ends it
/// sooner.
const REDIRECTIONS_MAX: u32 = 4_000;
/// So often at once; nodes that do not agree get time to.
const REDIRECTIONS_AT_ONCE: u32 = 5;
/// Between two tries while the keys are partly here and partly there.
const MIGRATION_PAUSE: Duration = Duration::from_millis(10);

/// All its commands share one deadline, and are of one partition.
#[derive(Debug)]
pub(super) struct Call<'a> {
    fleet: &'a Fleet,
    home: Partition,
    node: Arc<Node>,
    deadline: Instant,
    _permit: OwnedSemaphorePermit,
}

/// Why a command of a call was not done, and at which server.
pub(super) struct Undone {
    failure: Failure,
    node: Arc<Node>,
}

impl Undone {
    /// `None`: the server said nothing.
    pub(super) fn code(&self) -> Option<Code> {
        self.failure.code()
    }
}

impl From<Undone> for StoreError {
    fn from(undone: Undone) -> Self {
        undone.node.link.store_error(&undone.failure)
    }
}

impl Fleet {
    /// Begins a call of the usual deadline: refused at once while the server of the partition is silent.
    pub(super) async fn begin(&self, home: Partition) -> Result<Call<'_>, StoreError> {
        let deadline = Instant::now() + self.call_timeout();
        let node = self.owner(home)?;
        node.link.settled().await;
        node.link.admit()?;
        let permit = node.link.permit(deadline).await?;
        Ok(Call { fleet: self, home, node, deadline, _permit: permit })
    }
}

impl Fleet {
    /// Sends one command to each of these partitions, [`super::link::COMMANDS_AT_ONCE_MAX`] at most; the first failure is the result.
    pub(super) async fn each(&self, commands: Vec<(Partition, &'static str, Vec<Value>)>) -> Result<Vec<Value>, StoreError> {
        let sent = commands.into_iter().map(async |(home, name, args)| self.begin(home).await?.command(name, args).await);
        join_all(sent).await.into_iter().collect()
    }
}

impl Call<'_> {
    pub(super) async fn command(&self, name: &'static str, args: Vec<Value>) -> Result<Value, StoreError> {
        self.try_command(name, args).await.map_err(StoreError::from)
    }

    /// [`Call::command`], for those who have to know what the server said.
    pub(super) async fn try_command(&self, name: &'static str, args: Vec<Value>) -> Result<Value, Undone> {
        self.deliver(vec![Command::new(name, args)], false).await.map(last)
    }

    /// Sends several commands together, at most [`super::link::COMMANDS_AT_ONCE_MAX`]; the first failure is the result.
    pub(super) async fn together(&self, commands: Vec<(&'static str, Vec<Value>)>) -> Result<Vec<Value>, StoreError> {
        let sent = commands.into_iter().map(|(name, args)| self.command(name, args));
        join_all(sent).await.into_iter().collect()
    }

    /// Runs a script. The server is asked for it by digest, and told its text when it has forgotten it.
    ///
    /// `keys` is not empty.
    pub(super) async fn script(&self, script: &Script, keys: &[String], args: &[Value]) -> Result<Value, StoreError> {
        self.try_script(script, keys, args).await.map_err(StoreError::from)
    }

    /// [`Call::script`], for those who have to know what the server said.
    pub(super) async fn try_script(&self, script: &Script, keys: &[String], args: &[Value]) -> Result<Value, Undone> {
        self.run(script, keys, args, None).await.map(last)
    }

    /// [`Call::script`], and then waits until replicas have what it wrote, if that is asked for.
    pub(super) async fn script_confirmed(&self, script: &Script, keys: &[String], args: &[Value]) -> Result<Value, StoreError> {
        let (reply, confirmed) = self.script_waiting(script, keys, args).await?;
        confirmed.map(|()| reply)
    }

    /// [`Call::script_confirmed`] for scripts that may find that they have to be run again: then nothing was written, and it does not
    /// matter that what was written before is not confirmed.
    pub(super) async fn script_waiting(
        &self,
        script: &Script,
        keys: &[String],
        args: &[Value],
    ) -> Result<(Value, Result<(), StoreError>), StoreError> {
        let Some(Replication { replicas, timeout }) = self.fleet.replication() else {
            return Ok((self.script(script, keys, args).await?, Ok(())));
        };
        let timeout_millis = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        let wait = Command::new("WAIT", vec![i64::from(replicas).into(), timeout_millis.into()]);
        let mut replies = self.run(script, keys, args, Some(wait)).await?;
        let confirmed = codec::integer(&replies.pop().unwrap_or(Value::Null))?;
        let outcome = if confirmed < i64::from(replicas) {
            Err(StoreError::Unconfirmed(format!("{confirmed} of {replicas} replicas have confirmed the change")))
        } else {
            Ok(())
        };
        Ok((last(replies), outcome))
    }

    async fn run(&self, script: &Script, keys: &[String], args: &[Value], then: Option<Command>) -> Result<Vec<Value>, Undone> {
        let confirming = then.is_some();
        let with = |name: &'static str, head: &str| {
            let mut all = Vec::with_capacity(2 + keys.len() + args.len());
            all.push(Value::from(head));
            all.push(Value::from(i64::try_from(keys.len()).unwrap_or(i64::MAX)));
            all.extend(keys.iter().map(|key| Value::from(key.as_str())));
            all.extend_from_slice(args);
            std::iter::once(Command::new(name, all)).chain(then.clone()).collect()
        };
        match self.deliver(with("EVALSHA", &script.digest), confirming).await {
            Err(undone) if undone.code() == Some(Code::NoScript) => self.deliver(with("EVAL", script.text), confirming).await,
            result => result,
        }
    }

    /// Sends commands in a row to the server that has their keys, and follows where it is sent on.
    async fn deliver(&self, commands: Vec<Command>, confirming: bool) -> Result<Vec<Value>, Undone> {
        let mut node = Arc::clone(&self.node);
        let mut asking = false;
        let mut redirections = 0;
        loop {
            let link = node.confirming.as_ref().filter(|_| confirming).unwrap_or(&node.link);
            let failure = match attempt(link, commands.clone(), asking, self.deadline).await {
                Ok(replies) => return Ok(replies),
                Err(failure) => failure,
            };
            let redirection = self.redirection(&failure, &node.address);
            let Some(redirection) = redirection.filter(|_| redirections < REDIRECTIONS_MAX && Instant::now() < self.deadline)
            else {
                return Err(Undone { failure, node });
            };
            redirections += 1;
            if redirection == Redirection::Wait || redirections > REDIRECTIONS_AT_ONCE {
                tokio::time::sleep(MIGRATION_PAUSE).await;
            }
            match redirection {
                Redirection::Moved(to) => (node, asking) = (self.fleet.moved(self.home, &to), false),
                Redirection::Ask(to) => (node, asking) = (self.fleet.node(&to), true),
                Redirection::Wait => {
                    let owner = self.fleet.owner(self.home);
                    (node, asking) = (owner.unwrap_or(node), false);
                }
            }
        }
    }

    /// Where the Cluster sends a command on that this server did not run. Takes note of a slot that nobody serves.
    fn redirection(&self, failure: &Failure, from: &Address) -> Option<Redirection> {
        let Failure::Refused(error) = failure else { return None };
        if !self.fleet.is_cluster() {
            return None;
        }
        if error.code == Code::ClusterDown {
            self.fleet.refused(self.home, error);
        }
        Redirection::of(error, from)
    }
}

/// Once, at this server. The first failure is the result.
async fn attempt(link: &Link, mut commands: Vec<Command>, asking: bool, deadline: Instant) -> Result<Vec<Value>, Failure> {
    link.settled().await;
    if commands.len() == 1 && !asking {
        let reply = match commands.pop() {
            Some(command) => link.send(command, deadline).await?,
            None => Value::Null,
        };
        return Ok(vec![reply]);
    }
    if asking {
        commands.insert(0, Command::new("ASKING", Vec::new()));
    }
    let replies = link.send_in_a_row(commands, deadline).await?;
    replies.into_iter().skip(usize::from(asking)).collect()
}

fn last(mut replies: Vec<Value>) -> Value {
    replies.pop().unwrap_or(Value::Null)
}

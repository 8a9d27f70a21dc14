//! Two stores are told the same, command by command, and must say the same: `stores_agree::<Left, Right>(cases)`.
//!
//! Versions and cursors are opaque and differ; each side is given its own. What the contract leaves open is left out: expired
//! records may be there or not, so may revocations past their `forget_at`, and an equal revocation may be logged twice.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokengate::domain::ids::{Generation, Partitions, SessionId, Subject};
use tokengate::domain::imported::Import;
use tokengate::domain::node::NodeId;
use tokengate::domain::revocation::{Revocation, Target};
use tokengate::domain::session::{Lifetime, Session};
use tokengate::domain::stats::{Counter, Day, Gauge};
use tokengate::domain::time::Timestamp;
use tokengate::store::{Acknowledgement, DayTotals, LogCursor, SessionLimit, Swap, Version};

use super::rig::{
    HOUR, MINUTE, Rig, by_session, by_subject, by_token, id_of, import, now, of_everyone, read_log, rotated, session, subject,
    sweep,
};

const SUBJECTS: u8 = 3;
const COMMANDS_MAX: usize = 50;

/// Sessions are named by the order of their creation; a number beyond the last names one that was never created.
#[derive(Clone, Debug)]
enum Command {
    Create {
        owner: u8,
        minutes_ago: u8,
        lives_minutes: u16,
        limit: Option<u8>,
    },
    CreateAgain {
        session: usize,
    },
    /// Of tokens, some of which were imported before.
    Import {
        tokens: Vec<(u8, u8)>,
    },
    Load {
        session: usize,
    },
    /// Rotates from the version that was read last, or from a stale one.
    Swap {
        session: usize,
        extend_minutes: u8,
        stale: bool,
    },
    Acknowledge {
        seen: Vec<(usize, u32)>,
    },
    SessionsOf {
        owner: u8,
    },
    RevokeSession {
        session: usize,
        lives_minutes: u16,
    },
    RevokeSubject {
        owner: u8,
        minutes_ago: u8,
    },
    RevokeToken {
        token: u8,
    },
    RevokeEveryone {
        minutes_ago: u8,
    },
    Follow {
        from_start: bool,
    },
    Sweep,
    /// What a node has counted on a day so far; it may be told late or again.
    Count {
        node: u8,
        day: u8,
        logins: u8,
        logouts: u8,
    },
    Measure,
    Statistics {
        first: u8,
        last: u8,
    },
    Advance {
        millis: u32,
    },
    Restart,
}

fn command() -> impl Strategy<Value = Command> {
    let owner = || 0..SUBJECTS;
    let session = || 0..12_usize;
    let minutes_ago = || 0..8_u8;
    prop_oneof![
        6 => (owner(), minutes_ago(), 5..120_u16, proptest::option::of(0..4_u8))
            .prop_map(|(owner, minutes_ago, lives_minutes, limit)| Command::Create { owner, minutes_ago, lives_minutes, limit }),
        1 => session().prop_map(|session| Command::CreateAgain { session }),
        2 => vec((owner(), 0..6_u8), 1..4).prop_map(|tokens| Command::Import { tokens }),
        3 => session().prop_map(|session| Command::Load { session }),
        5 => (session(), 0..90_u8, prop::bool::weighted(0.2))
            .prop_map(|(session, extend_minutes, stale)| Command::Swap { session, extend_minutes, stale }),
        3 => vec((session(), 0..4_u32), 0..5).prop_map(|seen| Command::Acknowledge { seen }),
        3 => owner().prop_map(|owner| Command::SessionsOf { owner }),
        3 => (session(), 1..90_u16).prop_map(|(session, lives_minutes)| Command::RevokeSession { session, lives_minutes }),
        2 => (owner(), minutes_ago()).prop_map(|(owner, minutes_ago)| Command::RevokeSubject { owner, minutes_ago }),
        1 => (0..4_u8).prop_map(|token| Command::RevokeToken { token }),
        1 => minutes_ago().prop_map(|minutes_ago| Command::RevokeEveryone { minutes_ago }),
        3 => any::<bool>().prop_map(|from_start| Command::Follow { from_start }),
        1 => Just(Command::Sweep),
        2 => (0..3_u8, 0..4_u8, any::<u8>(), any::<u8>())
            .prop_map(|(node, day, logins, logouts)| Command::Count { node, day, logins, logouts }),
        2 => Just(Command::Measure),
        2 => (0..4_u8, 0..4_u8).prop_map(|(first, last)| Command::Statistics { first, last }),
        3 => prop_oneof![0..5000_u32, 60_000..3_600_000_u32].prop_map(|millis| Command::Advance { millis }),
        1 => Just(Command::Restart),
    ]
}

/// Feeds random commands to both.
pub(crate) fn stores_agree<Left: Rig, Right: Rig>(cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&vec(command(), 1..COMMANDS_MAX), |commands| {
        runtime.block_on(async {
            let (left, right) = (Side::<Left>::start().await, Side::<Right>::start().await);
            let partitions = [left.rig.store().partitions(), right.rig.store().partitions()];
            let partitions = partitions.into_iter().max_by_key(|partitions| partitions.count()).unwrap();
            let mut both = Both { left, right, script: Script::new(partitions) };
            for command in &commands {
                both.apply(command).await?;
            }
            both.compare_everything().await
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// What was done so far, as far as it decides what is asked next and what may differ.
struct Script {
    began_at: Timestamp,
    now: Timestamp,
    /// Of the store that has more of them: a store without placement takes every id.
    partitions: Partitions,
    created: Vec<Session>,
    /// When each session ends, after its last swap.
    ends: BTreeMap<SessionId, Timestamp>,
}

/// One store with what it has said that only it understands.
struct Side<R> {
    rig: R,
    versions: BTreeMap<SessionId, Vec<Version>>,
    cursor: Option<LogCursor>,
}

struct Both<Left, Right> {
    left: Side<Left>,
    right: Side<Right>,
    script: Script,
}

/// Asks both sides the same and compares what they say.
macro_rules! ask {
    ($both:expr, $command:expr, $side:ident => $response:expr) => {{
        let left = {
            let $side = &mut $both.left;
            $response
        };
        let right = {
            let $side = &mut $both.right;
            $response
        };
        same($command, &left, &right)?;
        left
    }};
}

impl<Left: Rig, Right: Rig> Both<Left, Right> {
    async fn apply(&mut self, command: &Command) -> Result<(), TestCaseError> {
        let now = self.script.now;
        match command {
            Command::Create { owner, minutes_ago, lives_minutes, limit } => {
                let session = self.script.next_session(*owner, *minutes_ago, *lives_minutes);
                self.create(command, &session, limit.map(u32::from)).await?;
                self.script.ends.insert(session.id, session.lifetime.ends_at());
                self.script.created.push(session);
            }
            Command::CreateAgain { session } => {
                // After its end, or its revocation, a login is not repeated.
                let Some(session) = self.script.created.get(*session).cloned() else { return Ok(()) };
                let is_there = self.left.load(session.id).await.is_some();
                if is_there && self.script.is_live(session.id) {
                    self.create(command, &session, Some(1)).await?;
                }
            }
            Command::Import { tokens } => self.import(command, tokens).await?,
            Command::Load { session } => self.compare_record(command, self.script.id(*session)).await?,
            Command::Swap { session, extend_minutes, stale } => {
                self.swap(command, *session, *extend_minutes, *stale).await?;
            }
            Command::Acknowledge { seen } => {
                let seen: Vec<Acknowledgement> = seen
                    .iter()
                    .map(|&(session, generation)| Acknowledgement {
                        session: self.script.id(session),
                        generation: Generation(generation),
                    })
                    .collect();
                ask!(self, command, side => side.rig.store().acknowledge(&seen).await.unwrap());
            }
            Command::SessionsOf { owner } => {
                ask!(self, command, side => side.rig.store().sessions_of(&user(*owner), now).await.unwrap());
            }
            Command::RevokeSession { session, lives_minutes } => {
                let id = self.script.id(*session);
                let forget_at = now.saturating_add(MINUTE * u32::from(*lives_minutes));
                self.revoke(command, &Revocation { forget_at, ..by_session(id, now) }).await?;
            }
            Command::RevokeSubject { owner, minutes_ago } => {
                let issued_before = now.saturating_sub(MINUTE * u32::from(*minutes_ago));
                self.revoke(command, &by_subject(user(*owner), issued_before, now)).await?;
            }
            Command::RevokeToken { token } => {
                self.revoke(command, &by_token("an issuer", &token.to_string(), now)).await?;
            }
            Command::RevokeEveryone { minutes_ago } => {
                let moment = now.saturating_sub(MINUTE * u32::from(*minutes_ago));
                self.revoke(command, &of_everyone(moment, now)).await?;
                // How many that were depends on which expired ones are gone already.
                ask!(self, command, side => { side.rig.store().end_created_before(moment).await.unwrap(); });
            }
            Command::Follow { from_start } => {
                let script = &self.script;
                ask!(self, command, side => side.follow(*from_start, script).await);
            }
            Command::Sweep => {
                // How much a sweep finds depends on what is gone already.
                ask!(self, command, side => { sweep(&*side.rig.store(), now).await; });
            }
            Command::Count { node, day, logins, logouts } => {
                let (node, day) = (NodeId::new([*node; 8]), Day(20_000 + i32::from(*day)));
                let counts = [(Counter::Logins, u64::from(*logins)), (Counter::Logouts, u64::from(*logouts))];
                let totals = DayTotals { node, day, counts: counts.into_iter().collect() };
                ask!(self, command, side => side.rig.store().count(&totals).await.unwrap());
            }
            Command::Measure => {
                ask!(self, command, side => {
                    let measured = side.rig.store().measure(now).await.unwrap();
                    // What the log still has of the forgotten is open, and memory is a matter of each store.
                    [Gauge::Sessions, Gauge::Subjects].map(|gauge| measured.value(gauge))
                });
            }
            Command::Statistics { first, last } => {
                let days = Day(20_000 + i32::from(*first))..=Day(20_000 + i32::from(*last));
                ask!(self, command, side => side.rig.store().statistics(days.clone()).await.unwrap().rows);
            }
            Command::Advance { millis } => {
                self.script.now = now.saturating_add(Duration::from_millis(u64::from(*millis)));
            }
            Command::Restart => {
                ask!(self, command, side => side.rig.restart().await);
                // A cursor is worth nothing to another life of the process.
                (self.left.cursor, self.right.cursor) = (None, None);
            }
        }
        Ok(())
    }

    async fn create(&mut self, command: &Command, session: &Session, sessions_max: Option<u32>) -> Result<(), TestCaseError> {
        let now = self.script.now;
        let limit = sessions_max.map(|sessions_max| SessionLimit { sessions_max, forget_at: now.saturating_add(HOUR) });
        ask!(self, command, side => side.rig.store().create(session, limit, now).await.unwrap());
        self.compare_record(command, session.id).await
    }

    async fn import(&mut self, command: &Command, tokens: &[(u8, u8)]) -> Result<(), TestCaseError> {
        let now = self.script.now;
        let batch: Vec<Import> = tokens.iter().map(|&(owner, number)| self.script.import(owner, number)).collect();
        let new = ask!(self, command, side => side.rig.store().import(&batch, now).await.unwrap());
        let digests: Vec<_> = batch.iter().map(|import| import.digest).collect();
        ask!(self, command, side => side.rig.store().imported(&digests).await.unwrap());
        for Import { session, .. } in batch {
            self.compare_record(command, session.id).await?;
            let is_new = !self.script.ends.contains_key(&session.id);
            if new > 0 && is_new && self.left.load(session.id).await.is_some() {
                self.script.ends.insert(session.id, session.lifetime.ends_at());
                self.script.created.push(session);
            }
        }
        Ok(())
    }

    async fn swap(&mut self, command: &Command, number: usize, minutes: u8, stale: bool) -> Result<(), TestCaseError> {
        let id = self.script.id(number);
        let now = self.script.now;
        // An expired record may be there or not. Nobody swaps one.
        let Some(created) = self.script.created.get(number).cloned().filter(|_| self.script.is_live(id)) else { return Ok(()) };
        self.compare_record(command, id).await?;
        let read = self.left.load(id).await.unwrap_or(created);
        let lifetime = read.lifetime.extended(now, MINUTE * u32::from(minutes));
        let next = Session { lifetime, ..rotated(&read, now) };
        let outcome = ask!(self, command, side => side.swap(&next, stale).await);
        if outcome == Outcome::Done {
            self.script.ends.insert(id, next.lifetime.ends_at());
        }
        self.compare_record(command, id).await
    }

    async fn revoke(&mut self, command: &Command, revocation: &Revocation) -> Result<(), TestCaseError> {
        let script = &self.script;
        ask!(self, command, side => {
            let mut ended = side.rig.store().revoke(revocation).await.unwrap();
            ended.retain(|&id| script.is_live(id));
            ended
        });
        Ok(())
    }

    /// Compares one record, unless it has expired.
    async fn compare_record(&mut self, context: &dyn Debug, id: SessionId) -> Result<(), TestCaseError> {
        let is_live = self.script.is_live(id);
        ask!(self, context, side => side.load(id).await.filter(|_| is_live));
        Ok(())
    }

    async fn compare_everything(&mut self) -> Result<(), TestCaseError> {
        for id in self.script.created.iter().map(|session| session.id).collect::<Vec<_>>() {
            self.compare_record(&"at the end", id).await?;
        }
        for owner in 0..SUBJECTS {
            let now = self.script.now;
            ask!(self, &"at the end", side => side.rig.store().sessions_of(&user(owner), now).await.unwrap());
        }
        let script = &self.script;
        ask!(self, &"at the end", side => side.follow(false, script).await);
        ask!(self, &"at the end", side => side.follow(true, script).await);
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Outcome {
    Done,
    Lost,
    Missing,
}

impl<R: Rig> Side<R> {
    async fn start() -> Self {
        Self { rig: R::start().await, versions: BTreeMap::new(), cursor: None }
    }

    /// Remembers the version, for swaps.
    async fn load(&mut self, id: SessionId) -> Option<Session> {
        let stored = self.rig.store().load(id).await.unwrap()?;
        let versions = self.versions.entry(id).or_default();
        if versions.last() != Some(&stored.version) {
            versions.push(stored.version);
        }
        Some(stored.session)
    }

    /// Swaps from the newest version, or from the first one that was ever read.
    async fn swap(&mut self, next: &Session, stale: bool) -> Outcome {
        let versions = self.versions.get(&next.id).map_or(&[][..], Vec::as_slice);
        let version = if stale { versions.first() } else { versions.last() };
        match self.rig.store().swap(version.copied().unwrap_or(Version(1)), next).await.unwrap() {
            Swap::Done(version) => {
                self.versions.entry(next.id).or_default().push(version);
                Outcome::Done
            }
            Swap::Lost => Outcome::Lost,
            Swap::Missing => Outcome::Missing,
        }
    }

    /// What the log has that is not forgotten, in its order as far as that is certain.
    async fn follow(&mut self, from_start: bool, script: &Script) -> BTreeMap<String, Vec<Revocation>> {
        let store = self.rig.store();
        let batch = read_log(&*store, if from_start { None } else { self.cursor.as_ref() }).await;
        if !from_start {
            self.cursor = Some(batch.cursor);
        }
        let mut by_place = BTreeMap::<_, Vec<_>>::new();
        for revocation in batch.revocations {
            if revocation.forget_at > script.now {
                by_place.entry(script.place(&revocation)).or_default().push(revocation);
            }
        }
        by_place.values_mut().for_each(Vec::dedup);
        by_place
    }
}

impl Script {
    fn new(partitions: Partitions) -> Self {
        let now = now();
        Self { began_at: now, now, partitions, created: Vec::new(), ends: BTreeMap::new() }
    }

    fn is_live(&self, id: SessionId) -> bool {
        self.ends.get(&id).is_some_and(|&end| self.now < end)
    }

    fn next_session(&self, owner: u8, minutes_ago: u8, lives_minutes: u16) -> Session {
        let created_at = self.now.saturating_sub(MINUTE * u32::from(minutes_ago));
        let lifetime = Lifetime::starting(self.now, MINUTE * u32::from(lives_minutes), 3 * HOUR);
        let number = self.created.len() as u64;
        Session { lifetime, ..session(self.partitions, user(owner).as_str(), created_at, number) }
    }

    /// A token that was made when the script began, and outlives it in the memory of the store.
    fn import(&self, owner: u8, number: u8) -> Import {
        let made_at = self.began_at.saturating_sub(MINUTE);
        let number = u64::from(number) + 100 * u64::from(owner);
        let made = import(self.partitions, user(owner).as_str(), made_at, number);
        let lifetime = Lifetime::starting(self.began_at, 2 * HOUR, 3 * HOUR);
        Import { session: Session { lifetime, ..made.session }, forget_at: made.forget_at.saturating_add(1000 * HOUR), ..made }
    }

    fn id(&self, number: usize) -> SessionId {
        let unknown = || id_of(self.partitions, &user(0), Timestamp::from_secs(0), number as u64);
        self.created.get(number).map_or_else(unknown, |session| session.id)
    }

    /// What is certain to be logged in one order: the statements about one subject, its sessions, or one token.
    fn place(&self, revocation: &Revocation) -> String {
        match &revocation.target {
            Target::Session { session } => {
                let owner = self.created.iter().find(|created| created.id == *session).map(|created| &created.subject);
                owner.map_or_else(|| format!("session {session}"), |owner| format!("subject {owner}"))
            }
            Target::Subject { subject, .. } => format!("subject {subject}"),
            Target::Token { issuer, token } => format!("token {issuer} {token}"),
            Target::Everyone { .. } => "everyone".to_owned(),
        }
    }
}

fn user(number: u8) -> Subject {
    subject(&format!("user-{number}"))
}

fn same<T: PartialEq + Debug>(command: &(impl Debug + ?Sized), left: &T, right: &T) -> Result<(), TestCaseError> {
    if left == right {
        return Ok(());
    }
    Err(TestCaseError::fail(format!("{command:?}\n left: {left:?}\nright: {right:?}")))
}

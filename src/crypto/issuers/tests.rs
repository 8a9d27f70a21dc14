use std::collections::VecDeque;

use serde_json::json;
use tokio::time::Instant;

use futures_util::FutureExt as _;

use super::*;
use crate::crypto::key_wishes::{BAD_SIGNATURE, UNKNOWN, WAITING_MAX, Wish};
use crate::crypto::testing;
use crate::domain::claims::Denial;
use crate::domain::time::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);

/// Tells tokio's time, which tests hold still and tokio moves ahead when everyone sleeps.
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(0)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Gives the prepared answers in turn, the last one for ever, and notes when it was asked.
struct Script {
    start: Instant,
    answers: Mutex<VecDeque<Result<Bytes, String>>>,
    asked_at: Mutex<Vec<u64>>,
    takes: Duration,
    running: Mutex<u32>,
}

#[async_trait]
impl JwksSource for Script {
    async fn fetch(&self, url: &str) -> Result<Bytes, String> {
        assert_eq!(url, "https://idp.example/jwks?code=hunter2");
        self.asked_at.lock().unwrap().push(self.start.elapsed().as_secs());
        *self.running.lock().unwrap() += 1;
        assert_eq!(*self.running.lock().unwrap(), 1, "one at a time");
        tokio::time::sleep(self.takes).await;
        *self.running.lock().unwrap() -= 1;
        let mut answers = self.answers.lock().unwrap();
        if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() }
    }
}

struct Stage {
    cache: JwksCache,
    source: Arc<Script>,
}

impl Stage {
    fn new(answers: impl IntoIterator<Item = Result<Bytes, String>>) -> Self {
        Self::slow(answers, Duration::ZERO)
    }

    fn slow(answers: impl IntoIterator<Item = Result<Bytes, String>>, takes: Duration) -> Self {
        let start = Instant::now();
        let source = Arc::new(Script {
            start,
            answers: Mutex::new(answers.into_iter().collect()),
            asked_at: Mutex::default(),
            takes,
            running: Mutex::default(),
        });
        let settings = JwksSettings {
            url: Secret::new("https://idp.example/jwks?code=hunter2".to_owned()),
            algorithms: vec![Algorithm::EdDsa],
            refresh_interval: 10 * MINUTE,
            minimum_interval: MINUTE,
            fetch_timeout: Duration::from_secs(5),
            stale_max: 60 * MINUTE,
        };
        Self { cache: JwksCache::new(settings, source.clone(), Arc::new(PausedClock(start))), source }
    }

    /// One turn, announced.
    async fn turn(&self) -> Refreshed {
        let refreshed = self.cache.turn().await;
        self.cache.announce(&refreshed);
        refreshed
    }

    fn asked_at(&self) -> Vec<u64> {
        self.source.asked_at.lock().unwrap().clone()
    }
}

fn set() -> Bytes {
    let (_, key) = testing::key(Algorithm::EdDsa);
    json!({"keys": [key.jwk("k")]}).to_string().into()
}

fn down() -> Result<Bytes, String> {
    Err("connection refused".into())
}

#[test]
fn the_url_is_not_shown() {
    let shown = format!("{:?}", Stage::new([]).cache);
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn the_first_fetch_is_made_at_once_and_the_next_by_routine() {
    let stage = Stage::new([Ok(set())]);
    assert!(stage.cache.keys().is_none());
    assert!(matches!(stage.cache.turn().await, Refreshed::Changed(_)));
    assert!(stage.cache.keys().is_some());
    assert!(matches!(stage.cache.turn().await, Refreshed::Unchanged));
    assert_eq!(stage.asked_at(), [0, 600]);
}

#[tokio::test(start_paused = true)]
async fn unknown_kids_cause_no_more_than_one_fetch_in_the_minimum_interval() {
    let stage = Stage::new([Ok(set()), Ok(set()), Ok(set())]);
    stage.turn().await;
    for round in 0..3 {
        for n in 0..1000 {
            let wishes = stage.cache.wishes();
            let kid = format!("made up {round} {n}");
            assert!(matches!(wishes.granted(Some(&kid)).await, Err(Denial::IssuerKeysUnavailable(_))), "due in a minute");
        }
        stage.turn().await;
    }
    assert_eq!(stage.asked_at(), [0, 60, 120, 180]);
}

#[tokio::test(start_paused = true)]
async fn old_keys_go_on_while_fetches_fail_and_end_in_time() {
    let stage = Stage::new([Ok(set()), down()]);
    stage.cache.turn().await;
    let dropped_at = loop {
        match stage.cache.turn().await {
            Refreshed::Failed(error) => assert_eq!(error, FetchError::Source("connection refused".into())),
            Refreshed::Dropped(_) => break stage.source.start.elapsed(),
            Refreshed::Changed(_) | Refreshed::Unchanged => panic!("every fetch fails"),
        }
        assert!(stage.cache.keys().is_some());
    };
    assert!((60 * MINUTE..=70 * MINUTE).contains(&dropped_at), "{dropped_at:?}");
    assert!(stage.cache.keys().is_none());
    assert_eq!(stage.asked_at()[..6], [0, 600, 660, 780, 1020, 1500], "ever less often");
    assert!(matches!(stage.cache.turn().await, Refreshed::Failed(_)), "there is nothing left to drop");
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_fails_is_not_asked_more_often_for_unknown_kids() {
    let stage = Stage::new([down()]);
    for _ in 0..5 {
        let _ = stage.cache.wishes().granted(Some("new")).now_or_never();
        stage.turn().await;
    }
    assert_eq!(stage.asked_at(), [0, 60, 180, 420, 900]);
}

#[tokio::test(start_paused = true)]
async fn a_document_that_is_no_key_set_changes_nothing() {
    let bad = ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#];
    let huge = " ".repeat(super::super::jwks::JWKS_BYTES_MAX + 1);
    for document in bad.into_iter().chain([huge.as_str()]) {
        let stage = Stage::new([Ok(set()), Ok(Bytes::copy_from_slice(document.as_bytes()))]);
        stage.cache.turn().await;
        assert!(matches!(stage.cache.turn().await, Refreshed::Failed(FetchError::Document(_))), "{document}");
        assert!(stage.cache.keys().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_given_up() {
    let stage = Stage::slow([Ok(set())], 60 * MINUTE);
    assert!(matches!(stage.cache.turn().await, Refreshed::Failed(FetchError::Timeout(_))));
    assert_eq!(stage.source.start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn there_is_one_fetch_at_a_time() {
    let stage = Stage::slow([Ok(set())], Duration::from_secs(1));
    tokio::join!(stage.cache.refresh(), stage.cache.refresh(), stage.cache.turn());
    assert!(stage.cache.keys().is_some());
}

#[tokio::test(start_paused = true)]
async fn the_first_token_of_a_rotated_key_waits_for_the_fetch_that_is_due() {
    let stage = Stage::slow([Ok(set()), Ok(set())], Duration::from_secs(1));
    stage.turn().await;
    tokio::time::sleep(2 * MINUTE).await;
    let wishes = stage.cache.wishes();
    let (_, granted) = tokio::join!(stage.turn(), wishes.granted(Some("new")));
    assert_eq!((granted, stage.asked_at()), (Ok(()), vec![0, 121]), "at once: the last fetch is long ago");
    assert_eq!(wishes.verdict(Some("new")), UNKNOWN, "had it not come");
    assert_eq!(wishes.granted(Some("new")).await, Err(UNKNOWN), "nobody waits for it any more");
    assert!(
        matches!(wishes.granted(Some("newer")).await, Err(Denial::IssuerKeysUnavailable(_))),
        "which might be published by now"
    );
    tokio::time::sleep(MINUTE).await;
    let (_, granted) = tokio::join!(stage.turn(), wishes.granted(Some("new")));
    assert_eq!(granted, Ok(()), "an interval later it is looked for again");
}

/// Many tokens of a new key come at once: some are judged before it is there, and ask for it after it came.
#[tokio::test(start_paused = true)]
async fn a_token_that_asks_for_a_key_which_has_just_come_is_judged_again() {
    let stage = Stage::new([Ok(set()), Ok(set())]);
    stage.turn().await;
    tokio::time::sleep(2 * MINUTE).await;
    let wish = |kid: &str| Wish::new(stage.cache.wishes(), Some(kid.to_owned()));
    let (_, first) = tokio::join!(stage.turn(), async { wish("new").then(|| Ok("admitted")).await });
    assert_eq!(first, Ok("admitted"));
    for kid in ["new", "nobody has wished for"] {
        assert_eq!(wish(kid).then(|| Ok("admitted")).now_or_never(), Some(Ok("admitted")), "{kid}");
    }
    assert_eq!(wish("new").then(|| Err::<(), _>(Denial::KeyUnknown)).now_or_never(), Some(Err(UNKNOWN)));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_disputed_is_fetched_when_that_is_due_and_believed_until_then() {
    let stage = Stage::slow([Ok(set()), Ok(set()), down()], Duration::from_secs(1));
    stage.turn().await;
    let wish = |kid: &str| Wish::new(stage.cache.wishes(), Some(kid.to_owned()));
    let disputed = || Err::<(), _>(Denial::KeyDisputed);
    let invalid = Err(BAD_SIGNATURE);
    assert_eq!(wish("k").then(disputed).now_or_never(), Some(invalid.clone()), "it was confirmed a moment ago");
    tokio::time::sleep(2 * MINUTE).await;
    let (_, first) = tokio::join!(stage.turn(), async { wish("k").then(|| Ok("admitted by the new key")).await });
    assert_eq!((first, stage.asked_at()), (Ok("admitted by the new key"), vec![0, 121]));
    for kid in ["k", "another"] {
        assert_eq!(wish(kid).then(disputed).now_or_never(), Some(invalid.clone()), "{kid}: no fetch, and nothing to wait for");
    }
    tokio::time::sleep(2 * MINUTE).await;
    let (_, second) = tokio::join!(stage.turn(), async { wish("k").then(disputed).await });
    assert_eq!(second, invalid, "that it could not be fetched makes no signature good, nor worth another call");
}

#[tokio::test(start_paused = true)]
async fn keys_that_were_never_loaded_are_waited_for_and_then_not_at_hand() {
    let stage = Stage::slow([down(), down(), Ok(set())], Duration::from_secs(1));
    let wishes = stage.cache.wishes();
    let (_, granted) = tokio::join!(stage.turn(), wishes.granted(Some("k")));
    assert!(matches!(granted, Err(Denial::IssuerKeysUnavailable(_))), "{granted:?}");
    assert_eq!(wishes.granted(Some("k")).now_or_never(), Some(Err(Denial::IssuerKeysUnavailable(Duration::from_secs(59)))));
}

#[tokio::test(start_paused = true)]
async fn there_are_so_many_places_to_wait_in_and_they_are_given_back() {
    let stage = Stage::new([Ok(set())]);
    let wishes = stage.cache.wishes();
    let kids: Vec<String> = (0..WAITING_MAX).map(|n| n.to_string()).collect();
    let mut waiting: Vec<_> = kids.iter().map(|kid| Box::pin(wishes.granted(Some(kid)))).collect();
    for one in &mut waiting {
        assert!(one.now_or_never().is_none());
    }
    assert!(matches!(wishes.granted(Some("more")).now_or_never(), Some(Err(Denial::IssuerKeysUnavailable(_)))));
    drop(waiting);
    assert!(wishes.granted(Some("more")).now_or_never().is_none());
    let started_at = Instant::now();
    assert!(matches!(wishes.granted(Some("k")).await, Err(Denial::IssuerKeysUnavailable(_))), "nobody fetches");
    assert_eq!(started_at.elapsed(), Duration::from_secs(5), "and no longer than a fetch may take");
}

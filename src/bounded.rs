//! Work within bounds: how many calls at once, and how long each caller waits. A call beyond the bounds is refused at once, never queued.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::coop::unconstrained;
use tower::load_shed::error::Overloaded;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt as _, service_fn};
use tracing::Instrument as _;
use tracing::instrument::Instrumented;

/// What all calls of one kind may take together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Calls in progress, including those whose callers no longer wait.
    pub calls_max: usize,
    /// How long a caller waits.
    pub timeout: Duration,
}

/// Why a call returned nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallError {
    /// The call was not begun.
    #[error("too many calls are in progress")]
    Overloaded,
    /// The call continues without its caller.
    #[error("the call took too long")]
    TimedOut,
    #[error("the call panicked")]
    Panicked,
    #[error("the runtime is shutting down")]
    ShuttingDown,
}

impl From<Infallible> for CallError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// A service within [`Bounds`].
///
/// A call runs as a task of its own. It keeps its place among the calls until it ends, and is never cut off in the middle: not by the
/// timeout, and not by a caller that goes away.
#[derive(Debug)]
pub struct Bounded<Q, R> {
    service: BoxCloneSyncService<Q, R, BoxError>,
    timeout: Duration,
}

impl<Q: Send + 'static, R: Send + 'static> Bounded<Q, R> {
    /// `name` is what the log calls this kind of work. The work runs on `runtime`.
    pub fn new<W, F>(name: &'static str, bounds: Bounds, runtime: &Handle, work: W) -> Self
    where
        W: Fn(Q) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        let work = service_fn(move |request: Q| {
            let work = work(request);
            async move { Ok::<R, Infallible>(work.await) }
        });
        let service = ServiceBuilder::new()
            .load_shed()
            .map_future(detached(runtime.clone()))
            // Inside of the task, so that the task keeps the place.
            .concurrency_limit(bounds.calls_max)
            .map_future(traced(name))
            .service(work);
        Self { service: BoxCloneSyncService::new(service), timeout: bounds.timeout }
    }

    /// Calls the service. Nothing happens before the result is awaited.
    pub fn call(&self, request: Q) -> impl Future<Output = Result<R, CallError>> + Send + use<Q, R> {
        let (call, timeout) = (self.call_untimed(request), self.timeout);
        async move { tokio::time::timeout(timeout, call).await.unwrap_or(Err(CallError::TimedOut)) }
    }

    /// The same for several callers at once, each of whom waits as long as it likes.
    pub fn call_untimed(&self, request: Q) -> impl Future<Output = Result<R, CallError>> + Send + use<Q, R> {
        let call = self.service.clone().oneshot(request);
        // The semaphore would tell a task that has used up its turn that no place is free.
        async move { unconstrained(call).await.map_err(error_of) }
    }
}

fn error_of(error: BoxError) -> CallError {
    if error.is::<Overloaded>() {
        CallError::Overloaded
    } else {
        // Nothing else in the stack fails.
        error.downcast().map_or(CallError::Panicked, |error| *error)
    }
}

type Detached<R> = Pin<Box<dyn Future<Output = Result<R, CallError>> + Send>>;

/// Runs each call as a task.
fn detached<R, F>(runtime: Handle) -> impl Fn(F) -> Detached<R> + Clone
where
    R: Send + 'static,
    F: Future<Output = Result<R, Infallible>> + Send + 'static,
{
    move |call| {
        let task = runtime.spawn(call);
        Box::pin(async move {
            match task.await {
                Ok(result) => Ok(result?),
                Err(error) if error.is_panic() => Err(CallError::Panicked),
                Err(_) => Err(CallError::ShuttingDown),
            }
        })
    }
}

/// Names the call in the lines that it writes to the log.
fn traced<F: Future>(name: &'static str) -> impl Fn(F) -> Instrumented<F> + Clone {
    move |call| call.instrument(tracing::debug_span!("call", kind = name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Doubles numbers, each once there is a permit for it. Panics at zero.
    fn doubling(bounds: Bounds, permits: &Arc<Semaphore>) -> Bounded<u32, u32> {
        let permits = Arc::clone(permits);
        Bounded::new("doubling", bounds, &Handle::current(), move |number: u32| {
            let permits = Arc::clone(&permits);
            async move {
                assert!(number > 0, "as asked");
                permits.acquire().await.unwrap().forget();
                2 * number
            }
        })
    }

    async fn once_there_is_a_place(calls: &Bounded<u32, u32>, number: u32) -> Result<u32, CallError> {
        loop {
            match calls.call(number).await {
                Err(CallError::Overloaded) => tokio::task::yield_now().await,
                result => return result,
            }
        }
    }

    #[tokio::test]
    async fn a_call_beyond_the_bound_is_refused_at_once_and_those_in_progress_finish() {
        let permits = Arc::new(Semaphore::new(0));
        let calls = doubling(Bounds { calls_max: 2, timeout: LONG }, &permits);
        let third = async {
            let third = calls.call(3).await;
            permits.add_permits(2);
            third
        };
        let results = tokio::join!(calls.call(1), calls.call(2), third);
        assert_eq!(results, (Ok(2), Ok(4), Err(CallError::Overloaded)));
        permits.add_permits(1);
        assert_eq!(calls.call(3).await, Ok(6));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_timed_out_continues_in_its_place() {
        let permits = Arc::new(Semaphore::new(0));
        let calls = doubling(Bounds { calls_max: 1, timeout: LONG }, &permits);
        assert_eq!(calls.call(1).await, Err(CallError::TimedOut));
        assert_eq!(calls.call(2).await, Err(CallError::Overloaded), "the first still has the place");
        permits.add_permits(2);
        assert_eq!(once_there_is_a_place(&calls, 2).await, Ok(4));
    }

    #[tokio::test]
    async fn a_call_whose_caller_goes_away_continues() {
        let permits = Arc::new(Semaphore::new(0));
        let calls = doubling(Bounds { calls_max: 1, timeout: LONG }, &permits);
        {
            let mut call = std::pin::pin!(calls.call(1));
            assert!(futures_util::poll!(call.as_mut()).is_pending());
        }
        assert_eq!(calls.call(2).await, Err(CallError::Overloaded));
        permits.add_permits(2);
        assert_eq!(once_there_is_a_place(&calls, 2).await, Ok(4));
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_call_alone() {
        let calls = doubling(Bounds { calls_max: 1, timeout: LONG }, &Arc::new(Semaphore::new(1)));
        assert_eq!(calls.call(0).await, Err(CallError::Panicked));
        assert_eq!(calls.call(1).await, Ok(2));
    }

    #[tokio::test]
    async fn a_task_that_has_used_up_its_turn_is_not_refused() {
        let calls = doubling(Bounds { calls_max: 1, timeout: LONG }, &Arc::new(Semaphore::new(1)));
        while tokio::task::coop::has_budget_remaining() {
            tokio::task::coop::consume_budget().await;
        }
        assert_eq!(calls.call(1).await, Ok(2));
    }
}

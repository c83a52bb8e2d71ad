//! Time as an argument.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Monotonic and wall time, and waiting. Cheap to clone.
///
/// Waiting goes through tokio's timer, which a simulation stops and moves; the wall is an argument, because
/// nothing else can move that.
#[derive(Clone)]
pub struct Clock {
    origin: tokio::time::Instant,
    wall: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("monotonic", &self.monotonic()).finish_non_exhaustive()
    }
}

/// The wait was longer than its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no answer within {0:?}")]
pub struct Elapsed(pub Duration);

impl Clock {
    /// The clock of the machine.
    #[expect(clippy::disallowed_methods, reason = "this is where the machine's clock comes in")]
    pub fn system() -> Self {
        let since_epoch = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self::with_wall(move || since_epoch().unwrap_or_default())
    }

    /// A clock whose wall time, since 1970-01-01 UTC, is given by `wall`.
    #[expect(clippy::disallowed_methods, reason = "the origin of monotonic time")]
    pub fn with_wall(wall: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { origin: tokio::time::Instant::now(), wall: Arc::new(wall) }
    }

    /// Time since this clock was made; never goes back.
    pub fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Milliseconds since 1970-01-01 UTC. May jump; nothing may depend on its order.
    pub fn wall_ms(&self) -> u64 {
        u64::try_from((self.wall)().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits.
    #[expect(clippy::disallowed_methods, reason = "this is where tokio's timer comes in")]
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Waits for `future`, at most `bound`.
    ///
    /// # Errors
    /// [`Elapsed`] when the bound is reached; the future is dropped then.
    #[expect(clippy::disallowed_methods, reason = "this is where tokio's timer comes in")]
    pub async fn timeout<F: Future>(
        &self,
        bound: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        tokio::time::timeout(bound, future).await.map_err(|_| Elapsed(bound))
    }
}

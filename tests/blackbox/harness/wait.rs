//! Waiting for events that another process brings about.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How often a process is asked again.
const POLL: Duration = Duration::from_millis(20);

/// The output of `work`, or a failure that names it when it takes longer than `bound` seconds.
pub(crate) async fn within<T>(bound: u64, what: &str, work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(bound), work)
        .await
        .unwrap_or_else(|_| panic!("{what}: no end after {bound} s"))
}

/// Asks until the answer is there: `Err` says what is missing still.
pub(crate) async fn eventually<T>(
    bound: u64,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let end = Instant::now() + Duration::from_secs(bound);
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(missing) if Instant::now() >= end => {
                panic!("{what}: not after {bound} s: {missing}")
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

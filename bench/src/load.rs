//! A load: so many operations of one kind, so many at once.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_runtime::Clock;
use futures_util::future::try_join_all;

use crate::figures::{Cost, Figures};

/// What goes wrong with a load: the text is for whoever runs it.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Put,
    Get,
    List,
    Delete,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Put => "PUT",
            Self::Get => "GET",
            Self::List => "LIST",
            Self::Delete => "DELETE",
        })
    }
}

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    /// Operations.
    pub(crate) files: u64,
    /// Bytes of each file.
    pub(crate) size: u64,
    /// Operations at once.
    pub(crate) concurrency: usize,
}

/// One connection to a server. Every operation checks its answer.
pub(crate) trait Client {
    /// Does `operation` on file `file` of `size` bytes; gives the bytes of content moved.
    fn run(
        &mut self,
        operation: Operation,
        file: u64,
        size: u64,
    ) -> impl Future<Output = Result<u64, Failure>>;
}

/// Runs a load on as many clients as it wants at once. CPU time is the caller's to add.
pub(crate) async fn run<C: Client>(
    clients: &mut [C],
    operation: Operation,
    amount: Amount,
) -> Result<Figures, Failure> {
    let clock = Clock::system();
    let next = Arc::new(AtomicU64::new(0));
    let began = clock.monotonic();
    let workers = clients.iter_mut().take(amount.concurrency).map(|client| {
        let (clock, next) = (clock.clone(), Arc::clone(&next));
        async move {
            let (mut bytes, mut latencies) = (0, Vec::<Duration>::new());
            loop {
                let file = next.fetch_add(1, Ordering::Relaxed);
                if file >= amount.files {
                    return Ok::<_, Failure>((bytes, latencies));
                }
                let asked = clock.monotonic();
                bytes += client.run(operation, file, amount.size).await?;
                latencies.push(clock.monotonic().saturating_sub(asked));
            }
        }
    });
    let done = try_join_all(workers).await?;
    let time = clock.monotonic().saturating_sub(began);
    let bytes = done.iter().map(|(bytes, _)| bytes).sum();
    let mut latencies: Vec<_> = done.into_iter().flat_map(|(_, latencies)| latencies).collect();
    latencies.sort_unstable();
    let (operations, cost) = (latencies.len() as u64, Cost::default());
    Ok(Figures { operations, bytes, time, latencies, cost })
}

//! The view threads: each runs one view at a time, on a connection of its own.

use std::sync::Arc;

use tokio::runtime::Runtime;

use super::connect::{Link, Shared};
use super::reads::Reads;
use super::retry::{Backoff, Cause};
use super::trouble::Trouble;
use super::tx::Tx;
use crate::contain::contained;
use crate::front::Queues;
use crate::job::{Failure, ViewJob};
use crate::queue::Popped;

/// Answers views until the queue is closed and empty.
pub(super) fn serve(runtime: &Runtime, queues: &Queues, shared: &Arc<Shared>) {
    let mut link = Link::new(shared.clone());
    while let Popped::Item(mut view) = queues.views.pop(None) {
        // A panic of the client library, or of a value that is dropped: the caller learns that no
        // answer came.
        let served = contained(|| {
            let outcome = runtime.block_on(answer(view.as_mut(), &mut link, shared));
            view.settle(outcome);
        });
        if let Err(message) = served {
            tracing::error!(message, "a view panicked outside of its closure");
            link.lose();
        }
    }
}

async fn answer(view: &mut dyn ViewJob, link: &mut Link, shared: &Shared) -> Result<(), Failure> {
    let mut backoff = Backoff::new(shared);
    loop {
        let (cause, failure) = match attempt(view, link).await {
            Ok(()) => return Ok(()),
            Err(Trouble::Conflict(failure)) => {
                shared.counters.conflicted();
                (Cause::Conflict, failure)
            }
            Err(Trouble::Lost(failure)) => (Cause::Lost, failure),
            Err(Trouble::Refused(failure)) => {
                link.lose();
                return Err(Failure::Storage(failure));
            }
        };
        // After a conflict the transaction is still open; views are disturbed too rarely to mind.
        link.lose();
        if backoff.is_over() {
            return Err(Failure::Storage(failure));
        }
        backoff.pause(cause).await;
    }
}

/// Runs the closure until it misses nothing. Its result holds if the transaction could be ended:
/// until then the state that it saw may be none that ever was.
async fn attempt(view: &mut dyn ViewJob, link: &mut Link) -> Result<(), Trouble> {
    let mut reads = Reads::default();
    let mut tx = Tx::read_only(link.get().await?);
    loop {
        view.run(&reads);
        if !reads.take_missed() {
            return tx.end().await;
        }
        let missing = reads.take_missing();
        tx.fetch(&missing, &mut reads).await?;
    }
}

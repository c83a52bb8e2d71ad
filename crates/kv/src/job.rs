//! Closures on their way through a queue: their types erased, their answers typed.

use tokio::sync::oneshot;

use crate::durability::Durability;
use crate::error::{ClosedReason, StorageFailure, TransactError, ViewError};
use crate::overlay::Overlay;
use crate::queue::Refused;
use crate::snapshot::{self, Snapshot};
use crate::source::Source;
use crate::stats::Counters;
use crate::txn::{self, Stop, Txn};

/// Why an engine could not serve a group of transactions, or a view.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// Nothing happened.
    Storage(StorageFailure),
    /// The commit failed; its outcome is not known.
    MayHaveHappened(StorageFailure),
    /// The store is closed for good.
    Closed(ClosedReason),
}

/// The record of the journal that covers a group; `None` without a journal.
pub(crate) type Sequence = Option<u64>;

/// A queued transaction.
pub(crate) trait TransactJob: Send {
    /// Runs the closure. What it wants to write, if it came to a result.
    fn run(&mut self, base: &dyn Source) -> Option<Overlay>;

    /// What the caller waits for.
    fn durability(&self) -> Durability;

    /// Answers the caller, now that the fate of the whole group is known.
    ///
    /// Rejected transactions wait for it as well: what they were rejected for may be the work of a
    /// neighbour that now did not happen.
    fn settle(self: Box<Self>, group: &Result<Sequence, Failure>, counters: &Counters);
}

/// A queued view.
pub(crate) trait ViewJob: Send {
    /// Runs the closure and keeps its result, in place of an earlier one.
    fn run(&mut self, base: &dyn Source);

    /// Answers the caller: the last result, or what went wrong around it.
    fn settle(self: Box<Self>, outcome: Result<(), Failure>);

    /// Runs the closure, or does not, and answers the caller.
    fn answer(mut self: Box<Self>, base: Result<&dyn Source, Failure>) {
        let outcome = base.map(|base| self.run(base));
        self.settle(outcome);
    }
}

type Answer<T, E> = oneshot::Receiver<Result<T, E>>;
/// An answer, and what of the journal it waits for.
type Covered<T, E> = (Result<T, E>, Sequence);
type CoveredAnswer<T, E> = oneshot::Receiver<Covered<T, TransactError<E>>>;

/// Makes a job of a transaction's closure, and the place where its answer arrives.
pub(crate) fn transact<T, E, F>(
    durability: Durability,
    f: F,
) -> (Box<dyn TransactJob>, CoveredAnswer<T, E>)
where
    T: Send + 'static,
    E: Send + 'static,
    F: FnMut(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(QueuedTransact { durability, f, result: None, reply }), answer)
}

/// Makes a job of a view's closure, and the place where its answer arrives.
pub(crate) fn view<T, E, F>(f: F) -> (Box<dyn ViewJob>, Answer<T, ViewError<E>>)
where
    T: Send + 'static,
    E: Send + 'static,
    F: FnMut(&Snapshot<'_>) -> Result<T, E> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(QueuedView { f, result: None, reply }), answer)
}

struct QueuedTransact<T, E, F> {
    durability: Durability,
    f: F,
    result: Option<Result<T, Stop<E>>>,
    reply: oneshot::Sender<Covered<T, TransactError<E>>>,
}

impl<T, E, F> TransactJob for QueuedTransact<T, E, F>
where
    T: Send,
    E: Send,
    F: FnMut(&mut Txn<'_>) -> Result<T, E> + Send,
{
    fn run(&mut self, base: &dyn Source) -> Option<Overlay> {
        let (result, writes) = match txn::run(base, &mut self.f) {
            Ok((value, writes)) => (Ok(value), Some(writes)),
            Err(stop) => (Err(stop), None),
        };
        self.result = Some(result);
        writes
    }

    fn durability(&self) -> Durability {
        self.durability
    }

    fn settle(self: Box<Self>, group: &Result<Sequence, Failure>, counters: &Counters) {
        let result = match group {
            Ok(_) => self
                .result
                .expect("a group commits only after all its closures ran")
                .map_err(TransactError::from),
            Err(failure) => Err(group_failed(self.result, failure.clone())),
        };
        counters.answered(&result);
        // The caller may have stopped waiting; the transaction stands all the same.
        let sequence = group.as_ref().map_or(None, |sequence| *sequence);
        let _ = self.reply.send((result, sequence));
    }
}

/// What a transaction learns of a failure of its group: only one that wanted to write can have
/// happened.
fn group_failed<T, E>(result: Option<Result<T, Stop<E>>>, failure: Failure) -> TransactError<E> {
    match (failure, result) {
        (Failure::MayHaveHappened(failure), Some(Ok(_))) => TransactError::MayHaveHappened(failure),
        (Failure::Storage(failure) | Failure::MayHaveHappened(failure), _) => {
            TransactError::Storage(failure)
        }
        (Failure::Closed(reason), _) => TransactError::Closed(reason),
    }
}

struct QueuedView<T, E, F> {
    f: F,
    result: Option<Result<T, Stop<E>>>,
    reply: oneshot::Sender<Result<T, ViewError<E>>>,
}

impl<T, E, F> ViewJob for QueuedView<T, E, F>
where
    T: Send,
    E: Send,
    F: FnMut(&Snapshot<'_>) -> Result<T, E> + Send,
{
    fn run(&mut self, base: &dyn Source) {
        self.result = Some(snapshot::run(base, &mut self.f));
    }

    fn settle(self: Box<Self>, outcome: Result<(), Failure>) {
        let result = match outcome {
            Ok(()) => self
                .result
                .expect("a view is answered with success only after its closure ran")
                .map_err(ViewError::from),
            // A view writes nothing, so there is nothing that may have happened.
            Err(Failure::Storage(failure) | Failure::MayHaveHappened(failure)) => {
                Err(ViewError::Storage(failure))
            }
            Err(Failure::Closed(reason)) => Err(ViewError::Closed(reason)),
        };
        // The caller may have stopped waiting.
        let _ = self.reply.send(result);
    }
}

impl<E> From<Refused> for TransactError<E> {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full { queue } => TransactError::Busy { queue },
            Refused::Closed(reason) => TransactError::Closed(reason),
        }
    }
}

impl<E> From<Refused> for ViewError<E> {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full { queue } => ViewError::Busy { queue },
            Refused::Closed(reason) => ViewError::Closed(reason),
        }
    }
}

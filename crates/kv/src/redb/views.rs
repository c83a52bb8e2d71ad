//! The view threads: each runs one view at a time, on a read transaction.

use redb::ReadTransaction;

use super::open::ENTRIES;
use super::store::{Store, storage};
use super::table::TableSource;
use crate::contain::contained;
use crate::durability::Durability;
use crate::front::Queues;
use crate::job::{Failure, Sequence, TransactJob, ViewJob};
use crate::overlay::Overlay;
use crate::queue::Popped;
use crate::source::Source;
use crate::stats::Counters;

/// Answers views until the queue is closed and empty.
pub(super) fn serve(queues: &Queues, store: &Store) {
    while let Popped::Item(view) = queues.views.pop(None) {
        // A panic of redb, or of a value that is dropped: the caller learns that no answer came.
        match contained(|| answer(view, store)) {
            Ok(Health::Sound) => {}
            Ok(Health::Broken) | Err(_) => wake_writer(queues),
        }
    }
}

/// Whether the database can be read on.
enum Health {
    Sound,
    Broken,
}

fn answer(view: Box<dyn ViewJob>, store: &Store) -> Health {
    match store.begin_read() {
        Ok(txn) => answer_from(view, &txn),
        Err(failure) => {
            view.answer(Err(failure));
            Health::Broken
        }
    }
}

fn answer_from(view: Box<dyn ViewJob>, txn: &ReadTransaction) -> Health {
    match txn.open_table(ENTRIES) {
        Ok(table) => {
            let source = TableSource::new(&table);
            view.answer(Ok(&source));
            if source.broken().is_some() { Health::Broken } else { Health::Sound }
        }
        Err(error) => {
            view.answer(Err(storage("open the table of entries", error)));
            Health::Broken
        }
    }
}

/// Only the writer reopens a broken database, and it notices when it serves its next transaction.
fn wake_writer(queues: &Queues) {
    // A full queue has transactions that wake it as well, a closed one no need for it.
    let _ = queues.transactions.push(Box::new(WakeUp));
}

/// A transaction that does nothing.
struct WakeUp;

impl TransactJob for WakeUp {
    fn run(&mut self, _: &dyn Source) -> Option<Overlay> {
        None
    }

    fn durability(&self) -> Durability {
        Durability::Buffered
    }

    fn settle(self: Box<Self>, _: &Result<Sequence, Failure>, _: &Counters) {}
}

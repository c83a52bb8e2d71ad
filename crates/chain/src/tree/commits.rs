//! Commits that are shared: whoever has changes queues them, and one job on the pool commits what waits.
//!
//! ```text
//! writer ─► queue ─┐
//! writer ─► queue ─┼─► one commit, durable when one of them asks for it ─► answers
//! writer ─► queue ─┘
//! ```
//!
//! The queue is as long as there are writers and deletions at work, each with one entry.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{Change, Tree};

/// Most entries of the queue in one commit.
const GROUP: usize = 64;

type Answer = oneshot::Sender<io::Result<()>>;

/// Changes that wait for a commit.
#[derive(Debug)]
struct Waiting {
    changes: Vec<Change>,
    durable: bool,
    answer: Answer,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// A job is at it.
    draining: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Commits(Mutex<Queue>);

impl Commits {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues changes; a job that runs [`Self::drain`] has to follow.
    pub(super) fn push(
        &self,
        changes: Vec<Change>,
        durable: bool,
    ) -> oneshot::Receiver<io::Result<()>> {
        let (answer, answered) = oneshot::channel();
        self.queue().waiting.push_back(Waiting { changes, durable, answer });
        answered
    }

    /// Commits what waits, unless another job is at it. Blocks.
    pub(super) fn drain<T: Tree>(&self, tree: &T) {
        if std::mem::replace(&mut self.queue().draining, true) {
            return;
        }
        let _drained = Drained(self);
        while let Some(group) = self.next() {
            commit(tree, group);
        }
    }

    /// The next group; `None` ends the job, in the same look at the queue.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue();
        let count = queue.waiting.len().min(GROUP);
        if count == 0 {
            queue.draining = false;
            return None;
        }
        Some(queue.waiting.drain(..count).collect())
    }
}

/// Lets the next job in, also after a panic.
struct Drained<'a>(&'a Commits);

impl Drop for Drained<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.queue().draining = false;
        }
    }
}

fn commit<T: Tree>(tree: &T, group: Vec<Waiting>) {
    let durable = group.iter().any(|waiting| waiting.durable);
    let mut changes = Vec::new();
    let mut answers = Vec::new();
    for waiting in group {
        changes.extend(waiting.changes);
        answers.push(waiting.answer);
    }
    let committed = tree.commit(changes, durable);
    for answer in answers {
        let result = match &committed {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        // Whoever is gone wants no answer.
        let _ = answer.send(result);
    }
}

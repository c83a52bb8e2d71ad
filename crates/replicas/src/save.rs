//! Saving a chunk: its copies are written from one buffer, and a failed one is placed anew.

mod running;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cairn_core::copies::{ChunkWant, CopyReceipt, Place};
use cairn_core::ids::{ChunkId, NodeId};
use cairn_core::strategy::DeleteStrategy;
use cairn_runtime::Clock;

pub use self::running::Late;
use self::running::Running;
use crate::buffer::BufferReader;
use crate::replica::{CopyError, Replicas};
use crate::rule::SaveRule;
use crate::targets::Targets;

/// Bounds on saving one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaveBounds {
    /// Copies that may be placed anew before the chunk is given up. Default 6.
    pub replacements: usize,
    /// Time for a receipt, counted from the end of the chunk's bytes. Longer bears slower disks; shorter
    /// notices a hung node sooner. Default 20 s.
    pub receipt: Duration,
    /// How long copies go on after the quorum, and with them the chunk's buffer. Default 10 s.
    pub late: Duration,
}

impl Default for SaveBounds {
    fn default() -> Self {
        let (receipt, late) = (Duration::from_secs(20), Duration::from_secs(10));
        Self { replacements: 6, receipt, late }
    }
}

/// Finds other places for copies that failed.
pub trait Replace: Send + Sync {
    /// Why no other place was found.
    type Error: Send;

    /// Places for `want`, none of them among its holders or failed nodes.
    fn replace(
        &self,
        want: ChunkWant,
    ) -> impl Future<Output = Result<Vec<Place>, Self::Error>> + Send;
}

/// For callers that know no other places: a copy that fails is not placed anew, and one that is moved is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no other place")]
pub struct NowhereElse;

impl Replace for NowhereElse {
    type Error = Self;

    async fn replace(&self, _: ChunkWant) -> Result<Vec<Place>, Self> {
        Err(Self)
    }
}

/// A chunk with the copies that were asked for.
#[derive(Debug)]
pub struct Saved<R: Replace> {
    /// The copies, in order of placement.
    pub copies: Vec<CopyReceipt>,
    /// How long each of them took from the end of the chunk's bytes to its receipt, in the same order.
    pub took: Vec<Duration>,
    /// Copies that failed.
    pub failures: Vec<(NodeId, CopyError)>,
    /// Copies beyond the quorum that are still being written.
    pub late: Late<R>,
}

/// Why a save ended without the copies asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSaved<E> {
    /// Whoever writes the chunk went away: nothing more was begun.
    #[error("the chunk was broken off by its writer")]
    Cancelled,
    /// Copies failed, and were not placed anew.
    #[error("too many copies failed")]
    Failed,
    /// No other place was found.
    #[error("{0}")]
    NoPlace(E),
    /// More copies were asked for than there are places.
    #[error("{quorum} copies are more than the {places} that are placed")]
    Quorum {
        /// Asked for.
        quorum: usize,
        /// There are.
        places: usize,
    },
}

/// The chunk does not have the copies asked for.
#[derive(Debug, thiserror::Error)]
#[error("{} copies of the chunk are durable, {} failed: {cause}", saved.len(), failures.len())]
pub struct SaveError<E> {
    /// Copies that are durable nevertheless, in order of placement.
    pub saved: Vec<CopyReceipt>,
    /// What went wrong, in order.
    pub failures: Vec<(NodeId, CopyError)>,
    /// Why it ended.
    pub cause: NotSaved<E>,
}

/// What is written, where to and how.
pub struct Save<R> {
    /// The chunk.
    pub chunk: ChunkId,
    /// The most it can have, reserved on each node.
    pub reserve: u64,
    /// Where the copies go; as many as are wanted.
    pub targets: Targets,
    /// Copies with which it counts as saved when no more can be had. At most as many as there are targets counts.
    pub least: usize,
    /// In what order, and when it is enough.
    pub strategy: Arc<dyn SaveRule>,
    /// Its bytes.
    pub source: BufferReader,
    /// Finds the nodes.
    pub replicas: Arc<dyn Replicas>,
    /// Finds other nodes.
    pub replace: R,
    /// Bounds.
    pub bounds: SaveBounds,
    /// Measures them.
    pub clock: Clock,
}

impl<R> std::fmt::Debug for Save<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Save")
            .field("chunk", &self.chunk)
            .field("strategy", &self.strategy)
            .finish_non_exhaustive()
    }
}

/// Writes the copies. One that fails is given to another node, as often as the bounds allow.
///
/// # Errors
/// [`SaveError`] when fewer copies than asked for can be had; writes that still run are dropped then.
pub async fn save<R: Replace + 'static>(
    save: Save<R>,
) -> Result<Saved<R>, Box<SaveError<R::Error>>> {
    Running::begin(save)?.until_enough().await
}

/// Saves, and when that fails deletes what was written: for callers without a master, which does this where there is one.
///
/// # Errors
/// As [`save`], with [`SaveError::saved`] as far as it could not be deleted.
pub async fn save_or_undo<R: Replace + 'static, F>(
    asked: Save<R>,
    delete: impl Fn(NodeId) -> F,
) -> Result<Saved<R>, Box<SaveError<R::Error>>>
where
    F: Future<Output = Result<(), CopyError>>,
{
    let targets = asked.targets.nodes();
    match save(asked).await {
        Ok(saved) => Ok(saved),
        Err(mut error) => {
            // Also nodes whose receipt did not come: they may have the chunk.
            let others = error.saved.iter().map(|copy| copy.node);
            let mut asked = targets;
            asked.extend(others.filter(|node| !asked.contains(node)).collect::<Vec<_>>());
            let undone = crate::delete::delete(&asked, &DeleteStrategy::default(), delete).await;
            error.saved.retain(|copy| !undone.gone.contains(&copy.node));
            error.failures.extend(undone.failures);
            Err(error)
        }
    }
}

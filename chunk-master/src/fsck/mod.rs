//! fsck: catalog and nodes are compared both ways beside the traffic, in bounded steps, and what can be mended is.
//!
//! ```text
//! catalog     every record judged beside those that it names, some at a time, each look in one view
//! references  who has each blob, what rings for each upload: counted for a window of them at a time
//! accounts    one view adds everything up: its time grows with the files, its memory does not
//! nodes       each node's inventory ◄──► the copies that manifests name on it
//! ```
//!
//! Nothing is called a difference on one look where something may have moved between two reads: it is looked at again.
//! What is mended is judged again in the transaction that mends it. Data of a Live version is never touched.

mod accounts;
mod catalog;
mod nodes;
mod references;

use cairn_core::ids::{ChunkId, NodeId};
use cairn_kv::{TransactError, ViewError};
use tokio::sync::mpsc;
use tonic::Status;

use crate::answer;
use crate::audit::{Difference, Kind, Mend};
use crate::error::{CatalogError, operation_error};
use crate::master::Master;
use crate::sweep::SweepError;

operation_error! {
    /// Why a step comes to nothing.
    StepError {
        Catalog(CatalogError),
    }
}

/// Why a walk broke off. What was mended stays so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FsckError {
    #[error("read the catalog: {0}")]
    View(#[from] ViewError<StepError>),
    #[error("mend the catalog: {0}")]
    Transact(#[from] TransactError<StepError>),
    #[error("read the catalog: {0}")]
    Sweep(#[from] ViewError<SweepError>),
    #[error("nobody listens any more")]
    Gone,
}

impl FsckError {
    /// What is damaged, when that is why.
    fn damage(&self) -> Option<String> {
        match self {
            Self::View(ViewError::Rejected(StepError::Catalog(CatalogError::Damaged(damage))))
            | Self::Transact(TransactError::Rejected(StepError::Catalog(CatalogError::Damaged(
                damage,
            )))) => Some(damage.to_string()),
            _ => None,
        }
    }

    pub(crate) fn into_status(self) -> Status {
        match self {
            Self::View(error) => answer::not_viewed(error),
            Self::Transact(error) => answer::not_transacted(error),
            Self::Sweep(error) => answer::not_viewed(error),
            Self::Gone => answer::stopping(),
        }
    }
}

/// What became of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing that a machine should do.
    Left,
    /// A repair would mend it.
    Would,
    /// It was mended.
    Mended,
    /// A repair cannot mend it now.
    Refused,
}

/// A difference as it is told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) kind: Kind,
    pub(crate) what: String,
    pub(crate) outcome: Outcome,
    /// What is done or would be, or what a person can do.
    pub(crate) action: &'static str,
    /// Where, when it is about a node.
    pub(crate) node: Option<NodeId>,
    pub(crate) chunk: Option<ChunkId>,
}

/// Something that could not be compared.
#[derive(Debug, Clone)]
pub(crate) struct Unchecked {
    pub(crate) what: String,
    pub(crate) why: String,
    pub(crate) node: Option<NodeId>,
}

/// What one step found.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// What is being looked at.
    pub(crate) at: String,
    pub(crate) differences: Vec<Told>,
    pub(crate) unchecked: Vec<Unchecked>,
    /// Records judged so far.
    pub(crate) records: u64,
    /// Copies on nodes compared so far.
    pub(crate) copies: u64,
    /// All was looked at.
    pub(crate) done: bool,
}

/// A walk, and whom it tells.
pub(crate) struct Walk<'a> {
    master: &'a Master,
    repair: bool,
    listener: mpsc::Sender<Step>,
    records: u64,
    copies: u64,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(master: &'a Master, repair: bool, listener: mpsc::Sender<Step>) -> Self {
        Self { master, repair, listener, records: 0, copies: 0 }
    }

    /// Walks over everything. Waits while its listener is slow, and ends when it is gone.
    pub(crate) async fn run(mut self) -> Result<(), FsckError> {
        catalog::walk(&mut self).await?;
        let counted = references::walk(&mut self).await;
        self.unless_damaged("who has each blob", counted).await?;
        let added_up = accounts::walk(&mut self).await;
        self.unless_damaged("what the accounts hold", added_up).await?;
        nodes::walk(&mut self).await?;
        self.tell(Step { done: true, ..Step::default() }).await
    }

    /// Tells that something could not be compared because of a damaged record, which was told of itself; then goes on.
    async fn unless_damaged(
        &mut self,
        what: &str,
        ended: Result<(), FsckError>,
    ) -> Result<(), FsckError> {
        let Err(error) = ended else { return Ok(()) };
        let Some(why) = error.damage() else { return Err(error) };
        let unchecked = vec![Unchecked { what: what.to_owned(), why, node: None }];
        self.tell(Step { unchecked, ..Step::default() }).await
    }

    /// Tells of a step, with the counts so far. Also how often: each step is bounded, so the listener hears that it goes on.
    async fn tell(&mut self, step: Step) -> Result<(), FsckError> {
        for told in &step.differences {
            let (kind, outcome) = (told.kind, told.outcome);
            tracing::warn!(target: "cairn", ?kind, what = %told.what, ?outcome, "fsck");
        }
        let step = Step { records: self.records, copies: self.copies, ..step };
        self.listener.send(step).await.map_err(|_| FsckError::Gone)
    }

    /// How a difference of the catalog is told that was not mended.
    fn unmended(&self, difference: Difference) -> Told {
        let (outcome, action) = match difference.mend {
            Mend::Leave(advice) => (Outcome::Left, advice),
            Mend::Remove(_) => (Outcome::Would, "remove the record"),
            Mend::Write(..) => (Outcome::Would, "write the record anew"),
        };
        Told { outcome, action, ..told(difference.kind, difference.what) }
    }
}

/// A difference of the catalog alone.
fn told(kind: Kind, what: String) -> Told {
    Told { kind, what, outcome: Outcome::Left, action: "", node: None, chunk: None }
}

//! What all uploads share.

use crate::budget::Budget;
use crate::config::UploadConfig;
use crate::master::Master;
use crate::nodes::Nodes;
use crate::seams::Seams;
use tokio_util::task::TaskTracker;

/// What all uploads share.
pub(super) struct Shared {
    pub(super) config: UploadConfig,
    pub(super) master: Master,
    pub(super) nodes: Nodes,
    pub(super) uploads: Budget,
    pub(super) seams: Seams,
    /// Uploads that are open, commits and aborts at work.
    pub(super) open: TaskTracker,
}

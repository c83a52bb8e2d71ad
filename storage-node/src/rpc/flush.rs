//! `Chunks.Flush`: waits until what was acknowledged is in every tier.

use std::time::Duration;

use cairn_chain::WriteError;
use cairn_proto::v1::{FlushRequest, FlushResponse};
use cairn_proto::{Reason, WireError};

use crate::error;
use crate::node::Node;

/// The longest that one call waits.
const FLUSH_BOUND: Duration = Duration::from_secs(600);

/// Not all is in every tier yet.
#[derive(Debug, thiserror::Error)]
#[error("flush the tiers: {0}")]
pub(crate) struct NotFlushed(#[from] WriteError);

impl WireError for NotFlushed {
    fn reason(&self) -> Reason {
        error::of_write(&self.0)
    }
}

pub(super) async fn flush(node: &Node, _: FlushRequest) -> Result<FlushResponse, NotFlushed> {
    let flushed = node.clock.timeout(FLUSH_BOUND, node.store.flush()).await;
    flushed.unwrap_or(Err(WriteError::TimedOut(FLUSH_BOUND)))?;
    Ok(FlushResponse {})
}

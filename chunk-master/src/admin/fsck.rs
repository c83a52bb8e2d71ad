//! Fsck.

use std::pin::Pin;
use std::sync::Arc;

use cairn_core::ids::NodeId;
use cairn_proto::{convert, v1};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::audit::Kind;
use crate::fsck::{FsckError, Outcome, Step, Told, Unchecked, Walk};
use crate::master::Master;

/// Steps that wait for a slow operator, before the walk waits.
const STEPS_AHEAD: usize = 4;

type Answers = Pin<Box<dyn Stream<Item = Result<v1::FsckResponse, Status>> + Send>>;

/// Walks as the stream is read, and no longer; the stream ends when the master stops.
pub(super) fn fsck(master: &Arc<Master>, request: v1::FsckRequest) -> Answers {
    let (listener, steps) = mpsc::channel(STEPS_AHEAD);
    let stop = master.stop.clone().cancelled_owned();
    let master = Arc::clone(master);
    let walk = async move { Walk::new(&master, request.repair, listener).run().await };
    let broken_off =
        |ended: Result<(), FsckError>| async { ended.err().map(|error| Err(error.into_status())) };
    let walk = stream::once(walk).filter_map(broken_off);
    let steps = ReceiverStream::new(steps).map(|step| Ok(tell(step)));
    Box::pin(stream::select(steps, walk).take_until(stop))
}

fn tell(step: Step) -> v1::FsckResponse {
    let Step { at, differences, unchecked, records, copies, done } = step;
    v1::FsckResponse {
        at,
        differences: differences.into_iter().map(difference).collect(),
        unchecked: unchecked.into_iter().map(not_checked).collect(),
        records,
        copies,
        done,
    }
}

fn node_id(node: Option<NodeId>) -> bytes::Bytes {
    node.map(|node| convert::bytes(node.as_bytes())).unwrap_or_default()
}

fn difference(told: Told) -> v1::FsckDifference {
    let kind = match told.kind {
        Kind::Damaged => v1::FsckKind::Damaged,
        Kind::Dangling => v1::FsckKind::Dangling,
        Kind::Index => v1::FsckKind::Index,
        Kind::Contradiction => v1::FsckKind::Contradiction,
        Kind::Account => v1::FsckKind::Account,
        Kind::MissingCopy => v1::FsckKind::MissingCopy,
        Kind::ReplacedDisk => v1::FsckKind::ReplacedDisk,
        Kind::WrongLength => v1::FsckKind::WrongLength,
        Kind::Orphan => v1::FsckKind::Orphan,
        Kind::Stray => v1::FsckKind::Stray,
    };
    let outcome = match told.outcome {
        Outcome::Left => v1::FsckOutcome::Left,
        Outcome::Would => v1::FsckOutcome::Would,
        Outcome::Mended => v1::FsckOutcome::Mended,
        Outcome::Refused => v1::FsckOutcome::Refused,
    };
    v1::FsckDifference {
        kind: kind.into(),
        what: told.what,
        outcome: outcome.into(),
        action: told.action.to_owned(),
        node_id: node_id(told.node),
        chunk: told.chunk.map(Into::into),
    }
}

fn not_checked(Unchecked { what, why, node }: Unchecked) -> v1::FsckUnchecked {
    v1::FsckUnchecked { what, why, node_id: node_id(node) }
}

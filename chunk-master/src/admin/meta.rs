//! ExportMeta, GetMetaStatus and ReleaseSweep.

use std::sync::Arc;
use std::time::Duration;

use cairn_kv::{Durability, Snapshot, Txn};
use cairn_proto::error::refuse;
use cairn_proto::v1::{
    ExportMetaResponse, GetMetaStatusResponse, MetaKeeper, ReleaseSweepResponse, SweepHold,
};
use cairn_proto::{Reason, convert};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::MasterError;
use crate::backup;
use crate::catalog::{Held, record};
use crate::error::{CatalogError, operation_error};
use crate::master::Master;

operation_error! {
    /// Why the state of the metadata is not told or changed.
    MetaError {
        Catalog(CatalogError),
    }
}

/// Longest silence of whoever takes a backup: the store cannot reuse space meanwhile.
const TAKE_BOUND: Duration = Duration::from_secs(30);

pub(super) type Exported = BoxStream<'static, Result<ExportMetaResponse, Status>>;

fn not_exported(error: &MasterError) -> Status {
    tracing::warn!(target: "cairn", %error, "no backup");
    refuse(Reason::Busy, true, error.to_string())
}

pub(super) async fn export_meta(master: &Arc<Master>) -> Result<Exported, Status> {
    let pieces = backup::export(&master.kv, master.time.wall_ms()).await;
    let mut pieces = Box::pin(pieces.map_err(|error| not_exported(&error))?);
    let (send, sent) = mpsc::channel(1);
    let clock = master.clock.clone();
    let pump = async move {
        while let Some(piece) = pieces.next().await {
            let message = piece.map(|data| ExportMetaResponse { data }).map_err(|failure| {
                tracing::warn!(target: "cairn", %failure, "a backup broke off");
                refuse(Reason::StorageFailed, true, failure.to_string())
            });
            let taken = clock.timeout(TAKE_BOUND, send.send(message)).await;
            if !matches!(taken, Ok(Ok(()))) {
                return;
            }
        }
    };
    // Whoever goes away, or takes nothing for too long, ends it.
    drop(master.spawner.spawn(pump));
    Ok(ReceiverStream::new(sent).boxed())
}

pub(super) async fn get_meta_status(master: &Master) -> Result<GetMetaStatusResponse, Status> {
    let held = |view: &Snapshot<'_>| Ok::<_, MetaError>(record::get::<Held>(view, &())?);
    let hold = master.view(held).await?;
    let hold = hold.map(|Held { since_ms, reason }| SweepHold { since_ms, reason });
    let Some(journal) = master.journal.get() else {
        return Ok(GetMetaStatusResponse { hold, ..GetMetaStatusResponse::default() });
    };
    let keepers = journal.keepers().into_iter().map(|(node, keeper)| MetaKeeper {
        node_id: convert::bytes(node.as_bytes()),
        address: keeper.address,
        sequence: keeper.acked.unwrap_or(0),
        journal_bytes: keeper.journal_bytes,
        backup_bytes: keeper.backup_bytes,
        problem: keeper.problem.unwrap_or_default(),
    });
    Ok(GetMetaStatusResponse {
        copies: journal.copies(),
        committed: journal.last(),
        durable: cairn_kv::Journal::durable(journal),
        problem: journal.problem().unwrap_or_default(),
        keepers: keepers.collect(),
        hold,
    })
}

pub(super) async fn release_sweep(master: &Master) -> Result<ReleaseSweepResponse, Status> {
    let closure = |txn: &mut Txn<'_>| -> Result<bool, MetaError> {
        let held = record::get::<Held>(txn, &())?.is_some();
        if held {
            record::delete::<Held>(txn, &())?;
        }
        Ok(held)
    };
    let released = master.transact(Durability::Synced, closure).await?;
    if released {
        tracing::info!(target: "cairn", "an operator lets the sweep go on");
    }
    Ok(ReleaseSweepResponse { released })
}

//! The journal of metadata: what the master's catalog commits is kept here as well.
//!
//! ```text
//! master ── BeginTerm ─────► who may write          ┐
//!        ── PutBackup ─────► backup, aside, named   ├─► files ─► disk, fsync ─► answer
//!        ── AppendRecords ─► segments               ┘
//! operator ── ReadMeta ────► backup, records
//! ```
//!
//! A node judges no content: records must follow each other, and whoever began the latest term may write.

mod files;
mod service;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use cairn_chain::Disk;
use cairn_core::backup::BackupHead;
use cairn_proto::v1::meta_journal_server::MetaJournalServer;
use cairn_proto::{InvalidField, MAX_META_MESSAGE_BYTES, Reason, WireError};
use cairn_runtime::{Blocking, BlockingError};
use tokio::sync::Semaphore;

use crate::identity::NodeIdentity;
pub use files::MetaError;
use files::{Contents, Files, NewBackup};
pub use service::MetaService;

/// The journal that a node keeps for its master. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct MetaKeeper {
    files: Arc<Mutex<Files>>,
    disk: Arc<dyn Disk>,
    blocking: Blocking,
    identity: NodeIdentity,
    /// One backup is taken at a time.
    backups: Arc<Semaphore>,
}

impl fmt::Debug for MetaKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetaKeeper").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// A call is refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Field(#[from] InvalidField),
    #[error("the node belongs to another catalog")]
    Foreign,
    #[error("the node has joined no catalog yet: try again when it is registered")]
    NotJoined,
    #[error("another backup is being taken: try again later")]
    Busy,
    #[error("the backup ended too early")]
    NotWhole,
    #[error("the node has no backup of a catalog")]
    Empty,
    #[error(transparent)]
    Files(#[from] MetaError),
    #[error(transparent)]
    Interrupted(#[from] BlockingError),
}

impl WireError for Refused {
    fn reason(&self) -> Reason {
        match self {
            Self::Field(error) => error.reason(),
            Self::Foreign => Reason::ForeignCatalog,
            Self::NotJoined | Self::Busy => Reason::Busy,
            Self::NotWhole | Self::Empty => Reason::BodyMismatch,
            Self::Files(MetaError::Backup(_) | MetaError::Record(_)) => Reason::BodyMismatch,
            Self::Files(_) | Self::Interrupted(_) => Reason::StorageFailed,
        }
    }
}

impl MetaKeeper {
    /// Opens the folder `meta`. Call it when the chunk store is open: its lock keeps other processes out.
    ///
    /// # Errors
    /// [`MetaError`].
    pub async fn open(
        disk: Arc<dyn Disk>,
        blocking: &Blocking,
        identity: NodeIdentity,
    ) -> Result<Self, MetaError> {
        let folder = Arc::clone(&disk);
        let files = blocking.run(move || Files::open(folder)).await;
        let files = files.unwrap_or(Err(MetaError::DiskFailed))?;
        let (files, backups) = (Arc::new(Mutex::new(files)), Arc::new(Semaphore::new(1)));
        Ok(Self { files, disk, blocking: blocking.clone(), identity, backups })
    }

    /// The service to put beside that of chunks.
    pub fn service(&self) -> MetaJournalServer<MetaService> {
        MetaJournalServer::new(MetaService::new(self.clone()))
            .max_decoding_message_size(MAX_META_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_META_MESSAGE_BYTES)
    }

    /// Works on the files, off the async workers and to its end.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Files) -> Result<T, MetaError> + Send + 'static,
    ) -> Result<T, Refused> {
        let files = Arc::clone(&self.files);
        let locked = move || work(&mut files.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(self.blocking.run(locked).await??)
    }
}

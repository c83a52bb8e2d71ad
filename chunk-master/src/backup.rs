//! Backups: all of the catalog at one moment, written while calls go on, and read into an empty store.
//!
//! ```text
//! store ─► dump: one state, page by page ─► pieces ─► Admin.ExportMeta, PutBackup ─► file, node
//! file, nodes ─► Import: an empty store, marked ─► entries, changes ─► the mark goes ─► a master may start
//! ```

use std::collections::VecDeque;

use bytes::Bytes;
use cairn_core::backup::{BackupHead, BackupWriter};
use cairn_core::ids::CatalogId;
use cairn_core::journal::Change;
use cairn_kv::{
    Direction, Dump, Durability, Entry, KeyRange, Kv, Read, Snapshot, StorageFailure, Txn,
};
use futures_util::{Stream, stream};

use crate::MasterError;
use crate::catalog::{Held, Identity, Importing, record};
use crate::error::{CatalogError, operation_error};

operation_error! {
    /// Why the catalog is not read or filled.
    BackupError {
        Catalog(CatalogError),
        NotEmpty(NotEmpty),
        Nothing(Nothing),
        Unfinished(Unfinished),
    }
}

/// There is something in the store.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the store is not empty: name an empty one, so that nothing is overwritten")]
pub(crate) struct NotEmpty;

/// An import broke off.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the store was being filled and is not whole: empty it, then import or restore again")]
pub(crate) struct Unfinished;

/// There is no catalog in the store.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("there is no catalog in the store")]
pub(crate) struct Nothing;

macro_rules! for_operators {
    ($($name:ident)+) => {$(
        impl cairn_proto::WireError for $name {
            fn reason(&self) -> cairn_proto::Reason {
                cairn_proto::Reason::Unspecified
            }
        }
    )+};
}
for_operators!(NotEmpty Unfinished Nothing);

/// The catalog in a store, if there is one.
pub(crate) fn identity(read: &impl Read) -> Result<CatalogId, BackupError> {
    let found: Option<Identity> = record::get(read, &())?;
    Ok(found.ok_or(Nothing)?.0)
}

/// Where the writing of a backup is.
enum At {
    Head(BackupHead),
    Pages,
    Done,
}

/// The bytes of a backup, as they are read from the store.
pub(crate) fn pieces(
    dump: Dump,
    head: BackupHead,
) -> impl Stream<Item = Result<Bytes, StorageFailure>> + Send + 'static {
    let begun = (dump, BackupWriter::default(), At::Head(head));
    stream::try_unfold(begun, |(mut dump, mut writer, at)| async move {
        let (piece, next) = match at {
            At::Head(head) => (writer.head(&head), At::Pages),
            At::Pages => match dump.next_page().await? {
                Some(page) => (writer.entries(&page), At::Pages),
                None => (writer.end(), At::Done),
            },
            At::Done => return Ok(None),
        };
        Ok(Some((piece, (dump, writer, next))))
    })
}

/// A backup of the catalog in `kv`, as a stream of bytes in the format of `cairn_core::backup`.
///
/// # Errors
/// [`MasterError`] when there is no catalog, or the store cannot be read.
pub async fn export(
    kv: &Kv,
    made_ms: u64,
) -> Result<impl Stream<Item = Result<Bytes, StorageFailure>> + Send + 'static, MasterError> {
    let catalog = kv.view(|view: &Snapshot<'_>| identity(view)).await;
    let catalog = *catalog.map_err(MasterError::new("read which catalog it is"))?.as_bytes();
    let dump = kv.dump().await.map_err(MasterError::new("begin to read the catalog"))?;
    let position = dump.position();
    Ok(pieces(dump, BackupHead { catalog, made_ms, position }))
}

/// Most writes of one transaction.
const MAX_WRITES: usize = 1000;
/// Bytes of one transaction, and one write more.
const MAX_BYTES: usize = 4 << 20;

/// Fills an empty store. A master refuses the store until [`Self::end`].
#[derive(Debug)]
pub struct Import<'k> {
    kv: &'k Kv,
}

impl<'k> Import<'k> {
    /// Begins, with a mark in the store.
    ///
    /// # Errors
    /// [`MasterError`] when the store is not empty or cannot be written.
    pub async fn begin(kv: &'k Kv) -> Result<Self, MasterError> {
        let closure = |txn: &mut Txn<'_>| -> Result<(), BackupError> {
            refuse_unfinished(txn)?;
            if !txn.scan(&KeyRange::all(), 1, Direction::Forward)?.is_empty() {
                return Err(NotEmpty.into());
            }
            Ok(record::put(txn, &(), &Importing)?)
        };
        let begun = kv.transact(Durability::Synced, closure).await;
        begun.map_err(MasterError::new("begin to fill the store"))?;
        Ok(Self { kv })
    }

    /// Writes entries.
    ///
    /// # Errors
    /// [`MasterError`] when the store cannot be written.
    pub async fn entries(&self, entries: Vec<Entry>) -> Result<(), MasterError> {
        self.changes(entries.into_iter().map(|(key, value)| (key, Some(value))).collect()).await
    }

    /// Writes changes, in transactions of bounded size.
    ///
    /// # Errors
    /// [`MasterError`] when the store cannot be written.
    pub async fn changes(&self, changes: Vec<Change>) -> Result<(), MasterError> {
        let mut rest = VecDeque::from(changes);
        while !rest.is_empty() {
            let (mut some, mut bytes) = (Vec::new(), 0);
            while some.len() < MAX_WRITES
                && bytes < MAX_BYTES
                && let Some((key, value)) = rest.pop_front()
            {
                bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
                some.push((key, value));
            }
            let closure = move |txn: &mut Txn<'_>| -> Result<(), BackupError> {
                for (key, value) in &some {
                    match value {
                        Some(value) => txn.put(key.clone(), value.clone())?,
                        None => txn.delete(key.clone())?,
                    }
                }
                Ok(())
            };
            let written = self.kv.transact(Durability::Buffered, closure).await;
            written.map_err(MasterError::new("fill the store"))?;
        }
        Ok(())
    }

    /// All is there. With `held`, the sweep waits until an operator lets it go on.
    ///
    /// # Errors
    /// [`MasterError`] when the store cannot be written, or has no catalog.
    pub async fn end(self, held: Option<Held>) -> Result<CatalogId, MasterError> {
        let closure = move |txn: &mut Txn<'_>| -> Result<CatalogId, BackupError> {
            let catalog = identity(txn)?;
            if let Some(held) = &held {
                record::put(txn, &(), held)?;
            }
            record::delete::<Importing>(txn, &())?;
            Ok(catalog)
        };
        let ended = self.kv.transact(Durability::Synced, closure).await;
        ended.map_err(MasterError::new("end filling the store"))
    }
}

/// Refuses a store that is being filled.
pub(crate) fn refuse_unfinished(read: &impl Read) -> Result<(), BackupError> {
    match record::get::<Importing>(read, &())? {
        Some(Importing) => Err(Unfinished.into()),
        None => Ok(()),
    }
}

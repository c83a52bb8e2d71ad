//! Where runs are stored.

use std::sync::Arc;

use bytes::Bytes;
use cairn_core::sealed::{self, BrokenSeal};
use cairn_kv::{AccessError, Durability, Kv, Read, TransactError, Txn};

use crate::record::{FORMAT, Header, Stored};
use crate::run::{Keep, Progress};

/// The longest input of a run that is stored, in bytes of JSON.
pub const MAX_INPUT_BYTES: usize = 64 << 10;

/// A part of a key-value store that holds runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RunStore {
    kv: Kv,
    prefix: Bytes,
}

impl RunStore {
    /// Stores runs under keys that begin with `prefix`, and nothing else may.
    pub fn new(kv: Kv, prefix: impl Into<Bytes>) -> Self {
        Self { kv, prefix: prefix.into() }
    }

    fn key(&self, id: &str) -> Bytes {
        [&self.prefix[..], id.as_bytes()].concat().into()
    }

    /// Forgets a run, in a transaction of the caller's own: what it was for is settled in the same one. A run that is still
    /// going on is [overtaken](StoreError::Overtaken) at its next step.
    ///
    /// # Errors
    /// [`AccessError`] for the transaction to pass on.
    pub fn forget(&self, txn: &mut Txn<'_>, id: &str) -> Result<(), AccessError> {
        txn.delete(self.key(id))
    }
}

/// Why a run cannot go on now. It has not ended.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store has no such run.
    #[error("there is no run {0}")]
    NotFound(String),
    /// Somebody else goes on with the run, or it was forgotten.
    #[error("run {0} is in other hands")]
    Overtaken(String),
    /// The run belongs to a workflow of another name, or with other steps.
    #[error("run {id} is one of workflow {workflow:?}, or of other steps")]
    AnotherWorkflow {
        /// Which run.
        id: String,
        /// The name that was stored.
        workflow: String,
    },
    /// The record is damaged, or of another version.
    #[error("run {id} cannot be read: {why}")]
    Damaged {
        /// Which run.
        id: String,
        /// What is wrong.
        why: String,
    },
    /// The input cannot be written as JSON or read from it.
    #[error("the input of the run: {0}")]
    Input(serde_json::Error),
    /// The input is longer than [`MAX_INPUT_BYTES`].
    #[error("an input of {len} bytes, at most {MAX_INPUT_BYTES} are stored")]
    LongInput {
        /// Its length in bytes of JSON.
        len: usize,
    },
    /// The store failed.
    #[error("store the run: {0}")]
    Transact(#[from] TransactError<AccessError>),
}

impl StoreError {
    /// Whether the run may be resumed after a pause.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Overtaken(_) => true,
            Self::Transact(error) => {
                error.is_retryable() || matches!(error, TransactError::MayHaveHappened(_))
            }
            Self::NotFound(_)
            | Self::AnotherWorkflow { .. }
            | Self::Damaged { .. }
            | Self::Input(_)
            | Self::LongInput { .. } => false,
        }
    }

    pub(crate) fn damaged(id: &str, why: &impl ToString) -> Self {
        Self::Damaged { id: id.to_owned(), why: why.to_string() }
    }
}

/// The record of one run, in the hands of who runs it.
pub(crate) struct Log {
    store: RunStore,
    id: Arc<str>,
    pub(crate) header: Header,
    revision: u64,
    /// What is stored, as far as is known here: whoever finds something else does not write.
    found: Option<Bytes>,
}

impl Log {
    /// Of a run that is not stored yet.
    pub(crate) fn begin(store: &RunStore, id: &str, header: Header) -> Self {
        Self { store: store.clone(), id: id.into(), header, revision: 0, found: None }
    }

    /// Of a run that was stored. Reads in a transaction, which comes after those that a dropped run left behind.
    pub(crate) async fn find(
        store: &RunStore,
        id: &str,
    ) -> Result<Option<(Self, Stored)>, StoreError> {
        let key = store.key(id);
        let read = {
            let key = key.clone();
            move |txn: &mut Txn<'_>| txn.get(&key)
        };
        let Some(found) = store.kv.transact(Durability::Synced, read).await? else {
            return Ok(None);
        };
        let stored = decode(&key, &found).map_err(|why| StoreError::damaged(id, &why))?;
        let (store, header, revision) = (store.clone(), stored.header(), stored.revision);
        Ok(Some((Self { store, id: id.into(), header, revision, found: Some(found) }, stored)))
    }
}

/// Why a value is no run.
#[derive(Debug, thiserror::Error)]
enum Undecoded {
    #[error(transparent)]
    Seal(#[from] BrokenSeal),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

fn decode(key: &[u8], value: &[u8]) -> Result<Stored, Undecoded> {
    let payload = sealed::open(key, FORMAT, value)?;
    Ok(serde_json::from_slice(payload)?)
}

impl Keep for Log {
    type Error = StoreError;

    fn id(&self) -> Option<Arc<str>> {
        Some(Arc::clone(&self.id))
    }

    /// Writes the record, unless somebody else did since it was read or written here. Synced: a job that has begun is
    /// known to have begun, whatever it did elsewhere.
    async fn save(&mut self, progress: &Progress) -> Result<(), StoreError> {
        let revision = self.revision + 1;
        let stored = Stored::new(&self.header, revision, progress);
        let payload =
            serde_json::to_vec(&stored).map_err(|why| StoreError::damaged(&self.id, &why))?;
        let key = self.store.key(&self.id);
        let value = Bytes::from(sealed::seal(&key, FORMAT, &payload));
        let (expected, new) = (self.found.take(), value.clone());
        let write = move |txn: &mut Txn<'_>| {
            let untouched = txn.get(&key)? == expected;
            if untouched {
                txn.put(key.clone(), new.clone())?;
            }
            Ok(untouched)
        };
        if !self.store.kv.transact(Durability::Synced, write).await? {
            return Err(StoreError::Overtaken(self.id.to_string()));
        }
        (self.revision, self.found) = (revision, Some(value));
        Ok(())
    }
}

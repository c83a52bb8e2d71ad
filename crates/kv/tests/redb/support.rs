//! What the tests share.

use std::time::Duration;

use bytes::Bytes;
use cairn_kv::{AccessError, Kv, Read, RedbConfig};
use tokio::runtime::Builder;

pub(crate) use crate::calls::{Answer, HeldWriter, keys, put, until_waiting};
use crate::disk::Disk;

/// Why a closure of these tests says no.
#[derive(Debug, thiserror::Error)]
pub(crate) enum No {
    #[error("no")]
    OnPrinciple,
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// A store that syncs only when a test makes it.
pub(crate) fn patient() -> RedbConfig {
    RedbConfig { flush_after: Duration::from_secs(3600), ..RedbConfig::default() }
}

pub(crate) fn open(disk: &Disk, config: RedbConfig) -> Kv {
    let disk = disk.clone();
    Kv::redb_on(move || disk.open(), config).unwrap()
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(crate) async fn get(kv: &Kv, key: &'static str) -> Option<Bytes> {
    kv.view(move |snapshot| snapshot.get(key.as_bytes())).await.unwrap()
}

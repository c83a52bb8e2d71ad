//! Calls that the tests of every engine with a writer make: transactions, keys, and a writer that is held.

use std::sync::mpsc;

use bytes::Bytes;
use cairn_kv::{AccessError, Direction, Durability, KeyRange, Kv, Read, TransactError};
use tokio::task::JoinSet;

pub(crate) type Answer<T = ()> = Result<T, TransactError<AccessError>>;

pub(crate) async fn put(
    kv: &Kv,
    durability: Durability,
    key: impl Into<Bytes>,
    value: impl Into<Bytes>,
) -> Answer {
    let (key, value) = (key.into(), value.into());
    kv.transact(durability, move |txn| txn.put(key.clone(), value.clone())).await
}

/// Every key of the store.
pub(crate) async fn keys(kv: &Kv) -> Vec<String> {
    let scan = |snapshot: &cairn_kv::Snapshot<'_>| {
        snapshot.scan(&KeyRange::all(), usize::MAX, Direction::Forward)
    };
    let entries = kv.view(scan).await.unwrap();
    entries.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect()
}

/// A transaction in which the writer thread waits, so that others queue up behind it.
pub(crate) struct HeldWriter {
    release: mpsc::Sender<()>,
    task: JoinSet<Answer>,
}

impl HeldWriter {
    pub(crate) async fn new(kv: &Kv) -> HeldWriter {
        let (release, released) = mpsc::channel();
        let (started, mut has_started) = tokio::sync::mpsc::unbounded_channel();
        let mut task = JoinSet::new();
        let kv = kv.clone();
        task.spawn(async move {
            kv.transact(Durability::Buffered, move |txn| {
                started.send(()).unwrap();
                released.recv().unwrap();
                txn.put("held", "")
            })
            .await
        });
        has_started.recv().await.unwrap();
        HeldWriter { release, task }
    }

    /// Lets the writer go on, and returns the answer of the transaction that held it.
    pub(crate) async fn release(mut self) -> Answer {
        self.release.send(()).unwrap();
        self.task.join_next().await.unwrap().unwrap()
    }
}

/// Waits until `count` transactions are in the queue. Others run meanwhile.
pub(crate) async fn until_waiting(kv: &Kv, count: usize) {
    while kv.stats().waiting < count {
        tokio::task::yield_now().await;
    }
}

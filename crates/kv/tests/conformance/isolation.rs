//! Transactions happen one after the other; views see one moment.

use cairn_kv::{AccessError, Durability, Kv, Read, Txn, ViewError};
use tokio::task::JoinSet;

use crate::support::{No, put_all};

/// How many tasks count at the same time.
const TASKS: u32 = 64;

fn increment(txn: &mut Txn<'_>) -> Result<u32, AccessError> {
    let next = count(txn)? + 1;
    txn.put("counter", next.to_string())?;
    Ok(next)
}

fn count(reader: &impl Read) -> Result<u32, AccessError> {
    let stored = reader.get(b"counter")?;
    Ok(stored.map_or(0, |digits| String::from_utf8_lossy(&digits).parse().unwrap()))
}

pub(crate) async fn concurrent_increments_are_never_lost(kv: Kv) {
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let kv = kv.clone();
        let durability = if task % 2 == 0 { Durability::Buffered } else { Durability::Synced };
        tasks.spawn(async move { kv.transact(durability, increment).await.unwrap() });
    }
    let mut seen = tasks.join_all().await;
    seen.sort_unstable();
    assert_eq!(seen, (1..=TASKS).collect::<Vec<_>>());
    assert_eq!(kv.view(|snapshot| count(snapshot)).await.unwrap(), TASKS);
}

pub(crate) async fn a_transaction_sees_every_transaction_before_it(kv: Kv) {
    for expected in 1..10 {
        let durability = if expected % 3 == 0 { Durability::Synced } else { Durability::Buffered };
        assert_eq!(kv.transact(durability, increment).await.unwrap(), expected);
    }
}

pub(crate) async fn a_view_sees_buffered_and_synced_transactions_before_it(kv: Kv) {
    for (expected, durability) in [(1, Durability::Buffered), (2, Durability::Synced)] {
        kv.transact(durability, increment).await.unwrap();
        assert_eq!(kv.view(|snapshot| count(snapshot)).await.unwrap(), expected);
    }
}

pub(crate) async fn a_view_can_reject_and_can_panic(kv: Kv) {
    put_all(&kv, [("a", "1")]).await;
    let rejected = kv.view(|_| Err::<(), _>(No::OnPrinciple)).await;
    assert!(matches!(rejected, Err(ViewError::Rejected(No::OnPrinciple))));
    let panicked = kv.view(|_| -> Result<(), No> { panic!("deliberate") }).await;
    assert!(matches!(panicked, Err(ViewError::Panicked { .. })));
    assert!(kv.view(|snapshot| snapshot.get(b"a")).await.unwrap().is_some());
}

//! All or nothing.

use bytes::Bytes;
use cairn_kv::{AccessError, ClosedReason, Durability, Kv, Read, TransactError, ViewError};

use crate::support::{No, contents, entries, put_all};

pub(crate) async fn an_accepted_transaction_is_written_as_a_whole(kv: Kv) {
    put_all(&kv, [("a", "1"), ("b", "2")]).await;
    let answer = kv
        .transact(Durability::Synced, |txn| {
            txn.put("b", "3")?;
            txn.put("c", "4")?;
            txn.delete("a")?;
            Ok::<_, AccessError>("done")
        })
        .await;
    assert_eq!(answer.unwrap(), "done");
    assert_eq!(contents(&kv).await, entries([("b", "3"), ("c", "4")]));
}

pub(crate) async fn a_rejected_transaction_leaves_nothing_behind(kv: Kv) {
    put_all(&kv, [("a", "1")]).await;
    let answer = kv
        .transact(Durability::Synced, |txn| {
            txn.put("b", "2")?;
            txn.delete("a")?;
            Err::<(), _>(No::OnPrinciple)
        })
        .await;
    let error = answer.unwrap_err();
    assert!(matches!(error, TransactError::Rejected(No::OnPrinciple)), "{error}");
    assert!(!error.is_retryable());
    assert_eq!(contents(&kv).await, entries([("a", "1")]));
}

pub(crate) async fn a_panic_is_contained_and_leaves_nothing_behind(kv: Kv) {
    put_all(&kv, [("a", "1")]).await;
    let answer = kv
        .transact(Durability::Buffered, |txn| {
            txn.put("b", "2")?;
            assert!(txn.get(b"b")?.is_none(), "a deliberate panic");
            Ok::<_, No>(())
        })
        .await;
    let Err(TransactError::Panicked { message }) = answer else { panic!("{answer:?}") };
    assert!(message.contains("a deliberate panic"), "{message}");
    put_all(&kv, [("c", "3")]).await;
    assert_eq!(contents(&kv).await, entries([("a", "1"), ("c", "3")]));
}

pub(crate) async fn a_transaction_reads_its_own_writes(kv: Kv) {
    put_all(&kv, [("a", "1"), ("b", "2")]).await;
    let seen = kv
        .transact(Durability::Buffered, |txn| {
            txn.put("a", "new")?;
            txn.delete("b")?;
            txn.put("c", "3")?;
            txn.put("c", "4")?;
            Ok::<_, No>([txn.get(b"a")?, txn.get(b"b")?, txn.get(b"c")?, txn.get(b"d")?])
        })
        .await
        .unwrap();
    assert_eq!(seen, [Some(Bytes::from("new")), None, Some(Bytes::from("4")), None]);
}

pub(crate) async fn a_delete_of_a_missing_key_is_no_error(kv: Kv) {
    kv.transact(Durability::Synced, |txn| txn.delete("missing")).await.unwrap();
    assert_eq!(contents(&kv).await, entries([]));
}

pub(crate) async fn an_empty_key_and_an_empty_value_can_be_stored(kv: Kv) {
    put_all(&kv, [("", "root"), ("a", "")]).await;
    assert_eq!(contents(&kv).await, entries([("", "root"), ("a", "")]));
}

pub(crate) async fn a_closed_store_takes_nothing_and_can_be_closed_again(kv: Kv) {
    put_all(&kv, [("a", "1")]).await;
    kv.close().await.unwrap();
    kv.close().await.unwrap();
    let transacted = kv.transact(Durability::Synced, |txn| txn.put("b", "2")).await;
    let viewed = kv.view(|snapshot| snapshot.get(b"a")).await;
    assert!(matches!(transacted, Err(TransactError::Closed(ClosedReason::ByOwner))));
    assert!(matches!(viewed, Err(ViewError::Closed(ClosedReason::ByOwner))));
}

pub(crate) async fn stats_count_what_was_answered(kv: Kv) {
    put_all(&kv, [("a", "1")]).await;
    kv.transact(Durability::Synced, |txn| txn.put("b", "2")).await.unwrap();
    kv.transact(Durability::Synced, |_| Err::<(), _>(No::OnPrinciple)).await.unwrap_err();
    kv.transact(Durability::Synced, |_| -> Result<(), No> { panic!("deliberate") })
        .await
        .unwrap_err();
    let stats = kv.stats();
    assert_eq!((stats.transactions, stats.rejected, stats.panicked), (2, 1, 1));
    assert!(stats.synced_commits >= 1 && stats.commits >= stats.synced_commits, "{stats:?}");
    assert_eq!((stats.reopens, stats.waiting), (0, 0));
}

//! Storage errors: every answer is true, nothing is half visible, and the store goes on.

use cairn_kv::{
    AccessError, ClosedReason, Durability, Kv, Read, RedbConfig, TransactError, Txn, ViewError,
};
use tokio::task::JoinSet;

use crate::disk::{Disk, Event, Operation, TOO_LONG};
use crate::support::{
    Answer, HeldWriter, No, block_on, get, keys, open, patient, put, until_waiting,
};

async fn put_pair(kv: &Kv, durability: Durability) -> Answer {
    kv.transact(durability, |txn| {
        txn.put("left", vec![1; 20_000])?;
        txn.put("right", vec![2; 20_000])
    })
    .await
}

#[test]
fn a_failed_sync_is_answered_as_may_have_happened_and_the_store_goes_on() {
    block_on(async {
        let disk = Disk::default();
        let kv = open(&disk, patient());
        disk.fail(Operation::Sync, 0);
        let error = put(&kv, Durability::Synced, "a", "").await.unwrap_err();
        assert!(matches!(error, TransactError::MayHaveHappened(_)), "{error}");
        assert!(!error.is_retryable());
        assert!(error.to_string().contains("a deliberate fault: Sync"), "{error}");

        put(&kv, Durability::Synced, "b", "").await.unwrap();
        assert!(keys(&kv).await.contains(&"b".to_owned()));
        assert_eq!(kv.stats().reopens, 1);
        kv.close().await.unwrap();
    });
}

/// Lets each write and each sync of a transaction fail in turn, until one run meets no fault.
#[test]
fn whichever_operation_fails_the_answer_is_true_and_nothing_is_half_visible() {
    for durability in [Durability::Synced, Durability::Buffered] {
        for operation in [Operation::Write, Operation::Sync, Operation::Read] {
            let faults =
                (0..).take_while(|after| block_on(fail_once(durability, operation, *after)));
            let faults = faults.count();
            assert!(
                operation != Operation::Sync || durability == Durability::Buffered || faults > 0
            );
        }
    }
}

/// Whether the fault struck.
async fn fail_once(durability: Durability, operation: Operation, after: usize) -> bool {
    let case = format!("{durability:?}, {operation:?} number {after}");
    let disk = Disk::default();
    // Without a cache every page is written and read at once.
    let kv = open(&disk, RedbConfig { cache_bytes: 0, ..patient() });
    put(&kv, Durability::Synced, "before", "").await.unwrap();
    disk.fail(operation, after);
    let answer = put_pair(&kv, durability).await;
    let struck = !disk.heal();
    put(&kv, Durability::Synced, "probe", "").await.unwrap();

    let seen = keys(&kv).await;
    let happened = seen == ["before", "left", "probe", "right"];
    assert!(happened || seen == ["before", "probe"], "half visible: {seen:?} ({case})");
    match answer {
        Ok(()) => assert!(happened, "lost: {case}"),
        Err(TransactError::Storage(_)) => assert!(!happened, "happened after all: {case}"),
        Err(TransactError::MayHaveHappened(_)) => {}
        Err(other) => panic!("{other}: {case}"),
    }
    kv.close().await.unwrap();
    struck
}

#[test]
fn a_failed_commit_answers_its_whole_group_and_rejections_in_it_do_not_count() {
    block_on(async {
        let disk = Disk::default();
        let kv = open(&disk, patient());
        let held = HeldWriter::new(&kv).await;
        let mut tasks = JoinSet::new();
        let (writing, rejecting) = (kv.clone(), kv.clone());
        tasks.spawn(async move {
            let answer = put(&writing, Durability::Synced, "a", "").await;
            assert!(matches!(answer, Err(TransactError::MayHaveHappened(_))), "{answer:?}");
        });
        until_waiting(&kv, 1).await;
        tasks.spawn(async move {
            // The reason for this rejection is the work of a neighbour that may not have happened.
            let exclusive = |txn: &mut Txn<'_>| match txn.get(b"a")? {
                Some(_) => Err(No::OnPrinciple),
                None => Ok(txn.put("a", "mine")?),
            };
            let answer = rejecting.transact(Durability::Synced, exclusive).await;
            assert!(matches!(answer, Err(TransactError::Storage(_))), "{answer:?}");
        });
        until_waiting(&kv, 2).await;
        disk.fail(Operation::Sync, 0);
        let held = held.release().await;
        assert!(matches!(held, Err(TransactError::MayHaveHappened(_))), "{held:?}");
        tasks.join_all().await;
    });
}

/// A store whose entries fill many pages, none of them cached: reading one reaches the disk.
async fn open_without_cache(disk: &Disk) -> Kv {
    let kv = open(disk, RedbConfig { cache_bytes: 0, ..patient() });
    for key in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        put(&kv, Durability::Synced, key, vec![1; 3000]).await.unwrap();
    }
    kv
}

#[test]
fn a_failed_read_ends_the_transaction_whatever_its_closure_makes_of_it() {
    block_on(async {
        let disk = Disk::default();
        let kv = open_without_cache(&disk).await;
        let fault = disk.clone();
        let answer: Result<(), TransactError<AccessError>> = kv
            .transact(Durability::Synced, move |txn| {
                fault.fail(Operation::Read, 0);
                assert!(txn.get(b"a").is_err());
                txn.put("z", "on a false assumption")
            })
            .await;
        assert!(matches!(answer, Err(TransactError::Storage(_))), "{answer:?}");
        assert!(!keys(&kv).await.contains(&"z".to_owned()));
        assert_eq!(kv.stats().reopens, 1);
    });
}

#[test]
fn a_failed_read_stops_its_group_before_the_commit_so_that_no_neighbour_is_in_doubt() {
    block_on(async {
        let disk = Disk::default();
        let kv = open_without_cache(&disk).await;
        let held = HeldWriter::new(&kv).await;
        let (reading, fault) = (kv.clone(), disk.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let read = move |txn: &mut Txn<'_>| {
                fault.fail(Operation::Read, 0);
                txn.get(b"a")
            };
            reading.transact(Durability::Buffered, read).await.map(|_| ())
        });
        until_waiting(&kv, 1).await;
        for answer in [held.release().await, task.join_next().await.unwrap().unwrap()] {
            assert!(matches!(answer, Err(TransactError::Storage(_))), "{answer:?}");
        }
        assert!(!keys(&kv).await.contains(&"held".to_owned()));
    });
}

#[test]
fn a_failed_read_of_a_view_makes_the_store_reopen_without_a_transaction() {
    block_on(async {
        let disk = Disk::default();
        let kv = open_without_cache(&disk).await;
        let (fault, events) = (disk.clone(), disk.listen());
        let answer = kv
            .view(move |snapshot| {
                fault.fail(Operation::Read, 0);
                snapshot.get(b"a")
            })
            .await;
        let error = answer.map(|_| ()).unwrap_err();
        assert!(matches!(error, ViewError::Storage(_)) && error.is_retryable(), "{error}");
        assert_eq!(events.recv_timeout(TOO_LONG), Ok(Event::Closed));
        assert!(get(&kv, "a").await.is_some());
    });
}

#[test]
fn a_store_that_cannot_reopen_is_closed_and_says_why() {
    block_on(async {
        let disk = Disk::default();
        let kv = open(&disk, patient());
        disk.fail(Operation::Sync, 0);
        disk.refuse_to_open();
        let failed = put(&kv, Durability::Synced, "a", "").await;
        assert!(matches!(failed, Err(TransactError::MayHaveHappened(_))), "{failed:?}");

        let error = put(&kv, Durability::Synced, "b", "").await.unwrap_err();
        assert!(matches!(error, TransactError::Closed(ClosedReason::ReopenFailed(_))));
        assert!(error.to_string().contains("the disk is gone"), "{error}");
        let viewed = kv.view(|snapshot| snapshot.get(b"a")).await;
        assert!(matches!(viewed, Err(ViewError::Closed(ClosedReason::ReopenFailed(_)))));
        assert!(kv.close().await.is_err());
    });
}

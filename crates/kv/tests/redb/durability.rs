//! What survives.

use std::time::Duration;

use cairn_kv::{Durability, Kv, Read, RedbConfig};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, any, prop_oneof};
use proptest::test_runner::{TestCaseError, TestRunner};
use proptest::{prop_assert, prop_assert_eq};

use crate::disk::{Disk, Event, TOO_LONG};
use crate::support::{HeldWriter, block_on, get, keys, open, patient, put};

#[test]
fn a_reopened_file_holds_what_was_transacted_before_it_was_closed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    block_on(async {
        let kv = Kv::redb(&path, patient()).unwrap();
        put(&kv, Durability::Synced, "a", "synced").await.unwrap();
        put(&kv, Durability::Buffered, "b", "buffered").await.unwrap();
        kv.close().await.unwrap();

        let kv = Kv::redb(&path, patient()).unwrap();
        assert_eq!(get(&kv, "a").await.unwrap(), "synced");
        assert_eq!(get(&kv, "b").await.unwrap(), "buffered");
        kv.close().await.unwrap();
    });
}

#[test]
fn a_copy_of_the_file_holds_every_synced_transaction_while_the_store_runs() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("store"), directory.path().join("copy"));
    block_on(async {
        let kv = Kv::redb(&path, patient()).unwrap();
        put(&kv, Durability::Buffered, "a", "before").await.unwrap();
        put(&kv, Durability::Synced, "b", "synced").await.unwrap();
        std::fs::copy(&path, &copy).unwrap();

        let crashed = Kv::redb(&copy, patient()).unwrap();
        assert_eq!(keys(&crashed).await, ["a", "b"]);
        crashed.close().await.unwrap();
        kv.close().await.unwrap();
    });
}

/// A store counts up, one key per transaction, and loses power at the end.
#[test]
fn a_power_loss_takes_a_tail_of_the_history_and_nothing_that_was_synced() {
    let durability = prop_oneof![3 => Just(Durability::Buffered), 1 => Just(Durability::Synced)];
    let mut config = ProptestConfig::with_cases(64);
    config.failure_persistence = None;
    TestRunner::new(config)
        .run(&(vec(durability, 1..20), vec(any::<bool>(), 1..64)), |(history, coins)| {
            block_on(lose_power(&history, &coins))
        })
        .unwrap();
}

async fn lose_power(history: &[Durability], coins: &[bool]) -> Result<(), TestCaseError> {
    let disk = Disk::default();
    // A cache this small pushes pages of commits to the disk before they are synced.
    let kv = open(&disk, RedbConfig { cache_bytes: 64 << 10, ..patient() });
    for (number, durability) in history.iter().enumerate() {
        put(&kv, *durability, format!("{number:02}"), vec![0; 5000]).await.unwrap();
    }
    let mut coins = coins.iter().copied().cycle();
    let found = open(&disk.after_power_loss(|| coins.next().unwrap()), patient());
    let survivors = keys(&found).await;
    let synced = history.iter().rposition(|durability| *durability == Durability::Synced);
    prop_assert!(survivors.len() >= synced.map_or(0, |last| last + 1));
    let head: Vec<_> = (0..survivors.len()).map(|number| format!("{number:02}")).collect();
    prop_assert_eq!(survivors, head);
    Ok(())
}

#[test]
fn a_synced_transaction_without_writes_makes_what_came_before_it_durable() {
    block_on(async {
        let disk = Disk::default();
        let kv = open(&disk, patient());
        put(&kv, Durability::Buffered, "a", "").await.unwrap();
        kv.transact(Durability::Synced, |txn| txn.get(b"a")).await.unwrap();
        let found = open(&disk.after_power_loss(|| false), patient());
        assert_eq!(keys(&found).await, ["a"]);
    });
}

#[test]
fn an_idle_store_syncs_buffered_transactions_by_itself() {
    let disk = Disk::default();
    block_on(async {
        let kv = open(&disk, RedbConfig { flush_after: Duration::ZERO, ..patient() });
        // The writer is held until the test listens, so that it hears of the very sync it means.
        let held = HeldWriter::new(&kv).await;
        let events = disk.listen();
        held.release().await.unwrap();
        assert_eq!(events.recv_timeout(TOO_LONG), Ok(Event::Synced));
        let found = open(&disk.after_power_loss(|| false), patient());
        assert_eq!(keys(&found).await, ["held"]);
    });
}

#[test]
fn a_busy_store_syncs_buffered_transactions_after_a_bounded_number_of_commits() {
    block_on(async {
        let kv = open(&Disk::default(), patient());
        for number in 0..200 {
            put(&kv, Durability::Buffered, number.to_string(), "").await.unwrap();
        }
        let stats = kv.stats();
        assert_eq!((stats.commits, stats.synced_commits), (200, 3));
    });
}

#[test]
fn dropping_the_last_handle_syncs_and_releases_the_storage() {
    let disk = Disk::default();
    block_on(async {
        let kv = open(&disk, patient());
        let clone = kv.clone();
        put(&kv, Durability::Buffered, "a", "").await.unwrap();
        drop(kv);
        put(&clone, Durability::Buffered, "b", "").await.unwrap();
        let events = disk.listen();
        drop(clone);
        while events.recv_timeout(TOO_LONG).unwrap() != Event::Closed {}
        let found = open(&disk.after_power_loss(|| false), patient());
        assert_eq!(keys(&found).await, ["a", "b"]);
    });
}

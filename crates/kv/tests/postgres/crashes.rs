//! The server is killed: what was answered as synced is there, and nothing is there twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cairn_kv::{Durability, TransactError};
use cairn_runtime::Entropy;
use cairn_test_postgres::Plan;
use tokio::task::JoinSet;

use crate::support::{block_on, counted, increment, open, patient, put};

#[test]
fn synced_commits_outlive_a_killed_server_and_buffered_ones_need_not() {
    // A server that writes its log only when a commit waits for it.
    let lazy = Plan::default().setting("wal_writer_delay", "10s").setting("bgwriter_delay", "10s");
    let Some(server) = lazy.start() else { return };
    let url = server.new_database();
    block_on(async {
        let kv = open(patient(&url));
        put(&kv, Durability::Buffered, "before", "").await.unwrap();
        put(&kv, Durability::Synced, "synced", "").await.unwrap();
        put(&kv, Durability::Buffered, "after", "").await.unwrap();
        server.kill();
        server.start();
        assert_eq!(crate::support::keys(&kv).await, ["before", "synced"]);

        // A synced transaction that writes nothing vouches for what it read, so for all before it.
        put(&kv, Durability::Buffered, "seen", "").await.unwrap();
        kv.transact(Durability::Synced, |txn| cairn_kv::Read::get(txn, b"seen").map(drop))
            .await
            .unwrap();
        server.kill();
        server.start();
        assert_eq!(crate::support::keys(&kv).await, ["before", "seen", "synced"]);

        // Closing makes the rest durable.
        put(&kv, Durability::Buffered, "closing", "").await.unwrap();
        kv.close().await.unwrap();
        server.kill();
        server.start();
        let kv = open(patient(&url));
        assert_eq!(crate::support::keys(&kv).await, ["before", "closing", "seen", "synced"]);
    });
}

/// How often the server is killed.
const KILLS: u64 = 8;
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

#[test]
fn counters_are_exact_through_kills_of_the_server_under_load() {
    let Some(server) = Plan::default().start() else { return };
    let url = server.new_database();
    block_on(async {
        let masters = [open(patient(&url)), open(patient(&url))];
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut tasks = JoinSet::new();
        for task in 0..8_usize {
            let kv = masters[task % 2].clone();
            let (stop, answered) = (stop.clone(), answered.clone());
            tasks.spawn(async move {
                let (mut done, mut open) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    match increment(&kv, Durability::Synced, KEYS[task % 4]).await {
                        Ok(_) => done += 1,
                        Err(TransactError::MayHaveHappened(_)) => open += 1,
                        Err(error) => assert!(error.is_retryable(), "{error}"),
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                (done, open)
            });
        }
        let entropy = Entropy::seeded(7);
        for _ in 0..KILLS {
            let until = answered.load(Ordering::Relaxed) + 20 + entropy.below(200);
            while answered.load(Ordering::Relaxed) < until {
                tokio::task::yield_now().await;
            }
            server.kill();
            server.start();
        }
        stop.store(true, Ordering::Relaxed);
        let (mut done, mut open) = (0, 0);
        for (its, unknown) in tasks.join_all().await {
            done += its;
            open += unknown;
        }
        let mut counters = 0;
        for key in KEYS {
            counters += counted(&masters[0], key).await;
        }
        assert!(
            (done..=done + open).contains(&counters),
            "{counters} counted, {done} answered, {open} open"
        );
        println!("{counters} counted, {done} answered with success, {open} open, {KILLS} kills");
    });
}

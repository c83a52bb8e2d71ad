//! Connections that break around a COMMIT: the outcome is decided rightly, or said to be open.

use std::time::Duration;

use cairn_kv::{Durability, PostgresConfig, TransactError};
use cairn_test_postgres::{Fault, Plan, Proxy, Server};
use tokio::task::JoinSet;

use crate::support::{block_on, config, counted, increment, open, patient, with};

/// A store behind a proxy.
fn behind(server: &Server, url: &str) -> (Proxy, PostgresConfig) {
    let proxy = Proxy::start(server.port());
    let url = url.replace(&server.port().to_string(), &proxy.port().to_string());
    (proxy, patient(&url))
}

async fn counts_exactly(fault: Fault) {
    let Some(server) = Server::shared() else { return };
    let (proxy, config) = behind(server, &server.new_database());
    let kv = open(config);
    for durability in [Durability::Synced, Durability::Buffered] {
        let before = counted(&kv, "counter").await;
        for round in 1..=10 {
            proxy.strike(fault);
            let answer = increment(&kv, durability, "counter").await;
            assert_eq!(answer.unwrap(), before + round, "{fault:?}, {durability:?}");
        }
    }
    assert_eq!(counted(&kv, "counter").await, 20);
    assert_eq!((proxy.struck(), kv.stats().transactions), (20, 20));
}

#[test]
fn a_commit_that_never_reached_the_server_is_done_again() {
    block_on(counts_exactly(Fault::CutBeforeCommit));
}

#[test]
fn a_commit_whose_answer_was_lost_is_not_done_again() {
    block_on(counts_exactly(Fault::CutAfterCommit));
}

/// Waits until the server says so.
async fn until(server: &Server, sql: &str, expected: &str) {
    let clock = cairn_runtime::Clock::system();
    while server.sql("postgres", sql) != expected {
        assert!(clock.monotonic() < Duration::from_secs(60), "waited in vain: {sql}");
        tokio::task::yield_now().await;
    }
}

#[test]
fn the_lookup_waits_for_a_commit_that_is_still_under_way() {
    let Some(server) = Plan::default().start() else { return };
    let (proxy, config) = behind(&server, &server.new_database());
    block_on(async {
        let kv = open(config);
        increment(&kv, Durability::Synced, "counter").await.unwrap();
        proxy.strike(Fault::HoldCommit);
        let mut task = JoinSet::new();
        let counting = kv.clone();
        task.spawn(async move { increment(&counting, Durability::Synced, "counter").await });
        let waiting = "SELECT count(*) FROM pg_stat_activity \
                       WHERE wait_event_type = 'Lock' AND query LIKE '%batches%'";
        until(&server, waiting, "1").await;
        proxy.release();
        assert_eq!(task.join_next().await.unwrap().unwrap().unwrap(), 2);
        assert_eq!(counted(&kv, "counter").await, 2);
        // It was found to have happened, and not done again.
        assert_eq!(kv.stats().commits, 2);
    });
}

#[test]
fn a_commit_that_arrives_after_the_lookup_does_not_happen() {
    let Some(server) = Plan::default().start() else { return };
    let (proxy, config) = behind(&server, &server.new_database());
    block_on(async {
        let kv = open(config);
        increment(&kv, Durability::Synced, "counter").await.unwrap();
        proxy.strike(Fault::HoldWritesAndCommit);
        assert_eq!(increment(&kv, Durability::Synced, "counter").await.unwrap(), 2);
        assert_eq!(proxy.struck(), 1);
        let others = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'";
        assert_eq!(server.sql("postgres", others), "1");
        proxy.release();
        until(&server, others, "0").await;
        assert_eq!(counted(&kv, "counter").await, 2);
        let fenced = "SELECT count(*) FROM cairn.batches WHERE fenced";
        assert_eq!(server.sql("test0", fenced), "1");
    });
}

#[test]
fn a_connection_that_falls_silent_in_a_commit_is_given_up_in_time() {
    let Some(server) = Server::shared() else { return };
    let (proxy, config) = behind(server, &server.new_database());
    block_on(async {
        let kv = open(with(config, |config| config.statement_bound = Duration::from_secs(1)));
        proxy.strike(Fault::Silence);
        assert_eq!(increment(&kv, Durability::Synced, "counter").await.unwrap(), 1);
        assert_eq!((counted(&kv, "counter").await, proxy.struck()), (1, 1));
    });
}

#[test]
fn a_commit_that_nobody_can_look_up_is_said_to_be_open() {
    let Some(server) = Plan::default().start() else { return };
    let (proxy, config) = behind(&server, &server.new_database());
    block_on(async {
        let kv = open(with(config, |config| config.retry_for = Duration::from_secs(2)));
        increment(&kv, Durability::Synced, "counter").await.unwrap();
        proxy.strike(Fault::HoldCommit);
        let mut task = JoinSet::new();
        let counting = kv.clone();
        task.spawn(async move { increment(&counting, Durability::Synced, "counter").await });
        while proxy.struck() == 0 {
            tokio::task::yield_now().await;
        }
        server.kill();
        let answer = task.join_next().await.unwrap().unwrap();
        assert!(matches!(answer, Err(TransactError::MayHaveHappened(_))), "{answer:?}");
        assert!(!answer.unwrap_err().is_retryable());
        server.start();
        assert_eq!(increment(&kv, Durability::Synced, "counter").await.unwrap(), 2);
    });
}

#[test]
fn a_server_that_is_gone_is_a_typed_retryable_answer_and_the_store_comes_back() {
    let Some(server) = Plan::default().start() else { return };
    let url = server.new_database();
    block_on(async {
        let kv = open(with(config(&url), |config| config.retry_for = Duration::from_millis(200)));
        increment(&kv, Durability::Synced, "counter").await.unwrap();
        server.stop();
        let answer = increment(&kv, Durability::Synced, "counter").await;
        assert!(matches!(answer, Err(TransactError::Storage(_))), "{answer:?}");
        assert!(answer.unwrap_err().is_retryable());
        let viewed = kv.view(|snapshot| cairn_kv::Read::get(snapshot, b"counter")).await;
        assert!(viewed.unwrap_err().is_retryable());
        server.start();
        assert_eq!(increment(&kv, Durability::Synced, "counter").await.unwrap(), 2);
        assert!(kv.stats().reopens > 0);
    });
}

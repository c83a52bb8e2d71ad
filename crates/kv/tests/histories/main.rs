//! Histories of concurrent transactions can have happened one after the other, on every engine, and
//! from two handles of one PostgreSQL store as well.

#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

mod checker;
mod workload;

use cairn_kv::{Kv, PostgresConfig, RedbConfig};
use cairn_runtime::{Clock, Entropy};
use cairn_test_postgres::{Proxy, Server};
use checker::{Anomaly, Done, Why, check};
use redb::backends::InMemoryBackend;
use workload::{Writers, run};

const TASKS: u64 = 8;

fn history(stores: &[Kv], seed: u64, rounds: u32, writers: Writers) -> Vec<Done> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(run(stores, seed, TASKS, rounds, writers))
}

fn expect_serial(stores: &[Kv], seed: u64, rounds: u32) {
    let history = history(stores, seed, rounds, Writers::Mixed);
    if let Err(anomaly) = check(&history) {
        panic!("seed {seed}: {anomaly}");
    }
}

/// A handle of the store in this database.
fn postgres(url: &str) -> Kv {
    let config = PostgresConfig::new(url, None).unwrap();
    Kv::postgres(config, Clock::system(), Entropy::from_system().unwrap()).unwrap()
}

#[test]
fn memory_is_serializable() {
    for seed in 0..10 {
        expect_serial(&[Kv::memory()], seed, 50);
    }
}

#[test]
fn redb_is_serializable() {
    for seed in 0..10 {
        let store = Kv::redb_on(|| Ok(InMemoryBackend::new()), RedbConfig::default()).unwrap();
        expect_serial(&[store], seed, 50);
    }
}

#[test]
fn one_master_on_postgres_is_serializable() {
    let Some(server) = Server::shared() else { return };
    for seed in 0..5 {
        expect_serial(&[postgres(&server.new_database())], seed, 50);
    }
}

#[test]
fn two_masters_on_one_postgres_are_serializable_and_no_client_sees_a_conflict() {
    let Some(server) = Server::shared() else { return };
    let mut conflicts = 0;
    for seed in 0..5 {
        let url = server.new_database();
        let stores = [postgres(&url), postgres(&url)];
        expect_serial(&stores, seed, 50);
        conflicts += stores.iter().map(|store| store.stats().conflicts).sum::<u64>();
    }
    assert!(conflicts > 0, "the masters never met");
}

#[test]
fn the_checker_finds_the_write_skew_of_a_weaker_isolation_level() {
    let Some(server) = Server::shared() else { return };
    let found = (0..50).find_map(|seed| {
        let database = server.new_database();
        let proxy = Proxy::start(server.port());
        proxy.rewrite("SERIALIZABLE", "REPEATABLE READ");
        let url = database.replace(&server.port().to_string(), &proxy.port().to_string());
        let stores = [postgres(&url), postgres(&url)];
        check(&history(&stores, seed, 50, Writers::Apart)).err()
    });
    let Some(Anomaly::Cycle(cycle)) = found else { panic!("found: {found:?}") };
    let reads = cycle.iter().filter(|(_, why)| *why == Why::ReadWrite).count();
    assert!(reads >= 2, "not a matter of isolation: {cycle:?}");
}

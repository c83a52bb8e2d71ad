//! The tables come to be once, and newer ones are refused.

use cairn_kv::{Durability, Kv, OpenError};
use cairn_runtime::{Clock, Entropy};
use cairn_test_postgres::Server;

use crate::support::{block_on, config, keys, open, put};

fn database(url: &str) -> &str {
    url.rsplit('/').next().unwrap().split('?').next().unwrap()
}

#[test]
fn masters_that_start_at_once_make_the_tables_once() {
    let Some(server) = Server::shared() else { return };
    let url = server.new_database();
    std::thread::scope(|scope| {
        let open = || drop(open(config(&url)));
        let opening: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        opening.into_iter().for_each(|opened| opened.join().unwrap());
    });
    let versions = server.sql(database(&url), "SELECT version FROM cairn.migrations ORDER BY 1");
    assert_eq!(versions, "0\n1");
}

#[test]
fn tables_of_a_newer_version_are_refused_with_what_to_do_and_left_alone() {
    let Some(server) = Server::shared() else { return };
    let url = server.new_database();
    block_on(async {
        let kv = open(config(&url));
        put(&kv, Durability::Synced, "a", "kept").await.unwrap();
        kv.close().await.unwrap();
    });
    server.sql(database(&url), "INSERT INTO cairn.migrations (version) VALUES (7)");
    let open_again =
        || Kv::postgres(config(&url), Clock::system(), Entropy::from_system().unwrap());
    let error = open_again().unwrap_err();
    assert!(matches!(error, OpenError::UnknownFormat { found: 7, known: 1 }), "{error}");
    assert!(error.to_string().contains("run the program version that wrote it"), "{error}");
    server.sql(database(&url), "DELETE FROM cairn.migrations WHERE version = 7");
    block_on(async { assert_eq!(keys(&open_again().unwrap()).await, ["a"]) });
}

#[test]
fn schemas_are_stores_of_their_own() {
    let Some(server) = Server::shared() else { return };
    let url = server.new_database();
    let in_schema = |schema: &str| {
        let mut config = config(&url);
        config.schema = schema.to_owned();
        open(config)
    };
    block_on(async {
        let (left, right) = (in_schema("left"), in_schema("right"));
        put(&left, Durability::Synced, "a", "").await.unwrap();
        assert_eq!(keys(&left).await, ["a"]);
        assert!(keys(&right).await.is_empty());
    });
}

#[test]
fn a_server_that_is_not_there_is_told_within_bounds() {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let config = config(&format!("postgres://cairn@127.0.0.1:{port}/x"));
    let error = Kv::postgres(config, Clock::system(), Entropy::from_system().unwrap()).unwrap_err();
    assert!(error.to_string().contains("connect to the server"), "{error}");
}

#[test]
fn a_setting_out_of_its_range_is_refused() {
    let mut config = config("postgres://cairn@127.0.0.1:1/x");
    config.schema = "No Name".to_owned();
    let error = Kv::postgres(config, Clock::system(), Entropy::from_system().unwrap()).unwrap_err();
    assert!(matches!(error, OpenError::Setting { .. }), "{error}");
}

//! Which files are opened, and which are refused.

use std::path::Path;

use cairn_kv::{Durability, Kv, OpenError};
use redb::{Database, TableDefinition};

use crate::support::{block_on, patient, put};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// A redb file with one row in its meta table.
fn write_meta(path: &Path, key: &str, value: u64) {
    let database = Database::create(path).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(META).unwrap().insert(key, value).unwrap();
    txn.commit().unwrap();
}

#[test]
fn an_unknown_format_version_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    block_on(async {
        let kv = Kv::redb(&path, patient()).unwrap();
        put(&kv, Durability::Synced, "a", "kept").await.unwrap();
        kv.close().await.unwrap();
    });
    write_meta(&path, "format", 7);

    let error = Kv::redb(&path, patient()).unwrap_err();
    assert!(matches!(error, OpenError::UnknownFormat { found: 7, known: 1 }));
    assert_eq!(
        error.to_string(),
        "the store has format version 7, this program knows only version 1: \
         run the program version that wrote it, or restore a backup",
    );

    // Nothing was changed: with its version back, the store opens.
    write_meta(&path, "format", 1);
    Kv::redb(&path, patient()).unwrap();
}

#[test]
fn a_database_of_another_program_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("foreign");
    write_meta(&path, "something else", 1);
    assert!(matches!(Kv::redb(&path, patient()), Err(OpenError::Foreign)));
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("text");
    std::fs::write(&path, "no database").unwrap();
    assert!(matches!(Kv::redb(&path, patient()), Err(OpenError::Storage(_))));
    assert_eq!(std::fs::read(&path).unwrap(), b"no database");
}

#[test]
fn a_store_that_is_open_is_not_opened_twice() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let _open = Kv::redb(&path, patient()).unwrap();
    assert!(matches!(Kv::redb(&path, patient()), Err(OpenError::InUse)));
}

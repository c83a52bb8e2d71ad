//! Settings, as they stand in a configuration file.

use cairn_chain::{BTreeStoreConfig, LsmStoreConfig};

#[test]
fn a_store_on_redb_needs_a_path() {
    let read: BTreeStoreConfig = toml::from_str("path = \"/data/chunks.redb\"").unwrap();
    assert_eq!(read, BTreeStoreConfig::at("/data/chunks.redb"));
    assert_eq!((read.table.as_str(), read.capacity, read.cache), ("chunks", None, 64 << 20));
    let text = "path = \"c\"\ntable = \"warm\"\ncapacity = \"1 TiB\"\ncache = \"8 MiB\"";
    let read: BTreeStoreConfig = toml::from_str(text).unwrap();
    let wanted = BTreeStoreConfig {
        path: "c".into(),
        table: "warm".to_owned(),
        capacity: Some(1 << 40),
        cache: 8 << 20,
    };
    assert_eq!(read, wanted);
    for wrong in ["", "path = 1", "path = \"c\"\ncapacity = \"big\"", "path = \"c\"\nmode = 7"] {
        assert!(toml::from_str::<BTreeStoreConfig>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_store_on_fjall_needs_a_path() {
    let read: LsmStoreConfig = toml::from_str("path = \"/data/lsm\"").unwrap();
    assert_eq!(read, LsmStoreConfig::at("/data/lsm"));
    let text = "path = \"c\"\ncapacity = 7\ncache = \"8 MiB\"\nwrite-buffer = \"16 MiB\"";
    let read: LsmStoreConfig = toml::from_str(text).unwrap();
    assert_eq!((read.capacity, read.cache, read.write_buffer), (Some(7), 8 << 20, 16 << 20));
    assert!(toml::from_str::<LsmStoreConfig>("path = \"c\"\ntable = \"t\"").is_err());
}

//! The sample of two tiers does what it says. Row B41.

#[path = "../../examples/tiers.rs"]
mod sample;

#[tokio::test]
async fn both_scenarios_over_a_disk_under_an_lru_and_a_tier_behind() {
    let root = tempfile::tempdir().unwrap();
    let seen = sample::scenarios(root.path()).await.unwrap();
    let expected = [
        "Example 1",
        r#"from the chain: Some(b"\x01\x02\x03")"#,
        r#"from the disk: Some(b"\x01\x02\x03")"#,
        r#"from the remote, once flushed: Some(b"\x01\x02\x03")"#,
        "deleted everywhere: [None, None, None]",
        "Example 2",
        "from the disk, where it was deleted: None",
        r#"from the chain: Some(b"hope you enjoy")"#,
        r#"from the disk, once promoted: Some(b"hope you enjoy")"#,
    ];
    assert_eq!(seen, expected);
}

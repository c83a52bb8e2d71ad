//! The sample of two tiers does what it says. Row B41.

#[path = "../../examples/tiers.rs"]
mod sample;

use cairn_chain::ObjectTierConfig;
use cairn_chain::object_tier::S3Credentials;
use cairn_test_s3::Server;

async fn both_scenarios_come_true(bucket: Option<&ObjectTierConfig>) {
    let root = tempfile::tempdir().expect("a folder");
    let seen = sample::scenarios(root.path(), bucket).await.expect("played");
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

#[tokio::test]
async fn both_scenarios_over_a_disk_under_an_lru_and_a_folder_behind() {
    both_scenarios_come_true(None).await;
}

#[tokio::test]
async fn both_scenarios_over_a_disk_under_an_lru_and_a_real_server_that_speaks_s3_behind() {
    let Some(server) = Server::shared().await else { return };
    let credentials = S3Credentials::Static {
        access_key_id: "id".to_owned(),
        secret_access_key: "secret".to_owned().into(),
        session_token: None,
    };
    let bucket = sample::bucket(&server.endpoint(), &server.new_bucket().await, credentials);
    both_scenarios_come_true(Some(&bucket)).await;
}

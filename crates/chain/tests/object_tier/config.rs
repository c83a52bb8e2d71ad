//! Settings, as they stand in a configuration file.

use std::time::Duration;

use cairn_chain::object_tier::{
    AzureCredentials, CannedAcl, GcsCredentials, KeyForm, ObjectTierConfig, Provider, S3Credentials,
};
use cairn_chain::{EngineOpenError, ObjectTier};

use crate::seams;

fn read(text: &str) -> Result<ObjectTierConfig, toml::de::Error> {
    toml::from_str(text)
}

#[test]
fn a_bucket_of_s3_may_say_everything() {
    let config = read(
        r#"
        capacity = "10 TiB"
        prefix = "cairn/node-1"
        keys = "hashed"
        part-size = "8 MiB"
        timeout = "5 s"
        [bucket]
        provider = "s3"
        name = "chunks"
        region = "eu-central-1"
        endpoint = "http://127.0.0.1:9000"
        path-style = true
        allow-http = true
        sse-kms-key-id = "key"
        acl = "authenticated-read"
        credentials.static = { access-key-id = "id", secret-access-key = "hush", session-token = "hush" }
        "#,
    );
    let config = config.expect("settings");
    assert_eq!((config.capacity, config.keys), (10 << 40, KeyForm::Hashed));
    assert_eq!((config.part_size, config.timeout), (8 << 20, Duration::from_secs(5)));
    let Provider::S3(bucket) = &config.bucket else { panic!("{config:?}") };
    assert_eq!(bucket.acl, CannedAcl::AuthenticatedRead);
    assert_eq!(bucket.sse_kms_key_id.as_deref(), Some("key"));
    assert!(matches!(bucket.credentials, S3Credentials::Static { .. }));
    assert!(!format!("{config:?}").contains("hush"), "secrets are not shown");
}

#[test]
fn a_bucket_of_s3_needs_a_capacity_and_a_name() {
    let config = read("capacity = 7\nbucket = { provider = \"s3\", name = \"chunks\" }");
    let config = config.expect("settings");
    assert_eq!((config.prefix.as_str(), config.keys), ("", KeyForm::Plain));
    let Provider::S3(bucket) = config.bucket else { panic!("another provider") };
    assert_eq!((bucket.credentials, bucket.acl), (S3Credentials::Role, CannedAcl::Private));
    for wrong in [
        "bucket = { provider = \"s3\", name = \"chunks\" }",
        "capacity = 7\nbucket = { provider = \"s3\" }",
        "capacity = 7\nbucket = { name = \"chunks\" }",
        "capacity = 7\nbucket = { provider = \"s3\", name = \"chunks\", acl = \"everybody\" }",
        "capacity = 7\nbucket = { provider = \"s3\", name = \"chunks\", colour = \"red\" }",
        "capacity = 7\nbucket = { provider = \"gcs\", name = \"chunks\", acl = \"private\" }",
        "capacity = 7\nbucket = { provider = \"ftp\", name = \"chunks\" }",
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn all_four_canned_acls_can_be_said() {
    let acl = |name: &str| {
        let bucket = format!("provider = \"s3\", name = \"c\", acl = \"{name}\"");
        match read(&format!("capacity = 7\nbucket = {{ {bucket} }}")).expect(name).bucket {
            Provider::S3(bucket) => bucket.acl,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(acl("private"), CannedAcl::Private);
    assert_eq!(acl("public-read"), CannedAcl::PublicRead);
    assert_eq!(acl("public-read-write"), CannedAcl::PublicReadWrite);
    assert_eq!(acl("authenticated-read"), CannedAcl::AuthenticatedRead);
}

#[test]
fn buckets_of_google_and_azure_can_be_said() {
    let gcs = "capacity = 7\n[bucket]\nprovider = \"gcs\"\nname = \"c\"\n\
               credentials = { service-account-file = \"/key.json\" }";
    let Provider::Gcs(bucket) = read(gcs).expect("settings").bucket else { panic!("gcs") };
    assert_eq!(bucket.credentials, GcsCredentials::ServiceAccountFile("/key.json".into()));
    let azure = "capacity = 7\n[bucket]\nprovider = \"azure\"\nname = \"c\"\naccount = \"a\"\n\
                 credentials.client = { id = \"i\", secret = \"s\", tenant = \"t\" }";
    let Provider::Azure(bucket) = read(azure).expect("settings").bucket else { panic!("azure") };
    assert!(matches!(bucket.credentials, AzureCredentials::Client { .. }));
}

#[tokio::test]
async fn a_part_that_s3_would_refuse_is_refused_before() {
    for size in [1, (5 << 20) - 1, (1 << 30) + 1] {
        let text = format!(
            "capacity = 7\npart-size = {size}\nbucket = {{ provider = \"s3\", name = \"c\" }}"
        );
        let opened = ObjectTier::open(&read(&text).expect("settings"), seams(1)).await;
        let refused = matches!(opened, Err(EngineOpenError::Setting { setting: "part-size", .. }));
        assert!(refused, "{opened:?}");
    }
}

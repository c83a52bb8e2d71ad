//! Makes clients of settings. Nothing is sent.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ClientOptions, RetryConfig};

use super::config::{
    AzureConfig, AzureCredentials, GcsConfig, GcsCredentials, ObjectTierConfig, Provider, S3Config,
    S3Credentials,
};
use super::{Clients, Objects};
use crate::engine::EngineOpenError;

/// How often a request is tried again.
const RETRIES: usize = 4;
/// From when on after its beginning a request is not tried again.
const RETRY_FOR: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Amazon's rule for all but the last part.
const LEAST_PART: u64 = 5 << 20;
const MOST_PART: u64 = 1 << 30;

pub(super) fn connect(config: &ObjectTierConfig) -> Result<Clients, EngineOpenError> {
    if !(LEAST_PART..=MOST_PART).contains(&config.part_size) {
        let why = format!("a part has 5 MiB to 1 GiB, not {} bytes", config.part_size);
        return Err(EngineOpenError::Setting { setting: "part-size", why });
    }
    let options = ClientOptions::new()
        .with_timeout(config.timeout)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_default_content_type("application/octet-stream");
    match &config.bucket {
        Provider::S3(bucket) => s3(bucket, options),
        Provider::Gcs(bucket) => same(gcs(bucket, options)),
        Provider::Azure(bucket) => same(azure(bucket, options)),
    }
}

fn same(built: object_store::Result<Arc<dyn Objects>>) -> Result<Clients, EngineOpenError> {
    let plain = built.map_err(refused)?;
    Ok(Clients { create: Arc::clone(&plain), plain })
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: object_store::Error) -> EngineOpenError {
    EngineOpenError::Setting { setting: "bucket", why: error.to_string() }
}

fn retries() -> RetryConfig {
    RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_FOR, ..RetryConfig::default() }
}

/// A canned ACL is a header, which S3 wants signed; the client signs the headers that it has by default. Only requests
/// that make an object may have it, so those have a client of their own.
fn s3(bucket: &S3Config, options: ClientOptions) -> Result<Clients, EngineOpenError> {
    let build = |options: ClientOptions| -> Result<Arc<dyn Objects>, EngineOpenError> {
        let store = s3_builder(bucket).with_client_options(options).build();
        Ok(Arc::new(store.map_err(refused)?))
    };
    let options = options.with_allow_http(bucket.allow_http);
    let plain = build(options.clone())?;
    let create = match bucket.acl.header() {
        None => Arc::clone(&plain),
        Some(acl) => {
            let mut headers = HeaderMap::new();
            headers.insert("x-amz-acl", HeaderValue::from_static(acl));
            build(options.with_default_headers(headers))?
        }
    };
    Ok(Clients { create, plain })
}

fn s3_builder(bucket: &S3Config) -> AmazonS3Builder {
    let mut builder = match &bucket.credentials {
        S3Credentials::Role => AmazonS3Builder::new(),
        S3Credentials::Environment => AmazonS3Builder::from_env(),
        S3Credentials::Static { access_key_id, secret_access_key, session_token } => {
            let builder = AmazonS3Builder::new()
                .with_access_key_id(access_key_id)
                .with_secret_access_key(secret_access_key.reveal());
            match session_token {
                Some(token) => builder.with_token(token.reveal()),
                None => builder,
            }
        }
    };
    builder = builder
        .with_bucket_name(&bucket.name)
        .with_virtual_hosted_style_request(!bucket.path_style)
        .with_retry(retries());
    if let Some(region) = &bucket.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(key) = &bucket.sse_kms_key_id {
        builder = builder.with_sse_kms_encryption(key);
    }
    builder
}

fn gcs(bucket: &GcsConfig, options: ClientOptions) -> object_store::Result<Arc<dyn Objects>> {
    let builder = match &bucket.credentials {
        GcsCredentials::Role => GoogleCloudStorageBuilder::new(),
        GcsCredentials::Environment => GoogleCloudStorageBuilder::from_env(),
        GcsCredentials::ServiceAccountFile(path) => {
            GoogleCloudStorageBuilder::new().with_service_account_path(path.to_string_lossy())
        }
        GcsCredentials::ServiceAccountKey(key) => {
            GoogleCloudStorageBuilder::new().with_service_account_key(key.reveal())
        }
    };
    let mut builder = builder
        .with_bucket_name(&bucket.name)
        .with_retry(retries())
        .with_client_options(options.with_allow_http(bucket.allow_http));
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    Ok(Arc::new(builder.build()?))
}

fn azure(bucket: &AzureConfig, options: ClientOptions) -> object_store::Result<Arc<dyn Objects>> {
    let builder = match &bucket.credentials {
        AzureCredentials::Role => MicrosoftAzureBuilder::new(),
        AzureCredentials::Environment => MicrosoftAzureBuilder::from_env(),
        AzureCredentials::AccessKey(key) => {
            MicrosoftAzureBuilder::new().with_access_key(key.reveal())
        }
        AzureCredentials::Client { id, secret, tenant } => MicrosoftAzureBuilder::new()
            .with_client_secret_authorization(id, secret.reveal(), tenant),
    };
    let mut builder = builder
        .with_account(&bucket.account)
        .with_container_name(&bucket.name)
        .with_retry(retries())
        .with_client_options(options)
        .with_allow_http(bucket.allow_http);
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    Ok(Arc::new(builder.build()?))
}

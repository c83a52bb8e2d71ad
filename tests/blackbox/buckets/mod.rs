//! Buckets as clients meet them: over REST and gRPC, with what they ask for, and how they go.

mod deletion;
mod grpc;
mod rest;
mod wrong_input;

use serde_json::Value;

use crate::harness::{Answer, Http};

/// Sends JSON about a bucket.
async fn send(http: Http, method: &str, bucket: &str, body: &str) -> Answer {
    http.request(method, &format!("/v1/buckets/{bucket}")).text(body).answer().await
}

async fn create(http: Http, bucket: &str, settings: &str) -> Value {
    send(http, "PUT", bucket, settings).await.expect(201).json()
}

async fn show(http: Http, bucket: &str) -> Value {
    http.get(&format!("/v1/buckets/{bucket}")).await.expect(200).json()
}

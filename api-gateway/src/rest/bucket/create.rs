//! `PUT /v1/buckets/{bucket}`.

use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use utoipa::PartialSchema;

use super::super::fields;
use super::super::file::json;
use super::super::operation::{Answer, Call, Content, Operation};
use super::super::problem::{Kind, Problem};
use super::json::{BucketJson, SETTINGS, read_settings};
use super::whole;

pub(in super::super) const CREATE: Operation = Operation {
    method: Method::PUT,
    id: "createBucket",
    summary: "Create a bucket",
    description: "What is not set is the cluster's default, now and later. A bucket that exists stays as it is.",
    query: &[],
    headers: &[],
    body: Some(SETTINGS),
    answers: &[Answer {
        status: StatusCode::CREATED,
        about: "It is created.",
        headers: &[fields::CONTENT_LENGTH],
        content: Content::Json(|| ("Bucket", BucketJson::schema())),
    }],
    problems: &[
        Kind::InvalidName,
        Kind::InvalidRequest,
        Kind::BucketExists,
        Kind::BucketDeleting,
        Kind::Busy,
        Kind::Unavailable,
        Kind::Stopping,
        Kind::OutcomeUnknown,
    ],
    run: |call| Box::pin(create(call)),
};

async fn create(call: Call) -> Result<Response, Problem> {
    let bucket = call.names.bucket()?;
    let settings = read_settings(&whole(call.request.into_body()).await?)?;
    let created = call.files.buckets.create(&call.context, &bucket, settings).await;
    let created = created.map_err(|error| Problem::of(&error))?;
    Ok((StatusCode::CREATED, json(&BucketJson::from(&created))).into_response())
}

//! `GET /v1/buckets/{bucket}`.

use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use utoipa::PartialSchema;

use super::super::fields;
use super::super::file::json;
use super::super::operation::{Answer, Call, Content, Operation};
use super::super::problem::{Kind, Problem};
use super::json::BucketJson;

pub(in super::super) const SHOW: Operation = Operation {
    method: Method::GET,
    id: "showBucket",
    summary: "Show a bucket",
    description: "Also while it is being deleted: then what it holds becomes less.",
    query: &[],
    headers: &[],
    body: None,
    answers: &[Answer {
        status: StatusCode::OK,
        about: "The bucket.",
        headers: &[fields::CONTENT_LENGTH],
        content: Content::Json(|| ("Bucket", BucketJson::schema())),
    }],
    problems: &[
        Kind::InvalidName,
        Kind::InvalidRequest,
        Kind::BucketNotFound,
        Kind::Busy,
        Kind::Unavailable,
        Kind::Stopping,
    ],
    run: |call| Box::pin(show(call)),
};

async fn show(call: Call) -> Result<Response, Problem> {
    let bucket = call.names.bucket()?;
    let shown = call.files.buckets.show(&call.context, &bucket).await;
    let shown = shown.map_err(|error| Problem::of(&error))?;
    Ok(json(&BucketJson::from(&shown)).into_response())
}

//! `PATCH /v1/buckets/{bucket}`: a JSON merge patch (RFC 7396).

use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use utoipa::PartialSchema;

use super::super::fields;
use super::super::file::json;
use super::super::operation::{Answer, Call, Content, Operation};
use super::super::problem::{Kind, Problem};
use super::json::{BucketJson, SETTINGS, read_change};
use super::whole;

pub(in super::super) const CHANGE: Operation = Operation {
    method: Method::PATCH,
    id: "changeBucket",
    summary: "Change settings of a bucket",
    description: "A JSON merge patch (RFC 7396) on the settings: what is there is set, null goes back to the default, what is \
                  absent stays. Uploads that begin later and files that are deleted or replaced later go by it.",
    query: &[],
    headers: &[],
    body: Some(SETTINGS),
    answers: &[Answer {
        status: StatusCode::OK,
        about: "The bucket as it is now.",
        headers: &[fields::CONTENT_LENGTH],
        content: Content::Json(|| ("Bucket", BucketJson::schema())),
    }],
    problems: &[
        Kind::InvalidName,
        Kind::InvalidRequest,
        Kind::BucketNotFound,
        Kind::BucketDeleting,
        Kind::Busy,
        Kind::Unavailable,
        Kind::Stopping,
        Kind::OutcomeUnknown,
    ],
    run: |call| Box::pin(change(call)),
};

async fn change(call: Call) -> Result<Response, Problem> {
    let bucket = call.names.bucket()?;
    let (settings, fields) = read_change(&whole(call.request.into_body()).await?)?;
    let changed = call.files.buckets.change(&call.context, &bucket, settings, &fields).await;
    let changed = changed.map_err(|error| Problem::of(&error))?;
    Ok(json(&BucketJson::from(&changed)).into_response())
}

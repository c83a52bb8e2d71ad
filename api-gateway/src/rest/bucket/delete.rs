//! `DELETE /v1/buckets/{bucket}`.

use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Deserialize;

use super::super::fields;
use super::super::operation::{Answer, Call, Content, Field, Operation, Shape};
use super::super::path::check_percent;
use super::super::problem::{Kind, Problem};

pub(in super::super) const DELETE: Operation = Operation {
    method: Method::DELETE,
    id: "deleteBucket",
    summary: "Delete a bucket",
    description: "An empty bucket goes at once. With `contents=delete` it goes with all that is in it, in the background: from \
                  the answer on nothing can be done in it, GET of the bucket shows how far it is, and its name is free \
                  when that answers 404. What was in it does not come back.",
    query: &[Field {
        name: "contents",
        about: "`delete`: also when it is not empty.",
        shape: Shape::OneOf(&["delete"]),
    }],
    headers: &[],
    body: None,
    answers: &[
        Answer {
            status: StatusCode::NO_CONTENT,
            about: "It is gone.",
            headers: &[],
            content: Content::Nothing,
        },
        Answer {
            status: StatusCode::ACCEPTED,
            about: "Its contents are being deleted, then it goes.",
            headers: &[fields::CONTENT_LENGTH],
            content: Content::Nothing,
        },
    ],
    problems: &[
        Kind::InvalidName,
        Kind::InvalidRequest,
        Kind::BucketNotFound,
        Kind::BucketNotEmpty,
        Kind::Busy,
        Kind::Unavailable,
        Kind::Stopping,
        Kind::OutcomeUnknown,
    ],
    run: |call| Box::pin(delete(call)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    contents: Option<String>,
}

async fn delete(call: Call) -> Result<Response, Problem> {
    let bucket = call.names.bucket()?;
    let uri = call.request.uri();
    check_percent(uri.query().unwrap_or_default())?;
    let Query(asked) = Query::<Asked>::try_from_uri(uri).map_err(|error| {
        Problem::bad_request(format!("{}: use contents=delete or nothing", error.body_text()))
    })?;
    let with_contents = match asked.contents.as_deref() {
        None => false,
        Some("delete") => true,
        Some(other) => {
            return Err(Problem::bad_request(format!("contents={other}: use contents=delete")));
        }
    };
    let gone = call.files.buckets.delete(&call.context, &bucket, with_contents).await;
    let gone = gone.map_err(|error| Problem::of(&error))?;
    let status = if gone { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED };
    Ok(status.into_response())
}

//! DELETE.

use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};

use super::conditions::write_condition;
use super::fields;
use super::operation::{Answer, Call, Content, Operation};
use super::problem::{Kind, Problem};

pub(super) const DELETE: Operation = Operation {
    method: Method::DELETE,
    id: "deleteFile",
    summary: "Delete a file",
    description: "Conditions are decided in the transaction that deletes.",
    query: &[],
    headers: &[fields::IF_MATCH, fields::IF_NONE_MATCH_WRITE, fields::IF_UNMODIFIED_SINCE],
    body: None,
    answers: &[Answer {
        status: StatusCode::NO_CONTENT,
        about: "It is deleted.",
        headers: &[],
        content: Content::Nothing,
    }],
    problems: &[
        Kind::InvalidName,
        Kind::InvalidRequest,
        Kind::BucketNotFound,
        Kind::FileNotFound,
        Kind::PreconditionFailed,
        Kind::Busy,
        Kind::Unavailable,
        Kind::Stopping,
        Kind::OutcomeUnknown,
    ],
    run: |call| Box::pin(delete(call)),
};

async fn delete(call: Call) -> Result<Response, Problem> {
    let place = call.names.place()?;
    let condition = write_condition(call.request.headers())?;
    let names = &call.files.namespace;
    let deleted = names.delete(&call.context, &place.bucket, &place.key, condition).await;
    deleted.map_err(|error| Problem::of(&error).exists_as_precondition())?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

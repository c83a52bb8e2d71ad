//! DELETE.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};

use super::conditions::write_condition;
use super::path::Place;
use super::problem::Problem;
use crate::files::Files;
use crate::master::CallContext;

pub(super) async fn delete(
    files: &Files,
    context: CallContext,
    place: Place,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let condition = write_condition(headers)?;
    let deleted = files.namespace.delete(&context, &place.bucket, &place.key, condition).await;
    deleted.map_err(|error| Problem::of(&error).exists_as_precondition())?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

//! Files over HTTP. Routes, methods and headers are in `docs/rest.md`.
//!
//! ```text
//! path.rs  ─► which file or list     conditions.rs, ranges.rs ─► what the client asks
//! put.rs  get.rs  delete.rs  list.rs ─► upload/, download/, namespace
//! file.rs ─► headers and JSON of a file      problem.rs ─► every error
//! ```

mod conditions;
mod delete;
mod file;
mod get;
mod list;
mod path;
mod problem;
mod put;
mod ranges;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use cairn_core::names::Principal;
use cairn_runtime::RequestId;
use http::Method;

use crate::files::Files;
use crate::master::CallContext;
use path::Target;
use problem::Problem;

/// All REST routes.
pub fn routes(files: Files) -> Router {
    Router::new().fallback(dispatch).with_state(files)
}

/// One place decides what a path and a method mean, so that every other combination gets a clear answer.
async fn dispatch(State(files): State<Files>, request: Request) -> Response {
    let context = context(&request);
    let answer = match Target::of(request.uri()) {
        Ok(target) => answer(&files, context.clone(), target, request).await,
        Err(problem) => Err(problem),
    };
    answer.unwrap_or_else(|problem| problem.with_request_id(&context.request_id).into_response())
}

async fn answer(
    files: &Files,
    context: CallContext,
    target: Target,
    request: Request,
) -> Result<Response, Problem> {
    match (target, request.method()) {
        (Target::File(place), &Method::PUT) => put::put(files, context, place, request).await,
        (Target::File(place), &Method::POST) => put::post(files, context, place, request).await,
        (Target::File(place), &Method::GET) => {
            get::get(files, context, place, request.headers()).await
        }
        (Target::File(place), &Method::HEAD) => {
            get::head(files, context, place, request.headers()).await
        }
        (Target::File(place), &Method::DELETE) => {
            delete::delete(files, context, place, request.headers()).await
        }
        (Target::File(_), _) => Err(Problem::method("GET, HEAD, PUT, POST, DELETE")),
        (Target::List(bucket), &Method::GET) => {
            list::list(files, context, bucket, request.uri()).await
        }
        (Target::List(_), &Method::PUT | &Method::POST) => Err(Problem::no_key()),
        (Target::List(_), _) => Err(Problem::method("GET")),
    }
}

fn context(request: &Request) -> CallContext {
    let id = request.extensions().get::<RequestId>().cloned();
    let request_id = id.unwrap_or_else(|| RequestId::background("unnamed"));
    CallContext { request_id, principal: Principal::standard() }
}

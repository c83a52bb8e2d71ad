//! Files and buckets over HTTP. The guide is `docs/rest.md`; the reference is served, see `openapi.rs`.
//!
//! ```text
//! operation.rs ─► what a path and a method ask for     path.rs ─► the names in a path
//! put.rs  get.rs  delete.rs  list.rs ─► upload/, download/, namespace
//! bucket/                               ─► buckets
//! conditions.rs, ranges.rs ─► what the client asks     file.rs ─► headers and JSON of a file
//! problem.rs ─► every error     fields.rs, openapi.rs ─► all of it described
//! ```

mod bucket;
mod conditions;
mod delete;
mod fields;
mod file;
mod get;
mod list;
mod openapi;
mod operation;
mod path;
mod problem;
mod put;
mod ranges;
mod route;
mod strategies;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use cairn_core::names::Principal;
use cairn_runtime::RequestId;

use crate::files::Files;
use crate::master::CallContext;
pub use openapi::text as openapi;
use operation::{Call, Resource};
pub use problem::Kind as ProblemKind;

/// Everything that REST can do. What is not in here is not served.
const RESOURCES: &[Resource] = &[
    Resource {
        paths: &["/v1/files/{key}", "/v1/buckets/{bucket}/files/{key}"],
        operations: &[get::GET, get::HEAD, put::PUT, put::POST, delete::DELETE],
    },
    Resource { paths: &["/v1/files", "/v1/buckets/{bucket}/files"], operations: &[list::LIST] },
    Resource { paths: &["/v1/buckets"], operations: &[bucket::LIST] },
    Resource {
        paths: &["/v1/buckets/{bucket}"],
        operations: &[bucket::SHOW, bucket::CREATE, bucket::CHANGE, bucket::DELETE],
    },
    Resource { paths: &["/openapi.json"], operations: &[openapi::DESCRIBE] },
];

pub use route::route;

/// All REST routes.
pub fn routes(files: Files) -> Router {
    Router::new().fallback(dispatch).with_state(files)
}

/// One place decides what a path and a method mean, so that every other combination gets a clear answer.
async fn dispatch(State(files): State<Files>, request: Request) -> Response {
    let context = context(&request);
    let answer = match operation::find(RESOURCES, request.method(), request.uri().path()) {
        Ok((operation, names)) => {
            let context = context.clone();
            (operation.run)(Call { files, context, names, request }).await
        }
        Err(problem) => Err(problem),
    };
    answer.unwrap_or_else(|problem| problem.with_request_id(&context.request_id).into_response())
}

fn context(request: &Request) -> CallContext {
    let id = request.extensions().get::<RequestId>().cloned();
    let request_id = id.unwrap_or_else(|| RequestId::background("unnamed"));
    CallContext { request_id, principal: Principal::standard() }
}

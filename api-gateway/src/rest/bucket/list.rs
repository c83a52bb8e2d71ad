//! `GET /v1/buckets?prefix=…&limit=…&after=…`.

use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{PartialSchema, ToSchema};

use super::super::fields;
use super::super::file::json;
use super::super::operation::{Answer, Call, Content, Field, Operation, page_limit};
use super::super::path::check_percent;
use super::super::problem::{Kind, Problem};
use super::json::BucketJson;
use crate::buckets::BucketQuery;

pub(in super::super) const LIST: Operation = Operation {
    method: Method::GET,
    id: "listBuckets",
    summary: "List buckets",
    description: "A page of names in byte order, with those that are being deleted.",
    query: &[Field::text("prefix", "Only names that begin with this."), Field::AFTER, Field::LIMIT],
    headers: &[],
    body: None,
    answers: &[Answer {
        status: StatusCode::OK,
        about: "A page.",
        headers: &[fields::CONTENT_LENGTH],
        content: Content::Json(|| ("Buckets", Page::schema())),
    }],
    problems: &[
        Kind::InvalidName,
        Kind::InvalidRequest,
        Kind::Busy,
        Kind::Unavailable,
        Kind::Stopping,
    ],
    run: |call| Box::pin(list(call)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    after: String,
    limit: Option<u32>,
}

/// A page of buckets.
#[derive(Debug, Serialize, ToSchema)]
struct Page<'a> {
    /// Buckets in byte order of their names.
    buckets: &'a [BucketJson],
    /// `after` for the next page; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_after: Option<&'a str>,
}

async fn list(call: Call) -> Result<Response, Problem> {
    let uri = call.request.uri();
    check_percent(uri.query().unwrap_or_default())?;
    let Query(asked) = Query::<Asked>::try_from_uri(uri).map_err(|error| {
        let rule = "use prefix, after and limit (1 to 1000)";
        Problem::bad_request(format!("{}: {rule}", error.body_text()))
    })?;
    let limit = page_limit(asked.limit)?;
    let query = BucketQuery { prefix: asked.prefix, after: asked.after, limit };
    let page = call.files.buckets.list(&call.context, query).await;
    let page = page.map_err(|error| Problem::of(&error))?;
    let buckets: Vec<_> = page.buckets.iter().map(BucketJson::from).collect();
    let answer = Page { buckets: &buckets, next_after: page.next_after.as_deref() };
    Ok(json(&answer).into_response())
}

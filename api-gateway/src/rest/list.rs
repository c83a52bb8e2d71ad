//! Lists: `GET /v1/files?list&prefix=…&delimiter=…&limit=…&after=…`.

use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{PartialSchema, ToSchema};

use super::fields;
use super::file::{FileJson, json};
use super::operation::{Answer, Call, Content, Field, Operation, page_limit};
use super::path::check_percent;
use super::problem::{Kind, Problem};
use crate::namespace::ListQuery;

pub(super) const LIST: Operation = Operation {
    method: Method::GET,
    id: "listFiles",
    summary: "List files",
    description: "A page of names in byte order.",
    query: &[
        Field::text("list", "Marks a list; may be left out."),
        Field::text("prefix", "Only keys that begin with this."),
        Field::text(
            "delimiter",
            "Keys that hold this after the prefix are shown once, under `prefixes`.",
        ),
        Field::AFTER,
        Field::LIMIT,
    ],
    headers: &[],
    body: None,
    answers: &[Answer {
        status: StatusCode::OK,
        about: "A page.",
        headers: &[fields::CONTENT_LENGTH],
        content: Content::Json(|| ("Page", Page::schema())),
    }],
    problems: &[
        Kind::InvalidName,
        Kind::InvalidRequest,
        Kind::BucketNotFound,
        Kind::Busy,
        Kind::Unavailable,
        Kind::Stopping,
    ],
    run: |call| Box::pin(list(call)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Marks a list; may be left out.
    #[serde(default)]
    #[expect(dead_code, reason = "its presence says nothing that the path does not say")]
    list: String,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    delimiter: String,
    #[serde(default)]
    after: String,
    limit: Option<u32>,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
struct Page<'a> {
    /// The bucket.
    bucket: &'a str,
    /// As asked.
    prefix: &'a str,
    /// As asked.
    delimiter: &'a str,
    /// Files, in byte order of their keys.
    files: Vec<FileJson>,
    /// What several keys have in common, up to and with the delimiter.
    prefixes: &'a [String],
    /// `after` for the next page; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_after: Option<&'a str>,
}

async fn list(call: Call) -> Result<Response, Problem> {
    let bucket = call.names.bucket()?;
    let uri = call.request.uri();
    check_percent(uri.query().unwrap_or_default())?;
    let Query(asked) = Query::<Asked>::try_from_uri(uri).map_err(|error| {
        let rule = "use list, prefix, delimiter, after and limit (1 to 1000)";
        Problem::bad_request(format!("{}: {rule}", error.body_text()))
    })?;
    let limit = page_limit(asked.limit)?;
    let Asked { prefix, delimiter, after, .. } = asked;
    let query = ListQuery { prefix: prefix.clone(), delimiter: delimiter.clone(), after, limit };
    let page = call.files.namespace.list(&call.context, &bucket, query).await;
    let page = page.map_err(|error| Problem::of(&error))?;
    let answer = Page {
        bucket: bucket.as_str(),
        prefix: &prefix,
        delimiter: &delimiter,
        files: page.files.iter().map(FileJson::from).collect(),
        prefixes: &page.prefixes,
        next_after: page.next_after.as_deref(),
    };
    Ok(json(&answer).into_response())
}

//! Lists: `GET /v1/files?list&prefix=…&delimiter=…&limit=…&after=…`.

use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use cairn_core::names::BucketName;
use http::Uri;
use serde::{Deserialize, Serialize};

use super::file::{FileJson, json};
use super::path::check_percent;
use super::problem::Problem;
use crate::files::Files;
use crate::master::CallContext;
use crate::namespace::{ListQuery, MAX_PAGE};

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

#[derive(Debug, Serialize)]
struct Answer<'a> {
    bucket: &'a str,
    prefix: &'a str,
    delimiter: &'a str,
    files: Vec<FileJson>,
    prefixes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after: Option<&'a str>,
}

pub(super) async fn list(
    files: &Files,
    context: CallContext,
    bucket: BucketName,
    uri: &Uri,
) -> Result<Response, Problem> {
    check_percent(uri.query().unwrap_or_default())?;
    let Query(asked) = Query::<Asked>::try_from_uri(uri).map_err(|error| {
        let rule = "use list, prefix, delimiter, after and limit (1 to 1000)";
        Problem::bad_request(format!("{}: {rule}", error.body_text()))
    })?;
    let limit = asked.limit.unwrap_or(MAX_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Problem::bad_request(format!("limit {limit}: use 1 to {MAX_PAGE}")));
    }
    let Asked { prefix, delimiter, after, .. } = asked;
    let query = ListQuery { prefix: prefix.clone(), delimiter: delimiter.clone(), after, limit };
    let page = files.namespace.list(&context, &bucket, query).await;
    let page = page.map_err(|error| Problem::of(&error))?;
    let answer = Answer {
        bucket: bucket.as_str(),
        prefix: &prefix,
        delimiter: &delimiter,
        files: page.files.iter().map(FileJson::from).collect(),
        prefixes: &page.prefixes,
        next_after: page.next_after.as_deref(),
    };
    Ok(json(&answer).into_response())
}

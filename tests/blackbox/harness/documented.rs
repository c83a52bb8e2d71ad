//! Every answer that a test gets over HTTP must be in the OpenAPI document: its status, its headers, its type.

use std::sync::LazyLock;

use http::HeaderMap;
use serde_json::{Map, Value};

/// What every answer may have, whatever it answers (RFC 9110, sections 6.6.1 and 7.6.1; RFC 9112, section 6).
const OF_THE_PROTOCOL: [&str; 4] = ["date", "connection", "transfer-encoding", "content-type"];
/// Problems of requests that ask for no operation.
const NO_OPERATION: [u16; 3] = [404, 405, 400];

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(cairn_api_gateway::rest::openapi()).expect("the document is JSON")
});

/// The document's paths.
pub(crate) fn paths() -> &'static Map<String, Value> {
    DOCUMENT["paths"].as_object().expect("paths")
}

/// The document as the code has it.
pub(crate) fn document() -> &'static Value {
    &DOCUMENT
}

fn fits(template: &str, path: &str) -> bool {
    let (mut parts, mut segments) = (template.split('/'), path.split('/'));
    loop {
        match (parts.next(), segments.next()) {
            (None, None) => return true,
            (Some("{key}"), Some(_)) => return true,
            (Some(part), Some(segment)) if part.starts_with('{') || part == segment => {}
            _ => return false,
        }
    }
}

/// The operation that a method and a path ask for.
pub(crate) fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let (_, item) = paths().iter().find(|(template, _)| fits(template, path))?;
    item.get(method.to_lowercase())
}

/// What is wrong with the answer of an operation.
fn undocumented(operation: &Value, status: u16, headers: &HeaderMap) -> Option<String> {
    let Some(answer) = operation["responses"].get(status.to_string()) else {
        return Some("this status".to_owned());
    };
    for name in headers.keys().map(http::HeaderName::as_str) {
        let known = answer["headers"].as_object().is_some_and(|known| {
            let fits = |known: &str| match known.strip_suffix("NAME") {
                Some(prefix) => name.starts_with(&prefix.to_lowercase()),
                None => known.eq_ignore_ascii_case(name),
            };
            known.keys().any(|known| fits(known))
        });
        let of_problem = name == "content-length" && status >= 400;
        if !known && !of_problem && !OF_THE_PROTOCOL.contains(&name) {
            return Some(format!("the header {name}"));
        }
    }
    let kind = headers.get("content-type").and_then(|value| value.to_str().ok());
    match (kind, answer["content"].as_object()) {
        (Some(kind), Some(content))
            if content.contains_key("*/*") || content.contains_key(kind) =>
        {
            None
        }
        (None, None) => None,
        // HEAD tells the type of what it does not send.
        (Some(_), None) if operation["operationId"].as_str()?.starts_with("head") => None,
        (kind, _) => Some(format!("the type {kind:?}")),
    }
}

/// Fails when an answer of the gateway is not in the document. `what` is `METHOD PATH`.
pub(crate) fn check(what: &str, status: u16, headers: &HeaderMap) {
    let (method, path) = what.split_once(' ').expect("a method and a path");
    let path = path.split('?').next().unwrap_or_default();
    if !path.starts_with("/v1") && path != "/openapi.json" {
        return;
    }
    match operation(method, path) {
        Some(operation) => {
            if let Some(problem) = undocumented(operation, status, headers) {
                panic!("{what} answered {status} {headers:?}: {problem} is not in /openapi.json");
            }
        }
        None => assert!(
            NO_OPERATION.contains(&status),
            "{what} answered {status}, and /openapi.json has no such operation"
        ),
    }
}

#[test]
fn a_template_takes_what_the_gateway_takes() {
    assert!(fits("/v1/files/{key}", "/v1/files/a/b//c"));
    assert!(fits("/v1/buckets/{bucket}/files", "/v1/buckets/a/files"));
    assert!(!fits("/v1/buckets/{bucket}/files", "/v1/buckets/a/files/b"));
    assert!(!fits("/v1/files", "/v1/filesystem"));
}

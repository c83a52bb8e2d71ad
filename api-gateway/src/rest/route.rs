//! The route that a path belongs to: a few names for any number of files, for metrics.

use http::Uri;

/// The route's name as `docs/rest.md` writes it; `other` for paths that are none.
pub fn route(uri: &Uri) -> &'static str {
    let path = uri.path();
    if let Some(rest) = path.strip_prefix("/v1/files") {
        return within(rest, "/v1/files", "/v1/files/{key}");
    }
    match path.strip_prefix("/v1/buckets") {
        Some("") => return "/v1/buckets",
        Some(rest) if is_one_segment(rest) => return "/v1/buckets/{bucket}",
        _ => {}
    }
    let in_bucket = path.strip_prefix("/v1/buckets/").and_then(|rest| rest.split_once('/'));
    match in_bucket.and_then(|(_, rest)| rest.strip_prefix("files")) {
        Some(rest) => {
            within(rest, "/v1/buckets/{bucket}/files", "/v1/buckets/{bucket}/files/{key}")
        }
        None => OTHER,
    }
}

/// A slash, then a name.
fn is_one_segment(rest: &str) -> bool {
    rest.strip_prefix('/').is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

const OTHER: &str = "other";

fn within(rest: &str, list: &'static str, file: &'static str) -> &'static str {
    match rest.strip_prefix('/') {
        None if rest.is_empty() => list,
        None => OTHER,
        Some("") => list,
        Some(_) => file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_one_of_few_routes() {
        let of = |path: &str| route(&path.parse().expect("a URI"));
        assert_eq!(of("/v1/files?list"), "/v1/files");
        assert_eq!(of("/v1/files/"), "/v1/files");
        assert_eq!(of("/v1/files/a/b%20c"), "/v1/files/{key}");
        assert_eq!(of("/v1/filesystem"), "other");
        assert_eq!(of("/v1/buckets/b/files"), "/v1/buckets/{bucket}/files");
        assert_eq!(of("/v1/buckets/b/files//"), "/v1/buckets/{bucket}/files/{key}");
        assert_eq!(of("/v1/buckets"), "/v1/buckets");
        assert_eq!(of("/v1/buckets?limit=1"), "/v1/buckets");
        assert_eq!(of("/v1/buckets/b"), "/v1/buckets/{bucket}");
        assert_eq!(of("/v1/buckets/"), "other");
        assert_eq!(of("/v1/buckets/b/"), "other");
        assert_eq!(of("/v1/bucketsb"), "other");
        assert_eq!(of("/"), "other");
    }
}

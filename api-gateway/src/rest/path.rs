//! Which file or list a path names. Paths are read as the client sent them: `..` and `//` within a key are part of it.

use cairn_core::names::{BucketName, InvalidName, ObjectKey};
use http::Uri;
use percent_encoding::percent_decode_str;

use super::problem::Problem;

/// A file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bucket: BucketName,
    pub(super) key: ObjectKey,
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    File(Place),
    List(BucketName),
}

impl Target {
    pub(super) fn of(uri: &Uri) -> Result<Self, Problem> {
        let path = uri.path();
        if let Some(rest) = path.strip_prefix("/v1/files") {
            return Self::within(BucketName::standard(), rest);
        }
        let in_bucket = path.strip_prefix("/v1/buckets/").and_then(|rest| rest.split_once('/'));
        match in_bucket.map(|(bucket, rest)| (bucket, rest.strip_prefix("files"))) {
            Some((bucket, Some(rest))) => Self::within(BucketName::new(decoded(bucket)?)?, rest),
            _ => Err(Problem::no_route()),
        }
    }

    /// `rest` is what follows `files`: nothing, or `/` and a key.
    fn within(bucket: BucketName, rest: &str) -> Result<Self, Problem> {
        match rest.strip_prefix('/') {
            None if rest.is_empty() => Ok(Self::List(bucket)),
            None => Err(Problem::no_route()),
            Some("") => Ok(Self::List(bucket)),
            Some(key) => Ok(Self::File(Place { bucket, key: ObjectKey::new(decoded(key)?)? })),
        }
    }
}

fn decoded(text: &str) -> Result<String, Problem> {
    check_percent(text)?;
    let text = percent_decode_str(text).decode_utf8().map_err(|_| InvalidName::KeyNotUtf8)?;
    Ok(text.into_owned())
}

/// Refuses what a lenient decoder would let through as something else: a `%` that begins no escape, and escapes that
/// are no UTF-8.
pub(super) fn check_percent(text: &str) -> Result<(), Problem> {
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let is_hex = |digit: Option<u8>| digit.is_some_and(|digit| digit.is_ascii_hexdigit());
        if byte == b'%' && !(is_hex(rest.next()) && is_hex(rest.next())) {
            let rule =
                "broken percent-encoding: two hex digits follow a %, and the sign itself is %25";
            return Err(Problem::bad_request(rule));
        }
    }
    match percent_decode_str(text).decode_utf8() {
        Ok(_) => Ok(()),
        Err(_) => Err(InvalidName::KeyNotUtf8.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str) -> Result<Target, Problem> {
        Target::of(&uri.parse().expect("a URI"))
    }

    fn key(uri: &str) -> String {
        match target(uri) {
            Ok(Target::File(place)) => format!("{}:{}", place.bucket, place.key),
            other => panic!("{uri} is {other:?}"),
        }
    }

    #[test]
    fn a_key_is_everything_after_files() {
        assert_eq!(key("/v1/files/a"), "default:a");
        assert_eq!(key("/v1/files/a/b//c/"), "default:a/b//c/");
        assert_eq!(key("/v1/files/%2e%2e/%2Fx%20y/%C3%BC?q=1"), "default:..//x y/ü");
        assert_eq!(key("/v1/buckets/photos/files/a/b"), "photos:a/b");
    }

    #[test]
    fn without_a_key_it_is_the_list() {
        for uri in ["/v1/files", "/v1/files/", "/v1/files?list&prefix=a"] {
            assert_eq!(target(uri), Ok(Target::List(BucketName::standard())), "{uri}");
        }
    }

    #[test]
    fn a_path_that_names_nothing_is_refused() {
        for uri in ["/", "/v1/filesystem", "/v1/buckets/photos", "/v2/files/a"] {
            assert_eq!(target(uri).expect_err(uri).status(), 404, "{uri}");
        }
        for uri in [
            "/v1/files/%ff",
            "/v1/files/a%00b",
            "/v1/files/a%zz",
            "/v1/files/a%",
            "/v1/buckets/No/files/a",
        ] {
            assert_eq!(target(uri).expect_err(uri).status(), 400, "{uri}");
        }
    }
}

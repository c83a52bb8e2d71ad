//! What the names in a path are. Paths are read as the client sent them: `..` and `//` within a key are part of it.

use cairn_core::names::{BucketName, InvalidName, ObjectKey};
use percent_encoding::percent_decode_str;

use super::problem::Problem;

/// A file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bucket: BucketName,
    pub(super) key: ObjectKey,
}

/// The texts in a path's places, still percent-encoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Names(Vec<(&'static str, String)>);

/// Fits a path into a template: `{name}` takes a segment; `{key}`, at the end, all that is left, even nothing.
pub(super) fn captured(template: &'static str, path: &str) -> Option<Names> {
    let mut names = Names::default();
    let mut rest = path.strip_prefix('/');
    for part in template.strip_prefix('/')?.split('/') {
        let here = rest?;
        if part == "{key}" {
            names.0.push(("key", here.to_owned()));
            return Some(names);
        }
        let (segment, after) = match here.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (here, None),
        };
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => names.0.push((name, segment.to_owned())),
            None if part == segment => {}
            None => return None,
        }
        rest = after;
    }
    rest.is_none().then_some(names)
}

impl Names {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(of, _)| *of == name).map(|(_, text)| text.as_str())
    }

    /// The bucket; without one in the path, the standard one.
    pub(super) fn bucket(&self) -> Result<BucketName, Problem> {
        match self.get("bucket") {
            None => Ok(BucketName::standard()),
            Some(name) => Ok(BucketName::new(decoded(name)?)?),
        }
    }

    /// Bucket and key.
    pub(super) fn place(&self) -> Result<Place, Problem> {
        let key = self.get("key").unwrap_or_default();
        Ok(Place { bucket: self.bucket()?, key: ObjectKey::new(decoded(key)?)? })
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
    use http::Method;

    use super::super::RESOURCES;
    use super::super::operation::find;
    use super::*;

    fn place(path: &str) -> Result<Place, Problem> {
        find(RESOURCES, &Method::GET, path)?.1.place()
    }

    fn key(path: &str) -> String {
        match place(path) {
            Ok(place) => format!("{}:{}", place.bucket, place.key),
            other => panic!("{path} is {other:?}"),
        }
    }

    #[test]
    fn a_key_is_everything_after_files() {
        assert_eq!(key("/v1/files/a"), "default:a");
        assert_eq!(key("/v1/files//a"), "default:/a");
        assert_eq!(key("/v1/files/a/b//c/"), "default:a/b//c/");
        assert_eq!(key("/v1/files/%2e%2e/%2Fx%20y/%C3%BC"), "default:..//x y/ü");
        assert_eq!(key("/v1/buckets/photos/files/a/b"), "photos:a/b");
    }

    #[test]
    fn without_a_key_it_is_the_list() {
        for path in ["/v1/files", "/v1/buckets/photos/files"] {
            let (operation, _) = find(RESOURCES, &Method::GET, path).expect(path);
            assert_eq!(operation.id, "listFiles", "{path}");
        }
    }

    #[test]
    fn a_path_that_names_nothing_is_refused() {
        for path in ["", "/", "*", "/v1/filesystem", "/v1/bucket", "/v2/files/a", "/v1"] {
            assert_eq!(place(path).expect_err(path).status(), 404, "{path}");
        }
        for path in [
            "/v1/files/",
            "/v1/files/%ff",
            "/v1/files/a%00b",
            "/v1/files/a%zz",
            "/v1/files/a%",
            "/v1/buckets/No/files/a",
            "/v1/buckets//files/a",
        ] {
            assert_eq!(place(path).expect_err(path).status(), 400, "{path}");
        }
    }
}

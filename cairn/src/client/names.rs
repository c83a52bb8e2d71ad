//! Keys, prefixes and paths: the only place where one becomes the other.
//!
//! ```text
//! put   photos/a.jpg      docs/   ─► docs/a.jpg          -r photos  docs  ─► docs/a.jpg
//! get   docs/a.jpg        out/    ─► out/a.jpg           -r docs    out   ─► out/a.jpg
//! ```
//!
//! A folder's own name is no part of the keys: `put -r DIR PREFIX` and `get -r PREFIX DIR` undo each other.

use std::path::{Component, Path, PathBuf};

use cairn_core::names::ObjectKey;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::ClientError;

/// What a path of a URL holds as it is: the unreserved characters of RFC 3986 and `/`.
const PATH: AsciiSet =
    NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
/// What a value in a query holds as it is.
const QUERY: AsciiSet = PATH.add(b'/');

/// A key as a path of a URL. `.` and `..` are written so that nothing on the way removes them.
pub(super) fn path_of(key: &str) -> String {
    let part = |part: &str| match part {
        "." => "%2e".to_owned(),
        ".." => "%2e%2e".to_owned(),
        part => utf8_percent_encode(part, &PATH).to_string(),
    };
    key.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// A value in the query of a URL.
pub(super) fn query_of(value: &str) -> String {
    utf8_percent_encode(value, &QUERY).to_string()
}

/// Checks a key that a person gave.
pub(super) fn key(doing: &str, text: impl Into<String>) -> Result<ObjectKey, ClientError> {
    ObjectKey::new(text).map_err(|error| ClientError::usage(doing, error))
}

/// The prefix of all keys in a folder. `/` alone is the whole bucket.
pub(super) fn folder(text: &str) -> String {
    match text {
        "" | "/" => String::new(),
        text if text.ends_with('/') => text.to_owned(),
        text => format!("{text}/"),
    }
}

/// True for a target that takes files under their own names.
pub(super) fn is_folder(target: &str) -> bool {
    target.ends_with('/')
}

/// The key of a file that lies at `relative` in a folder.
pub(super) fn key_under(prefix: &str, relative: &Path) -> Result<String, ClientError> {
    let mut key = prefix.to_owned();
    for (nth, part) in relative.components().enumerate() {
        let Component::Normal(part) = part else { continue };
        let part = part.to_str().ok_or_else(|| {
            let doing = format!("put {}", relative.display());
            ClientError::usage(doing, "the name is not UTF-8, and keys are: rename it")
        })?;
        if nth > 0 {
            key.push('/');
        }
        key.push_str(part);
    }
    Ok(key)
}

/// The last part of a key: the name of its file when only a folder is given.
pub(super) fn last_part(key: &str) -> Option<&str> {
    key.rsplit('/').next().filter(|part| is_file_name(part))
}

/// The path of a key's file below the folder that is fetched into. `None` when the key would lead out of it, or
/// cannot be a path: whoever stored it must not choose where we write.
pub(super) fn path_below(relative: &str) -> Option<PathBuf> {
    relative.split('/').all(is_file_name).then(|| PathBuf::from(relative))
}

fn is_file_name(part: &str) -> bool {
    !matches!(part, "" | "." | "..") && !part.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_becomes_a_path_that_means_the_same_key() {
        assert_eq!(path_of("docs/a b.txt"), "docs/a%20b.txt");
        assert_eq!(path_of("../a//./ü?#%"), "%2e%2e/a//%2e/%C3%BC%3F%23%25");
        assert_eq!(query_of("a/b c&d+e"), "a%2Fb%20c%26d%2Be");
    }

    #[test]
    fn a_folder_ends_with_a_slash_and_the_slash_alone_is_the_bucket() {
        assert_eq!(folder("docs"), "docs/");
        assert_eq!(folder("docs/"), "docs/");
        assert_eq!((folder("/"), folder("")), (String::new(), String::new()));
    }

    #[test]
    fn relative_paths_are_kept() {
        let under = |prefix, relative| key_under(prefix, Path::new(relative)).expect("a key");
        assert_eq!(under("docs/", "a/b.txt"), "docs/a/b.txt");
        assert_eq!(under("", "b.txt"), "b.txt");
    }

    #[test]
    fn a_name_that_is_not_utf8_is_refused() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(OsStr::from_bytes(b"a\xff"));
        assert!(key_under("docs/", path).is_err());
    }

    #[test]
    fn no_key_leads_out_of_the_folder_that_is_fetched_into() {
        assert_eq!(path_below("a/b.txt"), Some(PathBuf::from("a/b.txt")));
        for key in ["../a", "a/../../b", "/etc/passwd", "a//b", "a/", "", ".", "a/./b"] {
            assert_eq!(path_below(key), None, "{key}");
        }
    }

    #[test]
    fn the_last_part_names_the_file() {
        assert_eq!(last_part("docs/a.txt"), Some("a.txt"));
        assert_eq!(last_part("a.txt"), Some("a.txt"));
        assert_eq!(last_part("docs/"), None);
        assert_eq!(last_part("docs/.."), None);
    }
}

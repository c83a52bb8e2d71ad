//! The path of a disk, in a form that the record can keep and that can be compared.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::{DiskSetError, MOST_DISKS, MOST_PATH_BYTES};
use crate::spread::NoDisks;

/// An absolute path as text of one line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DiskPath(String);

impl DiskPath {
    pub(super) fn new(path: &Path) -> Result<Self, DiskSetError> {
        let bad = |wrong| DiskSetError::BadPath { path: path.to_path_buf(), wrong };
        if !path.is_absolute() {
            return Err(bad("is not absolute"));
        }
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(bad("has a `..` in it"));
        }
        // Without double slashes, and slashes at the end.
        let plain: PathBuf = path.components().collect();
        let text = plain.into_os_string().into_string().map_err(|_| bad("is not UTF-8"))?;
        if text.chars().any(char::is_control) {
            return Err(bad("has control characters in it"));
        }
        if text.len() > MOST_PATH_BYTES {
            return Err(bad("is too long"));
        }
        Ok(Self(text))
    }

    pub(super) fn to_path_buf(&self) -> PathBuf {
        PathBuf::from(&self.0)
    }

    /// Whether the two are one folder, or one is in the other.
    fn overlaps(&self, other: &Self) -> bool {
        let (one, other) = (Path::new(&self.0), Path::new(&other.0));
        one.starts_with(other) || other.starts_with(one)
    }
}

impl fmt::Display for DiskPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The paths, when each can be a disk of its own.
pub(super) fn checked<'a>(
    paths: impl Iterator<Item = &'a PathBuf>,
) -> Result<Vec<DiskPath>, DiskSetError> {
    let paths: Vec<_> = paths.map(|path| DiskPath::new(path)).collect::<Result<_, _>>()?;
    if paths.is_empty() {
        return Err(NoDisks.into());
    }
    if paths.len() > MOST_DISKS {
        return Err(DiskSetError::TooMany(paths.len()));
    }
    for (at, one) in paths.iter().enumerate() {
        if let Some(other) = paths[..at].iter().find(|other| one.overlaps(other)) {
            let (one, other) = (other.to_path_buf(), one.to_path_buf());
            return Err(DiskSetError::Overlap { one, other });
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(paths: &[&str]) -> Result<Vec<String>, DiskSetError> {
        let paths: Vec<_> = paths.iter().map(PathBuf::from).collect();
        let paths = checked(paths.iter())?;
        Ok(paths.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_path_has_one_form() {
        let paths = check(&["/mnt//a/", "/mnt/./b", "/mnt/ab"]).expect("three folders");
        assert_eq!(paths, ["/mnt/a", "/mnt/b", "/mnt/ab"]);
    }

    #[test]
    fn what_the_record_cannot_keep_or_compare_is_refused() {
        let long = format!("/{}", "a".repeat(MOST_PATH_BYTES));
        for bad in ["mnt/a", "", "/mnt/../a", "/mnt/a\nb", &long] {
            let refused = check(&[bad]);
            assert!(matches!(refused, Err(DiskSetError::BadPath { .. })), "{bad:?}: {refused:?}");
        }
        assert!(matches!(check(&[]), Err(DiskSetError::NoDisks(_))));
        let many: Vec<_> = (0..=MOST_DISKS).map(|n| format!("/mnt/{n}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(matches!(check(&many), Err(DiskSetError::TooMany(_))));
        assert_eq!(check(&many[1..]).expect("as many as there may be").len(), MOST_DISKS);
    }

    #[test]
    fn one_folder_twice_or_within_another_is_refused() {
        for two in [["/mnt/a", "/mnt/a/"], ["/mnt/a", "/mnt/a/b"], ["/mnt/a/b", "/mnt/a"]] {
            let refused = check(&two);
            assert!(matches!(refused, Err(DiskSetError::Overlap { .. })), "{two:?}: {refused:?}");
        }
    }
}

//! Which files go where, decided before the first byte is sent.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use cairn_core::names::ObjectKey;

use crate::client::error::ClientError;
use crate::client::names;

/// Where a file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Stdin,
    File { path: PathBuf, bytes: u64 },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("-"),
            Self::File { path, .. } => path.display().fmt(f),
        }
    }
}

/// One file and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) origin: Origin,
    pub(super) key: ObjectKey,
}

/// All files of a command.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) items: Vec<Item>,
    /// Neither files nor folders, or links within a folder.
    pub(super) skipped: Vec<PathBuf>,
}

impl Plan {
    /// Bytes in all; `None` when a pipe is among them.
    pub(super) fn bytes(&self) -> Option<u64> {
        let bytes = |item: &Item| match item.origin {
            Origin::Stdin => None,
            Origin::File { bytes, .. } => Some(bytes),
        };
        self.items.iter().map(bytes).sum()
    }
}

/// Reads the command line: sources, and the key or prefix as the last one.
pub(super) fn plan(paths: &[PathBuf], recursive: bool) -> Result<Plan, ClientError> {
    let Some((target, sources)) = paths.split_last() else {
        return Err(ClientError::usage("put", "name a file and a key"));
    };
    let target = target.to_str().ok_or_else(|| {
        ClientError::usage(format!("put to {}", target.display()), "a key must be UTF-8")
    })?;
    if sources.len() > 1 && !recursive && !names::is_folder(target) {
        let problem = format!("{} files cannot all become {target}", sources.len());
        return Err(ClientError::usage("put", problem)
            .advise(format!("name a folder: cairn put … {target}/")));
    }
    let mut plan = Plan::default();
    for source in sources {
        add(&mut plan, source, target, recursive)?;
    }
    unique(&plan.items)?;
    Ok(plan)
}

fn add(plan: &mut Plan, source: &Path, target: &str, recursive: bool) -> Result<(), ClientError> {
    let doing = format!("put {}", source.display());
    if source == Path::new("-") {
        if names::is_folder(target) || recursive {
            return Err(ClientError::usage("put -", "standard input has no name: give it a key"));
        }
        let key = names::key(&doing, target)?;
        plan.items.push(Item { origin: Origin::Stdin, key });
        return Ok(());
    }
    let about = fs::metadata(source).map_err(|error| ClientError::failed(&doing, error))?;
    if about.is_dir() {
        if !recursive {
            return Err(ClientError::usage(&doing, "it is a folder").advise(format!(
                "store what is in it: cairn put -r {} {target}",
                source.display()
            )));
        }
        return walk(plan, source, &names::folder(target));
    }
    let key = if recursive || names::is_folder(target) {
        let name = source.file_name().map(Path::new);
        let name = name.ok_or_else(|| ClientError::usage(&doing, "it has no name"))?;
        names::key_under(&names::folder(target), name)?
    } else {
        target.to_owned()
    };
    push(plan, source.to_owned(), &about, key)
}

fn push(plan: &mut Plan, path: PathBuf, about: &Metadata, key: String) -> Result<(), ClientError> {
    let doing = format!("put {}", path.display());
    if !about.is_file() {
        return Err(ClientError::usage(&doing, "it is neither a file nor a folder")
            .advise(format!("a pipe is stored from standard input: cairn put - {key}")));
    }
    let key = names::key(&doing, key)?;
    plan.items.push(Item { origin: Origin::File { path, bytes: about.len() }, key });
    Ok(())
}

/// Adds all files below `root`, in the order of their names. Links are not followed: they can lead anywhere, and back.
fn walk(plan: &mut Plan, root: &Path, prefix: &str) -> Result<(), ClientError> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let unreadable =
            |error| ClientError::failed(format!("read folder {}", folder.display()), error);
        let entries = fs::read_dir(&folder).map_err(unreadable)?;
        let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let about = entry.metadata().map_err(unreadable)?;
            if about.is_dir() {
                folders.push(path);
            } else if about.is_file() {
                let relative = path.strip_prefix(root).unwrap_or(&path);
                let key = names::key_under(prefix, relative)?;
                push(plan, path, &about, key)?;
            } else {
                plan.skipped.push(path);
            }
        }
    }
    Ok(())
}

/// Two files under one key: one of them would be lost.
fn unique(items: &[Item]) -> Result<(), ClientError> {
    let mut seen = BTreeMap::new();
    for item in items {
        if let Some(other) = seen.insert(&item.key, &item.origin) {
            let problem = format!("{other} and {} would both be {}", item.origin, item.key);
            return Err(ClientError::usage("put", problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("in/deep")).expect("folders");
        for (name, bytes) in [("a", "1"), ("in/b", "22"), ("in/deep/c", "333")] {
            fs::write(folder.path().join(name), bytes).expect("a file");
        }
        folder
    }

    fn keys(plan: &Plan) -> Vec<&str> {
        plan.items.iter().map(|item| item.key.as_str()).collect()
    }

    #[test]
    fn a_folder_keeps_its_relative_paths() {
        let folder = folder();
        let paths = [folder.path().to_owned(), PathBuf::from("docs")];
        let all = plan(&paths, true).expect("a plan");
        assert_eq!(keys(&all), ["docs/a", "docs/in/b", "docs/in/deep/c"]);
        assert_eq!(all.bytes(), Some(6));
        assert!(plan(&paths, false).is_err(), "a folder needs -r");
    }

    #[test]
    fn a_target_with_a_slash_takes_files_under_their_names() {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        let to = |target: &str, sources: &[&str]| {
            let mut paths: Vec<PathBuf> = sources.iter().map(|source| path(source)).collect();
            paths.push(target.into());
            plan(&paths, false)
        };
        assert_eq!(keys(&to("docs/", &["a", "in/b"]).expect("a plan")), ["docs/a", "docs/b"]);
        assert_eq!(keys(&to("x", &["a"]).expect("a plan")), ["x"]);
        assert_eq!(keys(&to("/", &["a"]).expect("a plan")), ["a"]);
        assert!(to("x", &["a", "in/b"]).is_err(), "two files, one key");
        assert!(to("x/", &["a", "a"]).is_err(), "the same key twice");
        assert!(to("x", &["none"]).is_err(), "no such file");
    }

    #[test]
    fn links_within_a_folder_are_skipped() {
        let folder = folder();
        std::os::unix::fs::symlink("/", folder.path().join("in/out")).expect("a link");
        let all = plan(&[folder.path().to_owned(), "docs".into()], true).expect("a plan");
        assert_eq!(all.items.len(), 3);
        assert_eq!(all.skipped, [folder.path().join("in/out")]);
    }

    #[test]
    fn standard_input_needs_a_key() {
        assert_eq!(plan(&["-".into(), "x".into()], false).expect("a plan").bytes(), None);
        assert!(plan(&["-".into(), "x/".into()], false).is_err());
    }
}

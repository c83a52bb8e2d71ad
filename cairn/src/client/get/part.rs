//! DEST.part and DEST.part.json: a file on its way.
//!
//! The state is written before the part, so a part without a state is somebody else's file. What the state calls done
//! may be lost in a power cut, because nothing is synced before the end: the digest over what is on disk notices.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::plan::{Segment, Segments, State};
use crate::client::error::ClientError;
use crate::client::remote::Version;

/// Where the bytes of a file are until it is whole.
pub(super) fn part_path(dest: &Path) -> PathBuf {
    beside(dest, ".part")
}

/// What is known of them.
pub(super) fn state_path(dest: &Path) -> PathBuf {
    beside(dest, ".part.json")
}

fn beside(dest: &Path, suffix: &str) -> PathBuf {
    let mut name = dest.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A file on its way, locked against another process that fetches the same.
#[derive(Debug)]
pub(super) struct Part {
    doing: String,
    dest: PathBuf,
    file: File,
    segments: Segments,
    state: Mutex<State>,
}

impl Part {
    /// Takes up what an earlier try left, or begins anew.
    pub(super) fn open(
        doing: &str,
        version: &Version,
        dest: &Path,
        resume: bool,
    ) -> Result<Self, ClientError> {
        if dest.is_dir() {
            return Err(ClientError::usage(doing, format!("{} is a folder", dest.display())));
        }
        let (part, state_at) = (part_path(dest), state_path(dest));
        let failed = |error: io::Error| {
            ClientError::failed(doing, format!("write {}: {error}", part.display()))
        };
        if let Some(folder) = dest.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        if !part.exists() {
            save(dest, &State::start(version)).map_err(failed)?;
        } else if !state_at.exists() {
            let problem = format!("{} is not a part of Cairn's", part.display());
            return Err(ClientError::failed(doing, problem)
                .advise("move it away, or fetch to another place"));
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&part);
        let file = file.map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                ClientError::failed(doing, format!("another process writes {}", part.display()))
            }
            TryLockError::Error(error) => failed(error),
        })?;
        let left = if resume { load(&state_at) } else { None };
        let bytes = file.metadata().map_err(failed)?.len();
        let segments = Segments::of(version);
        let state = match State::resume(left, Some(bytes), version, &segments) {
            Ok(state) => state,
            Err(_anew) => {
                let state = State::start(version);
                save(dest, &state).map_err(failed)?;
                file.set_len(0).and_then(|()| file.set_len(version.length)).map_err(failed)?;
                state
            }
        };
        let (doing, dest) = (doing.to_owned(), dest.to_owned());
        Ok(Self { doing, dest, file, segments, state: Mutex::new(state) })
    }

    /// What the file is cut into.
    pub(super) fn segments(&self) -> &Segments {
        &self.segments
    }

    /// A segment.
    pub(super) fn segment(&self, nth: usize) -> &Segment {
        self.segments.at(nth)
    }

    /// True for a segment that is there.
    pub(super) fn has(&self, segment: usize) -> bool {
        self.with_state(|state| state.has(segment))
    }

    /// Bytes that are there.
    pub(super) fn bytes_done(&self) -> u64 {
        self.with_state(|state| state.bytes_done(&self.segments))
    }

    /// Segments from the front without a gap.
    pub(super) fn front(&self) -> usize {
        self.with_state(|state| state.front())
    }

    /// Writes bytes at their place.
    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> Result<(), ClientError> {
        self.file.write_all_at(bytes, at).map_err(|error| self.failed("write", &error))
    }

    /// Reads bytes back.
    pub(super) fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), ClientError> {
        self.file.read_exact_at(bytes, at).map_err(|error| self.failed("read", &error))
    }

    /// Notes a segment that is written whole.
    pub(super) fn done(&self, segment: usize) -> Result<(), ClientError> {
        let saved = self.with_state(|state| {
            state.note(segment);
            save(&self.dest, state)
        });
        saved.map_err(|error| self.failed("write the state of", &error))
    }

    /// Makes the part the file, durably: its bytes, then its name, then the folder that holds the name.
    pub(super) fn finish(&self) -> Result<(), ClientError> {
        self.file.sync_all().map_err(|error| self.failed("sync", &error))?;
        let renamed = fs::rename(part_path(&self.dest), &self.dest);
        renamed.map_err(|error| self.failed("rename", &error))?;
        let removed = fs::remove_file(state_path(&self.dest));
        removed.map_err(|error| self.failed("remove the state of", &error))?;
        let parent = self.dest.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder =
            File::open(parent.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        folder.map_err(|error| self.failed("sync the folder of", &error))
    }

    /// Removes what cannot be built upon.
    pub(super) fn discard(&self) -> Result<(), ClientError> {
        let removed = fs::remove_file(part_path(&self.dest))
            .and_then(|()| fs::remove_file(state_path(&self.dest)));
        removed.map_err(|error| self.failed("remove", &error))
    }

    fn with_state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn failed(&self, what: &str, error: &io::Error) -> ClientError {
        let path = part_path(&self.dest);
        ClientError::failed(&self.doing, format!("{what} {}: {error}", path.display()))
    }
}

fn load(path: &Path) -> Option<State> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Replaces the state as a whole, so that an end in the middle leaves the older one.
fn save(dest: &Path, state: &State) -> io::Result<()> {
    let (path, new) = (state_path(dest), beside(dest, ".part.json.new"));
    fs::write(&new, serde_json::to_vec(state)?)?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(etag: &str) -> Version {
        Version { etag: etag.to_owned(), ..crate::client::get::plan::tests::version(3) }
    }

    #[test]
    fn a_part_becomes_the_file_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let dest = folder.path().join("deep/a");
        let part = Part::open("get a", &version("e1"), &dest, true).expect("a part");
        part.write(0, b"abc").and_then(|()| part.done(0)).expect("written");
        assert!(!dest.exists(), "not before it is finished");
        part.finish().expect("finished");
        assert_eq!(fs::read(&dest).expect("the file"), b"abc");
        let names = fs::read_dir(dest.parent().expect("a folder")).expect("the folder").count();
        assert_eq!(names, 1);
    }

    #[test]
    fn a_part_is_taken_up_for_the_same_version_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let dest = folder.path().join("a");
        let open = |etag, resume| Part::open("get a", &version(etag), &dest, resume);
        let part = open("e1", true).expect("a part");
        part.write(0, b"abc").and_then(|()| part.done(0)).expect("written");
        drop(part);
        assert_eq!(open("e1", true).expect("a part").bytes_done(), 3);
        assert_eq!(open("e2", true).expect("a part").bytes_done(), 0);
        assert_eq!(open("e2", false).expect("a part").bytes_done(), 0);
    }

    #[test]
    fn a_file_that_only_looks_like_a_part_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let dest = folder.path().join("a");
        fs::write(part_path(&dest), "mine").expect("a file");
        assert!(Part::open("get a", &version("e1"), &dest, true).is_err());
        assert_eq!(fs::read(part_path(&dest)).expect("the file"), b"mine");
    }

    #[test]
    fn two_cannot_fetch_to_one_place_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let dest = folder.path().join("a");
        let first = Part::open("get a", &version("e1"), &dest, true).expect("a part");
        assert!(Part::open("get a", &version("e1"), &dest, true).is_err());
        drop(first);
    }
}

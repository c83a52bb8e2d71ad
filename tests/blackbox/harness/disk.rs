//! Disks that fail for real: a small file system of its own for a node, and system calls of a running node that fail or
//! take long. Both need root: where that, or a tool, is missing, it is said loudly, and is a failure where
//! `CAIRN_REQUIRE` names `loop-mount` or `strace`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::process::Process;
use super::tools::{missing, said, tool};

fn run(program: &str, arguments: &[&str]) {
    let (done, text) = said(Command::new(program).args(arguments));
    assert!(done, "{program} {arguments:?}: {text}");
}

/// A new ext4 in a file, mounted through a loop device. It turns read-only at the first error, as is usual.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// One of `megabytes`, mounted; nothing where that cannot be done.
    pub(crate) fn new(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Self { folder };
        let image = disk.image();
        let mut make = Command::new("sh");
        let size = format!("{megabytes}M");
        let script = "set -e; truncate -s \"$1\" \"$2\"; mkfs.ext4 -q -F \"$2\"; mkdir \"$3\"; \
                      mount -o loop,errors=remount-ro \"$2\" \"$3\"";
        make.args(["-c", script, "sh", &size]).arg(&image).arg(disk.path());
        let (done, text) = said(&mut make);
        if done {
            return Some(disk);
        }
        missing("loop-mount", &format!("it takes root, mkfs.ext4 and mount: {text}"));
        None
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Somebody else's file takes all the room that is left.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.path().join("of-somebody-else");
        let mut file = std::fs::File::create(&path).expect("a file");
        let piece = vec![7; 4096];
        let full = std::iter::repeat_with(|| file.write_all(&piece)).find_map(Result::err);
        let full = full.expect("it never ends").kind();
        assert_eq!(full, std::io::ErrorKind::StorageFull);
        file.sync_all().expect("what is written can be kept");
        path
    }

    /// The file system meets an error, and is read-only from here on.
    pub(crate) fn fail(&self) {
        let path = self.path();
        let findmnt = Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(&path).output();
        let device = String::from_utf8(findmnt.expect("run findmnt").stdout).expect("a name");
        let device = Path::new(device.trim()).file_name().expect("a device").to_owned();
        let trigger = Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error");
        std::fs::write(&trigger, "1").expect("an error on request");
        let probe = std::fs::write(path.join("probe"), "1").expect_err("it is read-only");
        assert_eq!(probe.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }

    /// Unmounts it, repairs it and mounts it again: nobody may use it meanwhile.
    pub(crate) fn repair(&self) {
        let (image, path) = (self.image(), self.path());
        let (image, path) = (image.to_string_lossy(), path.to_string_lossy());
        run("umount", &[&path]);
        // 1: errors were corrected.
        let checked = Command::new("e2fsck").args(["-fy", &image]).output().expect("run e2fsck");
        let code = checked.status.code();
        assert!(
            matches!(code, Some(0 | 1)),
            "e2fsck: {}",
            String::from_utf8_lossy(&checked.stdout)
        );
        run("mount", &["-o", "loop,errors=remount-ro", &image, &path]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: who still has a file open keeps the rest until it ends. The loop device goes with it.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).output();
    }
}

/// System calls of a process that fail or take long, until this is dropped.
#[derive(Debug)]
pub(crate) struct Injected {
    strace: Child,
    struck: Arc<AtomicU64>,
}

impl Injected {
    /// Injects into `calls` what strace calls `what`, e.g. `error=EIO`. Nothing where that cannot be done.
    pub(crate) fn into(process: &Process, calls: &str, what: &str) -> Option<Self> {
        tool("strace", Command::new("strace"), &["-V"], "apt-get install strace")?;
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", &format!("trace={calls}"), "-e"]);
        strace.args([&format!("inject={calls}:{what}"), "-p", &process.id().to_string()]);
        let strace = strace.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut strace = strace.expect("start strace");
        let mut told = BufReader::new(strace.stderr.take().expect("a pipe")).lines();
        let first = told.next().expect("strace says something").expect("text");
        assert!(first.contains("attached"), "strace: {first}");
        let struck = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&struck);
        // It would stop when nobody reads what it says.
        std::thread::spawn(move || {
            let marks = ["(INJECTED)", "(DELAYED)"];
            let lines = told.map_while(Result::ok);
            for _ in lines.filter(|line| marks.iter().any(|mark| line.ends_with(mark))) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Some(Self { strace, struck })
    }

    /// How many calls were struck so far.
    pub(crate) fn struck(&self) -> u64 {
        self.struck.load(Ordering::Relaxed)
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.strace),
            rustix::process::Signal::INT,
        );
        let _ = self.strace.wait();
    }
}

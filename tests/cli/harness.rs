//! A running `cairn up` and the commands that are run against it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for anything.
const BOUND: Duration = Duration::from_secs(60);

/// `cairn`, in an environment of its own.
pub(crate) fn cairn(arguments: &[&str]) -> Command {
    let built = env!("CARGO_BIN_EXE_cairn").into();
    let mut command = Command::new(std::env::var_os("CAIRN_BINARY").unwrap_or(built));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CAIRN_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// Nothing went wrong.
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// It ended with `code`, and said why.
    pub(crate) fn refused(self, code: i32, why: &str) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(why), "{why:?} in {self:?}");
        self
    }

    /// Its lines, each a JSON object.
    pub(crate) fn json(&self) -> Vec<Value> {
        let read =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        self.stdout.lines().map(read).collect()
    }
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command, input: &[u8]) -> Said {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("start cairn");
    let mut pipe = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // A command that does not read its input closes it.
    let feeder = thread::spawn(move || drop(pipe.write_all(&input)));
    let output = child.wait_with_output().expect("cairn ends");
    feeder.join().expect("the feeder ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Waits until `look` finds something.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + BOUND;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {BOUND:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A running `cairn up` with a folder for files beside it.
pub(crate) struct Up {
    child: Child,
    /// Kept open: a process whose output nobody takes would end.
    _stdout: BufReader<ChildStdout>,
    home: TempDir,
    options: Vec<String>,
    pub(crate) url: String,
    pub(crate) admin_url: String,
}

impl Up {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With further options of `cairn up`.
    pub(crate) fn with(options: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let (child, stdout, url, admin_url) = start(&home, &options);
        let up = Self { child, _stdout: stdout, home, options, url, admin_url };
        up.all_nodes_up();
        up
    }

    fn all_nodes_up(&self) {
        eventually("all nodes are up", || {
            let nodes = self.run(&["admin", "nodes", "--json"]).done().json();
            let ready = nodes.iter().filter(|node| node["state"] == "up").count() == 3;
            ready.then_some(())
        });
    }

    /// The folder of its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Ends it at once.
    pub(crate) fn stop(&mut self) {
        self.child.kill().expect("kill a process of ours");
        self.child.wait().expect("wait for a process of ours");
    }

    /// Starts it on the same data, after its end.
    pub(crate) fn start_again(&mut self) {
        let (child, stdout, url, admin_url) = start(&self.home, &self.options);
        (self.child, self._stdout, self.url, self.admin_url) = (child, stdout, url, admin_url);
        self.all_nodes_up();
    }

    /// A path in the folder for files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("files").join(name)
    }

    /// Writes a file there.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
    }

    /// A command that is to run in the folder for files, against this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let folder = self.path("");
        fs::create_dir_all(&folder).expect("a folder");
        let mut command = cairn(arguments);
        command.current_dir(folder).env("CAIRN_URL", &self.url);
        command.env("CAIRN_ADMIN_URL", &self.admin_url);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        run(self.command(arguments), b"")
    }
}

fn start(home: &TempDir, options: &[String]) -> (Child, BufReader<ChildStdout>, String, String) {
    let data = home.path().join("data");
    let mut command = cairn(&["up", "--open", "--listen", "127.0.0.1:0"]);
    command.args(options).args(["--admin-listen", "127.0.0.1:0", "--data"]).arg(data);
    let mut child = command.stderr(Stdio::inherit()).spawn().expect("start cairn up");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let url = announced(&mut stdout, "gateway on ");
    let admin_url = announced(&mut stdout, "admin on ");
    (child, stdout, url, admin_url)
}

impl Drop for Up {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn announced(stdout: &mut BufReader<ChildStdout>, what: &str) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    let url = line.trim().strip_prefix(what);
    url.unwrap_or_else(|| panic!("{what:?} in {line:?}")).to_owned()
}

/// Bytes that repeat nowhere near: a block in the wrong place is noticed.
pub(crate) fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // Marsaglia, "Xorshift RNGs", 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

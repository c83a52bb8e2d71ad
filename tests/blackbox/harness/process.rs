//! One process of the binary: started, listened to, signalled, gone at the end.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use super::wait::{eventually, within};

/// Lines shown when a test fails.
const SHOWN_LINES: usize = 60;
/// Longest wait for a process to say where it listens, or to end.
const BOUND_SECONDS: u64 = 60;

/// A running `cairn …`. Killed when dropped; what it said is shown when the test fails.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    stdout: watch::Receiver<Vec<String>>,
    stderr: watch::Receiver<Vec<String>>,
}

/// The command, in an environment of its own. `CAIRN_BINARY` names another build of it.
fn command(namespace: Option<&str>, arguments: &[String]) -> Command {
    let built = env!("CARGO_BIN_EXE_cairn").into();
    let binary = std::env::var_os("CAIRN_BINARY").unwrap_or(built);
    let mut command = Command::new(if namespace.is_some() { "ip".into() } else { binary.clone() });
    if let Some(namespace) = namespace {
        // It turns into the program, which keeps its process id.
        command.args(["netns", "exec", namespace]).arg(binary);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CAIRN_") {
            command.env_remove(name);
        }
    }
    command
}

/// Keeps the lines of a pipe.
fn lines_of(pipe: impl Read + Send + 'static) -> watch::Receiver<Vec<String>> {
    let (keep, kept) = watch::channel(Vec::new());
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            keep.send_modify(|lines| lines.push(line));
        }
    });
    kept
}

/// The address behind `http://` that follows `word` in a line.
fn address_in(line: &str, word: &str) -> Option<SocketAddr> {
    let line = line.to_lowercase();
    let (_, after) = line.split_once(word)?;
    let (_, rest) = after.split_once("http://")?;
    let end = rest
        .find(|letter: char| !(letter.is_ascii_digit() || ".:[]".contains(letter)))
        .unwrap_or(rest.len());
    rest[..end].trim_end_matches(['.', ':']).parse().ok()
}

impl Process {
    /// Starts `cairn` with these arguments.
    pub(crate) fn start(name: &str, arguments: &[String]) -> Self {
        Self::start_in(None, name, arguments)
    }

    /// The same, in a network namespace.
    pub(crate) fn start_in(namespace: Option<&str>, name: &str, arguments: &[String]) -> Self {
        let mut child = command(namespace, arguments)
            .spawn()
            .unwrap_or_else(|error| panic!("start {name} {arguments:?}: {error}"));
        let stdout = lines_of(child.stdout.take().expect("stdout is a pipe"));
        let stderr = lines_of(child.stderr.take().expect("stderr is a pipe"));
        let name = name.to_owned();
        Self { name, child, stdout, stderr }
    }

    /// Runs `cairn` with these arguments to its end: exit code, stdout and stderr.
    pub(crate) async fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let mut process = Self::start("run", &arguments);
        let status = process.ended().await;
        let said = async |lines: &watch::Receiver<Vec<String>>| {
            let mut lines = lines.clone();
            while lines.changed().await.is_ok() {}
            lines.borrow().join("\n")
        };
        let (stdout, stderr) = (said(&process.stdout).await, said(&process.stderr).await);
        (status.code(), stdout, stderr)
    }

    /// Waits for a line with an address behind `word`.
    pub(crate) async fn announced(&self, word: &str) -> SocketAddr {
        let mut lines = self.stdout.clone();
        let found = |lines: &Vec<String>| lines.iter().find_map(|line| address_in(line, word));
        let what = format!("{} says where its {word:?} listens", self.name);
        let said =
            within(BOUND_SECONDS, &what, lines.wait_for(|lines| found(lines).is_some())).await;
        match said {
            Ok(lines) => found(&lines).expect("just found"),
            Err(_) => panic!("{what}: it ended"),
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("signal a process of ours");
    }

    /// Asks it to drain and end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// What Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// What it has written to stderr.
    pub(crate) fn logged(&self) -> Vec<String> {
        self.stderr.borrow().clone()
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("kill a process of ours");
        self.child.wait().expect("wait for a process of ours");
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(BOUND_SECONDS, &what, async || {
            let status = self.child.try_wait().expect("wait for a process of ours");
            status.ok_or_else(|| "it runs".to_owned())
        })
        .await
    }

    /// True while it has not ended.
    pub(crate) fn runs(&mut self) -> bool {
        let status = self.child.try_wait().expect("wait for a process of ours");
        status.is_none()
    }

    fn show(&self) {
        for (pipe, lines) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            let lines = lines.borrow();
            let from = lines.len().saturating_sub(SHOWN_LINES);
            for line in &lines[from..] {
                eprintln!("{} {pipe}: {line}", self.name);
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            self.show();
        }
    }
}

/// A line of `/proc/PID/status` that is in kB, in MiB.
pub(crate) fn mib(process: &Process, field: &str) -> f64 {
    let path = format!("/proc/{}/status", process.id());
    let status = std::fs::read_to_string(path).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim_matches([':', ' ', '\t']).strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<f64>().ok()).expect(field) / 1024.0
}

/// The most memory that a process has had, in MiB.
pub(crate) fn peak_mib(process: &Process) -> u64 {
    mib(process, "VmHWM") as u64
}

#[test]
fn an_address_is_read_from_a_line() {
    let line = "Gateway on http://127.0.0.1:8080, health on http://127.0.0.1:8081.";
    assert_eq!(address_in(line, "gateway"), "127.0.0.1:8080".parse().ok());
    assert_eq!(address_in(line, "health"), "127.0.0.1:8081".parse().ok());
    assert_eq!(address_in(line, "admin"), None);
}

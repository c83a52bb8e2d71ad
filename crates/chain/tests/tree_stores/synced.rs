//! fjall has made a chunk durable before the store answers, as the system sees it: a process that puts chunks, and strace at
//! it. Attaching to a process takes root.
//!
//! ```text
//! test ─ starts ─► process: opens the store ─ "open" ─► test ─ attaches strace ─ "go" ─► process: puts, says what became of it
//! ```

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};

use cairn_chain::conformance::{content, put};

use crate::{chunk, open_lsm};

/// Tells the process which folder its store is in.
const FOLDER: &str = "CAIRN_TEST_SYNCED_FOLDER";
const CHUNKS: u32 = 3;
const BYTES: usize = 3_000_000;
const ANSWERED: &str = "the chunk is durable";
const REFUSED: &str = "the chunk was refused";
/// Calls that write to a file, and those that make it durable.
const WRITES: [&str; 4] = ["write", "writev", "pwrite64", "pwritev"];
const SYNCS: [&str; 2] = ["fsync", "fdatasync"];

/// Says something in a call of its own, which strace sees. The test's harness has the other output.
fn say(what: &str) {
    std::io::stderr().write_all(format!("{what}\n").as_bytes()).expect("somebody listens");
}

/// Not a test of its own: the process that the tests here look at.
#[tokio::test]
#[ignore = "run by the tests of this file"]
async fn a_process_that_puts_chunks() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let store = open_lsm(Path::new(&folder)).await.expect("a store");
    say("open");
    std::io::stdin().read_line(&mut String::new()).expect("told to go");
    for index in 0..CHUNKS {
        match put(&*store, chunk(index), &content(BYTES, 1)).await {
            Ok(()) => say(ANSWERED),
            Err(_) => say(REFUSED),
        }
    }
}

/// The process; killed when the test is over.
struct Putting {
    process: Child,
    go: ChildStdin,
    said: Lines<BufReader<ChildStderr>>,
}

impl Putting {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "tree_stores::synced::a_process_that_puts_chunks"])
            .args(["--ignored", "--nocapture"])
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this program runs");
        let go = process.stdin.take().expect("a pipe");
        let mut said = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        let first = said.next().expect("it says something").expect("text");
        assert_eq!(first, "open");
        Self { process, go, said }
    }

    /// Lets it put its chunks; what it said, and what it asked the system for meanwhile, in strace's words. `None`
    /// where there is no strace.
    fn traced(mut self, inject: &[&str]) -> Option<(Vec<String>, Vec<String>)> {
        let calls = format!("trace={}", [&WRITES[..], &SYNCS].concat().join(","));
        let log = tempfile::NamedTempFile::new().expect("a file");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-s", "64", "-e", &calls]).args(inject);
        strace.args(["-p", &self.process.id().to_string(), "-o"]).arg(log.path());
        let mut strace = strace.stderr(Stdio::piped()).spawn().ok()?;
        let mut told = BufReader::new(strace.stderr.take().expect("a pipe")).lines();
        let first = told.next().expect("strace says something").expect("text");
        assert!(first.contains("attached"), "strace: {first}");
        self.go.write_all(b"go\n").expect("it listens");
        let said = self.said.by_ref().map_while(Result::ok).collect();
        strace.wait().expect("it ends with the process");
        let told = std::fs::read_to_string(log.path()).expect("its log");
        Some((said, told.lines().map(str::to_owned).collect()))
    }
}

impl Drop for Putting {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(clippy::print_stdout, reason = "a skipped test must be seen")]
fn skipped() {
    let required = std::env::var("CAIRN_REQUIRE").unwrap_or_default();
    assert!(!required.contains("strace"), "strace is required");
    println!("SKIPPED: no strace (apt-get install strace)");
}

/// A call, from the line where it begins to the line where it ends.
#[derive(Debug)]
struct Call {
    name: String,
    arguments: String,
    result: String,
    begins: usize,
    ends: usize,
}

impl Call {
    fn is_of_a_journal(&self) -> bool {
        self.arguments.split_once('>').is_some_and(|(file, _)| file.ends_with(".jnl"))
    }
}

/// The calls in what strace said: `12 name(3</path>, …) = result`, or in two lines with what other threads do
/// between them.
fn calls(told: &[String]) -> Vec<Call> {
    let mut unfinished: Vec<(&str, Call)> = Vec::new();
    let mut calls = Vec::new();
    for (at, line) in told.iter().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((said, result)) = rest.rsplit_once(" = ").or_else(|| rest.split_once(" <unf"))
        else {
            continue;
        };
        let said = said.trim();
        if said.starts_with("<... ") {
            let begun = unfinished.iter().position(|(other, _)| *other == thread);
            let Some(begun) = begun else { continue };
            let (_, call) = unfinished.swap_remove(begun);
            calls.push(Call { result: result.to_owned(), ends: at, ..call });
        } else if let Some((name, arguments)) = said.split_once('(') {
            let (name, arguments) = (name.to_owned(), arguments.to_owned());
            let call = Call { name, arguments, result: result.to_owned(), begins: at, ends: at };
            if result.starts_with("inished") {
                unfinished.push((thread, call));
            } else {
                calls.push(call);
            }
        }
    }
    calls
}

#[tokio::test]
async fn what_was_written_to_the_journal_is_synced_before_a_put_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let Some((said, told)) = Putting::start(folder.path()).traced(&[]) else { return skipped() };
    assert_eq!(said.iter().filter(|line| *line == ANSWERED).count(), CHUNKS as usize, "{said:?}");
    let calls = calls(&told);
    let answers = calls.iter().filter(|call| call.arguments.contains(ANSWERED));
    let mut from = 0;
    let mut seen = 0;
    for answer in answers {
        let journal = |call: &&Call| {
            call.is_of_a_journal() && from <= call.begins && call.ends < answer.begins
        };
        let writes: Vec<_> =
            calls.iter().filter(journal).filter(|call| WRITES.contains(&&*call.name)).collect();
        let written: usize = writes.iter().map(|call| call.result.parse().unwrap_or(0)).sum();
        assert!(written >= BYTES, "{written} bytes of a chunk reached the journal: {writes:?}");
        let last = writes.iter().map(|call| call.ends).max().expect("it was written");
        let synced = calls
            .iter()
            .filter(journal)
            .find(|call| SYNCS.contains(&&*call.name) && call.begins > last && call.result == "0");
        assert!(synced.is_some(), "answered without a sync after the last write: {told:#?}");
        from = answer.ends;
        seen += 1;
    }
    assert_eq!(seen, CHUNKS, "answers among the calls");
}

#[tokio::test]
async fn a_put_whose_journal_cannot_be_synced_is_refused_and_so_are_those_that_follow() {
    let folder = tempfile::tempdir().unwrap();
    let inject = ["-e", "inject=fsync,fdatasync:error=EIO:when=1"];
    let Some((said, told)) = Putting::start(folder.path()).traced(&inject) else {
        return skipped();
    };
    assert!(told.iter().any(|line| line.contains("EIO") && line.contains(".jnl")), "{told:#?}");
    let answers: Vec<_> =
        said.iter().filter(|line| [ANSWERED, REFUSED].contains(&line.as_str())).collect();
    assert_eq!(answers, [REFUSED; CHUNKS as usize]);
}

//! What takes minutes and gigabytes: the ignored tests of `tests/blackbox/large.rs`, one at a time, and the lists of the
//! chunk master.

use crate::command::{root, run, run_line};

/// Name, the tests' common beginning, and what is seen.
const SHOWS: [(&str, &str, &str); 6] = [
    (
        "big-files",
        "large::big_files",
        "1 GiB of known and unknown length; 10 GiB as a generated stream",
    ),
    ("cuts", "large::cuts", "100 uploads cut at random points leave nothing"),
    ("kills", "large::kills", "nodes and whole clusters killed in many rounds"),
    ("memory", "large::memory", "peak memory of a gateway at 1 and at 16 uploads of 1 GiB"),
    ("idle", "large::idle", "CPU and memory of processes with nothing to do, release profile"),
    (
        "listing",
        "object::list::measure",
        "records read for a page of 10 thousand and of a million files; bytes of store per file and per chunk",
    ),
];

/// A test beside the code: it loads a store without uploads.
const LISTING: &str =
    "cargo test --profile ci -p cairn-chunk-master --lib -- --ignored --nocapture";

/// Runs one of them, or lists them.
pub(crate) fn run_one(rest: &[&str]) -> Result<(), String> {
    let [name] = rest else {
        for (name, _, about) in SHOWS {
            eprintln!("  cargo xtask show {name:10} {about}");
        }
        return Ok(());
    };
    let found = SHOWS.iter().find(|(known, _, _)| known == name);
    let (_, tests, _) = found.ok_or_else(|| format!("no {name}: cargo xtask show lists them"))?;
    let build = "cargo test --workspace --profile ci --test blackbox --";
    let how = ["--ignored", "--nocapture", "--test-threads", "1", tests];
    let words: Vec<&str> = build.split_whitespace().chain(how).collect();
    if *name == "listing" {
        return run_line(&format!("{LISTING} {tests}"));
    }
    if *name != "idle" {
        return run(&[], &words);
    }
    run_line("cargo build --release -p cairn")?;
    let binary = root().join("target/release/cairn").display().to_string();
    run(&[("CAIRN_BINARY", &binary)], &words)
}

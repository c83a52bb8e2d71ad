//! What takes minutes and gigabytes: the ignored tests of `tests/blackbox/large.rs`, one at a time.

use crate::command::run;

/// Name, the tests' common beginning, and what is seen.
const SHOWS: [(&str, &str, &str); 4] = [
    (
        "big-files",
        "large::big_files",
        "1 GiB of known and unknown length; 10 GiB as a generated stream",
    ),
    ("cuts", "large::cuts", "100 uploads cut at random points leave nothing"),
    ("kills", "large::kills", "nodes and whole clusters killed in many rounds"),
    ("memory", "large::memory", "peak memory of a gateway at 1 and at 16 uploads of 1 GiB"),
];

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
    run(&[], &words)
}

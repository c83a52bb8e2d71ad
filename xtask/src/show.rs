//! What takes minutes and gigabytes: the ignored tests of `tests/blackbox/large.rs`, one at a time, the whole black box on
//! PostgreSQL, and figures of the chunk master.

use crate::command::{root, run, run_line};

/// Something to see.
struct Show {
    name: &'static str,
    about: &'static str,
    run: fn() -> Result<(), String>,
}

const SHOWS: &[Show] = &[
    Show {
        name: "big-files",
        about: "1 GiB of known and unknown length; 10 GiB as a generated stream",
        run: || large("big_files"),
    },
    Show {
        name: "cuts",
        about: "100 uploads cut at random points leave nothing",
        run: || large("cuts"),
    },
    Show {
        name: "hedging",
        about: "99th percentile of reads with one of six nodes half a second late, against all healthy",
        run: || large("hedging"),
    },
    Show {
        name: "kills",
        about: "nodes and whole clusters killed in many rounds",
        run: || large("kills"),
    },
    Show {
        name: "machines",
        about: "5 GiB on six machines: two die under 16 clients; then one comes, one is emptied and goes (root)",
        run: || large("machines"),
    },
    Show {
        name: "toggled",
        about: "a machine whose cable is pulled and plugged in every 10 s for 5 minutes (root)",
        run: || large("toggled"),
    },
    Show {
        name: "repair-rate",
        about: "how much of its rate repair uses, at 32, 64 and 128 MiB/s",
        run: || large("repair_rate"),
    },
    Show {
        name: "master-kills",
        about: "the master killed under load in 100 rounds, catalog on redb",
        run: || large("master_kills"),
    },
    Show {
        name: "mutations",
        about: "100,000 requests to the master that nobody means",
        run: || large("mutations"),
    },
    Show {
        name: "memory",
        about: "peak memory of a gateway at 1 and at 16 uploads of 1 GiB",
        run: || large("memory"),
    },
    Show {
        name: "idle",
        about: "CPU and memory of processes with nothing to do, release profile",
        run: idle,
    },
    Show {
        name: "postgres",
        about: "all black-box tests with every catalog in PostgreSQL",
        run: || run(&[("CAIRN_TEST_STORE", "postgres")], &words(BLACKBOX)),
    },
    Show {
        name: "commits",
        about: "files committed per second and fsyncs per file, at 1, 16 and 64 writers, on both engines",
        run: || run_line(COMMITS),
    },
    Show {
        name: "listing",
        about: "records read for a page of 10 thousand and of a million files; bytes of store per file and per chunk",
        run: || run_line(LISTING),
    },
];

const BLACKBOX: &str = "cargo test --workspace --profile ci --test blackbox";

const COMMITS: &str = "cargo run --profile ci --workspace --example files";

/// A test beside the code: it loads a store without uploads.
const LISTING: &str = "cargo test --profile ci -p cairn-chunk-master --lib -- --ignored --nocapture object::list::measure";

/// Runs one of them, or lists them.
pub(crate) fn run_one(rest: &[&str]) -> Result<(), String> {
    let [name] = rest else {
        for Show { name, about, .. } in SHOWS {
            eprintln!("  cargo xtask show {name:12} {about}");
        }
        return Ok(());
    };
    let found = SHOWS.iter().find(|show| show.name == *name);
    let found = found.ok_or_else(|| format!("no {name}: cargo xtask show lists them"))?;
    (found.run)()
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// The ignored tests of `large.rs` whose names begin so, one at a time.
fn tests_of_large(beginning: &str) -> Vec<String> {
    let how = ["--", "--ignored", "--nocapture", "--test-threads", "1"];
    let all = words(BLACKBOX).into_iter().chain(how).map(str::to_owned);
    all.chain([format!("large::{beginning}")]).collect()
}

fn large(beginning: &str) -> Result<(), String> {
    let words = tests_of_large(beginning);
    run(&[], &words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn idle() -> Result<(), String> {
    run_line("cargo build --release -p cairn")?;
    let binary = root().join("target/release/cairn").display().to_string();
    let words = tests_of_large("idle");
    run(&[("CAIRN_BINARY", &binary)], &words.iter().map(String::as_str).collect::<Vec<_>>())
}

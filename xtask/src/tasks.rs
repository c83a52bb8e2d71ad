//! The list of tasks. `.ci/run` runs the same commands.

use crate::command::{run, run_line};
use crate::{show, tidy};

struct Task {
    name: &'static str,
    about: &'static str,
    run: fn(&[&str]) -> Result<(), String>,
}

/// One profile for all checks: what one of them has built, the next one uses.
const TASKS: &[Task] = &[
    Task {
        name: "fmt",
        about: "check the format of the code",
        run: |_| run_line("cargo fmt --all --check"),
    },
    Task {
        name: "clippy",
        about: "lint everything, warnings denied",
        run: |_| run_line("cargo clippy --workspace --all-targets --profile ci -- -D warnings"),
    },
    Task {
        name: "doc",
        about: "build the documentation, warnings denied",
        run: |_| {
            let line = "cargo doc --workspace --no-deps --profile ci";
            let words: Vec<&str> = line.split_whitespace().collect();
            run(&[("RUSTDOCFLAGS", "-D warnings")], &words)
        },
    },
    Task {
        name: "deny",
        about: "check what comes in from outside: duplicates, licences, sources",
        run: |_| run_line("cargo deny --all-features check bans licenses sources"),
    },
    Task {
        name: "test",
        about: "run all tests; further words select some, as for cargo test",
        run: |rest| {
            let words = ["cargo", "test", "--workspace", "--profile", "ci"];
            run(&[], &[&words[..], rest].concat())
        },
    },
    Task {
        name: "tidy",
        about: "check what the compiler does not: length of functions and files, leftovers",
        run: |_| tidy::check(),
    },
    Task {
        name: "image",
        about: "make the image cairn:local from a binary built here",
        run: |_| run_line("deploy/local-image"),
    },
    Task {
        name: "compose",
        about: "try the cluster of docker-compose.yml: nodes stopped under an upload and a download",
        run: |_| {
            run_line("cargo build --profile ci -p cairn")?;
            run_line("deploy/compose-smoke")
        },
    },
    Task {
        name: "bench",
        about: "try the load generator for a few seconds, every byte checked, and the bench of the stores",
        run: |_| {
            run_line("cargo build --profile ci -p cairn -p cairn-bench")?;
            run_line("target/ci/cairn-bench --smoke")?;
            run_line("target/ci/cairn-store-bench --dir target --smoke")
        },
    },
    Task {
        name: "docs",
        about: "write the parts of docs/ that are made from the code",
        run: |_| {
            let line = "cargo test --profile ci -p cairn --bin cairn docs::";
            run(&[("CAIRN_WRITE_DOCS", "1")], &line.split_whitespace().collect::<Vec<_>>())
        },
    },
    Task {
        name: "sim",
        about: "simulate: --tier core|stack, --seed N repeats a run, --count K or --minutes M play more",
        run: simulate,
    },
    Task {
        name: "show",
        about: "run what takes minutes; without a name it lists them",
        run: show::run_one,
    },
    Task {
        name: "all",
        about: "run all checks, as CI does",
        run: |_| {
            let names = ["fmt", "clippy", "doc", "deny", "tidy", "test", "bench", "compose"];
            names.into_iter().try_for_each(|name| run_task(name, &[]))
        },
    },
];

/// Further words go to the runner: `--tier core|stack`, `--seed N`, `--count K`, `--minutes M`, `--twice`, `--log`.
fn simulate(rest: &[&str]) -> Result<(), String> {
    let words: Vec<&str> = "cargo run --profile ci -p cairn-sim --".split_whitespace().collect();
    run(&[], &[&words[..], rest].concat())
}

/// Says what there is.
pub(crate) fn list() {
    eprintln!("cargo xtask …");
    for task in TASKS {
        eprintln!("  {:8} {}", task.name, task.about);
    }
}

/// Runs the task of this name.
pub(crate) fn run_task(name: &str, rest: &[&str]) -> Result<(), String> {
    let task = TASKS.iter().find(|task| task.name == name);
    let task = task.ok_or_else(|| format!("no task {name}: cargo xtask lists them"))?;
    (task.run)(rest)
}

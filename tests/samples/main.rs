//! The samples of the documentation do what they say: each block of shell is run as it is printed, against real
//! processes, in the order of the page.
//!
//! ```text
//! page.rs   a page ─► its blocks
//! place.rs  a folder that looks like the clone a reader stands in; services that the page starts; ports
//! ```
//!
//! What the page shows behind a `$` must be what comes out; `…` stands for what differs from run to run. Other things
//! are put in the place of these alone: ports; `/srv`; and `cargo run --release --`, for which the binary that was built
//! stands. Each command has a shell of its own. A comment before a block says more:
//!
//! ```text
//! <!-- not run: REASON -->     it cannot be run here; counted and printed
//! <!-- services -->            each command starts a service, which runs until the end of the page
//! <!-- needs: python-grpc -->  left out, loudly, where this is missing; a failure where CAIRN_REQUIRE names it
//! <!-- files: NAME … -->       files that the block takes for granted
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "a test drives real processes in real time; no clock is passed in from anywhere"
)]

mod page;
mod place;

use std::io::Write;
use std::path::{Path, PathBuf};

use page::{Block, Mark, Page};
use place::Place;

/// The pages with samples that run. Every page of `docs/` is either here or has none.
const PAGES: [&str; 5] =
    ["README.md", "docs/cli.md", "docs/grpc.md", "docs/quick-start.md", "docs/rest.md"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Whether what a block needs is here. Where it is required and missing, that is a failure.
fn has(need: &str, place: &Place) -> bool {
    assert_eq!(need, "python-grpc", "an unknown need");
    let there = place.runs("python3 -c 'import grpc, grpc_tools'");
    let required = std::env::var("CAIRN_REQUIRE").unwrap_or_default();
    let required = required.split([',', ' ']).any(|tool| tool == need);
    assert!(
        there || !required,
        "python3 with grpcio-tools is required and missing: pip install --target target/python grpcio-tools"
    );
    there
}

/// Says it also when the test passes: the test runner keeps back what `eprintln` writes.
fn say(line: &str) {
    // An error means that nobody reads.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs a page; what it did not run is printed.
fn run_page(name: &str) {
    let page = Page::read(&workspace(), name);
    let mut place = Place::new(&workspace());
    let (mut ran, mut not_run) = (0, Vec::new());
    for block in &page.blocks {
        if let Some(reason) = reason_to_leave_out(block, &place) {
            not_run.push(format!("{name}:{}: {reason}", block.line));
            continue;
        }
        let services = block.marks.contains(&Mark::Services);
        let done = if services { place.start(block) } else { place.run(block) };
        done.unwrap_or_else(|problem| panic!("{name}:{}: {problem}", block.line));
        ran += 1;
    }
    say(&format!("{name}: {ran} blocks run, {} not run", not_run.len()));
    for one in &not_run {
        say(&format!("NOT RUN {one}"));
    }
    assert!(ran > 0, "{name}: nothing was run");
}

fn reason_to_leave_out(block: &Block, place: &Place) -> Option<String> {
    block.marks.iter().find_map(|mark| match mark {
        Mark::NotRun(reason) => Some(reason.clone()),
        Mark::Needs(need) if !has(need, place) => {
            say(&format!("SKIPPED: no {need} (pip install --target target/python grpcio-tools)"));
            Some(format!("needs {need}"))
        }
        Mark::Needs(_) | Mark::Services | Mark::Files(_) => None,
    })
}

#[test]
fn the_readme_does_what_it_says() {
    run_page("README.md");
}

#[test]
fn the_quick_start_does_what_it_says() {
    run_page("docs/quick-start.md");
}

#[test]
fn the_guide_to_http_does_what_it_says() {
    run_page("docs/rest.md");
}

#[test]
fn the_guide_to_grpc_does_what_it_says() {
    run_page("docs/grpc.md");
}

#[test]
fn the_guide_to_the_command_line_does_what_it_says() {
    run_page("docs/cli.md");
}

#[test]
fn no_page_with_samples_is_forgotten() {
    let docs = std::fs::read_dir(workspace().join("docs")).expect("docs/");
    for entry in docs {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let name = format!("docs/{name}");
        if name.ends_with(".md") && !PAGES.contains(&name.as_str()) {
            let page = Page::read(&workspace(), &name);
            let runs = |block: &Block| !block.marks.iter().any(|m| matches!(m, Mark::NotRun(_)));
            assert!(!page.blocks.iter().any(runs), "{name} has samples: give it a test");
        }
    }
}

//! `cargo run -p cairn-sim -- --seed N [--count K]`: runs the scenario of each seed and tells which ones fail.

use std::collections::BTreeMap;
use std::process::ExitCode;

use cairn_sim::{Report, Scenario};
use clap::Parser;

/// Simulates the whole cluster, once for each seed.
#[derive(Debug, Parser)]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Prints the whole event log of each run.
    #[arg(long)]
    log: bool,
    /// Runs each seed twice and fails where the event logs differ.
    #[arg(long)]
    twice: bool,
    /// Lines of the event log that are printed of a run that fails.
    #[arg(long, default_value_t = 60)]
    tail: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut failed = Vec::new();
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in (args.seed..).take(usize::try_from(args.count).unwrap_or(usize::MAX)) {
        let mut report = Scenario::new(seed).run();
        if args.twice {
            report.violations.extend(difference(&report, &Scenario::new(seed).run()));
        }
        for (kind, count) in &report.faults {
            *faults.entry(kind).or_default() += count;
        }
        show(&report, &args);
        if !report.violations.is_empty() {
            failed.push(seed);
        }
    }
    conclude(args.count, &failed, &faults)
}

/// Where two runs of one seed part.
fn difference(first: &Report, second: &Report) -> Option<String> {
    let lines = first.log.iter().zip(&second.log).find(|(first, second)| first != second);
    match lines {
        Some((first, second)) => Some(format!("two runs differ:\n    {first}\n    {second}")),
        None if first.log.len() != second.log.len() => Some("one of two runs is longer".to_owned()),
        None => None,
    }
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn show(report: &Report, args: &Args) {
    let Report { seed, violations, log, tally, elapsed, .. } = report;
    if args.log || !violations.is_empty() {
        let lines = if args.log { log.len() } else { args.tail.min(log.len()) };
        for line in &log[log.len() - lines..] {
            println!("{line}");
        }
    }
    let outcome = if violations.is_empty() { "holds" } else { "FAILS" };
    let seconds = elapsed.as_secs();
    println!("seed {seed} {outcome}: {seconds} s simulated, {} events, {tally:?}", log.len());
    for violation in violations {
        println!("  {violation}");
    }
    if !violations.is_empty() {
        println!("  replay: cargo run -p cairn-sim -- --seed {seed} --log");
    }
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn conclude(count: u64, failed: &[u64], faults: &BTreeMap<&str, u64>) -> ExitCode {
    println!("{count} seeds, {} failed {failed:?}", failed.len());
    for (kind, count) in faults {
        println!("  {count:>6} x {kind}");
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

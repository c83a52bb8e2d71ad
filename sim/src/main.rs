//! `cargo run -p cairn-sim -- --tier core|stack --seed N [--count K] [--minutes M]`: plays the scenario of each seed and
//! tells which ones fail.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use cairn_sim::{CoreScenario, Outcome, Scenario, Totals};
use clap::{Parser, ValueEnum};

/// Simulates Cairn, once for each seed.
#[derive(Debug, Parser)]
struct Args {
    /// What is simulated.
    #[arg(long, value_enum, default_value_t = Tier::Stack)]
    tier: Tier,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Plays seeds for so many minutes, however many they are.
    #[arg(long)]
    minutes: Option<u64>,
    /// Prints the whole event log of each run.
    #[arg(long)]
    log: bool,
    /// Plays each seed twice and fails where the event logs differ.
    #[arg(long)]
    twice: bool,
    /// Lines of the event log that are printed of a run that fails.
    #[arg(long, default_value_t = 60)]
    tail: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// The chunk master on a simulated store, with models of gateways and nodes.
    Core,
    /// Gateway, master and nodes as they run in production, on simulated hosts.
    Stack,
}

impl Tier {
    fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Stack => "stack",
        }
    }

    /// Plays a seed.
    fn play(self, seed: u64, keep_log: bool) -> Outcome {
        match self {
            Self::Core => CoreScenario { keep_log, ..CoreScenario::new(seed) }.run(),
            Self::Stack => Scenario::new(seed).run(),
        }
    }

    /// Seeds after which every kind of fault must have struck.
    fn enough(self) -> u64 {
        match self {
            Self::Core => 1000,
            Self::Stack => 300,
        }
    }

    /// Kinds of faults that strike.
    fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Core => CoreScenario::FAULTS,
            Self::Stack => Scenario::FAULTS,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long it took is for people; no run knows it")]
fn main() -> ExitCode {
    let args = Args::parse();
    let began = Instant::now();
    let mut totals = Totals::default();
    let goes_on = |played: u64| match args.minutes {
        Some(minutes) => began.elapsed() < Duration::from_secs(60 * minutes),
        None => played < args.count,
    };
    for seed in args.seed.. {
        if !goes_on(totals.seeds) {
            break;
        }
        let mut outcome = args.tier.play(seed, args.log || args.twice);
        if args.twice {
            outcome.violations.extend(difference(&outcome, &args.tier.play(seed, true)));
        }
        totals.add(&outcome);
        if outcome.violations.is_empty() {
            show(&outcome, &args);
        } else {
            // Played once more for its log, where it was not kept.
            let logged =
                if outcome.log.is_empty() { args.tier.play(seed, true) } else { outcome.clone() };
            show(&Outcome { log: logged.log, ..outcome }, &args);
        }
    }
    conclude(&args, &totals, began.elapsed())
}

/// Where two runs of one seed part.
fn difference(first: &Outcome, second: &Outcome) -> Option<String> {
    let lines = first.log.iter().zip(&second.log).find(|(first, second)| first != second);
    match lines {
        Some((first, second)) => Some(format!("two runs differ:\n    {first}\n    {second}")),
        None if first.log.len() != second.log.len() => Some("one of two runs is longer".to_owned()),
        None => None,
    }
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn show(outcome: &Outcome, args: &Args) {
    let Outcome { seed, violations, log, tally, elapsed, .. } = outcome;
    let failed = !violations.is_empty();
    if args.log || failed {
        let lines = if args.log { log.len() } else { args.tail.min(log.len()) };
        for line in &log[log.len() - lines..] {
            println!("{line}");
        }
    }
    if args.tier == Tier::Stack || failed {
        let said = if failed { "FAILS" } else { "holds" };
        println!("seed {seed} {said}: {} s simulated, {tally:?}", elapsed.as_secs());
    }
    for violation in violations {
        println!("  {violation}");
    }
    if failed {
        println!("  replay: cargo xtask sim --tier {} --seed {seed} --log", args.tier.name());
    }
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn conclude(args: &Args, totals: &Totals, took: Duration) -> ExitCode {
    let Totals { seeds, failed, faults, tally, audits } = totals;
    let rate = *seeds as f64 / took.as_secs_f64().max(0.001);
    println!(
        "tier {}: {seeds} seeds from {} in {:.1} s, {rate:.2} seeds/s, {} failed {failed:?}",
        args.tier.name(),
        args.seed,
        took.as_secs_f64(),
        failed.len(),
    );
    println!(
        "{} operations checked ({tally:?}), {audits} audits of the whole catalog",
        tally.operations()
    );
    for (kind, count) in faults {
        println!("  {count:>9} x {kind}");
    }
    let never: Vec<_> =
        args.tier.kinds().iter().filter(|kind| !faults.contains_key(*kind)).collect();
    let too_few = *seeds >= args.tier.enough() && !never.is_empty();
    if !never.is_empty() {
        println!("never struck: {never:?}");
    }
    if failed.is_empty() && !too_few { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! The core tier: many seeds, few steps each.
//!
//! `cargo xtask sim --tier core --seed N --log` shows one.

use cairn_sim::{CoreScenario, Outcome, Totals};

/// What fails, with how to look at it.
fn problems(outcome: &Outcome) -> Option<String> {
    let Outcome { seed, violations, .. } = outcome;
    let replay = format!("cargo xtask sim --tier core --seed {seed} --log");
    (!violations.is_empty()).then(|| format!("{}\nreplay: {replay}", violations.join("\n")))
}

#[test]
fn whatever_happens_answers_are_in_order_and_nothing_is_lost_or_left_over() {
    const SEEDS: u64 = 2000;
    let mut totals = Totals::default();
    for seed in 1..=SEEDS {
        let outcome = CoreScenario::new(seed).run();
        assert_eq!(problems(&outcome), None);
        totals.add(&outcome);
    }
    let never: Vec<_> =
        CoreScenario::FAULTS.iter().filter(|kind| !totals.faults.contains_key(*kind)).collect();
    assert!(never.is_empty(), "never struck: {never:?}");
    let done = totals.tally.puts + totals.tally.deletes;
    assert!(done > 10 * SEEDS, "too little was done to have shown anything: {:?}", totals.tally);
}

#[test]
fn a_seed_gives_the_same_event_log_byte_for_byte() {
    for seed in 1..=20 {
        let scenario = CoreScenario { keep_log: true, ..CoreScenario::new(seed) };
        let (first, second) = (scenario.run(), scenario.run());
        let differ = first.log.iter().zip(&second.log).find(|(first, second)| first != second);
        assert_eq!(differ, None, "seed {seed}");
        assert_eq!(first.log.len(), second.log.len(), "seed {seed}");
        assert!(first.log.len() > 100, "the log of seed {seed} shows next to nothing");
        let counts = CoreScenario::new(seed).run();
        assert_eq!(counts.faults, first.faults, "a run is the same whether its log is kept or not");
    }
}

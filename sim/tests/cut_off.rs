//! The node that holds the chunk being written is cut off, seed by seed.
//!
//! `CAIRN_SIM_SEED=N cargo test -p cairn-sim` runs one seed instead of the handful; `cargo run -p cairn-sim -- --seed N`
//! shows it.

use std::collections::BTreeMap;
use std::env;

use cairn_chunk_master::SeededBug;
use cairn_sim::{Report, Scenario};

/// What fails, with how to look at it.
fn problems(report: &Report) -> Option<String> {
    let Report { seed, violations, .. } = report;
    let replay = format!("cargo run -p cairn-sim -- --seed {seed} --log");
    (!violations.is_empty()).then(|| format!("{violations:#?}\nreplay: {replay}"))
}

fn seeds() -> Vec<u64> {
    let asked = env::var("CAIRN_SIM_SEED").ok();
    asked.map_or_else(
        || (1..=10).collect(),
        |seed| vec![seed.parse().expect("CAIRN_SIM_SEED is a number")],
    )
}

#[test]
fn whatever_is_cut_off_files_stay_whole_and_nothing_is_left_over() {
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    let seeds = seeds();
    for seed in &seeds {
        let report = Scenario::new(*seed).run();
        assert_eq!(problems(&report), None);
        report.faults.iter().for_each(|(kind, n)| *faults.entry(kind).or_default() += n);
    }
    let nodes: u64 = faults.iter().filter(|(kind, _)| **kind != "upload cut").map(|(_, n)| n).sum();
    assert!(nodes as usize >= seeds.len(), "too few faults to have shown anything: {faults:?}");
}

#[test]
fn a_seed_gives_the_same_event_log_byte_for_byte() {
    for seed in seeds().into_iter().take(3) {
        let (first, second) = (Scenario::new(seed).run(), Scenario::new(seed).run());
        let differ = first.log.iter().zip(&second.log).find(|(first, second)| first != second);
        assert_eq!(differ, None, "seed {seed}");
        assert_eq!(first.log.len(), second.log.len(), "seed {seed}");
        assert!(first.log.len() > 100, "the log of seed {seed} shows next to nothing");
    }
}

#[test]
fn other_seeds_give_other_runs() {
    assert_ne!(Scenario::new(1).run().log, Scenario::new(2).run().log);
}

#[test]
fn an_abort_that_forgets_a_reservation_is_found() {
    let scenario = Scenario { seeded_bug: Some(SeededBug::SkipRelease), ..Scenario::new(1) };
    let report = scenario.run();
    let leak = |text: &&String| {
        text.contains("Bucket default") && text.contains("reserved that no upload holds")
    };
    assert!(report.violations.iter().any(|text| leak(&text)), "{:#?}", report.violations);
    assert_eq!(problems(&Scenario::new(1).run()), None, "and without the bug nothing is found");
}

/// The story: a node made a copy durable and its receipt was lost on the way, because just then the node was cut off.
/// The gateway placed the copy anew, and the catalog named only the new one. The sweep deleted what no blob had a claim
/// on, and this copy's blob lived, so the copy stayed for as long as the file did.
#[test]
fn a_copy_whose_receipt_was_lost_is_swept() {
    let report = Scenario::new(6).run();
    let swept = report.log.iter().any(|line| line.contains("orphans deleted"));
    assert!(swept, "seed 6 no longer shows it: take another");
    assert_eq!(problems(&report), None);
}

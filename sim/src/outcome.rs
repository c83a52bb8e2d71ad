//! What came of a run, of either tier, and of many.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::history::Tally;

/// What came of a run.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What must hold and does not.
    pub violations: Vec<String>,
    /// The event log, if it was kept.
    pub log: Vec<String>,
    /// How often each fault struck.
    pub faults: BTreeMap<&'static str, u64>,
    /// What clients did.
    pub tally: Tally,
    /// Audits of the whole catalog.
    pub audits: u64,
    /// Simulated time.
    pub elapsed: Duration,
}

/// What came of many runs.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Runs.
    pub seeds: u64,
    /// Seeds of those that failed.
    pub failed: Vec<u64>,
    /// How often each fault struck.
    pub faults: BTreeMap<&'static str, u64>,
    /// What clients did.
    pub tally: Tally,
    /// Audits of whole catalogs.
    pub audits: u64,
}

impl Totals {
    /// Adds a run.
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        if !outcome.violations.is_empty() {
            self.failed.push(outcome.seed);
        }
        for (kind, count) in &outcome.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.tally.add(&outcome.tally);
        self.audits += outcome.audits;
    }
}

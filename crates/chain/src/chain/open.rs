//! Making a chain of tiers that are open.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cairn_runtime::{Clock, Entropy, Spawner};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Chain;
use super::behind::{self, Behind};
use super::config::{ChainConfig, WriteMode};
use super::journal::Journal;
use super::promote::Promoter;
use super::shared::Shared;
use super::tier::{OpenTier, Tier};
use crate::report::TierErrors;

/// What a [`Chain`] needs of its surroundings.
#[derive(Debug, Clone)]
pub struct ChainSeams {
    /// Where ends of writes and work in the background run.
    pub spawner: Spawner,
    /// Deadlines and waits.
    pub clock: Clock,
    /// Spreads retries.
    pub entropy: Entropy,
    /// Where failures of tiers are reported.
    pub errors: TierErrors,
}

/// These tiers make no chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// There is none.
    #[error("a chain needs a tier: none was given")]
    Empty,
    /// No tier keeps what is answered.
    #[error("a chain needs a tier that is durable and written before the answer")]
    NothingDurable,
    /// Two have one name.
    #[error("two tiers are called {0}")]
    SameName(String),
    /// What waits to be copied has to survive a loss of power.
    #[error("tier {0} is written behind, which needs a journal")]
    NoJournal(String),
}

impl Chain {
    /// Makes a chain, and goes on with copying what `journal` says is still to be copied.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn open(
        config: ChainConfig,
        tiers: Vec<Tier>,
        journal: Option<Journal>,
        seams: ChainSeams,
    ) -> Result<Self, ChainError> {
        check(&tiers, journal.is_some())?;
        let ChainSeams { spawner, clock, entropy, errors } = seams;
        let tiers: Vec<_> =
            tiers.into_iter().map(|tier| OpenTier::new(tier, errors.clone())).collect();
        let targets = (0..tiers.len()).filter(|at| !tiers[*at].sync).collect();
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            behind: journal.map(|journal| Behind::new(journal, targets, &config.behind)),
            promoter: Promoter::new(&config.promote),
            tiers,
            config,
            clock,
            entropy,
            spawner,
            turns: Arc::default(),
            writes: TaskTracker::new(),
            background: TaskTracker::new(),
            stop: stop.clone(),
            closed: AtomicBool::new(false),
        });
        behind::start(&shared);
        Ok(Self { shared, _stop: stop.drop_guard() })
    }
}

fn check(tiers: &[Tier], journal: bool) -> Result<(), ChainError> {
    if tiers.is_empty() {
        return Err(ChainError::Empty);
    }
    let mut names = BTreeSet::new();
    for Tier { config, .. } in tiers {
        if !names.insert(&config.name) {
            return Err(ChainError::SameName(config.name.clone()));
        }
        if config.write == WriteMode::Behind && !journal {
            return Err(ChainError::NoJournal(config.name.clone()));
        }
    }
    let keeps = |tier: &Tier| tier.config.durable && tier.config.write == WriteMode::Sync;
    if tiers.iter().any(keeps) { Ok(()) } else { Err(ChainError::NothingDurable) }
}

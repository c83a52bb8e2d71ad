//! Randomness as an argument.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use uuid::{Builder, Uuid};

use crate::Clock;

/// A stream of random bytes. Cheap to clone; clones share the stream.
#[derive(Clone)]
pub struct Entropy(Arc<Mutex<ChaCha12Rng>>);

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}

/// The operating system gives no randomness.
#[derive(Debug, thiserror::Error)]
#[error("draw a seed from the operating system: {0}")]
pub struct NoEntropy(getrandom::Error);

impl Entropy {
    /// Seeded by the operating system.
    ///
    /// # Errors
    /// [`NoEntropy`] when the operating system has none to give.
    pub fn from_system() -> Result<Self, NoEntropy> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(NoEntropy)?;
        Ok(Self(Arc::new(Mutex::new(ChaCha12Rng::from_seed(seed)))))
    }

    /// The same stream for the same seed: for simulations and tests.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(ChaCha12Rng::seed_from_u64(seed))))
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes).checked_rem(bound).unwrap_or(0)
    }

    /// A UUIDv7 (RFC 9562, section 5.7): sorts roughly by time, unique by its 74 random bits.
    pub fn uuid_v7(&self, clock: &Clock) -> Uuid {
        let mut random = [0; 10];
        self.fill(&mut random);
        Builder::from_unix_timestamp_millis(clock.wall_ms(), &random).into_uuid()
    }
}

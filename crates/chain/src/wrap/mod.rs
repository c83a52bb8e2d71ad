//! Stores around a store: each adds one thing and passes everything else on.
//!
//! | wrapper | what it adds |
//! |---|---|
//! | [`Lru`] | a capacity: what was used longest ago makes room |
//! | [`Timeout`] | a bound on each call |
//! | [`Observed`] | each call with its time and outcome is told to an observer: metrics, or the log ([`CallLog`]) |
//!
//! [`Nothing`] is the store to wrap where only the wrapper counts: it takes everything and holds nothing.

pub mod lru;
mod nothing;
pub mod observed;
pub mod timeout;

pub use lru::{Lru, LruConfig, LruError, LruSeams, LruStats};
pub use nothing::Nothing;
pub use observed::{Call, CallLog, Observed, Outcome, StoreObserver};
pub use timeout::{Timeout, TimeoutConfig};

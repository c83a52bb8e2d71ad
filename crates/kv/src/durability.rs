//! How much a transaction waits for.

/// When a transaction is answered.
///
/// Both kinds are atomic, ordered, and visible to every later transaction and view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Answered once committed in memory. A crash may lose it, but only together with everything
    /// that came after it. It reaches the disk with the next synced transaction, when the store
    /// goes idle, after a bounded number of commits, or when the store is closed.
    Buffered,
    /// Answered only after an fsync that covers it and everything before it.
    Synced,
}

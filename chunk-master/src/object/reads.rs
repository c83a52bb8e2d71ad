//! Read leases: what is being read is not purged under its reader.
//!
//! In memory, at the one master: after a restart nobody holds a lease, and purges wait for as long as a lease lasts.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::object::VersionId;

/// Versions that may be leased at once. Beyond that nothing is purged until leases have ended.
const MAX_LEASES: usize = 1 << 20;

/// The versions that are being read, and until when, on the master's monotonic clock.
#[derive(Debug)]
pub(crate) struct ReadLeases {
    until: Mutex<BTreeMap<VersionId, Duration>>,
    lasts: Duration,
    /// Nothing is purged before: who read before a restart may go on.
    quiet_until: Duration,
}

impl ReadLeases {
    pub(crate) fn new(lasts: Duration, now: Duration) -> Self {
        Self { until: Mutex::default(), lasts, quiet_until: now + lasts }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<VersionId, Duration>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody reads `version`.
    pub(crate) fn hold(&self, version: VersionId, now: Duration) {
        let mut until = self.lock();
        if until.len() < MAX_LEASES || until.contains_key(&version) {
            until.insert(version, now + self.lasts);
        }
    }

    /// Forgets what has ended; false while nothing may be purged.
    pub(crate) fn expire(&self, now: Duration) -> bool {
        let mut until = self.lock();
        until.retain(|_, until| *until > now);
        now >= self.quiet_until && until.len() < MAX_LEASES
    }

    /// Whether somebody reads `version`.
    pub(crate) fn is_held(&self, version: VersionId, now: Duration) -> bool {
        self.lock().get(&version).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_lease_ends_by_itself_and_is_extended_by_asking_again() {
        let at = Duration::from_secs;
        let leases = ReadLeases::new(at(10), at(0));
        assert!(!leases.expire(at(9)), "who read before the restart may go on");
        assert!(leases.expire(at(10)));
        let version = VersionId::from_uuid(Uuid::from_u128(1));
        leases.hold(version, at(10));
        leases.hold(version, at(15));
        assert!(leases.is_held(version, at(24)));
        assert!(!leases.is_held(version, at(25)));
    }
}

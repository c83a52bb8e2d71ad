//! Read leases: what is being read is not purged under its reader, and what is being purged is not given to readers.
//!
//! In memory, at the one master: after a restart nobody holds a lease, and purges wait for as long as a lease lasts.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::object::VersionId;

/// Versions that may be leased at once. Beyond that nothing is purged until leases have ended.
const MAX_LEASES: usize = 1 << 20;

/// Who has a version now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// Readers: it is not purged.
    Read,
    /// A purge: it is not given to readers, who may have looked it up before it went.
    Purge,
}

/// The versions that somebody has, and until when, on the master's monotonic clock.
#[derive(Debug)]
pub(crate) struct ReadLeases {
    claims: Mutex<BTreeMap<VersionId, (Claim, Duration)>>,
    lasts: Duration,
    /// Nothing is purged before: who read before a restart may go on.
    quiet_until: Duration,
}

impl ReadLeases {
    pub(crate) fn new(lasts: Duration, now: Duration) -> Self {
        Self { claims: Mutex::default(), lasts, quiet_until: now + lasts }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<VersionId, (Claim, Duration)>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody reads `version`; false when it is being purged, or was just now.
    pub(crate) fn hold(&self, version: VersionId, now: Duration) -> bool {
        self.claim(version, Claim::Read, now)
    }

    /// A purge takes `version`; false while somebody reads it.
    pub(crate) fn take(&self, version: VersionId, now: Duration) -> bool {
        self.claim(version, Claim::Purge, now)
    }

    /// The one place where readers and purges meet: whoever is first has the version, until the claim ends.
    fn claim(&self, version: VersionId, claim: Claim, now: Duration) -> bool {
        let mut claims = self.lock();
        let other = claims.get(&version).filter(|(other, until)| *other != claim && *until > now);
        if other.is_some() {
            return false;
        }
        if claims.len() < MAX_LEASES || claims.contains_key(&version) {
            claims.insert(version, (claim, now + self.lasts));
        }
        true
    }

    /// Forgets what has ended; false while nothing may be purged.
    pub(crate) fn expire(&self, now: Duration) -> bool {
        let mut claims = self.lock();
        claims.retain(|_, (_, until)| *until > now);
        now >= self.quiet_until && claims.len() < MAX_LEASES
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
        assert!(leases.hold(version, at(10)) && leases.hold(version, at(15)));
        assert!(!leases.take(version, at(24)), "somebody reads it");
        assert!(leases.take(version, at(25)));
    }

    /// A reader had looked a condemned version up, and came for its lease when the purge had looked who reads: it was
    /// promised a version that was gone.
    #[test]
    fn what_a_purge_has_taken_is_not_given_to_readers() {
        let at = Duration::from_secs;
        let leases = ReadLeases::new(at(10), at(0));
        let version = VersionId::from_uuid(Uuid::from_u128(1));
        assert!(leases.take(version, at(20)));
        assert!(!leases.hold(version, at(21)));
        assert!(leases.take(version, at(22)), "a purge that failed goes on");
        assert!(leases.expire(at(40)) && leases.hold(version, at(40)));
    }
}

//! Early purge: while less can be placed than the floor, condemned versions go before their wait is over, those first
//! whose wait ends first, and no more than it takes.
//!
//! ```text
//! short = floor × what all nodes that take chunks could hold, in copies   (cairn_core::room)
//!       − what can still be placed on them
//!       − what was set free and is not erased yet, or erased and not reported yet
//! ```
//!
//! Whoever reads a version keeps it, as in every purge.

use std::time::Duration;

use cairn_core::ids::NodeId;
use cairn_core::room::placeable;
use cairn_kv::{Read, Snapshot};

use super::purge::{self, Plan};
use super::{Effort, PassError, SweepError, SweepReport};
use crate::catalog::{
    Blob, Condemned, CondemnedKey, PurgeQueued, Version, VersionKey, VersionState, record,
};
use crate::config::millis;
use crate::master::Master;
use crate::nodes::Directory;

/// Versions that are looked at in one view.
const VERSIONS_PER_LOOK: usize = 256;
/// Versions purged early in a bounded pass, at most.
const VERSIONS_PER_PASS: usize = 1024;
/// Blobs of the purge queue that are counted. While more wait, erasing is behind, and nothing more is set free.
const MOST_QUEUED: usize = 1000;
/// Heartbeats after which an erasure shows in what its node reports.
const BEATS: u32 = 2;

/// How much can be placed, in bytes of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    free: u64,
    capacity: u64,
}

impl Room {
    fn of(directory: &Directory, copies: u32) -> Self {
        let nodes = || directory.values().filter(|node| node.state.takes_chunks());
        let free = |node: &crate::nodes::NodeView| {
            let fullness = node.fullness();
            fullness.capacity.saturating_sub(fullness.used)
        };
        let free: Vec<u64> = nodes().map(free).collect();
        let capacity: Vec<u64> = nodes().map(|node| node.fullness().capacity).collect();
        let copies = copies.max(1) as usize;
        Self { free: placeable(&free, copies), capacity: placeable(&capacity, copies) }
    }

    /// Bytes below the floor.
    fn short(self, floor_percent: u8) -> u64 {
        let floor = u128::from(self.capacity) * u128::from(floor_percent) / 100;
        u64::try_from(floor).unwrap_or(u64::MAX).saturating_sub(self.free)
    }

    /// Share of all that could be placed.
    fn share(self) -> f64 {
        if self.capacity == 0 { 1.0 } else { self.free as f64 / self.capacity as f64 }
    }
}

pub(super) async fn run(
    master: &Master,
    effort: Effort,
    report: &mut SweepReport,
) -> Result<(), PassError> {
    let room = Room::of(&master.nodes.directory(), master.config.copies);
    master.metrics.room(room.share());
    let mut short = room.short(master.config.space_floor_percent);
    let Some(plan) = Plan::now(master).filter(|_| short > 0) else { return Ok(()) };
    let least_wait_ms = millis(master.config.least_wait());
    short = short.saturating_sub(set_free(master).await?);
    let (mut after, mut purged) = (None, 0);
    while short > 0 && !effort.is_enough(purged, VERSIONS_PER_PASS) {
        let wanted = Wanted { plan, least_wait_ms, bytes: short };
        let look = master.kv.view(move |view| look(view, after.as_ref(), wanted)).await?;
        for part in look.waiting.chunks(purge::VERSIONS_PER_STEP) {
            let done = purge::carry_out(master, part.to_vec(), plan).await?;
            short = short.saturating_sub(done.bytes);
            purged += usize::try_from(done.versions).unwrap_or(usize::MAX);
            report.versions_purged_early += done.versions;
        }
        after = look.next;
        if after.is_none() {
            break;
        }
    }
    report.behind |= short > 0 && effort.is_enough(purged, VERSIONS_PER_PASS);
    if purged > 0 {
        let share = room.share();
        tracing::warn!(target: "cairn", versions = purged, free_share = share, "room is short: versions purged before their wait was over");
    }
    Ok(())
}

/// Bytes of content that are on their way: queued to be erased from a node that takes chunks, or erased just now.
async fn set_free(master: &Master) -> Result<u64, PassError> {
    let directory = master.nodes.directory();
    let queued = master.kv.view(move |view| queued(view, &directory)).await?;
    let since = master.clock.monotonic().saturating_sub(master.config.heartbeat * BEATS);
    Ok(queued.saturating_add(master.sweeper.erased_since(since)))
}

fn queued(view: &Snapshot<'_>, directory: &Directory) -> Result<u64, SweepError> {
    let queue = record::scan::<PurgeQueued>(view, &record::all::<PurgeQueued>(), MOST_QUEUED + 1)?;
    if queue.len() > MOST_QUEUED {
        return Ok(u64::MAX);
    }
    let mut bytes: u64 = 0;
    for (id, _) in queue {
        let blob = record::get::<Blob>(view, &id)?;
        let counts =
            |node: &NodeId| directory.get(node).is_some_and(|node| node.state.takes_chunks());
        if let Some(blob) = blob.filter(|blob| blob.nodes.iter().any(counts)) {
            bytes = bytes.saturating_add(blob.length);
        }
    }
    Ok(bytes)
}

/// Versions whose wait ends first.
struct Look {
    waiting: Vec<CondemnedKey>,
    next: Option<CondemnedKey>,
}

/// What a look is for.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    plan: Plan,
    /// Who was told of a version when it had a name may read it for so long, without a record.
    least_wait_ms: u64,
    bytes: u64,
}

/// The next versions that free something and that nobody reads, as many as it takes.
fn look(
    view: &impl Read,
    after: Option<&CondemnedKey>,
    wanted: Wanted,
) -> Result<Look, SweepError> {
    let mut range = record::all::<Condemned>();
    if let Some(after) = after {
        range = range.after(record::key_of::<Condemned>(after));
    }
    let keys = record::scan::<Condemned>(view, &range, VERSIONS_PER_LOOK)?;
    let next = keys.last().filter(|_| keys.len() == VERSIONS_PER_LOOK).map(|(key, _)| key.clone());
    let (mut waiting, mut freed) = (Vec::new(), 0_u64);
    for (key, _) in keys {
        if freed >= wanted.bytes {
            // Less may be purged than was looked at: then the next look begins here.
            return Ok(Look { next: waiting.last().cloned(), waiting });
        }
        let name = VersionKey { tenant: key.tenant.clone(), version: key.version };
        let version = record::get::<Version>(view, &name)?;
        let has_waited = |version: &Version| match version.state {
            VersionState::Condemned { since_ms, .. } => {
                since_ms.saturating_add(wanted.least_wait_ms) <= wanted.plan.until_ms
            }
            VersionState::Current => false,
        };
        let length = version.filter(has_waited).map_or(0, |version| version.info.length);
        if length > 0 && purge::may_go(view, &key, wanted.plan)? {
            freed = freed.saturating_add(length);
            waiting.push(key);
        }
    }
    Ok(Look { waiting, next })
}

/// What was erased lately, and when: nodes that have not reported since still count it.
#[derive(Debug, Default)]
pub(super) struct Erased(Vec<(Duration, u64)>);

/// Entries that are kept apart; more are added up with the newest.
const MOST_ENTRIES: usize = 64;

impl Erased {
    pub(super) fn note(&mut self, now: Duration, bytes: u64) {
        let full = self.0.len() >= MOST_ENTRIES;
        match self.0.last_mut() {
            Some((at, sum)) if full => {
                (*at, *sum) = (now, sum.saturating_add(bytes));
            }
            _ => self.0.push((now, bytes)),
        }
    }

    pub(super) fn since(&mut self, since: Duration) -> u64 {
        self.0.retain(|(at, _)| *at >= since);
        self.0.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_short_by_what_is_missing_to_the_floor() {
        let room = |free, capacity| Room { free, capacity };
        assert_eq!(room(100, 1000).short(10), 0);
        assert_eq!(room(30, 1000).short(10), 70);
        assert_eq!(room(0, 0).short(10), 0, "no node: nothing that a purge could help");
        assert_eq!(room(0, 1000).short(0), 0, "a floor of 0 turns it off");
        assert_eq!(room(0, u64::MAX).short(99), u64::MAX / 100 * 99 + 14);
    }

    #[test]
    fn an_erasure_counts_until_it_must_have_been_reported() {
        let at = Duration::from_secs;
        let mut erased = Erased::default();
        for second in 0..200 {
            erased.note(at(second), 1);
        }
        assert!(erased.0.len() <= MOST_ENTRIES);
        assert_eq!(Erased(vec![(at(1), 7), (at(5), 3)]).since(at(2)), 3);
    }
}

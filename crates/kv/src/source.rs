//! Where reads end up: the state of an engine, or such a state with an overlay over it.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::error::StorageFailure;
use crate::overlay::{Change, Overlay};
use crate::range::{Direction, KeyRange};
use crate::read::Entry;

/// Is shown each entry of a walk, and says whether to go on.
pub(crate) type Visit<'v> = dyn FnMut(Bytes, Bytes) -> ControlFlow<()> + 'v;

/// An ordered map that can be read. This is all that a transaction needs of an engine.
pub(crate) trait Source {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageFailure>;

    /// Shows `visit` the entries of `range` in `direction` until it breaks off. `range` is not
    /// empty. Answers whether it was broken off.
    fn walk(
        &self,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, StorageFailure>;

    /// Walks for someone who breaks off after some `limit` entries: an engine that fetches entries
    /// over a network fetches no more than that at once.
    fn walk_up_to(
        &self,
        range: &KeyRange,
        direction: Direction,
        _limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, StorageFailure> {
        self.walk(range, direction, visit)
    }
}

/// The first `limit` entries of `range`.
pub(crate) fn collect(
    source: &dyn Source,
    range: &KeyRange,
    limit: usize,
    direction: Direction,
) -> Result<Vec<Entry>, StorageFailure> {
    let mut entries = Vec::new();
    if limit == 0 || range.is_empty() {
        return Ok(entries);
    }
    // Broken off or not, what was collected is the answer.
    let _ = source.walk_up_to(range, direction, limit, &mut |key, value| {
        entries.push((key, value));
        if entries.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(entries)
}

/// A source as it looks after the changes of an overlay.
#[derive(Clone, Copy)]
pub(crate) struct Layered<'a> {
    pub(crate) base: &'a dyn Source,
    pub(crate) overlay: &'a Overlay,
}

impl Source for Layered<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageFailure> {
        match self.overlay.get(key) {
            Some(Change::Put(value)) => Ok(Some(value.clone())),
            Some(Change::Delete) => Ok(None),
            None => self.base.get(key),
        }
    }

    fn walk(
        &self,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, StorageFailure> {
        self.walk_up_to(range, direction, usize::MAX, visit)
    }

    /// Merges two ordered sequences; where both have a key, the overlay wins.
    fn walk_up_to(
        &self,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, StorageFailure> {
        let mut changes = self.overlay.range(range, direction).peekable();
        let merged = self.base.walk_up_to(range, direction, limit, &mut |key, value| {
            while let Some((changed, change)) =
                changes.next_if(|(changed, _)| direction.compare(changed, &key) == Ordering::Less)
            {
                show(changed, change, visit)?;
            }
            match changes.next_if(|(changed, _)| **changed == key) {
                Some((changed, change)) => show(changed, change, visit),
                None => visit(key, value),
            }
        })?;
        if merged.is_break() {
            return Ok(merged);
        }
        Ok(changes.try_for_each(|(changed, change)| show(changed, change, visit)))
    }
}

fn show(key: &Bytes, change: &Change, visit: &mut Visit<'_>) -> ControlFlow<()> {
    match change {
        Change::Put(value) => visit(key.clone(), value.clone()),
        Change::Delete => ControlFlow::Continue(()),
    }
}

//! Everything in the database as one SQL transaction sees it, a bounded number of entries at a time.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use cairn_core::journal::Position;

use super::connect::{Link, Shared};
use super::reads::{End, Interval, Reads, Wanted};
use super::runtime;
use super::tx::Tx;
use crate::dump::{Sink, Unread};
use crate::error::StorageFailure;
use crate::range::{Direction, KeyRange};
use crate::read::Entry;
use crate::source::collect;

/// Entries that one statement fetches.
const PAGE: usize = 256;

/// Shows `sink` all entries. They are one state of the database only if the transaction can be ended, so the end is shown
/// after that.
pub(super) fn dump(shared: &Arc<Shared>, mut sink: Sink) -> Result<(), StorageFailure> {
    let failed = |error| StorageFailure::new("read all entries", error);
    let runtime = runtime().map_err(failed)?;
    let mut link = Link::new(shared.clone());
    let connected = runtime.block_on(link.get()).map_err(|trouble| trouble.failure())?;
    let mut tx = Tx::read_only(connected);
    if sink.begin(Position::default()).is_err() {
        return Ok(());
    }
    let mut after = None;
    loop {
        let page = runtime.block_on(page(&mut tx, after.as_ref()))?;
        after = page.last().map(|(key, _)| key.clone());
        let ended = page.len() < PAGE;
        let shown = page.into_iter().try_for_each(|entry| sink.entry(entry));
        if let Err(Unread) = shown {
            return Ok(());
        }
        if ended {
            break;
        }
    }
    runtime.block_on(tx.end()).map_err(|trouble| trouble.failure())?;
    // Whoever does not read on has no use for the end.
    let _ = sink.end();
    Ok(())
}

async fn page(tx: &mut Tx<'_>, after: Option<&Bytes>) -> Result<Vec<Entry>, StorageFailure> {
    let start = after.map_or_else(Bytes::new, |key| [&key[..], &[0]].concat().into());
    let (end, direction) = (End::Open, Direction::Forward);
    let mut wanted = Wanted::default();
    wanted.scans.insert(Interval { start: start.clone(), end, direction }, PAGE);
    // Of each page anew: nothing is kept of those before.
    let mut reads = Reads::default();
    tx.fetch(&wanted, &mut reads).await.map_err(|trouble| trouble.failure())?;
    let range = KeyRange::new(Bound::Included(start), Bound::<Bytes>::Unbounded);
    collect(&reads, &range, PAGE, direction)
}

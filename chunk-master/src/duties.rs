//! Duties: what one of several masters does for all, under a lease: the sweep, the count of the catalog, and saying what
//! time it is.
//!
//! ```text
//!             the record stood still for TAKEN_AFTER
//! others ────────────────────────────────────────────► holder ── writes every BEAT
//!    ▲                                                    │
//!    └──── another one holds it, or no write for HELD_FOR ┘
//! ```
//!
//! Who holds it is judged by each master's own monotonic clock: how long it has seen the record unchanged. Two holders
//! for a moment do no harm, only double work: what is irreversible is decided by transactions over the catalog's state.
//! A master whose store is its own does the duties without any record.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_kv::{Durability, Snapshot, TransactError, Txn, ViewError};
use uuid::Uuid;

use crate::catalog::{Duty, record};
use crate::error::{CatalogError, operation_error};
use crate::master::{Master, know_nodes};

/// Pause between two looks, and between two writes of the holder.
pub(crate) const BEAT: Duration = Duration::from_secs(1);
/// A holder who has not written for so long does the duties no more.
const HELD_FOR: Duration = Duration::from_secs(4);
/// A record that was seen to stand still for so long is taken.
const TAKEN_AFTER: Duration = Duration::from_secs(5);

operation_error! {
    /// Why it is not known who does the duties.
    DutyError {
        Catalog(CatalogError),
    }
}

/// A look at the record failed; the next one may succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookFailed {
    #[error("read who does the duties: {0}")]
    View(#[from] ViewError<DutyError>),
    #[error("write who does the duties: {0}")]
    Transact(#[from] TransactError<DutyError>),
}

/// What this master knows of the duties.
#[derive(Debug)]
pub(crate) struct Duties {
    /// This life of this master.
    me: Uuid,
    /// Nobody else can have the store.
    alone: bool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// This master does the duties until then, on its monotonic clock.
    held_until: Option<Duration>,
    /// What another one wrote last, and since when it is so.
    seen: Option<(Duty, Duration)>,
    /// Another one was seen to write: its time is known.
    another_lived: bool,
}

impl Duties {
    pub(crate) fn new(me: Uuid, alone: bool) -> Self {
        Self { me, alone, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this master does the duties at `now`, on its monotonic clock.
    pub(crate) fn are_mine(&self, now: Duration) -> bool {
        self.alone || self.known().held_until.is_some_and(|until| now < until)
    }

    /// Takes a look at another one's record; true when it stood still for so long that it is to be taken.
    fn stands_still(&self, duty: Duty, now: Duration) -> bool {
        let mut known = self.known();
        known.held_until = None;
        match known.seen {
            Some((seen, since)) if seen == duty => now.saturating_sub(since) >= TAKEN_AFTER,
            before => {
                known.another_lived |= before.is_some();
                known.seen = Some((duty, now));
                false
            }
        }
    }
}

/// Looks who does the duties, and holds or takes them.
pub(crate) async fn look(master: &Master) -> Result<(), LookFailed> {
    let duties = &master.duties;
    if duties.alone {
        return Ok(());
    }
    let now = master.clock.monotonic();
    let read = |view: &Snapshot<'_>| -> Result<Option<Duty>, DutyError> {
        Ok(record::get::<Duty>(view, &())?)
    };
    let found = master.kv.view(read).await?;
    match found {
        Some(duty) if duty.holder == duties.me => write(master, found, now).await,
        Some(duty) if !duty.holder.is_nil() => {
            let first = duties.known().seen.is_none();
            if duties.stands_still(duty, now) {
                return take(master, found, now).await;
            }
            master.time.told(duty.steady_ms, first);
            Ok(())
        }
        Some(_) | None => take(master, found, now).await,
    }
}

/// Takes what nobody holds. Where no other one was seen alive, time begins anew.
async fn take(master: &Master, found: Option<Duty>, now: Duration) -> Result<(), LookFailed> {
    if !master.duties.known().another_lived {
        master.time.begin(found.map_or(0, |duty| duty.steady_ms));
    }
    write(master, found, now).await
}

/// Writes that this master holds the duties, unless another one was faster.
async fn write(master: &Master, found: Option<Duty>, now: Duration) -> Result<(), LookFailed> {
    let beat = found.map_or(0, |duty| duty.beat.wrapping_add(1));
    let mine = Duty { holder: master.duties.me, beat, steady_ms: master.time.steady_ms() };
    let written = put(master, found, mine).await?;
    let mut known = master.duties.known();
    let held = known.held_until.is_some();
    known.held_until = written.then_some(now + HELD_FOR);
    known.seen = None;
    known.another_lived |= !written;
    if written && !held {
        tracing::info!(target: "cairn", "this master does the duties");
    }
    Ok(())
}

/// Writes `new` where the record is `found` still; whether it was.
async fn put(
    master: &Master,
    found: Option<Duty>,
    new: Duty,
) -> Result<bool, TransactError<DutyError>> {
    let closure = move |txn: &mut Txn<'_>| -> Result<bool, DutyError> {
        if record::get::<Duty>(txn, &())? != found {
            return Ok(false);
        }
        record::put(txn, &(), &new)?;
        Ok(true)
    };
    master.kv.transact(Durability::Buffered, closure).await
}

/// Lets another one take the duties at once. Who cannot be told finds out.
async fn lay_down(master: &Master) {
    if master.duties.known().held_until.take().is_none() {
        return;
    }
    let me = master.duties.me;
    let steady_ms = master.time.steady_ms();
    let closure = move |txn: &mut Txn<'_>| -> Result<(), DutyError> {
        if let Some(duty) = record::get::<Duty>(txn, &())?.filter(|duty| duty.holder == me) {
            record::put(txn, &(), &Duty { holder: Uuid::nil(), steady_ms, ..duty })?;
        }
        Ok(())
    };
    if let Err(error) = master.kv.transact(Durability::Buffered, closure).await {
        tracing::debug!(%error, "duties not laid down");
    }
}

/// Looks, until the master stops.
pub(crate) async fn run(master: &Master) {
    loop {
        let pause = master.clock.sleep(BEAT);
        if master.stop.run_until_cancelled(pause).await.is_none() {
            return lay_down(master).await;
        }
        if let Err(error) = look(master).await {
            tracing::warn!(target: "cairn", %error, "it is not known who does the duties");
        }
        let mine = master.duties.are_mine(master.clock.monotonic());
        master.metrics.does_duties(mine);
        // Another one may have been told to drain a node, or to remove it.
        if let Err(error) = know_nodes(master).await {
            tracing::warn!(target: "cairn", %error, "it is not known which nodes belong");
        }
    }
}

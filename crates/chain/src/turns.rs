//! Turns at chunks: whoever makes a chunk appear in a store of several parts, or takes it out, does so alone.
//!
//! ```text
//! take            in the foreground: asks background work on the chunk to give way, then waits
//! take_patiently  in the background: waits; told by Turn::wanted when the foreground asks it to give way
//! try_take        in the background: not at all while another is at work
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_core::ids::{BlobId, ChunkId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Chunks that somebody is at work on; each with the token that asks the holder to give way.
    chunks: BTreeMap<ChunkId, CancellationToken>,
    /// Blobs that somebody is at work on as a whole.
    blobs: BTreeSet<BlobId>,
    /// How many wait for a chunk, or for a blob, in the foreground: the background does not get ahead of them.
    awaited: BTreeMap<ChunkId, usize>,
    awaited_blobs: BTreeMap<BlobId, usize>,
}

impl State {
    fn try_take(&mut self, chunks: &BTreeSet<ChunkId>, wanted: &CancellationToken) -> bool {
        let busy =
            |chunk: &ChunkId| self.chunks.contains_key(chunk) || self.blobs.contains(&chunk.blob);
        let free = !chunks.iter().any(busy);
        if free {
            self.chunks.extend(chunks.iter().map(|chunk| (*chunk, wanted.clone())));
        }
        free
    }

    fn try_take_blob(&mut self, blob: BlobId) -> bool {
        let free =
            !self.blobs.contains(&blob) && self.chunks.range(chunks_of(blob)).next().is_none();
        if free {
            self.blobs.insert(blob);
        }
        free
    }

    fn is_awaited(&self, chunk: ChunkId) -> bool {
        self.awaited.contains_key(&chunk) || self.awaited_blobs.contains_key(&chunk.blob)
    }

    fn ask_holders(&self, chunks: &BTreeSet<ChunkId>) {
        chunks
            .iter()
            .filter_map(|chunk| self.chunks.get(chunk))
            .for_each(CancellationToken::cancel);
    }

    fn ask_holders_of(&self, blob: BlobId) {
        self.chunks.range(chunks_of(blob)).for_each(|(_, wanted)| wanted.cancel());
    }
}

fn chunks_of(blob: BlobId) -> std::ops::RangeInclusive<ChunkId> {
    ChunkId::new(blob, 0)..=ChunkId::new(blob, u32::MAX)
}

impl Turns {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn at all of `chunks`; whoever works on one of them in the background is asked to give way.
    pub(crate) async fn take(self: &Arc<Self>, chunks: impl IntoIterator<Item = ChunkId>) -> Turn {
        let chunks: BTreeSet<_> = chunks.into_iter().collect();
        let _awaits = self.awaits(Held::Chunks(chunks.clone()));
        loop {
            let freed = self.freed.notified();
            if let Some(turn) = self.try_take_all(&chunks) {
                return turn;
            }
            self.state().ask_holders(&chunks);
            freed.await;
        }
    }

    /// Waits for a turn at a chunk.
    pub(crate) async fn take_patiently(self: &Arc<Self>, chunk: ChunkId) -> Turn {
        loop {
            let freed = self.freed.notified();
            if let Some(turn) = self.try_take(chunk) {
                return turn;
            }
            freed.await;
        }
    }

    /// A turn at a chunk, unless another has it or waits for it.
    pub(crate) fn try_take(self: &Arc<Self>, chunk: ChunkId) -> Option<Turn> {
        if self.state().is_awaited(chunk) {
            return None;
        }
        self.try_take_all(&BTreeSet::from([chunk]))
    }

    /// Waits for a turn at all chunks of a blob, those included that are not there yet.
    pub(crate) async fn take_blob(self: &Arc<Self>, blob: BlobId) -> Turn {
        let _awaits = self.awaits(Held::Blob(blob));
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.state();
                if state.try_take_blob(blob) {
                    return self.turn(Held::Blob(blob), CancellationToken::new());
                }
                state.ask_holders_of(blob);
            }
            freed.await;
        }
    }

    fn try_take_all(self: &Arc<Self>, chunks: &BTreeSet<ChunkId>) -> Option<Turn> {
        let wanted = CancellationToken::new();
        let taken = self.state().try_take(chunks, &wanted);
        taken.then(|| self.turn(Held::Chunks(chunks.clone()), wanted))
    }

    fn awaits(self: &Arc<Self>, what: Held) -> Awaits {
        let mut state = self.state();
        match &what {
            Held::Chunks(chunks) => {
                for chunk in chunks {
                    *state.awaited.entry(*chunk).or_default() += 1;
                }
            }
            Held::Blob(blob) => *state.awaited_blobs.entry(*blob).or_default() += 1,
        }
        drop(state);
        Awaits { turns: Arc::clone(self), what }
    }

    fn turn(self: &Arc<Self>, held: Held, wanted: CancellationToken) -> Turn {
        Turn { turns: Arc::clone(self), held, wanted }
    }
}

#[derive(Debug)]
enum Held {
    Chunks(BTreeSet<ChunkId>),
    Blob(BlobId),
}

/// Somebody waits in the foreground, until dropped.
#[derive(Debug)]
struct Awaits {
    turns: Arc<Turns>,
    what: Held,
}

impl Drop for Awaits {
    fn drop(&mut self) {
        fn one_less<K: Ord>(awaited: &mut BTreeMap<K, usize>, key: &K) {
            if let Some(count) = awaited.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    awaited.remove(key);
                }
            }
        }
        let mut state = self.turns.state();
        match &self.what {
            Held::Chunks(chunks) => {
                chunks.iter().for_each(|chunk| one_less(&mut state.awaited, chunk));
            }
            Held::Blob(blob) => one_less(&mut state.awaited_blobs, blob),
        }
        drop(state);
        // Who waited in the background may find the way free now.
        self.turns.freed.notify_waiters();
    }
}

/// The right to change what is held of some chunks; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    held: Held,
    wanted: CancellationToken,
}

impl Turn {
    /// Cancelled when the foreground wants the turn: work in the background then ends as soon as it can.
    pub(crate) fn wanted(&self) -> &CancellationToken {
        &self.wanted
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        match &self.held {
            Held::Chunks(chunks) => {
                for chunk in chunks {
                    state.chunks.remove(chunk);
                }
            }
            Held::Blob(blob) => {
                state.blobs.remove(blob);
            }
        }
        drop(state);
        self.turns.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn chunk(blob: u8, index: u32) -> ChunkId {
        ChunkId::new(BlobId::from_slice(&[blob; 16]).expect("16 bytes"), index)
    }

    #[tokio::test]
    async fn a_turn_at_a_blob_waits_for_its_chunks_and_keeps_later_ones_out() {
        let turns = Arc::new(Turns::default());
        let one = turns.take([chunk(1, 7), chunk(1, 7)]).await;
        let mut blob = Box::pin(turns.take_blob(chunk(1, 0).blob));
        assert!(blob.as_mut().now_or_never().is_none());
        assert!(one.wanted().is_cancelled(), "the holder was asked");
        drop(one);
        let blob = blob.await;
        assert!(turns.try_take(chunk(1, 8)).is_none());
        assert!(turns.try_take(chunk(2, 8)).is_some());
        drop(blob);
        assert!(turns.try_take(chunk(1, 8)).is_some());
    }

    #[tokio::test]
    async fn the_foreground_asks_the_background_to_give_way_and_not_the_other_way_round() {
        let turns = Arc::new(Turns::default());
        let background = turns.try_take(chunk(1, 0)).expect("free");
        let mut patient = Box::pin(turns.take_patiently(chunk(1, 0)));
        assert!(patient.as_mut().now_or_never().is_none());
        assert!(!background.wanted().is_cancelled());
        let mut urgent = Box::pin(turns.take([chunk(1, 0)]));
        assert!(urgent.as_mut().now_or_never().is_none());
        assert!(background.wanted().is_cancelled());
        drop(background);
        assert!(patient.as_mut().now_or_never().is_none(), "it does not get ahead");
        drop(urgent.await);
        patient.await;
    }
}

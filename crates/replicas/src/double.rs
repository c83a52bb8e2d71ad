//! Replicas in memory, healthy and not, for the tests of this crate.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cairn_core::copies::{CopyReceipt, Place};
use cairn_core::digest::{BLOCK_BYTES, ChunkHash, ChunkHasher, block_crc};
use cairn_core::ids::{BlobId, ChunkId, DiskIncarnation, NodeId};
use cairn_core::range::ByteRange;
use cairn_runtime::{Clock, Entropy};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use tokio::sync::{Barrier, Semaphore};
use uuid::Uuid;

use crate::buffer::{BufferReader, Source};
use crate::pace::{Pace, PaceBounds, ReadEvent};
use crate::replica::{CopyError, CopyRead, Frame, Replica, Replicas};

/// How a double behaves.
#[derive(Debug, Clone)]
pub(crate) enum Behaviour {
    Healthy,
    FailsWrite(CopyError),
    Hangs,
    /// Reads fail at once.
    FailsRead(CopyError),
    /// Reads and writes answer after this long.
    Slow(Duration),
    /// Reads stop for this long after that many frames.
    Pauses(usize, Duration),
    /// Writes wait until all who wait are there.
    Meets(Arc<Barrier>),
    /// Writes wait for a permit.
    Waits(Arc<Semaphore>),
    /// Reads break off after this many frames.
    BreaksAfter(usize),
    /// The block with this number is damaged on the way.
    FlipsBlock(usize),
    /// Stores and serves, with good checksums, what nobody wrote.
    Lies,
    /// The header tells of another chunk.
    WrongHeader,
}

pub(crate) fn node(n: u128) -> NodeId {
    NodeId::from_uuid(Uuid::from_u128(n))
}

pub(crate) fn place(n: u128) -> Place {
    Place { node: node(n), address: n.to_string(), grant: Bytes::new() }
}

pub(crate) fn chunk() -> ChunkId {
    ChunkId::new(BlobId::from_uuid(Uuid::from_u128(77)), 5)
}

pub(crate) fn hash(bytes: &[u8]) -> ChunkHash {
    let mut hasher = ChunkHasher::default();
    hasher.update(bytes);
    hasher.finish()
}

/// What reads did, to be asked after.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<ReadEvent>>>);

impl Events {
    pub(crate) fn seen(&self) -> Vec<ReadEvent> {
        self.0.lock().unwrap().clone()
    }
}

/// A pace that knows nothing, and tells of what it counts.
pub(crate) fn pace(bounds: PaceBounds) -> (Pace, Events) {
    let events = Events::default();
    let told = events.clone();
    let count = move |event| told.0.lock().unwrap().push(event);
    (Pace::new(bounds, Clock::system(), Entropy::seeded(1), count), events)
}

/// A call under way; no more when dropped.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn one_of(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Clone)]
struct Double {
    node: NodeId,
    behaviour: Behaviour,
    stored: Arc<Mutex<Option<Bytes>>>,
    asked: Arc<AtomicUsize>,
    under_way: Arc<AtomicUsize>,
}

pub(crate) struct Doubles(BTreeMap<NodeId, Double>);

impl Doubles {
    pub(crate) fn new(nodes: &[(u128, Behaviour)]) -> Self {
        let double = |(n, behaviour): &(u128, Behaviour)| {
            let (node, behaviour) = (node(*n), behaviour.clone());
            let (stored, asked, under_way) = Default::default();
            (node, Double { node, behaviour, stored, asked, under_way })
        };
        Self(nodes.iter().map(double).collect())
    }

    /// Gives every node the same content.
    pub(crate) fn holding(self, content: &Bytes) -> Self {
        for double in self.0.values() {
            *double.stored.lock().unwrap() = Some(content.clone());
        }
        self
    }

    /// How often the node was asked to read or write.
    pub(crate) fn asked(&self, n: u128) -> usize {
        self.0[&node(n)].asked.load(Ordering::Relaxed)
    }

    /// Calls that have neither ended nor were dropped.
    pub(crate) fn under_way(&self) -> usize {
        self.0.values().map(|double| double.under_way.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn stored(&self, n: u128) -> Option<Bytes> {
        self.0.get(&node(n))?.stored.lock().unwrap().clone()
    }
}

impl Replicas for Doubles {
    fn at(&self, place: &Place) -> Result<Arc<dyn Replica>, CopyError> {
        let double = self.0.get(&place.node).cloned();
        let unknown = || CopyError::Unreachable("unknown node".into());
        double.map(|double| Arc::new(double) as Arc<dyn Replica>).ok_or_else(unknown)
    }
}

async fn collect(mut source: BufferReader) -> Result<Bytes, CopyError> {
    let mut all = BytesMut::new();
    loop {
        match source.next().await {
            Source::Piece(piece) => all.extend_from_slice(&piece.data),
            Source::End(_) => return Ok(all.freeze()),
            Source::Broken => return Err(CopyError::SourceBroken),
        }
    }
}

impl Double {
    fn called(&self) -> UnderWay {
        self.asked.fetch_add(1, Ordering::Relaxed);
        UnderWay::one_of(&self.under_way)
    }

    fn frames(&self, chunk: ChunkId, bytes: &Bytes, range: ByteRange) -> Vec<Frame> {
        let first = range.offset as usize / BLOCK_BYTES;
        let part = bytes.slice(range.offset as usize..range.end() as usize);
        let mut frames: Vec<_> = part
            .chunks(BLOCK_BYTES * 2)
            .enumerate()
            .map(|(nth, data)| {
                let block = first + nth * 2;
                let block_crcs = (block..)
                    .zip(data.chunks(BLOCK_BYTES))
                    .map(|(block, bytes)| block_crc(chunk, block as u32, bytes))
                    .collect();
                Frame { data: Bytes::copy_from_slice(data), block_crcs }
            })
            .collect();
        if let Behaviour::FlipsBlock(block) = self.behaviour {
            let at = block.checked_sub(first).map(|block| (block / 2, block % 2));
            let hit =
                at.and_then(|(frame, half)| Some((frames.get_mut(frame)?, half * BLOCK_BYTES)));
            if let Some((frame, byte)) = hit.filter(|(frame, byte)| *byte < frame.data.len()) {
                let mut data = frame.data.to_vec();
                data[byte] ^= 1;
                frame.data = data.into();
            }
        }
        frames
    }
}

impl Replica for Double {
    fn write(
        &self,
        _: ChunkId,
        _: u64,
        source: BufferReader,
    ) -> BoxFuture<'static, Result<CopyReceipt, CopyError>> {
        let double = self.clone();
        Box::pin(async move {
            let _under_way = double.called();
            match &double.behaviour {
                Behaviour::FailsWrite(error) => return Err(error.clone()),
                Behaviour::Hangs => std::future::pending().await,
                Behaviour::Slow(time) => Clock::system().sleep(*time).await,
                Behaviour::Meets(barrier) => _ = barrier.wait().await,
                Behaviour::Waits(permits) => permits.acquire().await.unwrap().forget(),
                _ => {}
            }
            let all = collect(source).await?;
            *double.stored.lock().unwrap() = Some(all);
            Ok(CopyReceipt { node: double.node, disk: DiskIncarnation::from_uuid(Uuid::nil()) })
        })
    }

    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'static, Result<CopyRead, CopyError>> {
        let double = self.clone();
        Box::pin(async move {
            let under_way = double.called();
            match &double.behaviour {
                Behaviour::FailsRead(error) => return Err(error.clone()),
                Behaviour::Hangs => std::future::pending().await,
                Behaviour::Slow(time) => Clock::system().sleep(*time).await,
                _ => {}
            }
            let stored = double.stored.lock().unwrap().clone().ok_or(CopyError::Missing)?;
            let (length, hash) = (stored.len() as u64, hash(&stored));
            let stored = match double.behaviour {
                Behaviour::Lies => Bytes::from(vec![0; stored.len()]),
                _ => stored,
            };
            let range = range.aligned_to(BLOCK_BYTES as u64, length);
            let frames = double.frames(chunk, &stored, range).into_iter().map(Ok);
            let frames = match double.behaviour {
                Behaviour::BreaksAfter(n) => {
                    let end = Err(CopyError::Unreachable("reset".into()));
                    stream::iter(frames.take(n).chain([end])).boxed()
                }
                Behaviour::Pauses(n, time) => {
                    let pause = move |(nth, frame)| async move {
                        if nth == n {
                            Clock::system().sleep(time).await;
                        }
                        frame
                    };
                    stream::iter(frames.enumerate()).then(pause).boxed()
                }
                _ => stream::iter(frames).boxed(),
            };
            let frames = frames.inspect(move |_| _ = &under_way).boxed();
            let length = match double.behaviour {
                Behaviour::WrongHeader => length + 1,
                _ => length,
            };
            Ok(CopyRead { length, hash, offset: range.offset, frames })
        })
    }
}

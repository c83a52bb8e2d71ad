//! Hashes of a body, computed on the hashing pool while the bytes travel.

use std::mem;

use bytes::Bytes;
use cairn_core::digest::{ChunkHash, ChunkHasher, FileRoot, RootHasher, Sha256};
use cairn_runtime::{Blocking, Spawner};
use sha2::Digest;
use tokio::sync::{mpsc, oneshot};

use super::error::UploadError;

/// What the hash pipe is told, in the order of the body.
enum Step {
    Bytes(Bytes),
    EndOfChunk(oneshot::Sender<ChunkHash>),
    EndOfFile(oneshot::Sender<FileDigests>),
}

/// Digests of a whole file.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileDigests {
    /// As `sha256sum` prints it; absent when it was not wanted.
    pub(super) sha256: Option<Sha256>,
    /// Over the list of chunks.
    pub(super) root: FileRoot,
}

/// Steps that may wait. Their bytes belong to chunks in flight, which the budget counts already.
const QUEUE_STEPS: usize = 256;
/// Steps handed to the pool at once.
const BATCH_STEPS: usize = 64;

/// The sending side.
#[derive(Debug)]
pub(super) struct HashPipe(mpsc::Sender<Step>);

const GONE: UploadError = UploadError::Internal("the hash pipe is gone");

impl HashPipe {
    /// Starts a pipe; it ends when this side is dropped. `sha256` says whether that of the file is wanted.
    pub(super) fn start(spawner: &Spawner, hashing: Blocking, sha256: bool) -> Self {
        let (steps, queue) = mpsc::channel(QUEUE_STEPS);
        let file = sha256.then(sha2::Sha256::default);
        spawner.spawn(run(queue, hashing, State { file, ..State::default() }));
        Self(steps)
    }

    /// The next bytes.
    pub(super) async fn bytes(&self, bytes: Bytes) -> Result<(), UploadError> {
        self.0.send(Step::Bytes(bytes)).await.map_err(|_| GONE)
    }

    /// A chunk ends here; its hash comes later.
    pub(super) async fn end_of_chunk(&self) -> Result<oneshot::Receiver<ChunkHash>, UploadError> {
        let (hash, later) = oneshot::channel();
        self.0.send(Step::EndOfChunk(hash)).await.map_err(|_| GONE)?;
        Ok(later)
    }

    /// The file ends here.
    pub(super) async fn end_of_file(self) -> Result<FileDigests, UploadError> {
        let (digests, later) = oneshot::channel();
        self.0.send(Step::EndOfFile(digests)).await.map_err(|_| GONE)?;
        later.await.map_err(|_| GONE)
    }
}

async fn run(mut queue: mpsc::Receiver<Step>, hashing: Blocking, mut state: State) {
    let mut batch = Vec::with_capacity(BATCH_STEPS);
    while queue.recv_many(&mut batch, BATCH_STEPS).await > 0 {
        let steps = mem::take(&mut batch);
        let advanced = hashing.run(move || {
            state.advance(steps);
            state
        });
        match advanced.await {
            Ok(advanced) => state = advanced,
            Err(error) => {
                // Whoever waits for a hash sees the pipe gone, and the upload ends.
                tracing::error!(%error, "hashing failed");
                return;
            }
        }
    }
}

#[derive(Default)]
struct State {
    file: Option<sha2::Sha256>,
    root: RootHasher,
    chunk: ChunkHasher,
    chunk_bytes: u64,
}

impl State {
    fn advance(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Bytes(bytes) => {
                    if let Some(file) = &mut self.file {
                        file.update(&bytes);
                    }
                    self.chunk.update(&bytes);
                    self.chunk_bytes += bytes.len() as u64;
                }
                // A receiver that is gone belongs to an upload that is over.
                Step::EndOfChunk(answer) => drop(answer.send(self.end_of_chunk())),
                Step::EndOfFile(answer) => drop(answer.send(self.digests())),
            }
        }
    }

    fn end_of_chunk(&mut self) -> ChunkHash {
        let hash = mem::take(&mut self.chunk).finish();
        self.root.update(mem::take(&mut self.chunk_bytes), &hash);
        hash
    }

    fn digests(&self) -> FileDigests {
        let sha256 = self.file.clone().map(|file| Sha256(file.finalize().into()));
        FileDigests { sha256, root: self.root.finish() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn chunks_and_file_are_hashed_in_one_pass() {
        let pipe = HashPipe::start(&Spawner::current(), Blocking::inline(), true);
        pipe.bytes(Bytes::from_static(b"ab")).await.expect("runs");
        let first = pipe.end_of_chunk().await.expect("runs");
        pipe.bytes(Bytes::from_static(b"c")).await.expect("runs");
        let second = pipe.end_of_chunk().await.expect("runs");
        let digests = pipe.end_of_file().await.expect("runs");

        let hash = |bytes: &[u8]| {
            let mut hasher = ChunkHasher::default();
            hasher.update(bytes);
            hasher.finish()
        };
        let (first, second) = (first.await.expect("hashed"), second.await.expect("hashed"));
        assert_eq!((first, second), (hash(b"ab"), hash(b"c")));
        let mut root = RootHasher::default();
        root.update(2, &first);
        root.update(1, &second);
        assert_eq!(digests.root, root.finish());
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let sha256 = digests.sha256.map(|sha256| sha256.to_string());
        assert_eq!(sha256.as_deref(), Some(abc), "FIPS 180-2, appendix B.1");
    }

    #[tokio::test]
    async fn a_sha256_that_is_not_wanted_is_not_computed() {
        let pipe = HashPipe::start(&Spawner::current(), Blocking::inline(), false);
        pipe.bytes(Bytes::from_static(b"abc")).await.expect("runs");
        drop(pipe.end_of_chunk().await.expect("runs"));
        assert_eq!(pipe.end_of_file().await.expect("runs").sha256, None);
    }
}

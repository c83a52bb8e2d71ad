//! The bytes of a file or a pipe, read and hashed on a thread of their own.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use cairn_core::digest::Sha256;
use tokio::sync::mpsc;

use super::plan::Origin;
use crate::client::digest::Hasher;
use crate::client::error::{ClientError, Kind};

/// Bytes of a piece.
const PIECE_BYTES: usize = 256 << 10;

/// Where bytes come from.
pub(super) struct Source {
    reader: Box<dyn Read + Send>,
    length: Option<u64>,
    read: Counter,
}

/// Bytes that were read so far. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Source {
    pub(super) fn open(doing: &str, origin: &Origin) -> Result<Self, ClientError> {
        let read = Counter::default();
        let path = match origin {
            Origin::Stdin => return Ok(Self { reader: Box::new(io::stdin()), length: None, read }),
            Origin::File { path, .. } => path,
        };
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (length, file) = opened.map_err(|error| ClientError::failed(doing, error))?;
        Ok(Self { reader: Box::new(file), length: Some(length), read })
    }

    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    pub(super) fn counter(&self) -> Counter {
        self.read.clone()
    }

    /// Sends all pieces, and gives the digest of what was sent. A file that turns out to have another length than it
    /// had is not sent to its end, so that the server does not take it for whole.
    pub(super) fn pump(
        mut self,
        doing: &str,
        pieces: &mpsc::Sender<io::Result<Bytes>>,
        mut passed: impl FnMut(u64),
    ) -> Result<Sha256, ClientError> {
        let mut hasher = Hasher::default();
        // One piece is held back until it is known whether the file ends where it should.
        let mut held = Bytes::new();
        loop {
            let next = match self.next() {
                Ok(next) => next,
                Err(error) => {
                    let told = ClientError::failed(doing, &error);
                    // Nobody listens when the request has failed before.
                    let _ = pieces.blocking_send(Err(error));
                    return Err(told);
                }
            };
            hasher.update(&next);
            let (count, ended) = (next.len() as u64, next.is_empty());
            let piece = std::mem::replace(&mut held, next);
            if !piece.is_empty() && pieces.blocking_send(Ok(piece)).is_err() {
                let problem = "the server no longer listens";
                return Err(ClientError::new(Kind::Unreachable, doing, problem));
            }
            if ended {
                return Ok(hasher.finish());
            }
            passed(count);
        }
    }

    /// The next piece; empty at the end.
    fn next(&mut self) -> io::Result<Bytes> {
        let mut buffer = vec![0; PIECE_BYTES];
        let count = loop {
            match self.reader.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                count => break count?,
            }
        };
        buffer.truncate(count);
        self.read.add(count as u64);
        let read = self.read.get();
        match self.length {
            Some(length) if read > length || (count == 0 && read < length) => {
                let problem = format!("the file had {length} bytes and changes while it is read");
                Err(io::Error::other(problem))
            }
            _ => Ok(Bytes::from(buffer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pump(bytes: &'static [u8], length: u64) -> (Result<Sha256, ClientError>, Vec<u8>) {
        let source =
            Source { reader: Box::new(bytes), length: Some(length), read: Counter::default() };
        let (pieces, mut queue) = mpsc::channel(8);
        let ended = source.pump("put a", &pieces, |_| {});
        drop(pieces);
        let mut sent = Vec::new();
        while let Some(piece) = queue.blocking_recv() {
            sent.extend_from_slice(&piece.unwrap_or_default());
        }
        (ended, sent)
    }

    #[test]
    fn all_bytes_are_sent_and_hashed() {
        let (ended, sent) = pump(b"abc", 3);
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(ended.map(|sha256| sha256.to_string()).as_deref(), Ok(hex));
        assert_eq!(sent, b"abc");
        assert!(pump(b"", 0).0.is_ok());
    }

    #[test]
    fn a_file_that_changes_is_never_sent_to_its_end() {
        for length in [2, 4] {
            let (ended, sent) = pump(b"abc", length);
            assert!(ended.is_err(), "{length}");
            assert!((sent.len() as u64) < length, "{length}: {sent:?}");
        }
    }
}

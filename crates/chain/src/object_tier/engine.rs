//! The engine on a bucket.

use std::fmt;
use std::io;

use bytes::{Bytes, BytesMut};
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, MultipartId, ObjectStore, ObjectStoreExt, PutOptions,
    PutPayload,
};

use super::Clients;
use super::keys::Keys;
use crate::engine::{Description, Engine, EngineError};
use crate::file::format::file_bytes;
use crate::store::{Damage, FRAME_BYTES};

/// Chunks in a bucket; see [the module](crate::object_tier).
#[derive(Debug)]
pub struct ObjectEngine {
    pub(super) clients: Clients,
    pub(super) keys: Keys,
    pub(super) part_bytes: usize,
}

/// An open write.
#[derive(Debug)]
pub struct Place {
    path: Path,
    /// Slices that are not sent yet: less than a part.
    slices: Vec<Bytes>,
    bytes: usize,
    upload: Option<Upload>,
}

/// An upload by parts.
#[derive(Debug)]
struct Upload {
    id: MultipartId,
    parts: Vec<PartId>,
}

/// An object that is being read.
pub struct Held {
    path: Path,
    /// What comes from [`Self::at`] on, once blocks were asked for.
    stream: Option<BoxStream<'static, object_store::Result<Bytes>>>,
    at: u64,
    /// What came and was not wanted yet.
    left: Bytes,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("path", &self.path)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// What an object store's error is called here. It says itself which object and why.
pub(super) fn said(error: object_store::Error) -> io::Error {
    use object_store::Error;
    let kind = match &error {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::AlreadyExists { .. } => io::ErrorKind::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

fn refused(doing: &'static str) -> impl FnOnce(object_store::Error) -> EngineError {
    move |error| EngineError::Refused { doing, source: said(error) }
}

/// As [`refused`], where a missing object is a chunk that is gone.
fn gone_or(doing: &'static str) -> impl FnOnce(object_store::Error) -> EngineError {
    move |error| match error {
        object_store::Error::NotFound { .. } => EngineError::Gone,
        other => refused(doing)(other),
    }
}

impl ObjectEngine {
    /// Sends what there is as the next part.
    async fn send_part(&self, place: &mut Place) -> object_store::Result<()> {
        let upload = match &mut place.upload {
            Some(upload) => upload,
            none => {
                let id = self.clients.create.create_multipart(&place.path).await?;
                none.insert(Upload { id, parts: Vec::new() })
            }
        };
        place.bytes = 0;
        let part = PutPayload::from_iter(place.slices.drain(..));
        let number = upload.parts.len();
        let sent = self.clients.plain.put_part(&place.path, &upload.id, number, part).await?;
        upload.parts.push(sent);
        Ok(())
    }

    /// Makes the object of what was sent and what there is.
    async fn put(&self, place: &mut Place) -> object_store::Result<()> {
        if place.upload.is_none() {
            let whole = PutPayload::from_iter(place.slices.drain(..));
            self.clients.create.put_opts(&place.path, whole, PutOptions::default()).await?;
            return Ok(());
        }
        self.send_part(place).await?;
        if let Some(Upload { id, parts }) = &place.upload {
            let parts = parts.clone();
            self.clients.plain.complete_multipart(&place.path, id, parts).await?;
        }
        place.upload = None;
        Ok(())
    }

    /// Deletes objects, in requests for many where the store has such; absent ones are fine.
    async fn delete(&self, paths: Vec<Path>) -> Result<(), EngineError> {
        let paths = stream::iter(paths.into_iter().map(Ok)).boxed();
        let mut deleted = self.clients.plain.delete_stream(paths);
        while let Some(deleted) = deleted.next().await {
            match deleted {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(refused("delete")(error)),
            }
        }
        Ok(())
    }

    /// Why table and footer of a chunk cannot be had: the object may be too short to have any.
    async fn missing_end(
        &self,
        path: &Path,
        length: u64,
        error: object_store::Error,
    ) -> Result<(), EngineError> {
        match (error, self.clients.plain.head(path).await) {
            (object_store::Error::NotFound { .. }, _)
            | (_, Err(object_store::Error::NotFound { .. })) => Ok(()),
            (_, Ok(found)) if found.size != file_bytes(length) => Err(Damage::Length.into()),
            (error, _) => Err(refused("read a description")(error)),
        }
    }
}

impl Engine for ObjectEngine {
    type Place = Place;
    type Held = Held;

    const SLICE_BYTES: usize = FRAME_BYTES;

    fn room(length: u64) -> u64 {
        file_bytes(length)
    }

    fn place(&self, chunk: ChunkId) -> Place {
        Place { path: self.keys.chunk(chunk), slices: Vec::new(), bytes: 0, upload: None }
    }

    async fn write(&self, place: &mut Place, slice: Bytes) -> Result<(), EngineError> {
        place.bytes += slice.len();
        place.slices.push(slice);
        if place.bytes >= self.part_bytes {
            self.send_part(place).await.map_err(refused("send a part"))?;
        }
        Ok(())
    }

    async fn publish(
        &self,
        place: &mut Place,
        description: &Description,
        replaces: bool,
    ) -> Result<(), EngineError> {
        place.slices.push(description.encode().into());
        let Err(error) = self.put(place).await else { return Ok(()) };
        // It may have happened all the same: then nobody would know of the object.
        if !replaces && let Err(error) = self.delete(vec![place.path.clone()]).await {
            tracing::warn!(target: "cairn", path = %place.path, %error, "an object may be left over");
        }
        Err(refused("put a chunk")(error))
    }

    async fn discard(&self, place: Place) -> Result<(), EngineError> {
        let Some(upload) = place.upload else { return Ok(()) };
        let aborted = self.clients.plain.abort_multipart(&place.path, &upload.id).await;
        match aborted {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(refused("abort an upload")(error)),
        }
    }

    async fn describe(
        &self,
        chunk: ChunkId,
        length: u64,
    ) -> Result<Option<(Description, Held)>, EngineError> {
        let path = self.keys.chunk(chunk);
        let range = Some(GetRange::Bounded(length..file_bytes(length)));
        let options = GetOptions { range, ..GetOptions::default() };
        let found = match self.clients.plain.get_opts(&path, options).await {
            Ok(found) => found,
            Err(error) => return self.missing_end(&path, length, error).await.map(|()| None),
        };
        if found.meta.size != file_bytes(length) {
            return Err(Damage::Length.into());
        }
        let bytes = found.bytes().await.map_err(refused("read a description"))?;
        let description = Description::decode(&bytes, chunk)?;
        Ok(Some((description, Held { path, stream: None, at: 0, left: Bytes::new() })))
    }

    async fn read(
        &self,
        held: &mut Held,
        blocks: ByteRange,
        ahead: u64,
    ) -> Result<Bytes, EngineError> {
        let doing = "read blocks";
        if held.stream.is_none() || held.at != blocks.offset {
            let range = Some(GetRange::Bounded(blocks.offset..blocks.end() + ahead));
            let options = GetOptions { range, ..GetOptions::default() };
            let found = self.clients.plain.get_opts(&held.path, options).await;
            held.stream = Some(found.map_err(gone_or(doing))?.into_stream());
            held.at = blocks.offset;
            held.left = Bytes::new();
        }
        let wanted = usize::try_from(blocks.length).unwrap_or(usize::MAX);
        let mut bytes = BytesMut::with_capacity(wanted);
        while bytes.len() < wanted {
            if held.left.is_empty() {
                let next = match &mut held.stream {
                    Some(stream) => stream.next().await,
                    None => None,
                };
                // A short object is told by its blocks.
                let Some(next) = next else { break };
                held.left = next.map_err(gone_or(doing))?;
            }
            let now = held.left.len().min(wanted - bytes.len());
            bytes.extend_from_slice(&held.left.split_to(now));
        }
        held.at += bytes.len() as u64;
        Ok(bytes.freeze())
    }

    async fn remove(&self, chunks: Vec<ChunkId>) -> Result<(), EngineError> {
        let both = |chunk: &ChunkId| [self.keys.chunk(*chunk), self.keys.quarantined(*chunk)];
        self.delete(chunks.iter().flat_map(both).collect()).await
    }

    async fn put_aside(&self, chunk: ChunkId, length: u64) -> Result<Option<u64>, EngineError> {
        let (from, to) = (self.keys.chunk(chunk), self.keys.quarantined(chunk));
        match self.clients.plain.copy_opts(&from, &to, CopyOptions::default()).await {
            Ok(()) => {}
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(refused("put a damaged chunk aside")(error)),
        }
        self.delete(vec![from]).await?;
        Ok(Some(Self::room(length)))
    }

    async fn close(&self) {}
}

//! Opening a store in a bucket: whose it is, and what is in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_core::digest::BLOCK_BYTES;
use cairn_core::ids::{ChunkId, DiskIncarnation, NodeId};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::config::{KeyForm, ObjectTierConfig};
use super::engine::{ObjectEngine, said};
use super::keys::Keys;
use super::{Clients, ObjectTier, ObjectTierSeams, Objects};
use crate::engine::{EngineOpenError, Kept};
use crate::facts;
use crate::file::format::{FOOTER_BYTES, Footer, file_bytes};
use crate::ledger::State;
use crate::store::MAX_CHUNK_BYTES;

const TITLE: &str = "cairn chunk objects";
/// How many footers are asked for at once, with hashed keys.
const FOOTERS_AT_ONCE: usize = 16;

pub(super) async fn open(
    config: &ObjectTierConfig,
    clients: Clients,
    seams: ObjectTierSeams,
) -> Result<ObjectTier, EngineOpenError> {
    let keys = Keys::new(&config.prefix, config.keys)?;
    let place = format!("{}/{}", clients.plain, config.prefix);
    let (bucket, node) = (Arc::clone(&clients.plain), seams.node);
    let opening = Opening { bucket, keys: keys.clone(), place, node };
    let draw = || DiskIncarnation::from_uuid(seams.entropy.uuid_v7(&seams.clock));
    let disk = opening.identify(draw).await?;
    let mut kept = opening.list(&keys.aside(), true).await?;
    let aside = kept.len();
    // A chunk that is there was written again after another copy of it was put aside.
    kept.extend(opening.list(&keys.chunks(), false).await?);
    let chunks = kept.len();
    let (place, capacity) = (&opening.place, config.capacity);
    tracing::info!(target: "cairn", place, %disk, chunks, aside, capacity, "chunk store opened");
    let state = State::new(disk, capacity, kept);
    let part_bytes = usize::try_from(config.part_size).unwrap_or(usize::MAX);
    let engine = ObjectEngine { clients, keys, part_bytes };
    Ok(ObjectTier::over(engine, disk, state, seams.spawner))
}

struct Opening {
    bucket: Arc<dyn Objects>,
    keys: Keys,
    place: String,
    node: NodeId,
}

impl Opening {
    fn refused(&self, doing: &'static str) -> impl FnOnce(Error) -> EngineOpenError {
        let refused = EngineOpenError::refused(&self.place, doing);
        move |error| refused(said(error))
    }

    /// Reads the identity; an empty prefix is given one by `draw`. Of two that open a new one at once, one draws, and the other
    /// finds whose it is.
    async fn identify(
        &self,
        draw: impl FnOnce() -> DiskIncarnation,
    ) -> Result<DiskIncarnation, EngineOpenError> {
        if let Some(disk) = self.known().await? {
            return Ok(disk);
        }
        let first = self.bucket.list(Some(&self.keys.chunks())).next().await.transpose();
        if first.map_err(self.refused("list chunks"))?.is_some() {
            return Err(EngineOpenError::IdentityMissing { place: self.place.clone() });
        }
        let disk = draw();
        let (drawn, node) = (disk.to_string(), self.node.to_string());
        let facts = [("disk", &*drawn), ("keys", self.keys.form().name()), ("node", &*node)];
        let record = facts::encode(TITLE, &facts);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.bucket.put_opts(&self.keys.store(), record.into(), options).await;
        match put {
            Ok(_) => Ok(disk),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                let missing = EngineOpenError::IdentityMissing { place: self.place.clone() };
                self.known().await?.ok_or(missing)
            }
            Err(error) => Err(self.refused("write the store's identity")(error)),
        }
    }

    async fn known(&self) -> Result<Option<DiskIncarnation>, EngineOpenError> {
        let doing = "read the store's identity";
        let found = match self.bucket.get(&self.keys.store()).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.refused(doing)(error)),
        };
        let damaged = || EngineOpenError::IdentityDamaged { place: self.place.clone() };
        if found.meta.size > facts::MOST_BYTES as u64 {
            return Err(damaged());
        }
        let bytes = found.bytes().await.map_err(self.refused(doing))?;
        let facts = facts::decode(&bytes, TITLE, ["disk", "keys", "node"]);
        let [disk, form, node] =
            facts.map_err(|error| EngineOpenError::unreadable(&self.place, error))?;
        if form != self.keys.form().name() {
            let why = format!("the store {} was made with `{form}`", self.place);
            return Err(EngineOpenError::Setting { setting: "keys", why });
        }
        if node != self.node.to_string() {
            return Err(EngineOpenError::OfAnotherNode { place: self.place.clone(), node });
        }
        disk.parse().map(Some).map_err(|_| damaged())
    }

    /// The chunks below a path. The list comes page by page.
    async fn list(
        &self,
        below: &Path,
        aside: bool,
    ) -> Result<BTreeMap<ChunkId, Kept>, EngineOpenError> {
        let found = self.bucket.list(Some(below)).map(|object| async move {
            let object = object?;
            let chunk = self.chunk_of(&object).await?;
            Ok::<_, Error>((object, chunk))
        });
        let found = found.buffer_unordered(FOOTERS_AT_ONCE).try_filter_map(|(object, chunk)| {
            let kept = chunk.map(|chunk| (chunk, kept(&object, aside)));
            if kept.is_none() {
                let path = &object.location;
                tracing::warn!(target: "cairn", %path, "an object that is not ours: left alone");
            }
            std::future::ready(Ok(kept))
        });
        found.try_collect().await.map_err(self.refused("list chunks"))
    }

    /// Whose an object is; `None` when it is no chunk's.
    async fn chunk_of(&self, object: &ObjectMeta) -> Result<Option<ChunkId>, Error> {
        let Some(name) = object.location.filename() else { return Ok(None) };
        let chunk = match self.keys.form() {
            KeyForm::Plain => name.parse().ok(),
            KeyForm::Hashed => self.footer_of(object).await?.map(|footer| footer.chunk),
        };
        Ok(chunk.filter(|chunk| self.keys.name(*chunk) == name))
    }

    async fn footer_of(&self, object: &ObjectMeta) -> Result<Option<Footer>, Error> {
        let Some(at) = object.size.checked_sub(FOOTER_BYTES as u64) else { return Ok(None) };
        match self.bucket.get_range(&object.location, at..object.size).await {
            Ok(bytes) => Ok(Footer::read(&bytes).ok()),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What is known of an object by its size. One that cannot be a chunk's is as good as put aside.
fn kept(object: &ObjectMeta, aside: bool) -> Kept {
    let length = data_bytes(object.size);
    if length.is_none() {
        tracing::error!(
            target: "cairn",
            path = %object.location, size = object.size, "no chunk has this size: not served"
        );
    }
    let aside = aside || length.is_none();
    Kept { length: length.unwrap_or_default(), room: object.size, aside }
}

/// The length of the chunk whose file has so many bytes.
fn data_bytes(file: u64) -> Option<u64> {
    let rest = file.checked_sub(FOOTER_BYTES as u64)?;
    let blocks = rest.div_ceil(BLOCK_BYTES as u64 + 4);
    let length = rest.checked_sub(blocks * 4)?;
    (file_bytes(length) == file && length <= MAX_CHUNK_BYTES).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_told_by_the_size_of_its_file() {
        const BLOCK: u64 = BLOCK_BYTES as u64;
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK - 1, 8 << 20, MAX_CHUNK_BYTES] {
            assert_eq!(data_bytes(file_bytes(length)), Some(length));
        }
        // Between a whole number of blocks and one byte more lies another entry of the table.
        for wrong in [0, 83, 85, file_bytes(BLOCK) + 1, file_bytes(BLOCK) + 4, u64::MAX] {
            assert_eq!(data_bytes(wrong), None, "{wrong}");
        }
    }
}

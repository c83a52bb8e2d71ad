//! Identifiers. Each is its own type, so that a blob's id cannot be passed where a node's is meant.
//!
//! Ids are never used again: a stale command that names one is therefore harmless.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The bytes given are not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} id must be a UUID, 16 bytes or its text form")]
pub struct InvalidId {
    /// Which id was expected, e.g. `blob`.
    pub kind: &'static str,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that the caller has drawn.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Reads the 16 bytes that [`Self::as_bytes`] gave.
            ///
            /// # Errors
            /// [`InvalidId`] when there are not exactly 16 bytes.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, InvalidId> {
                Uuid::from_slice(bytes).map(Self).map_err(|_| InvalidId { kind: $kind })
            }

            /// The 16 bytes, in the order in which ids sort.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($kind, ":{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::from_str(text).map(Self).map_err(|_| InvalidId { kind: $kind })
            }
        }
    };
}

uuid_id!(
    /// An immutable run of chunks. UUIDv7, so blobs sort roughly by age.
    BlobId,
    "blob"
);
uuid_id!(
    /// A running gateway: another one after each start.
    GatewayId,
    "gateway"
);
uuid_id!(
    /// An open session that becomes one version. Chosen by the caller of `BeginUpload`, who can
    /// therefore repeat the call safely.
    UploadId,
    "upload"
);
uuid_id!(
    /// A storage node, stable over restarts and addresses.
    NodeId,
    "node"
);
uuid_id!(
    /// One life of a node's disk: drawn when the data folder is made, so a replaced disk is never
    /// mistaken for the one whose receipts were given.
    DiskIncarnation,
    "disk"
);

uuid_id!(
    /// A catalog, drawn when it is made. A node that belongs to one takes no orders from another, so that an empty or
    /// foreign master cannot mistake its chunks for orphans.
    CatalogId,
    "catalog"
);

/// The position of a chunk in its blob, from 0.
pub type ChunkIndex = u32;

/// A chunk: blob and position. Everything that is kept for a chunk carries both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId {
    /// The blob the chunk belongs to.
    pub blob: BlobId,
    /// Position in the blob, from 0.
    pub index: ChunkIndex,
}

impl ChunkId {
    /// Length of [`Self::to_bytes`].
    pub const LEN: usize = 20;

    /// Names a chunk.
    pub const fn new(blob: BlobId, index: ChunkIndex) -> Self {
        Self { blob, index }
    }

    /// Blob id, then index big-endian: byte order is chunk order.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..16].copy_from_slice(self.blob.as_bytes());
        bytes[16..].copy_from_slice(&self.index.to_be_bytes());
        bytes
    }

    /// Reads what [`Self::to_bytes`] gave.
    ///
    /// # Errors
    /// [`InvalidId`] when there are not exactly 20 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, InvalidId> {
        let (blob, index) = bytes.split_at_checked(16).ok_or(InvalidId { kind: "chunk" })?;
        let index = index.try_into().map_err(|_| InvalidId { kind: "chunk" })?;
        Ok(Self { blob: BlobId::from_slice(blob)?, index: u32::from_be_bytes(index) })
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.blob, self.index)
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chunk:{self}")
    }
}

impl FromStr for ChunkId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId { kind: "chunk" };
        let (blob, index) = text.split_once('.').ok_or_else(invalid)?;
        let index: u32 = index.parse().map_err(|_| invalid())?;
        let id = Self { blob: blob.parse()?, index };
        // One text for one id: "+1", "01" or a UUID without hyphens would be second names for it.
        if id.to_string() == text { Ok(id) } else { Err(invalid()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(n: u128) -> BlobId {
        BlobId::from_uuid(Uuid::from_u128(n))
    }

    #[test]
    fn a_chunk_id_survives_bytes_and_text() {
        let id = ChunkId::new(blob(7), 300);
        assert_eq!(ChunkId::from_slice(&id.to_bytes()), Ok(id));
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn byte_order_is_chunk_order() {
        let ids =
            [ChunkId::new(blob(1), 255), ChunkId::new(blob(1), 256), ChunkId::new(blob(2), 0)];
        let bytes: Vec<_> = ids.iter().map(|id| id.to_bytes()).collect();
        assert!(bytes.is_sorted());
    }

    #[test]
    fn a_second_spelling_of_a_chunk_id_is_refused() {
        let id = ChunkId::new(blob(7), 3).to_string();
        for text in [
            id.replace('-', ""),
            id.replace(".3", ".03"),
            id.replace(".3", ".+3"),
            id.replace(".3", ""),
            String::new(),
            "../../etc/passwd.0".to_owned(),
        ] {
            assert!(text.parse::<ChunkId>().is_err(), "{text:?} was taken");
        }
    }
}

//! Where objects lie. Keys come from ids only, so none leaves the prefix.

use std::fmt::Write;

use cairn_core::ids::ChunkId;
use object_store::path::Path;
use sha2::{Digest, Sha256};

use super::config::KeyForm;
use crate::engine::EngineOpenError;

const STORE: &str = "store";
const CHUNKS: &str = "chunks";
const QUARANTINE: &str = "quarantine";

/// The keys of a store.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: Path,
    form: KeyForm,
}

impl Keys {
    /// Below `prefix`, which is names with `/` between them.
    pub(super) fn new(prefix: &str, form: KeyForm) -> Result<Self, EngineOpenError> {
        let wrong = |why: String| EngineOpenError::Setting { setting: "prefix", why };
        let parsed = Path::parse(prefix).map_err(|error| wrong(error.to_string()))?;
        if parsed.as_ref() != prefix {
            return Err(wrong("it neither begins nor ends with `/`".to_owned()));
        }
        Ok(Self { prefix: parsed, form })
    }

    pub(super) fn form(&self) -> KeyForm {
        self.form
    }

    /// The store's identity.
    pub(super) fn store(&self) -> Path {
        self.prefix.clone().join(STORE)
    }

    /// All chunks.
    pub(super) fn chunks(&self) -> Path {
        self.prefix.clone().join(CHUNKS)
    }

    /// All that was put aside.
    pub(super) fn aside(&self) -> Path {
        self.prefix.clone().join(QUARANTINE)
    }

    pub(super) fn chunk(&self, chunk: ChunkId) -> Path {
        self.chunks().join(self.name(chunk))
    }

    pub(super) fn quarantined(&self, chunk: ChunkId) -> Path {
        self.aside().join(self.name(chunk))
    }

    /// The last part of a chunk's key.
    pub(super) fn name(&self, chunk: ChunkId) -> String {
        let id = chunk.to_string();
        match self.form {
            KeyForm::Plain => id,
            KeyForm::Hashed => {
                let hash = Sha256::digest(id.as_bytes());
                hash.iter().fold(String::with_capacity(64), |mut hex, byte| {
                    // Writing to a text does not fail.
                    let _ = write!(hex, "{byte:02x}");
                    hex
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_core::ids::BlobId;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prefix_that_could_leave_its_place_is_refused() {
        for prefix in ["..", "a/../b", "/a", "a/", "a//b", ".", "a/./b", "a\0b", "a\nb"] {
            let refused = Keys::new(prefix, KeyForm::Plain);
            assert!(
                matches!(refused, Err(EngineOpenError::Setting { setting: "prefix", .. })),
                "{prefix:?}: {refused:?}"
            );
        }
        for prefix in ["", "a", "a/b", "cairn-1/node_2"] {
            Keys::new(prefix, KeyForm::Plain).expect(prefix);
        }
    }

    #[test]
    fn keys_stay_what_they_are() {
        let chunk = ChunkId::new(BlobId::from_slice(&[7; 16]).expect("16 bytes"), 3);
        let plain = Keys::new("a/b", KeyForm::Plain).expect("a prefix");
        let id = "07070707-0707-0707-0707-070707070707.3";
        assert_eq!(plain.chunk(chunk).as_ref(), format!("a/b/chunks/{id}"));
        assert_eq!(plain.quarantined(chunk).as_ref(), format!("a/b/quarantine/{id}"));
        assert_eq!(plain.store().as_ref(), "a/b/store");
        let hashed = Keys::new("", KeyForm::Hashed).expect("a prefix");
        let hash = "beff641ebf6da47fb19f0862b409925b16db72c700370879ab4418be002f2c10";
        assert_eq!(hashed.name(chunk), hash, "as sha256sum has it");
    }

    proptest! {
        #[test]
        fn no_key_leaves_the_prefix(
            blob: [u8; 16], index: u32, prefix in "[a-zA-Z0-9_.:-]{1,8}(/[a-z0-9]{1,8}){0,3}", hashed: bool,
        ) {
            let form = if hashed { KeyForm::Hashed } else { KeyForm::Plain };
            let Ok(keys) = Keys::new(&prefix, form) else { return Ok(()) };
            let chunk = ChunkId::new(BlobId::from_slice(&blob).expect("16 bytes"), index);
            for (key, folder) in [
                (keys.chunk(chunk), "chunks"),
                (keys.quarantined(chunk), "quarantine"),
            ] {
                let key = key.as_ref();
                let rest = key.strip_prefix(&format!("{prefix}/{folder}/")).expect("below the prefix");
                prop_assert!(!rest.is_empty() && rest.len() <= 64, "{}", rest);
                let plain = |c: char| c.is_ascii_hexdigit() || c == '-' || c == '.';
                prop_assert!(rest.chars().all(plain) && !rest.contains(".."), "{}", rest);
            }
        }
    }
}

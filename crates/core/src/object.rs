//! What is known of an object, and the conditions under which its name may change.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::bucket::MAX_COPIES;
use crate::digest::{FileRoot, Sha256};
use crate::lengths::ChunkLengths;
use crate::names::{BucketName, ObjectKey};

/// One version of an object. UUIDv7; order is commit order, which the catalog keeps apart from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(Uuid);

impl VersionId {
    /// Wraps a UUID that the caller has drawn.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// Reads the 16 bytes that [`Self::as_bytes`] gave.
    ///
    /// # Errors
    /// [`crate::ids::InvalidId`] when there are not exactly 16 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, crate::ids::InvalidId> {
        let invalid = |_| crate::ids::InvalidId { kind: "version" };
        Uuid::from_slice(bytes).map(Self).map_err(invalid)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version:{}", self.0)
    }
}

/// Metadata does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMeta {
    /// The limit of S3 for user metadata.
    #[error("the metadata has {bytes} bytes: use at most 2048 bytes of names and values")]
    TooLarge {
        /// Bytes of names and values.
        bytes: usize,
    },
    /// Names and values travel as HTTP headers.
    #[error(
        "the metadata {name:?} cannot be sent as a header: use visible ASCII in names and no control characters in values"
    )]
    NotAHeader {
        /// The name.
        name: String,
    },
    /// The media type is not sendable.
    #[error(
        "the content type has {bytes} bytes or control characters: use at most 255 visible ones"
    )]
    ContentType {
        /// Bytes of the content type.
        bytes: usize,
    },
}

/// What a name's owner said of it, kept and given back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectMeta {
    content_type: Option<String>,
    user: BTreeMap<String, String>,
}

impl ObjectMeta {
    /// Most bytes of user metadata, names and values together (Amazon S3, "Working with object metadata").
    pub const MAX_USER_BYTES: usize = 2048;
    /// Most bytes of a content type.
    pub const MAX_CONTENT_TYPE_BYTES: usize = 255;

    /// Checks metadata; names are lower-cased.
    ///
    /// # Errors
    /// [`InvalidMeta`] with what to change.
    pub fn new(
        content_type: Option<String>,
        user: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, InvalidMeta> {
        let content_type = content_type.filter(|text| !text.is_empty());
        if let Some(text) = &content_type {
            let visible = text.bytes().all(|b| (b' '..0x7f).contains(&b));
            if !visible || text.len() > Self::MAX_CONTENT_TYPE_BYTES {
                return Err(InvalidMeta::ContentType { bytes: text.len() });
            }
        }
        let user: BTreeMap<_, _> =
            user.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        for (name, value) in &user {
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            let sendable = !name.is_empty() && name.bytes().all(token);
            if !sendable || value.bytes().any(|b| b.is_ascii_control()) {
                return Err(InvalidMeta::NotAHeader { name: name.clone() });
            }
        }
        let bytes = user.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > Self::MAX_USER_BYTES {
            return Err(InvalidMeta::TooLarge { bytes });
        }
        Ok(Self { content_type, user })
    }

    /// The media type; `None` means `application/octet-stream`.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Names (lower case) and values.
    pub fn user(&self) -> &BTreeMap<String, String> {
        &self.user
    }
}

/// One version of an object, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// The version.
    pub version: VersionId,
    /// Bytes of content.
    pub length: u64,
    /// When it was committed, in milliseconds since 1970-01-01 UTC. For people; order is commit order.
    pub committed_ms: u64,
    /// Opaque entity tag, without quotes.
    pub etag: String,
    /// SHA-256 of the content, when it was written in one stream.
    pub sha256: Option<Sha256>,
    /// File root.
    pub root: FileRoot,
    /// The lengths of its chunks, over which the root is computed; `None` when they are not known.
    pub chunks: Option<ChunkLengths>,
    /// What the owner said of it.
    pub meta: ObjectMeta,
}

/// What an acknowledged write means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durability {
    /// Least number of fsynced copies of any chunk.
    pub copies: u32,
    /// Nodes that hold copies.
    pub hosts: u32,
    /// Least number of zones that the copies of any chunk are in.
    pub zones: u32,
    /// Copies of the metadata.
    pub meta: u32,
    /// Copies of each chunk that are wanted: where there are fewer, the others are being made.
    pub wanted: u32,
}

impl fmt::Display for Durability {
    /// The form of the header `Cairn-Receipt`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { copies, hosts, zones, meta, wanted } = self;
        write!(f, "copies={copies}; ")?;
        if copies < wanted {
            write!(f, "wanted={wanted}; ")?;
        }
        write!(f, "hosts={hosts}; zones={zones}; meta={meta}; synced")
    }
}

/// What a request asks an acknowledgement to mean at least. `None`: what the bucket asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AskedDurability {
    /// Copies of each chunk, 1 to [`MAX_COPIES`].
    pub copies: Option<u32>,
    /// Zones that the copies of each chunk are in, 1 to the copies.
    pub zones: Option<u32>,
}

/// Copies or zones that nobody can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "use copies=N with N from 1 to {MAX_COPIES}, and zones=M with M up to that, with a semicolon between"
)]
pub struct InvalidDurability;

impl AskedDurability {
    /// Checks the numbers, by themselves and together.
    ///
    /// # Errors
    /// [`InvalidDurability`].
    pub fn new(copies: Option<u32>, zones: Option<u32>) -> Result<Self, InvalidDurability> {
        let most_zones = copies.unwrap_or(MAX_COPIES);
        let fits = copies.is_none_or(|copies| (1..=MAX_COPIES).contains(&copies))
            && zones.is_none_or(|zones| (1..=most_zones).contains(&zones));
        if fits { Ok(Self { copies, zones }) } else { Err(InvalidDurability) }
    }
}

impl FromStr for AskedDurability {
    type Err = InvalidDurability;

    /// The form of the header `Cairn-Durability`.
    fn from_str(text: &str) -> Result<Self, InvalidDurability> {
        let (mut copies, mut zones) = (None, None);
        for part in text.split(';') {
            let (name, number) = part.trim().split_once('=').ok_or(InvalidDurability)?;
            let number: u32 = number.parse().map_err(|_| InvalidDurability)?;
            let asked = match name {
                "copies" => &mut copies,
                "zones" => &mut zones,
                _ => return Err(InvalidDurability),
            };
            if asked.replace(number).is_some() {
                return Err(InvalidDurability);
            }
        }
        Self::new(copies, zones)
    }
}

/// Conditions on the version that a name points at; all that are set must hold (RFC 9110, section 13).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteCondition {
    /// The name must not exist.
    pub must_not_exist: bool,
    /// The name must exist.
    pub must_exist: bool,
    /// The entity tag must be one of these, unless there are none.
    pub if_match: Vec<String>,
    /// The entity tag must be none of these.
    pub if_none_match: Vec<String>,
    /// The version must not be younger than this, in milliseconds; whole seconds are compared, because
    /// that is all an HTTP date carries.
    pub if_unmodified_since_ms: Option<u64>,
}

/// The part of a version that conditions look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentVersion<'a> {
    /// Its entity tag.
    pub etag: &'a str,
    /// When it was committed.
    pub committed_ms: u64,
}

/// A condition does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConditionFailed {
    /// The name was to be new.
    #[error("the name exists: choose another, or replace it with PUT")]
    Exists,
    /// The name was to exist.
    #[error("the name does not exist")]
    Absent,
    /// The entity tag is another one than the caller knows.
    #[error("the file has changed: read it again and repeat with its entity tag")]
    Changed,
}

impl WriteCondition {
    /// The name must be new: POST, and `If-None-Match: *`.
    pub fn create_only() -> Self {
        Self { must_not_exist: true, ..Self::default() }
    }

    /// Decides for the version that the name points at now.
    ///
    /// # Errors
    /// [`ConditionFailed`] names the first that does not hold.
    pub fn check(&self, current: Option<CurrentVersion<'_>>) -> Result<(), ConditionFailed> {
        let among = |tags: &[String], etag: &str| tags.iter().any(|tag| tag == etag);
        match current {
            None if self.must_exist || !self.if_match.is_empty() => Err(ConditionFailed::Absent),
            None => Ok(()),
            Some(_) if self.must_not_exist => Err(ConditionFailed::Exists),
            Some(now) if !self.if_match.is_empty() && !among(&self.if_match, now.etag) => {
                Err(ConditionFailed::Changed)
            }
            Some(now) if among(&self.if_none_match, now.etag) => Err(ConditionFailed::Changed),
            Some(now) => match self.if_unmodified_since_ms {
                Some(since) if now.committed_ms / 1000 > since / 1000 => {
                    Err(ConditionFailed::Changed)
                }
                _ => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Option<CurrentVersion<'_>> =
        Some(CurrentVersion { etag: "e1", committed_ms: 5_400 });

    #[test]
    fn what_is_asked_of_an_acknowledgement_is_checked_by_itself_and_together() {
        let asked = |copies, zones| Ok(AskedDurability { copies, zones });
        assert_eq!("copies=3".parse(), asked(Some(3), None));
        assert_eq!("zones=2".parse(), asked(None, Some(2)));
        assert_eq!("copies=3; zones=3".parse(), asked(Some(3), Some(3)));
        for wrong in
            ["", "3", "copies=0", "copies=9", "copies=2;zones=3", "zones=0", "copies=1;copies=1"]
        {
            assert_eq!(wrong.parse::<AskedDurability>(), Err(InvalidDurability), "{wrong}");
        }
        for wrong in ["copies=two", "hosts=1", "copies=1;", "copies=1, zones=1", "copies=-1"] {
            assert_eq!(wrong.parse::<AskedDurability>(), Err(InvalidDurability), "{wrong}");
        }
    }

    #[test]
    fn a_receipt_tells_of_copies_that_are_missing() {
        let whole = Durability { copies: 2, hosts: 3, zones: 1, meta: 2, wanted: 2 };
        assert_eq!(whole.to_string(), "copies=2; hosts=3; zones=1; meta=2; synced");
        let short = Durability { wanted: 3, ..whole };
        assert_eq!(short.to_string(), "copies=2; wanted=3; hosts=3; zones=1; meta=2; synced");
    }

    #[test]
    fn without_conditions_everything_goes() {
        assert_eq!(WriteCondition::default().check(None), Ok(()));
        assert_eq!(WriteCondition::default().check(NOW), Ok(()));
    }

    #[test]
    fn create_only_takes_a_new_name_alone() {
        assert_eq!(WriteCondition::create_only().check(None), Ok(()));
        assert_eq!(WriteCondition::create_only().check(NOW), Err(ConditionFailed::Exists));
    }

    #[test]
    fn if_match_wants_the_known_tag() {
        let known = |tag: &str| WriteCondition { if_match: vec![tag.into()], ..Default::default() };
        assert_eq!(known("e1").check(NOW), Ok(()));
        assert_eq!(known("e0").check(NOW), Err(ConditionFailed::Changed));
        assert_eq!(known("e1").check(None), Err(ConditionFailed::Absent));
    }

    #[test]
    fn unmodified_since_compares_whole_seconds() {
        let since = |ms| WriteCondition { if_unmodified_since_ms: Some(ms), ..Default::default() };
        assert_eq!(since(5_000).check(NOW), Ok(()));
        assert_eq!(since(4_999).check(NOW), Err(ConditionFailed::Changed));
    }

    #[test]
    fn metadata_that_cannot_be_sent_back_is_refused() {
        let user = |name: &str, value: &str| {
            ObjectMeta::new(None, [(name.to_owned(), value.to_owned())]).map(|_| ())
        };
        assert_eq!(user("Colour", "grün"), Ok(()));
        assert!(user("a b", "c").is_err());
        assert!(user("a", "b\r\nSet-Cookie: c").is_err());
        assert!(user("a", &"b".repeat(2048)).is_err());
    }
}

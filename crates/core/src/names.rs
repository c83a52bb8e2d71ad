//! Names that people choose: tenants, users, buckets, keys, zones. Checked once, at the edge; whoever
//! holds one of these types need not check again.

use std::fmt;
use std::str::FromStr;

/// Why a name is refused. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// An object key must have at least one byte.
    #[error("the key is empty: give the file a name of 1 to 1024 bytes")]
    KeyEmpty,
    /// An object key is limited to [`ObjectKey::MAX_BYTES`].
    #[error("the key has {bytes} bytes: use at most 1024 bytes of UTF-8")]
    KeyTooLong {
        /// Length of the refused key in bytes.
        bytes: usize,
    },
    /// NUL ends keys in too many clients to be stored safely.
    #[error("the key holds a NUL byte: leave it out")]
    KeyHasNul,
    /// Keys are UTF-8.
    #[error("the key is not UTF-8: percent-encode the UTF-8 bytes of the name")]
    KeyNotUtf8,
    /// Bucket names follow the rule of S3.
    #[error(
        "{name:?} is no bucket name: use 3 to 63 of a-z, 0-9, '-' and '.', with a letter or digit \
         at both ends, no '..', and not the form of an IPv4 address"
    )]
    Bucket {
        /// The refused name, shortened.
        name: String,
    },
    /// Tenants, users and zones are short labels.
    #[error("{name:?} is no {kind} name: use 1 to 63 of a-z, A-Z, 0-9, '-', '_' and '.'")]
    Label {
        /// Which label: `tenant`, `user` or `zone`.
        kind: &'static str,
        /// The refused name, shortened.
        name: String,
    },
}

fn shortened(name: &str) -> String {
    name.chars().take(80).collect()
}

/// The key of an object: 1 to 1024 bytes of UTF-8 without NUL, stored as given.
///
/// `.` and `..` are ordinary keys; no part of Cairn uses a key as a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Longest key in bytes (Amazon S3, "Creating object key names").
    pub const MAX_BYTES: usize = 1024;

    /// Checks a key.
    ///
    /// # Errors
    /// [`InvalidName`] with what to change.
    pub fn new(key: impl Into<String>) -> Result<Self, InvalidName> {
        let key = key.into();
        if key.is_empty() {
            return Err(InvalidName::KeyEmpty);
        }
        if key.len() > Self::MAX_BYTES {
            return Err(InvalidName::KeyTooLong { bytes: key.len() });
        }
        if key.contains('\0') {
            return Err(InvalidName::KeyHasNul);
        }
        Ok(Self(key))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key as its owner's text.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A bucket's name: the rule of S3 ("General purpose bucket naming rules").
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketName(String);

impl BucketName {
    /// The bucket behind `/v1/files/…`.
    pub fn standard() -> Self {
        Self("default".to_owned())
    }

    /// Checks a bucket name.
    ///
    /// # Errors
    /// [`InvalidName::Bucket`] with the rule.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
        let name = name.into();
        if Self::follows_rule(&name) {
            Ok(Self(name))
        } else {
            Err(InvalidName::Bucket { name: shortened(&name) })
        }
    }

    fn follows_rule(name: &str) -> bool {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ends = [name.bytes().next(), name.bytes().last()];
        (3..=63).contains(&name.len())
            && name.bytes().all(|b| inner(b) || b == b'-' || b == b'.')
            && ends.into_iter().flatten().all(inner)
            && !name.contains("..")
            && name.parse::<std::net::Ipv4Addr>().is_err()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks a label of 1 to 63 of `a-z A-Z 0-9 - _ .`.
            ///
            /// # Errors
            /// [`InvalidName::Label`] with the rule.
            pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
                let name = name.into();
                let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
                if (1..=63).contains(&name.len()) && name.bytes().all(allowed) {
                    Ok(Self(name))
                } else {
                    Err(InvalidName::Label { kind: $kind, name: shortened(&name) })
                }
            }

            /// The one that everything belongs to while there is only one.
            pub fn standard() -> Self {
                Self("default".to_owned())
            }

            /// The label as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
    };
}

label!(
    /// Whoever pays: the outermost owner of users and buckets.
    TenantId,
    "tenant"
);
label!(
    /// Whoever acts, within a tenant.
    UserId,
    "user"
);
label!(
    /// What fails together: a rack, a room, a building. Copies are spread over zones.
    Zone,
    "zone"
);

/// On whose behalf something is done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    /// The tenant that is charged.
    pub tenant: TenantId,
    /// The user that is charged.
    pub user: UserId,
}

impl Principal {
    /// The one tenant and user of open mode.
    pub fn standard() -> Self {
        Self { tenant: TenantId::standard(), user: UserId::standard() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_as_given() {
        for key in ["a", "..", ".", "a/../b", " leading", "ünï/日本", "a//b", "%2e"] {
            assert_eq!(ObjectKey::new(key).map(|k| k.as_str().to_owned()).as_deref(), Ok(key));
        }
        assert!(ObjectKey::new("k".repeat(1024)).is_ok());
    }

    #[test]
    fn a_key_that_is_empty_long_or_has_a_nul_is_refused() {
        assert_eq!(ObjectKey::new(""), Err(InvalidName::KeyEmpty));
        assert_eq!(ObjectKey::new("ü".repeat(513)), Err(InvalidName::KeyTooLong { bytes: 1026 }));
        assert_eq!(ObjectKey::new("a\0b"), Err(InvalidName::KeyHasNul));
    }

    #[test]
    fn bucket_names_follow_the_rule_of_s3() {
        for good in ["default", "my-bucket.2026", "abc", "0ab"] {
            assert!(BucketName::new(good).is_ok(), "{good} refused");
        }
        for bad in ["", "ab", "Abc", "-ab", "ab-", "a..b", "192.168.0.1", "a_b", &"a".repeat(64)] {
            assert!(BucketName::new(bad).is_err(), "{bad} taken");
        }
    }
}

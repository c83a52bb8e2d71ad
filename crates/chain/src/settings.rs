//! How quantities are written in settings.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A number of bytes, or a text such as `10 GiB`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    Bytes(u64),
    Text(String),
}

impl Size {
    fn bytes<E: Error>(self) -> Result<u64, E> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Text(text) => parse_size::parse_size(&text)
                .map_err(|error| E::custom(format!("`{text}` is no size such as 10 GiB: {error}"))),
        }
    }
}

/// Reads a size.
pub(crate) fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    Size::deserialize(from)?.bytes()
}

/// Reads a size that may be left out.
pub(crate) fn some_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Option::<Size>::deserialize(from)?.map(Size::bytes).transpose()
}

/// Reads a time such as `1 s` or `20 ms`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text)
        .map_err(|error| D::Error::custom(format!("`{text}` is no time such as 20 ms: {error}")))
}

/// Reads a mode of folders and files, as a text in octal such as `0750`.
pub(crate) fn mode<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let text = String::deserialize(from)?;
    let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| D::Error::custom(format!("`{text}` is no mode such as 0750")))
}

/// A time, read and written.
pub(crate) mod time {
    use std::time::Duration;

    use serde::Serializer;

    pub(crate) use super::duration as deserialize;

    pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*time))
    }
}

/// A size, read and written.
pub(crate) mod bytes {
    use serde::Serializer;

    pub(crate) use super::bytes as deserialize;

    pub(crate) fn serialize<S: Serializer>(bytes: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(*bytes)
    }
}

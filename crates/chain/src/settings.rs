//! Quantities in settings, as an operator writes them.

/// A time like `60s` or `1m 30s`.
pub(crate) mod time {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map_err(|_| {
            let expected = &"a time like 60s or 5m";
            de::Error::invalid_value(de::Unexpected::Str(&text), expected)
        })
    }
}

/// Bytes, as a number or like `500MB` or `10GiB`.
pub(crate) mod bytes {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(bytes: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(*bytes)
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Text(String),
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        match Written::deserialize(from)? {
            Written::Number(bytes) => Ok(bytes),
            Written::Text(text) => parse_size::parse_size(&text).map_err(|_| {
                let expected = &"bytes like 500MB or 10GiB";
                de::Error::invalid_value(de::Unexpected::Str(&text), expected)
            }),
        }
    }
}

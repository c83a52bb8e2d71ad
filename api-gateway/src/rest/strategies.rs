//! How copies are written and read, as requests ask it and answers tell it.

use std::fmt::{Display, Write};
use std::str::FromStr;
use std::time::Duration;

use cairn_core::ids::NodeId;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::problem::Problem;

pub(super) const CAIRN_WRITE: HeaderName = HeaderName::from_static("cairn-write");
pub(super) const CAIRN_READ: HeaderName = HeaderName::from_static("cairn-read");
pub(super) const CAIRN_WAIT: HeaderName = HeaderName::from_static("cairn-wait");
pub(super) const CAIRN_DURABILITY: HeaderName = HeaderName::from_static("cairn-durability");
/// <https://www.w3.org/TR/server-timing/>
pub(super) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What a field asks for; nothing when it is not there.
pub(super) fn asked<T: FromStr<Err: Display>>(
    headers: &HeaderMap,
    name: &HeaderName,
) -> Result<Option<T>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let read = value.to_str().unwrap_or_default().parse();
    read.map(Some).map_err(|error| Problem::bad_request(format!("{name}: {error}")))
}

/// The nodes that served, and how long each took.
pub(super) fn server_timing(
    nodes: impl IntoIterator<Item = (NodeId, Duration)>,
) -> Option<HeaderValue> {
    let mut field = String::new();
    for (node, took) in nodes {
        let between = if field.is_empty() { "" } else { ", " };
        let took = took.as_secs_f64() * 1000.0;
        // A text takes what is written to it.
        let _written = write!(field, "{between}node;desc=\"{node}\";dur={took:.1}");
    }
    HeaderValue::from_str(&field).ok().filter(|field| !field.is_empty())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn each_node_is_told_with_its_time() {
        let node = NodeId::from_uuid(Uuid::from_u128(1));
        let told = server_timing([(node, Duration::from_micros(12_345)), (node, Duration::ZERO)]);
        let expected = format!("node;desc=\"{node}\";dur=12.3, node;desc=\"{node}\";dur=0.0");
        assert_eq!(told.expect("two"), expected.as_str());
        assert_eq!(server_timing([]), None);
    }
}

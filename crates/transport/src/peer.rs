//! A node, reached by one of the transports.

use std::str::FromStr;
use std::sync::Arc;

use cairn_core::copies::Place;
use cairn_replicas::Replica;
use cairn_runtime::{Dial, InvalidAddress, PeerChannel, RequestId};

use crate::grpc::GrpcReplica;
use crate::lane::LaneReplica;

/// How chunk bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// gRPC over HTTP/2: what every version of a node understands.
    Grpc,
    /// Plain HTTP/1.1: less work for each byte.
    Lane,
}

/// A transport that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no transport: say grpc or lane")]
pub struct UnknownTransport(String);

impl FromStr for Transport {
    type Err = UnknownTransport;

    fn from_str(text: &str) -> Result<Self, UnknownTransport> {
        match text {
            "grpc" => Ok(Self::Grpc),
            "lane" => Ok(Self::Lane),
            other => Err(UnknownTransport(other.to_owned())),
        }
    }
}

/// A node and its connections. Cheap to clone; connects when first used, and closes when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Peer {
    transport: Transport,
    channel: PeerChannel,
}

impl Peer {
    /// The node at `address`.
    ///
    /// # Errors
    /// [`InvalidAddress`] when the text is no address.
    pub fn dial(
        dialer: &dyn Dial,
        transport: Transport,
        address: &str,
    ) -> Result<Self, InvalidAddress> {
        let channel = match transport {
            Transport::Grpc => dialer.dial(address)?,
            Transport::Lane => dialer.dial_http1(address)?,
        };
        Ok(Self { transport, channel })
    }

    /// The node's copies, called on behalf of a request: its id and the place's grant go along with each call.
    pub fn replica(&self, place: &Place, request: &RequestId) -> Arc<dyn Replica> {
        let (channel, place) = (self.channel.clone(), place.clone());
        match self.transport {
            Transport::Grpc => Arc::new(GrpcReplica::new(channel, place, request)),
            Transport::Lane => Arc::new(LaneReplica::new(channel, place, request)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_has_one_name() {
        assert_eq!("grpc".parse(), Ok(Transport::Grpc));
        assert_eq!("lane".parse(), Ok(Transport::Lane));
        let refused = "GRPC".parse::<Transport>().expect_err("no name");
        assert_eq!(refused.to_string(), r#""GRPC" is no transport: say grpc or lane"#);
    }
}

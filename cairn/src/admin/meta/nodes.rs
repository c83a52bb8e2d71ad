//! What storage nodes keep of the metadata, asked without a master.

use std::time::Duration;

use bytes::Bytes;
use cairn_core::journal::JournalKept;
use cairn_proto::v1::meta_journal_client::MetaJournalClient;
use cairn_proto::v1::{GetMetaStateRequest, ReadMetaRequest, ReadMetaResponse};
use cairn_proto::{MAX_META_MESSAGE_BYTES, RemoteError};
use cairn_runtime::{Clock, Dial, NetworkDial, PeerChannel};
use tonic::Streaming;

use crate::client::error::{ClientError, Kind};

/// Longest wait for a node's answer, or for the next part of one.
const BOUND: Duration = Duration::from_secs(30);

/// A node that answered.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) address: String,
    pub(super) node: Bytes,
    pub(super) kept: JournalKept,
}

fn client(doing: &str, address: &str) -> Result<MetaJournalClient<PeerChannel>, ClientError> {
    let channel = NetworkDial::tcp(1).dial(address);
    let channel = channel.map_err(|error| ClientError::usage(doing, error))?;
    Ok(MetaJournalClient::new(channel).max_decoding_message_size(MAX_META_MESSAGE_BYTES))
}

/// Asks a node what it has; why it did not say.
pub(super) async fn ask(
    doing: &str,
    clock: &Clock,
    address: &str,
) -> Result<Result<Source, String>, ClientError> {
    let mut client = client(doing, address)?;
    let state = match clock.timeout(BOUND, client.get_meta_state(GetMetaStateRequest {})).await {
        Err(elapsed) => return Ok(Err(elapsed.to_string())),
        Ok(Err(status)) => return Ok(Err(RemoteError::from(status).message)),
        Ok(Ok(answer)) => answer.into_inner(),
    };
    let node = state.node_id.clone();
    let kept = JournalKept::try_from(state).map_err(|field| field.to_string());
    Ok(kept.map(|kept| Source { address: address.to_owned(), node, kept }))
}

/// All that a node keeps, part by part.
pub(super) struct Reading {
    doing: String,
    clock: Clock,
    parts: Streaming<ReadMetaResponse>,
}

impl Reading {
    pub(super) async fn begin(
        doing: &str,
        clock: &Clock,
        address: &str,
    ) -> Result<Self, ClientError> {
        let mut client = client(doing, address)?;
        let answer = clock.timeout(BOUND, client.read_meta(ReadMetaRequest {})).await;
        let silent = |error| ClientError::new(Kind::Unreachable, doing, error);
        let answer = answer.map_err(silent)?;
        let answer = answer.map_err(|status| broken(doing, status))?;
        Ok(Self { doing: doing.to_owned(), clock: clock.clone(), parts: answer.into_inner() })
    }

    pub(super) async fn next(&mut self) -> Result<Option<ReadMetaResponse>, ClientError> {
        let next = self.clock.timeout(BOUND, self.parts.message()).await;
        let next = next.map_err(|error| ClientError::new(Kind::Unreachable, &self.doing, error))?;
        next.map_err(|status| broken(&self.doing, status))
    }
}

fn broken(doing: &str, status: tonic::Status) -> ClientError {
    ClientError::new(Kind::Unreachable, doing, RemoteError::from(status).message)
}

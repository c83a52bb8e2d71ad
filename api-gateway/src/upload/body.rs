//! The body of an upload as it arrives.

use std::time::Duration;

use bytes::Bytes;
use cairn_runtime::Clock;
use futures_util::StreamExt;

use super::Body;
use super::error::UploadError;

/// A body with a bound on silence.
pub(super) struct BodyReader {
    body: Body,
    /// The client waits for a `100 Continue`, which the first read sends.
    waits_for_continue: bool,
    ended: bool,
    idle: Duration,
    clock: Clock,
}

impl BodyReader {
    pub(super) fn new(body: Body, waits_for_continue: bool, idle: Duration, clock: Clock) -> Self {
        Self { body, waits_for_continue, ended: false, idle, clock }
    }

    /// The next bytes; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, UploadError> {
        self.waits_for_continue = false;
        let next = self.clock.timeout(self.idle, self.body.next()).await;
        match next.map_err(|_| UploadError::Idle(self.idle))? {
            Some(piece) => Ok(Some(piece?)),
            None => {
                self.ended = true;
                Ok(None)
            }
        }
    }

    /// Reads on for a while after a refusal, so that the client reads the answer instead of a reset.
    pub(super) async fn drain(mut self, bytes: u64, time: Duration) {
        if self.ended || self.waits_for_continue {
            return;
        }
        let clock = self.clock.clone();
        let read = async {
            let mut left = bytes;
            while let Ok(Some(piece)) = self.next().await {
                match left.checked_sub(piece.len() as u64) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
        };
        // Whoever still sends after that has stopped listening.
        let _ = clock.timeout(time, read).await;
    }
}

//! The lives of uploads, blobs, copies and nodes. Each state changes in one function that knows every
//! allowed step; a step that is not drawn is an error with both ends named.
//!
//! ```text
//! upload   Open ──► Committed
//!            └────► Aborted
//!
//! blob     Open ──► Live ◄──► Condemned ──► Purging ──► (gone)
//!            └────────────────────────────────▲
//!
//! copy     (not named) ──► Copying ──► Live
//!               ▲             └─────────┴─────► (not named)
//! ```

use std::fmt::Debug;

/// A step that the life does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no step from {from:?} to {to:?}")]
pub struct NoSuchStep<S: Debug> {
    /// The state as it is.
    pub from: S,
    /// The state that was asked for.
    pub to: S,
}

/// The life of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadState {
    /// Takes chunks; holds a reservation.
    Open,
    /// Became a version. Final.
    Committed,
    /// Given up by its gateway or by the sweeper. Final.
    Aborted,
}

impl UploadState {
    /// The next state, when the step is allowed.
    ///
    /// # Errors
    /// [`NoSuchStep`].
    pub fn step(self, to: Self) -> Result<Self, NoSuchStep<Self>> {
        match (self, to) {
            (Self::Open, Self::Committed | Self::Aborted) => Ok(to),
            (from, to) => Err(NoSuchStep { from, to }),
        }
    }
}

/// The life of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobState {
    /// Written by an upload.
    Open,
    /// Part of at least one version.
    Live,
    /// Part of no version; waits, and can come back.
    Condemned,
    /// Being erased; no way back.
    Purging,
}

impl BlobState {
    /// The next state, when the step is allowed.
    ///
    /// # Errors
    /// [`NoSuchStep`].
    pub fn step(self, to: Self) -> Result<Self, NoSuchStep<Self>> {
        match (self, to) {
            (Self::Open, Self::Live | Self::Purging)
            | (Self::Live, Self::Condemned)
            | (Self::Condemned, Self::Live | Self::Purging) => Ok(to),
            (from, to) => Err(NoSuchStep { from, to }),
        }
    }
}

/// The life of a copy of a chunk while the manifest names it. One that is not named any more is deleted by its node unless it is
/// written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyState {
    /// Being made by a repair: named, so that nobody takes it for a stray, and does not count yet.
    Copying,
    /// Durable: counts.
    Live,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_upload_stays_as_it_is() {
        for from in [UploadState::Committed, UploadState::Aborted] {
            for to in [UploadState::Open, UploadState::Committed, UploadState::Aborted] {
                assert_eq!(from.step(to), Err(NoSuchStep { from, to }));
            }
        }
    }

    #[test]
    fn a_live_blob_is_never_purged_without_being_condemned() {
        assert!(BlobState::Live.step(BlobState::Purging).is_err());
        assert!(BlobState::Condemned.step(BlobState::Purging).is_ok());
    }

    #[test]
    fn nothing_comes_back_from_purging() {
        for to in [BlobState::Open, BlobState::Live, BlobState::Condemned, BlobState::Purging] {
            assert!(BlobState::Purging.step(to).is_err());
        }
    }
}

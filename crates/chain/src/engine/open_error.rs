//! Why a store over an engine cannot be opened.

use std::io;

use cairn_runtime::BlockingError;

use crate::facts::Unreadable;

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EngineOpenError {
    /// It is open already, here or in another process.
    #[error("the chunk store {place} is open already: one node per store")]
    InUse {
        /// Where it lies.
        place: String,
    },
    /// It was written by another version.
    #[error(
        "the chunk store {place} has format {format}, this version knows format 1: use the Cairn that wrote it"
    )]
    UnknownFormat {
        /// Where it lies.
        place: String,
        /// The format that it says.
        format: String,
    },
    /// Its identity is damaged.
    #[error(
        "the identity of the chunk store {place} is damaged: put it back from a copy, or start with an empty one"
    )]
    IdentityDamaged {
        /// Where it lies.
        place: String,
    },
    /// There are chunks, and nothing says whose.
    #[error(
        "{place} has chunks but no identity: put it back from a copy, or start with an empty one"
    )]
    IdentityMissing {
        /// Where it lies.
        place: String,
    },
    /// It belongs to another program.
    #[error("{place} is no chunk store: {why}")]
    Foreign {
        /// Where it lies.
        place: String,
        /// What says so.
        why: String,
    },
    /// Another node keeps its chunks there.
    #[error("{place} belongs to the node {node}: give each node a prefix of its own")]
    OfAnotherNode {
        /// Where it lies.
        place: String,
        /// Whose it is.
        node: String,
    },
    /// A setting cannot be had.
    #[error("`{setting}`: {why}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it, and what can be done.
        why: String,
    },
    /// It cannot be reached, or refuses.
    #[error("{doing} ({place}): {source}")]
    Refused {
        /// Where it lies.
        place: String,
        /// What was tried.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The work gave no result.
    #[error(transparent)]
    Interrupted(#[from] BlockingError),
}

impl EngineOpenError {
    /// The store's identity, at `place`, cannot be read.
    pub(crate) fn unreadable(place: &str, error: Unreadable) -> Self {
        let place = place.to_owned();
        match error {
            Unreadable::UnknownFormat(format) => Self::UnknownFormat { place, format },
            Unreadable::Damaged => Self::IdentityDamaged { place },
            Unreadable::OtherTitle(found) => {
                let why = format!("its identity says `{}`", found.escape_debug());
                Self::Foreign { place, why }
            }
        }
    }

    /// A step failed at `place`.
    pub(crate) fn refused(place: &str, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let place = place.to_owned();
        move |source| Self::Refused { place, doing, source }
    }
}

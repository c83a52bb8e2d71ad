//! What two records say differently, and what would mend it.

use bytes::Bytes;

use crate::catalog::record::{self, Record};

/// What kind of difference it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A record that cannot be read.
    Damaged,
    /// A record of an index names what is not there.
    Dangling,
    /// A record of an index is missing, or shows something else than what it was made from.
    Index,
    /// Records contradict each other, and nothing tells which is right.
    Contradiction,
    /// A number of an account is not what versions and uploads add up to.
    Account,
    /// A copy that the manifest names is not on its node.
    MissingCopy,
    /// A copy that the manifest names was on a disk that the node has no more.
    ReplacedDisk,
    /// A copy on a node is longer or shorter than the manifest says.
    WrongLength,
    /// A chunk on a node whose blob is not there, or is being erased without this node.
    Orphan,
    /// A copy on a node that the manifest of its Live blob does not name.
    Stray,
}

/// What would mend a difference. Judged anew in the transaction that carries it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mend {
    /// Remove the record under this key.
    Remove(Bytes),
    /// Write this record.
    Write(Bytes, Bytes),
    /// Nothing that a machine should do; what a person can.
    Leave(&'static str),
}

impl Mend {
    pub(super) fn remove<R: Record>(key: &R::Key) -> Self {
        Self::Remove(record::key_of::<R>(key))
    }

    pub(super) fn write<R: Record>(key: &R::Key, record: &R) -> Self {
        let (key, value) = record::sealed(key, record);
        Self::Write(key, value)
    }
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) kind: Kind,
    /// For people: what is told by whom.
    pub(crate) what: String,
    pub(crate) mend: Mend,
}

/// Differences that were found.
#[derive(Debug, Default)]
pub(crate) struct Found(pub(crate) Vec<Difference>);

impl Found {
    pub(super) fn add(&mut self, kind: Kind, what: impl Into<String>, mend: Mend) {
        self.0.push(Difference { kind, what: what.into(), mend });
    }

    /// A record of an index that names nothing.
    pub(super) fn dangling<R: Record>(&mut self, key: &R::Key, what: impl Into<String>) {
        self.add(Kind::Dangling, what, Mend::remove::<R>(key));
    }

    /// A record of an index that is missing or wrong, as it should be.
    pub(super) fn index<R: Record>(&mut self, key: &R::Key, right: &R, what: impl Into<String>) {
        self.add(Kind::Index, what, Mend::write(key, right));
    }

    /// Two facts of which only one can be so.
    pub(super) fn contradiction(&mut self, what: impl Into<String>, advice: &'static str) {
        self.add(Kind::Contradiction, what, Mend::Leave(advice));
    }
}

/// What to do about a fact that is lost.
pub(super) const RESTORE: &str = "left: bring the catalog back from a backup";
/// What to do about what should never be.
pub(super) const REPORT: &str = "left: keep this line and the master's log, and report it";

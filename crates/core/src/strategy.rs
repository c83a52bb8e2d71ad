//! How the copies of a chunk are written, read and deleted: strategies and their names.
//!
//! A name is the same in headers, messages, bucket policies and flags. The defaults of all of them are here:
//!
//! | | default | also |
//! |---|---|---|
//! | write | `parallel; all` | `parallel; fail_fast`, `parallel; quorum=N`, `sequential` |
//! | read | `hedged` | `ordered`, `race` |
//! | delete | `parallel` | `sequential` |

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::bucket::MAX_COPIES;

/// How many copies a parallel save waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Enough {
    /// All of them. One that fails is placed anew.
    #[default]
    All,
    /// All of them; the first failure ends the save.
    FailFast,
    /// This many, 1 to [`MAX_COPIES`]; the others go on behind the answer. One that fails is placed anew.
    Quorum(u32),
}

/// How copies are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SaveStrategy {
    /// One after another, in order of placement. One that fails is placed anew; when it cannot be, the later ones are not
    /// begun.
    Sequential,
    /// All at once.
    Parallel(Enough),
}

/// How copies are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadStrategy {
    /// In the order given: the next one when one fails.
    Ordered,
    /// All at once: the first that proves good serves.
    Race,
    /// In order of who answered well lately; when an answer takes longer than answers do, the next copy is asked as well,
    /// and the first that proves good serves.
    #[default]
    Hedged,
}

/// How copies are deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeleteStrategy {
    /// One after another; the first failure ends it.
    Sequential,
    /// All at once; a failure stops nobody.
    #[default]
    Parallel,
}

/// A strategy that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no way to {verb}: use {allowed}")]
pub struct UnknownStrategy {
    /// What was said, cut to a line.
    pub text: String,
    verb: &'static str,
    allowed: Cow<'static, str>,
}

/// Bytes of a wrong strategy that its error repeats.
const MOST_REPEATED: usize = 64;

impl UnknownStrategy {
    fn of(text: &str, verb: &'static str, allowed: &'static str) -> Self {
        let text = text.chars().take(MOST_REPEATED).collect();
        Self { text, verb, allowed: allowed.into() }
    }

    /// The same, where these names are known as well.
    #[must_use]
    pub fn or_one_of(mut self, names: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        for name in names {
            self.allowed = format!("{}, or {name}", self.allowed).into();
        }
        self
    }
}

impl Default for SaveStrategy {
    fn default() -> Self {
        Self::Parallel(Enough::All)
    }
}

impl SaveStrategy {
    /// Copies after which a chunk of `copies` counts as saved.
    pub fn quorum(self) -> Option<u32> {
        match self {
            Self::Parallel(Enough::Quorum(quorum)) => Some(quorum),
            Self::Sequential | Self::Parallel(Enough::All | Enough::FailFast) => None,
        }
    }

    /// The same, with a quorum of no fewer than `least`.
    #[must_use]
    pub fn with_at_least(self, least: u32) -> Self {
        self.quorum().map_or(self, |quorum| Self::Parallel(Enough::Quorum(quorum.max(least))))
    }

    /// The same, with a quorum of no more than `copies`.
    #[must_use]
    pub fn with_at_most(self, copies: u32) -> Self {
        self.quorum().map_or(self, |quorum| Self::Parallel(Enough::Quorum(quorum.min(copies))))
    }

    /// The word for metrics: without its number.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Parallel(Enough::All) => "parallel_all",
            Self::Parallel(Enough::FailFast) => "parallel_fail_fast",
            Self::Parallel(Enough::Quorum(_)) => "parallel_quorum",
        }
    }
}

impl fmt::Display for SaveStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequential => f.write_str("sequential"),
            Self::Parallel(Enough::All) => f.write_str("parallel; all"),
            Self::Parallel(Enough::FailFast) => f.write_str("parallel; fail_fast"),
            Self::Parallel(Enough::Quorum(quorum)) => write!(f, "parallel; quorum={quorum}"),
        }
    }
}

impl FromStr for SaveStrategy {
    type Err = UnknownStrategy;

    fn from_str(text: &str) -> Result<Self, UnknownStrategy> {
        const ALLOWED: &str =
            "sequential, parallel, parallel; fail_fast, or parallel; quorum=N with N from 1 to 8";
        let (kind, enough) = text.split_once(';').map_or((text, None), |(k, e)| (k, Some(e)));
        let quorum = |enough: &str| enough.strip_prefix("quorum=")?.parse().ok();
        let known = match (kind.trim(), enough.map(str::trim)) {
            ("sequential", None) => Some(Self::Sequential),
            ("parallel", None | Some("all")) => Some(Self::Parallel(Enough::All)),
            ("parallel", Some("fail_fast")) => Some(Self::Parallel(Enough::FailFast)),
            ("parallel", Some(enough)) => quorum(enough)
                .filter(|quorum| (1..=MAX_COPIES).contains(quorum))
                .map(|quorum| Self::Parallel(Enough::Quorum(quorum))),
            _ => None,
        };
        known.ok_or_else(|| UnknownStrategy::of(text, "write", ALLOWED))
    }
}

impl ReadStrategy {
    /// The name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Race => "race",
            Self::Hedged => "hedged",
        }
    }
}

impl fmt::Display for ReadStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for ReadStrategy {
    type Err = UnknownStrategy;

    fn from_str(text: &str) -> Result<Self, UnknownStrategy> {
        match text.trim() {
            "ordered" => Ok(Self::Ordered),
            "race" => Ok(Self::Race),
            "hedged" => Ok(Self::Hedged),
            _ => Err(UnknownStrategy::of(text, "read", "ordered, race or hedged")),
        }
    }
}

impl fmt::Display for DeleteStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sequential => "sequential",
            Self::Parallel => "parallel",
        })
    }
}

impl FromStr for DeleteStrategy {
    type Err = UnknownStrategy;

    fn from_str(text: &str) -> Result<Self, UnknownStrategy> {
        match text.trim() {
            "sequential" => Ok(Self::Sequential),
            "parallel" => Ok(Self::Parallel),
            _ => Err(UnknownStrategy::of(text, "delete", "sequential or parallel")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_is_read_by_the_name_that_it_is_shown_with() {
        let quorums = (1..=MAX_COPIES).map(|n| SaveStrategy::Parallel(Enough::Quorum(n)));
        let others = [Enough::All, Enough::FailFast].map(SaveStrategy::Parallel);
        for strategy in quorums.chain(others).chain([SaveStrategy::Sequential]) {
            assert_eq!(strategy.to_string().parse(), Ok(strategy));
        }
        for strategy in [ReadStrategy::Ordered, ReadStrategy::Race, ReadStrategy::Hedged] {
            assert_eq!(strategy.to_string().parse(), Ok(strategy));
        }
        for strategy in [DeleteStrategy::Sequential, DeleteStrategy::Parallel] {
            assert_eq!(strategy.to_string().parse(), Ok(strategy));
        }
        assert_eq!("parallel".parse(), Ok(SaveStrategy::default()));
        assert_eq!("parallel;quorum=2".parse(), Ok(SaveStrategy::Parallel(Enough::Quorum(2))));
        let quorum = |copies| SaveStrategy::Parallel(Enough::Quorum(copies));
        assert_eq!([quorum(1), quorum(3)].map(|s| s.with_at_least(2)), [quorum(2), quorum(3)]);
        assert_eq!([quorum(1), quorum(3)].map(|s| s.with_at_most(2)), [quorum(1), quorum(2)]);
        assert_eq!(SaveStrategy::Sequential.with_at_least(2), SaveStrategy::Sequential);
    }

    #[test]
    fn what_is_no_strategy_is_refused_with_what_there_is() {
        let wrong =
            ["", "Parallel", "parallel; quorum=0", "parallel; quorum=9", "parallel; quorum"];
        for text in wrong.into_iter().chain(["sequential; quorum=1", "parallel; all; all", "1"]) {
            let refused = text.parse::<SaveStrategy>().expect_err(text);
            assert!(refused.to_string().contains("parallel; quorum=N"), "{refused}");
        }
        assert!("first".parse::<ReadStrategy>().is_err());
        assert!("race".parse::<DeleteStrategy>().is_err());
        let long = "x".repeat(10_000).parse::<ReadStrategy>().expect_err("long");
        assert_eq!(long.text.len(), MOST_REPEATED);
    }
}

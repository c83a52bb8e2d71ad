//! What a strategy says, in numbers. Proofs, bounds, placing anew and repeats are not a strategy's matter: they hold for all.
//!
//! The standard strategies are values with names ([`cairn_core::strategy`]), which headers, buckets and every gateway understand alike.
//! Whoever uses this crate alone can add others under names of its own ([`Named`]).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use cairn_core::strategy::{DeleteStrategy, Enough, ReadStrategy, SaveStrategy, UnknownStrategy};

/// How copies are written. Numbers out of range are taken as the nearest ones in it, but for [`Self::enough`].
pub trait SaveRule: fmt::Debug + Send + Sync {
    /// Copies that are written at a time, of `places`.
    fn at_once(&self, places: usize) -> usize;

    /// Copies that must be durable before the save is answered; more than `places` is refused.
    fn enough(&self, places: usize) -> usize;

    /// Copies with which the chunk counts as saved when no more can be had, where the caller bears with `least` of `places`.
    fn least(&self, places: usize, least: usize) -> usize {
        least.clamp(1, places)
    }

    /// Whether a copy that fails is placed anew.
    fn replaces(&self) -> bool {
        true
    }
}

/// How copies are read.
pub trait ReadRule: fmt::Debug + Send + Sync {
    /// Copies that are asked at once, of `places`. At least one is.
    fn at_once(&self, places: usize) -> usize;

    /// Whether those that answered well lately are asked first, and one more is asked when an answer takes longer than answers do.
    fn hedges(&self) -> bool {
        false
    }
}

/// How copies are deleted.
pub trait DeleteRule: fmt::Debug + Send + Sync {
    /// Targets that are asked at a time, of `targets`. At least one is.
    fn at_once(&self, targets: usize) -> usize;

    /// Whether no more are asked once one has failed.
    fn stops(&self) -> bool {
        false
    }
}

impl SaveRule for SaveStrategy {
    fn at_once(&self, places: usize) -> usize {
        match self {
            Self::Sequential => 1,
            Self::Parallel(_) => places,
        }
    }

    fn enough(&self, places: usize) -> usize {
        self.quorum().map_or(places, |quorum| quorum as usize)
    }

    fn least(&self, places: usize, least: usize) -> usize {
        match self {
            Self::Parallel(Enough::Quorum(quorum)) => *quorum as usize,
            Self::Parallel(Enough::FailFast) => places,
            Self::Sequential | Self::Parallel(Enough::All) => least.clamp(1, places),
        }
    }

    fn replaces(&self) -> bool {
        *self != Self::Parallel(Enough::FailFast)
    }
}

impl ReadRule for ReadStrategy {
    fn at_once(&self, places: usize) -> usize {
        match self {
            Self::Race => places,
            Self::Ordered | Self::Hedged => 1,
        }
    }

    fn hedges(&self) -> bool {
        *self == Self::Hedged
    }
}

impl DeleteRule for DeleteStrategy {
    fn at_once(&self, targets: usize) -> usize {
        match self {
            Self::Sequential => 1,
            Self::Parallel => targets,
        }
    }

    fn stops(&self) -> bool {
        *self == Self::Sequential
    }
}

/// A kind of rules, of which some have standard names.
pub trait Rule: Send + Sync {
    /// The standard one of this name.
    ///
    /// # Errors
    /// [`UnknownStrategy`], with those that there are.
    fn standard(text: &str) -> Result<Arc<Self>, UnknownStrategy>;
}

impl Rule for dyn SaveRule {
    fn standard(text: &str) -> Result<Arc<Self>, UnknownStrategy> {
        Ok(Arc::new(text.parse::<SaveStrategy>()?))
    }
}

impl Rule for dyn ReadRule {
    fn standard(text: &str) -> Result<Arc<Self>, UnknownStrategy> {
        Ok(Arc::new(text.parse::<ReadStrategy>()?))
    }
}

impl Rule for dyn DeleteRule {
    fn standard(text: &str) -> Result<Arc<Self>, UnknownStrategy> {
        Ok(Arc::new(text.parse::<DeleteStrategy>()?))
    }
}

/// Why a rule is not added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdded {
    /// A rule has this name, perhaps a standard one.
    #[error("there is a strategy {0:?} already")]
    Taken(String),
    /// Names are 1 to 64 lower-case letters, digits, `-` and `_`.
    #[error("{0:?} is no name of a strategy: use 1 to 64 lower-case letters, digits, - and _")]
    NoName(String),
}

/// Bytes of a name.
const LONGEST_NAME: usize = 64;

/// Rules by name: the standard ones, and those that were added.
#[derive(Debug)]
pub struct Named<R: ?Sized>(BTreeMap<String, Arc<R>>);

impl<R: ?Sized> Default for Named<R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<R: Rule + ?Sized> Named<R> {
    /// Adds a rule under a name of its own.
    ///
    /// # Errors
    /// [`NotAdded`]: nothing is changed.
    pub fn add(&mut self, name: &str, rule: Arc<R>) -> Result<(), NotAdded> {
        let letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(letter) {
            return Err(NotAdded::NoName(name.chars().take(LONGEST_NAME).collect()));
        }
        if self.0.contains_key(name) || R::standard(name).is_ok() {
            return Err(NotAdded::Taken(name.to_owned()));
        }
        self.0.insert(name.to_owned(), rule);
        Ok(())
    }

    /// The rule of this name.
    ///
    /// # Errors
    /// [`UnknownStrategy`], with those that there are.
    pub fn get(&self, name: &str) -> Result<Arc<R>, UnknownStrategy> {
        match self.0.get(name.trim()) {
            Some(added) => Ok(Arc::clone(added)),
            None => R::standard(name).map_err(|unknown| unknown.or_one_of(self.0.keys())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct TwoAtATime;

    impl SaveRule for TwoAtATime {
        fn at_once(&self, _: usize) -> usize {
            2
        }

        fn enough(&self, places: usize) -> usize {
            places
        }
    }

    #[test]
    fn a_rule_is_found_by_the_name_that_it_was_added_under_and_nobody_takes_a_name_twice() {
        let mut rules: Named<dyn SaveRule> = Named::default();
        rules.add("two_at_a_time", Arc::new(TwoAtATime)).expect("a name of its own");
        assert_eq!(rules.get(" two_at_a_time").expect("it was added").at_once(4), 2);
        assert_eq!(rules.get("parallel; quorum=2").expect("a standard one").enough(4), 2);
        for taken in ["two_at_a_time", "sequential", "parallel"] {
            let refused = rules.add(taken, Arc::new(TwoAtATime));
            assert_eq!(refused, Err(NotAdded::Taken(taken.to_owned())));
        }
        for wrong in ["", "Two", "parallel; two", &"x".repeat(65)] {
            let refused = rules.add(wrong, Arc::new(TwoAtATime));
            assert!(matches!(refused, Err(NotAdded::NoName(_))), "{wrong:?}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_the_standard_ones_and_those_that_were_added() {
        let mut rules: Named<dyn SaveRule> = Named::default();
        rules.add("two_at_a_time", Arc::new(TwoAtATime)).expect("a name of its own");
        let unknown = rules.get("three").expect_err("nobody added it").to_string();
        assert!(unknown.contains("sequential") && unknown.contains("two_at_a_time"), "{unknown}");
        let none: Named<dyn ReadRule> = Named::default();
        let unknown = none.get("three").expect_err("nobody added it").to_string();
        assert!(unknown.ends_with("use ordered, race or hedged"), "{unknown}");
        assert!(Named::<dyn DeleteRule>::default().get("parallel").is_ok());
    }
}

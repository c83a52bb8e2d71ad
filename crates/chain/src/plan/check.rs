//! What makes no sense in a description is refused with the reason, before anything is opened.

use std::collections::BTreeSet;

use super::{Plan, StorePlan, TierPlan};
use crate::chain::WriteMode;

/// The least capacity that a tier of a described chain may have: 16 MiB, two chunks of the usual size. With less, nearly
/// everything would pass it by.
pub const CAPACITY_FLOOR: u64 = 16 << 20;

/// Most tiers of a chain: a node can tell of 64, those of chains within chains included.
const MOST_TIERS: usize = 16;
/// Most bytes of a tier's name.
const MOST_NAME_BYTES: usize = 64;

/// A described chain makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is no tier.
    #[error("the chain has no tier: describe at least one")]
    Empty,
    /// There are more tiers than a chain can have.
    #[error("the chain has {0} tiers: {MOST_TIERS} are the most")]
    TooMany(usize),
    /// A name is empty, or too long.
    #[error("a tier cannot be called {0:?}: use 1 to {MOST_NAME_BYTES} bytes")]
    BadName(String),
    /// Two tiers have one name.
    #[error("two tiers are called {0}: give each a name of its own")]
    SameName(String),
    /// The first tier is written behind.
    #[error(
        "tier {0} comes first and is written behind: a tier before it has to take the chunk before the answer"
    )]
    FirstBehind(String),
    /// No tier keeps what is answered.
    #[error("no tier is durable and written before the answer: what is acknowledged could be lost")]
    NothingDurable,
    /// A tier whose store forgets is said to be durable.
    #[error("tier {0} is gone with the process: it cannot be durable")]
    Forgets(String),
    /// The last durable tier lets go of chunks.
    #[error("tier {0} is the last durable one and has an LRU: what it evicts would be gone")]
    LastEvicts(String),
    /// A cache is written behind.
    #[error(
        "tier {0} is a cache and written behind: a cache is filled by writes and reads, or makes no sense"
    )]
    CacheBehind(String),
    /// Two tiers have one place, or one within the other.
    #[error("tiers {one} and {other} have the same place, or one within the other: {place}")]
    SamePlace {
        /// The first of them.
        one: String,
        /// The second.
        other: String,
        /// The place of the second.
        place: String,
    },
    /// The capacity is too small for what it is.
    #[error("tier {tier} may hold {capacity} bytes: at least {CAPACITY_FLOOR} are needed")]
    TooSmall {
        /// The tier.
        tier: String,
        /// Its capacity in bytes.
        capacity: u64,
    },
    /// The LRU's settings make no sense.
    #[error("tier {tier}: {problem}")]
    Lru {
        /// The tier.
        tier: String,
        /// What is wrong.
        problem: String,
    },
    /// A tier is written behind, and nothing remembers what is to be copied.
    #[error(
        "tier {0} is written behind: name a folder with behind-journal, which remembers what is to be copied"
    )]
    NoJournal(String),
    /// The settings of failures on purpose make no sense.
    #[error("tier {tier}: {problem}")]
    Faults {
        /// The tier.
        tier: String,
        /// What is wrong.
        problem: String,
    },
}

impl Plan {
    /// Everything that makes no sense, in the order of the tiers.
    ///
    /// # Errors
    /// A list that is not empty.
    pub fn check(&self) -> Result<(), Vec<PlanError>> {
        let mut problems = Vec::new();
        self.check_tiers(&mut problems);
        let mut places = Vec::new();
        self.places(&mut places);
        for (at, (other, place)) in places.iter().enumerate() {
            let beside = |earlier: &str| self.is_beside(earlier, place);
            let same = places[..at]
                .iter()
                .find(|(_, earlier)| overlap(earlier, place) && !beside(earlier));
            problems.extend(same.map(|(one, _)| PlanError::SamePlace {
                one: one.clone(),
                other: other.clone(),
                place: place.clone(),
            }));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Whether one of two places is segments in the node's folder, which leave other folders in it alone.
    fn is_beside(&self, one: &str, other: &str) -> bool {
        let Some(folder) = &self.folder else { return false };
        let folder = normal(&folder.display().to_string());
        let is_segments = |plan: &TierPlan| {
            matches!(plan.store, StorePlan::Segments(_))
                && plan.store.normal_place().as_ref() == Some(&folder)
        };
        one != other && (one == folder || other == folder) && self.tiers.iter().any(is_segments)
    }

    fn check_tiers(&self, problems: &mut Vec<PlanError>) {
        let Some(first) = self.tiers.first() else {
            problems.push(PlanError::Empty);
            return;
        };
        if first.tier.write == WriteMode::Behind {
            problems.push(PlanError::FirstBehind(first.tier.name.clone()));
        }
        if self.tiers.len() > MOST_TIERS {
            problems.push(PlanError::TooMany(self.tiers.len()));
        }
        let mut names = BTreeSet::new();
        for plan in &self.tiers {
            if !(1..=MOST_NAME_BYTES).contains(&plan.tier.name.len()) {
                problems.push(PlanError::BadName(plan.tier.name.clone()));
            }
            if !names.insert(&plan.tier.name) {
                problems.push(PlanError::SameName(plan.tier.name.clone()));
            }
            plan.check(self.behind_journal.is_some(), problems);
        }
        let sync = |plan: &&TierPlan| plan.tier.durable && plan.tier.write == WriteMode::Sync;
        if !self.tiers.iter().any(|plan| sync(&plan)) {
            problems.push(PlanError::NothingDurable);
        }
        let last = self.tiers.iter().rev().find(|plan| plan.tier.durable);
        let last = last.filter(|plan| plan.lru.is_some());
        problems.extend(last.map(|plan| PlanError::LastEvicts(plan.tier.name.clone())));
    }

    /// Where durable tiers keep chunks: their names, and a folder, a file, or a bucket with its prefix.
    pub fn durable_places(&self) -> Vec<(String, String)> {
        let mut places = Vec::new();
        for plan in self.tiers.iter().filter(|plan| plan.tier.durable) {
            places.extend(plan.store.normal_place().map(|place| (plan.tier.name.clone(), place)));
            if let StorePlan::Chain(chain) = &plan.store {
                places.extend(chain.durable_places());
            }
        }
        places
    }

    fn places(&self, places: &mut Vec<(String, String)>) {
        for plan in &self.tiers {
            if let StorePlan::Chain(chain) = &plan.store {
                chain.places(places);
            }
            places.extend(plan.store.normal_place().map(|place| (plan.tier.name.clone(), place)));
        }
        let journal = self.behind_journal.iter().map(|path| normal(&path.display().to_string()));
        places.extend(journal.map(|place| ("behind-journal".to_owned(), place)));
    }
}

impl TierPlan {
    fn check(&self, journal: bool, problems: &mut Vec<PlanError>) {
        let name = || self.tier.name.clone();
        if self.tier.write == WriteMode::Behind {
            if !journal {
                problems.push(PlanError::NoJournal(name()));
            }
            if !self.tier.durable {
                problems.push(PlanError::CacheBehind(name()));
            }
        }
        if self.tier.durable && self.store.is_volatile() {
            problems.push(PlanError::Forgets(name()));
        }
        if let StorePlan::Chain(chain) = &self.store {
            chain.check_tiers(problems);
        }
        if let Some(problem) = self.faults.as_ref().and_then(|faults| faults.check().err()) {
            problems.push(PlanError::Faults { tier: name(), problem: problem.to_string() });
        }
        let mut capacities: Vec<u64> = self.store.capacity().into_iter().collect();
        if let Some(lru) = &self.lru {
            capacities.push(lru.capacity);
            let problem = lru.check().err().map(|error| error.to_string());
            problems.extend(problem.map(|problem| PlanError::Lru { tier: name(), problem }));
        }
        let small = capacities.into_iter().filter(|capacity| *capacity < CAPACITY_FLOOR);
        problems.extend(small.map(|capacity| PlanError::TooSmall { tier: name(), capacity }));
    }
}

impl StorePlan {
    /// [`Self::place`], written in one way.
    pub(super) fn normal_place(&self) -> Option<String> {
        self.place().map(|place| normal(&place))
    }

    /// Where it is: a folder, a file, or a bucket with its prefix.
    fn place(&self) -> Option<String> {
        let path = match self {
            Self::Files(files) => &files.path,
            Self::Segments(segments) => &segments.path,
            Self::BTree(tree) => &tree.path,
            Self::Lsm(log) => &log.path,
            Self::Bucket(bucket) => {
                return Some(format!("{}/{}", bucket.bucket.address(), bucket.prefix));
            }
            Self::Memory(_) | Self::Nothing | Self::Chain(_) => return None,
        };
        Some(path.display().to_string())
    }

    /// Bytes that it may hold, where that is set.
    fn capacity(&self) -> Option<u64> {
        match self {
            Self::Memory(memory) => Some(memory.capacity),
            Self::Files(files) => files.config.capacity,
            Self::Segments(segments) => segments.config.capacity,
            Self::BTree(tree) => tree.capacity,
            Self::Lsm(log) => log.capacity,
            Self::Bucket(bucket) => Some(bucket.capacity),
            Self::Nothing | Self::Chain(_) => None,
        }
    }
}

/// The same place written in one way: without `.`, empty names and a `/` at the end. `..` is left to whoever opens it.
fn normal(place: &str) -> String {
    let absolute = if place.starts_with('/') { "/" } else { "" };
    let names = place.split('/').filter(|name| !name.is_empty() && *name != ".");
    format!("{absolute}{}", names.collect::<Vec<_>>().join("/"))
}

fn overlap(one: &str, other: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| {
            rest.is_empty() || rest.starts_with('/') || outer.is_empty() || outer == "/"
        })
    };
    within(one, other) || within(other, one)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::chain::TierConfig;
    use crate::memory::MemoryStoreConfig;
    use crate::plan::SegmentsPlan;
    use crate::segments::SegmentStoreConfig;
    use crate::wrap::LruConfig;

    fn segments(place: &str, capacity: Option<u64>) -> StorePlan {
        let config = SegmentStoreConfig { capacity, ..SegmentStoreConfig::default() };
        StorePlan::Segments(SegmentsPlan { path: place.into(), config })
    }

    fn tier(tier: TierConfig, place: &str) -> TierPlan {
        TierPlan {
            tier,
            store: segments(place, None),
            lru: None,
            timeout: None,
            metered: true,
            traced: false,
            scrub: true,
            faults: None,
        }
    }

    fn in_lru(plan: TierPlan, capacity: u64) -> TierPlan {
        TierPlan { lru: Some(LruConfig::of(capacity)), ..plan }
    }

    fn plan(tiers: Vec<TierPlan>) -> Plan {
        Plan { tiers, behind_journal: Some("/var/journal".into()), ..Plan::default() }
    }

    fn problems(tiers: Vec<TierPlan>) -> Vec<PlanError> {
        plan(tiers).check().err().unwrap_or_default()
    }

    fn disk() -> TierPlan {
        tier(TierConfig::named("disk"), "/var/disk")
    }

    fn bucket() -> TierPlan {
        tier(TierConfig::named("bucket").behind(), "/far/bucket")
    }

    #[test]
    fn a_disk_under_an_lru_with_a_bucket_behind_it_is_fine() {
        assert_eq!(problems(vec![in_lru(disk(), 500 << 20), bucket()]), []);
    }

    #[test]
    fn an_empty_chain_is_refused_also_within_another() {
        assert_eq!(problems(vec![]), [PlanError::Empty]);
        let inner = TierPlan { store: StorePlan::Chain(Box::default()), ..disk() };
        assert_eq!(problems(vec![inner]), [PlanError::Empty]);
    }

    #[test]
    fn an_lru_around_the_last_durable_tier_is_refused() {
        let evicts = |name: &str| PlanError::LastEvicts(name.to_owned());
        assert_eq!(problems(vec![in_lru(disk(), 500 << 20)]), [evicts("disk")]);
        let inner = Plan {
            behind_journal: Some("/var/inner".into()),
            ..plan(vec![disk(), tier(TierConfig::named("bucket").behind(), "/far/inner")])
        };
        let whole = TierPlan { store: StorePlan::Chain(Box::new(inner)), ..disk() };
        assert_eq!(problems(vec![in_lru(whole, 500 << 20)]), [evicts("disk")]);
        let cache = tier(TierConfig::named("cache").cache(), "/var/cache");
        assert_eq!(problems(vec![disk(), in_lru(cache, 500 << 20)]), []);
    }

    #[test]
    fn two_tiers_in_one_place_or_one_within_the_other_are_refused() {
        for (one, other) in [
            ("/a", "/a"),
            ("/a/", "/./a"),
            ("/a", "/a/b"),
            ("/a/b", "/a"),
            ("/", "/a"),
            ("a", "a//"),
        ] {
            let tiers =
                vec![tier(TierConfig::named("one"), one), tier(TierConfig::named("other"), other)];
            let found = Plan { tiers, ..Plan::default() }.check();
            let found = found.expect_err("the same place");
            assert!(matches!(found[..], [PlanError::SamePlace { .. }]), "{one} {other}: {found:?}");
        }
        let other = tier(TierConfig::named("other"), "/var/diskette");
        assert_eq!(problems(vec![disk(), other]), []);
        let journal = tier(TierConfig::named("other"), "/var/journal");
        assert_eq!(problems(vec![disk(), journal]).len(), 1);
    }

    #[test]
    fn segments_in_the_nodes_folder_leave_room_for_other_tiers_in_it() {
        let tiers = vec![
            in_lru(tier(TierConfig::named("disk"), "."), 500 << 20),
            tier(TierConfig::named("far").behind(), "far"),
        ];
        let plan = Plan { behind_journal: Some("behind".into()), ..plan(tiers) };
        assert_eq!(plan.clone().within(Path::new("/srv/node")).check(), Ok(()));
        let mut twice = plan;
        twice.tiers.push(tier(TierConfig::named("again"), "."));
        let twice = twice.within(Path::new("/srv/node")).check().expect_err("the same place");
        assert!(matches!(twice[..], [PlanError::SamePlace { .. }]), "{twice:?}");
    }

    #[test]
    fn a_tier_behind_needs_a_durable_one_before_it_and_a_journal() {
        let name = "bucket".to_owned();
        let first = [PlanError::FirstBehind(name.clone()), PlanError::NothingDurable];
        assert_eq!(problems(vec![bucket()]), first);
        assert_eq!(problems(vec![bucket(), disk()]), [PlanError::FirstBehind(name.clone())]);
        let cache = tier(TierConfig::named("cache").cache(), "/var/cache");
        assert_eq!(problems(vec![cache, bucket()]), [PlanError::NothingDurable]);
        let unremembered = Plan { tiers: vec![disk(), bucket()], ..Plan::default() };
        assert_eq!(unremembered.check(), Err(vec![PlanError::NoJournal(name)]));
    }

    #[test]
    fn a_capacity_below_the_floor_is_refused() {
        let small = |capacity| PlanError::TooSmall { tier: "disk".to_owned(), capacity };
        assert_eq!(problems(vec![in_lru(disk(), 1 << 20), bucket()]), [small(1 << 20)]);
        let tiny = problems(vec![in_lru(disk(), 9), bucket()]);
        assert!(
            matches!(tiny[..], [PlanError::Lru { .. }, PlanError::TooSmall { .. }]),
            "{tiny:?}"
        );
        let store = segments("/var/disk", Some(CAPACITY_FLOOR - 1));
        assert_eq!(problems(vec![TierPlan { store, ..disk() }]), [small(CAPACITY_FLOOR - 1)]);
    }

    #[test]
    fn memory_is_no_durable_tier() {
        let store = StorePlan::Memory(MemoryStoreConfig { capacity: 64 << 20 });
        let said = TierPlan { store: store.clone(), ..disk() };
        assert_eq!(problems(vec![said, bucket()]), [PlanError::Forgets("disk".to_owned())]);
        let cache = TierPlan { store, ..tier(TierConfig::named("cache").cache(), "/") };
        assert_eq!(problems(vec![cache.clone()]), [PlanError::NothingDurable]);
        assert_eq!(problems(vec![cache, disk()]), []);
    }

    #[test]
    fn two_tiers_in_one_bucket_under_one_prefix_are_refused() {
        let bucket = |name: &str, prefix: &str| {
            let text = format!(
                "name = '{name}'
                 store = {{ kind = 'bucket', capacity = '1 TiB', prefix = '{prefix}',
                            bucket = {{ provider = 's3', name = 'b' }} }}"
            );
            toml::from_str::<TierPlan>(&text).expect("a tier")
        };
        let found = problems(vec![disk(), bucket("one", "x"), bucket("other", "x/y")]);
        assert!(matches!(found[..], [PlanError::SamePlace { .. }]), "{found:?}");
        assert_eq!(problems(vec![disk(), bucket("one", "x"), bucket("other", "y")]), []);
    }
}

//! Faults on purpose in the master: each is found by both tiers, by the checker whose business it is. A checker that
//! cannot fail is worth nothing.

use cairn_chunk_master::SeededBug;
use cairn_sim::{CoreScenario, Scenario};

/// Seeds of the core tier within which a bug must show.
const CORE_SEEDS: u64 = 3000;
/// Seeds of the whole stack within which a bug must show.
const STACK_SEEDS: u64 = 12;

/// The first violation of any seed that contains one of `texts`.
fn found(violations: impl Iterator<Item = Vec<String>>, texts: &[&str]) -> Result<(), String> {
    let mut others = Vec::new();
    for violations in violations {
        for violation in violations {
            if texts.iter().any(|text| violation.contains(text)) {
                return Ok(());
            }
            others.push(violation);
        }
    }
    Err(format!("not found; what was found instead: {others:#?}"))
}

fn found_by_core(bug: SeededBug, texts: &[&str]) {
    let seeds = (1..=CORE_SEEDS).map(|seed| {
        CoreScenario { seeded_bug: Some(bug), ..CoreScenario::new(seed) }.run().violations
    });
    assert_eq!(found(seeds, texts), Ok(()), "{bug:?} in the core tier");
}

fn found_by_stack(bug: SeededBug, texts: &[&str]) {
    let seeds = (1..=STACK_SEEDS)
        .map(|seed| Scenario { seeded_bug: Some(bug), ..Scenario::new(seed) }.run().violations);
    assert_eq!(found(seeds, texts), Ok(()), "{bug:?} in the whole stack");
}

/// What the core tier alone plays: files that come back, and a bucket that comes and goes.
mod operators {
    use super::{SeededBug, found_by_core};

    #[test]
    fn a_file_that_comes_back_and_is_purged_all_the_same_is_found() {
        found_by_core(SeededBug::UndeleteKeepsWaiting, &["condemned"]);
    }

    #[test]
    fn a_bucket_that_is_made_before_its_predecessor_is_gone_is_found() {
        found_by_core(SeededBug::CreateWhileDeleting, &["not linearizable: passing/"]);
    }

    #[test]
    fn a_bucket_that_goes_under_open_uploads_is_found() {
        found_by_core(SeededBug::DeleteUnderUploads, &["the account of bucket passing"]);
    }
}

/// What the core tier alone plays: copies that are made anew, and orders to delete that come late.
mod repairs {
    use super::{SeededBug, found_by_core};

    #[test]
    fn a_stray_that_is_deleted_whenever_the_order_arrives_is_found() {
        found_by_core(SeededBug::DeleteUnfenced, &["was erased"]);
    }

    #[test]
    fn a_copy_that_was_begun_and_is_kept_though_nobody_names_it_is_found() {
        found_by_core(SeededBug::KeepBegunCopies, &["the catalog does not name"]);
    }
}

/// One test for each bug and tier.
macro_rules! bugs {
    ($($name:ident: $bug:ident, core $core:expr, stack $stack:expr;)+) => {
        mod core_tier {
            $(#[test] fn $name() { super::found_by_core(super::SeededBug::$bug, &$core); })+
        }
        mod whole_stack {
            $(#[test] fn $name() { super::found_by_stack(super::SeededBug::$bug, &$stack); })+
        }
    };
}

bugs! {
    an_abort_that_forgets_a_reservation_is_found: SkipRelease,
        core ["the account of bucket default"], stack ["reserved that no upload holds"];
    a_commit_that_is_charged_twice_is_found: SettleTwice,
        core ["the account of"], stack ["the account of"];
    a_condition_that_is_decided_outside_the_commit_is_found: ConditionOutside,
        core ["not linearizable"], stack ["not linearizable"];
    a_commit_that_is_answered_before_it_is_durable_is_found: BufferedCommit,
        core ["not linearizable"], stack ["not linearizable"];
    a_delete_that_is_answered_before_it_is_durable_is_found: BufferedDelete,
        core ["not linearizable"], stack ["not linearizable"];
    a_purge_that_does_not_ask_who_reads_is_found: PurgeIgnoresReaders,
        core ["under its reader"], stack ["under its reader"];
    a_sweep_that_takes_chunks_of_open_uploads_is_found: SweepOpenBlobs,
        core ["byte is lost", "should be on", "was erased"], stack ["cannot be read after healing", "should be on", "cannot be written after healing"];
}

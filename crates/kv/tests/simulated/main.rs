//! The simulated store: what it loses, what it keeps, and what it says.

#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

use std::sync::atomic::{AtomicU64, Ordering};

use cairn_kv::simulated::{Death, Odds, SimulatedStore};
use cairn_kv::{AccessError, Durability, KeyRange, Kv, Read, TransactError};
use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use tokio::runtime::Builder;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Chance that repeats: a linear congruential generator (Knuth's MMIX).
fn chance(seed: u64) -> impl Fn(u64) -> u64 + Send + Sync {
    let state = AtomicU64::new(seed);
    move |below| {
        let next = |s: u64| {
            s.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
        };
        let old =
            state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |s| Some(next(s))).unwrap();
        (next(old) >> 33) % below
    }
}

async fn put(
    kv: &Kv,
    durability: Durability,
    key: String,
) -> Result<(), TransactError<AccessError>> {
    kv.transact(durability, move |txn| txn.put(key.clone(), "")).await
}

async fn keys(kv: &Kv) -> Vec<String> {
    let entries =
        kv.view(|view| view.scan(&KeyRange::all(), usize::MAX, cairn_kv::Direction::Forward));
    entries.await.unwrap().iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect()
}

#[test]
fn a_synced_transaction_survives_with_everything_before_it() {
    block_on(async {
        let store = SimulatedStore::new(|_| 0);
        let kv = store.open();
        put(&kv, Durability::Buffered, "a".into()).await.unwrap();
        put(&kv, Durability::Synced, "b".into()).await.unwrap();
        put(&kv, Durability::Buffered, "c".into()).await.unwrap();
        assert_eq!(keys(&kv).await, ["a", "b", "c"]);
        assert_eq!(store.crash(), 1);
        assert_eq!(keys(&store.open()).await, ["a", "b"]);
        let closed = put(&kv, Durability::Synced, "d".into()).await;
        assert!(matches!(closed, Err(TransactError::Closed(_))), "the handle of an earlier life");
    });
}

#[test]
fn a_synced_transaction_without_writes_covers_what_came_before_it() {
    block_on(async {
        let store = SimulatedStore::new(|_| 0);
        let kv = store.open();
        put(&kv, Durability::Buffered, "a".into()).await.unwrap();
        let nothing = |_: &mut cairn_kv::Txn<'_>| Ok::<(), AccessError>(());
        kv.transact(Durability::Synced, nothing).await.unwrap();
        assert_eq!((store.crash(), keys(&store.open()).await.len()), (0, 1));
    });
}

#[test]
fn a_planned_death_strikes_one_transaction_which_happened_or_not_and_whose_caller_is_not_told() {
    for (happened, left) in [(false, vec!["a"]), (true, vec!["a", "b"])] {
        let left: Vec<String> = left.into_iter().map(str::to_owned).collect();
        block_on(async {
            let store = SimulatedStore::new(|_| 0);
            let kv = store.open();
            store.die(Death { at: 2, happened });
            put(&kv, Durability::Synced, "a".into()).await.unwrap();
            let died = put(&kv, Durability::Synced, "b".into()).await;
            assert!(matches!(died, Err(TransactError::MayHaveHappened(_))));
            let closed = put(&kv, Durability::Synced, "c".into()).await;
            assert!(matches!(closed, Err(TransactError::Closed(_))), "the process is gone");
            let next = store.open();
            assert_eq!((keys(&next).await, store.changes()), (left, 2));
            put(&next, Durability::Synced, "d".into()).await.unwrap();
        });
    }
}

#[test]
fn a_close_in_order_loses_nothing() {
    block_on(async {
        let store = SimulatedStore::new(|_| 0);
        let kv = store.open();
        put(&kv, Durability::Buffered, "a".into()).await.unwrap();
        kv.close().await.unwrap();
        assert_eq!((store.crash(), keys(&store.open()).await.len()), (0, 1));
    });
}

#[test]
fn a_conflict_runs_the_closure_again_and_writes_once() {
    block_on(async {
        let store = SimulatedStore::new(chance(7));
        store.set_odds(Odds { conflict: 2, pauses: 2, ..Odds::default() });
        let kv = store.open();
        let mut runs = 0;
        for n in 1..=50_u32 {
            let counted = kv.transact(Durability::Buffered, move |txn| {
                runs += 1;
                let stored =
                    txn.get(b"n")?.map_or(0, |n| u32::from_be_bytes(n[..].try_into().unwrap()));
                txn.put("n", (stored + 1).to_be_bytes().to_vec())?;
                Ok::<_, AccessError>((stored + 1, runs))
            });
            assert_eq!(counted.await.unwrap().0, n);
        }
        assert!(store.struck()["kv conflict"] > 10, "{:?}", store.struck());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A store counts up, one key per transaction, with every fault, and crashes at the end.
    #[test]
    fn a_crash_takes_a_tail_of_what_was_buffered_and_answers_are_never_a_guess(
        history in vec(prop_oneof![3 => Just(Durability::Buffered), 1 => Just(Durability::Synced)], 1..40),
        seed in any::<u64>(),
    ) {
        block_on(async {
            let store = SimulatedStore::new(chance(seed));
            store.set_odds(Odds { conflict: 3, failure: 7, unknown: 5, busy: 7, pauses: 2 });
            let kv = store.open();
            let (mut done, mut synced, mut refused) = (Vec::new(), Vec::new(), Vec::new());
            for (n, durability) in history.into_iter().enumerate() {
                let key = format!("{n:03}");
                match put(&kv, durability, key.clone()).await {
                    Ok(()) => {
                        done.push(key);
                        if durability == Durability::Synced {
                            synced.clone_from(&done);
                        }
                    }
                    Err(TransactError::MayHaveHappened(_)) => {}
                    Err(_) => refused.push(key),
                }
            }
            store.set_odds(Odds::default());
            let before = keys(&kv).await;
            store.crash();
            let after = keys(&store.open()).await;
            prop_assert!(before.starts_with(&after), "{:?} is no beginning of {:?}", after, before);
            prop_assert!(!refused.iter().any(|key| before.contains(key)), "a refused transaction happened");
            // A storage failure in the middle may lose buffered transactions, never synced ones.
            let kept = synced.iter().filter(|key| !after.contains(key)).count();
            let lost = store.struck().get("buffered transactions lost").copied().unwrap_or(0);
            prop_assert!(lost > 0 || kept == 0, "{} synced transactions are gone", kept);
            let last_synced = synced.last();
            prop_assert_eq!(last_synced.is_none_or(|key| after.contains(key)), true);
            Ok(())
        })?;
    }
}

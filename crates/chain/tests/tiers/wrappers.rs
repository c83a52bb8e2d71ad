//! A bound on calls, and calls observed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_chain::chain::{Chain, ChainConfig, Tier, TierConfig};
use cairn_chain::conformance::{get_all, put};
use cairn_chain::report::{FaultKind, TierErrors, TierOp};
use cairn_chain::wrap::{Call, CallLog, Nothing, Observed, Outcome, StoreObserver};
use cairn_chain::wrap::{Timeout, TimeoutConfig};
use cairn_chain::{ChunkStore, DeleteError, ReadError, WriteError};
use cairn_runtime::Clock;

use super::gate::{At, Gate};
use super::setup::{bytes, chunk, disk, file, seams, sync};

async fn bounded() -> (Timeout, Arc<Gate>) {
    let gate = Gate::around(file(&disk(), 0).await);
    let timeout = Timeout::new(gate.clone(), &TimeoutConfig::default(), Clock::system());
    (timeout, gate)
}

/// Row B37.
#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_fails_after_a_minute_and_the_next_one_goes_through() {
    let minute = Duration::from_secs(60);
    assert_eq!(TimeoutConfig::default().call, minute);
    let (store, gate) = bounded().await;
    for at in [At::Begin, At::Append, At::Finish] {
        gate.shut(at);
        let stored = put(&store, chunk(0), &bytes(1000)).await;
        let Err(error @ WriteError::TimedOut(bound)) = stored else { panic!("{stored:?}") };
        assert!(bound == minute && error.is_retryable());
        gate.open(at);
        assert_eq!(store.usage().open_writes, 0, "{at:?}");
    }
    put(&store, chunk(0), &bytes(1000)).await.expect("it works again");
    for at in [At::Read, At::Frame] {
        gate.shut(at);
        let read = get_all(&store, chunk(0)).await;
        assert!(matches!(read, Err(ReadError::TimedOut(_))), "{at:?}: {read:?}");
        gate.open(at);
    }
    gate.shut(At::Delete);
    let deleted = store.delete(vec![chunk(0)]).await;
    assert!(matches!(deleted, Err(DeleteError::TimedOut(_))), "{deleted:?}");
    gate.open(At::Delete);
    get_all(&store, chunk(0)).await.expect("it works again");
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_hangs_is_reported_as_late_and_the_next_one_answers() {
    let (late, gate) = bounded().await;
    let (errors, mut receiver) = TierErrors::channel(10);
    let tiers = vec![sync("late", Arc::new(late)), sync("two", file(&disk(), 1).await)];
    let chain = Chain::open(ChainConfig::default(), tiers, None, seams(errors)).unwrap();
    put(&chain, chunk(0), &bytes(1000)).await.unwrap();
    gate.shut(At::Read);
    assert!(get_all(&chain, chunk(0)).await.unwrap() == bytes(1000));
    let error = receiver.recv().await.unwrap();
    assert_eq!((&*error.tier, error.op), ("late", TierOp::Read));
    assert_eq!(error.error.kind, FaultKind::TimedOut);
}

#[derive(Debug, Default)]
struct Notes(Mutex<Vec<Note>>);

/// Operation, bytes, outcome.
type Note = (&'static str, Option<u64>, &'static str);

impl StoreObserver for Notes {
    fn called(&self, call: &Call<'_>) {
        assert_eq!(call.tag, "disk");
        let note = (call.op.name(), call.bytes, call.outcome.name());
        self.0.lock().expect("no panic").push(note);
    }
}

impl Notes {
    fn take(&self) -> Vec<Note> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

/// Rows B39 and B40.
#[tokio::test]
async fn each_call_is_told_with_its_size_and_outcome() {
    let gate = Gate::around(file(&disk(), 0).await);
    let notes = Arc::new(Notes::default());
    let store = Observed::new("disk", gate.clone(), notes.clone(), Clock::system());
    put(&store, chunk(0), &bytes(1000)).await.unwrap();
    get_all(&store, chunk(0)).await.unwrap();
    get_all(&store, chunk(1)).await.expect_err("absent");
    let thousand = Some(1000);
    let seen = [
        ("begin", thousand, "done"),
        ("append", thousand, "done"),
        ("finish", thousand, "done"),
        ("read", thousand, "done"),
        ("read", None, "not found"),
    ];
    assert_eq!(notes.take(), seen);
    gate.fail(At::Begin, 0, 1);
    store.begin(chunk(0), 7).await.expect_err("on purpose");
    gate.shut(At::Delete);
    let deletion = store.delete(vec![chunk(0)]);
    assert!(futures_util::FutureExt::now_or_never(deletion).is_none());
    store.close().await;
    let seen =
        [("begin", Some(7), "failed"), ("delete", None, "cancelled"), ("close", None, "done")];
    assert_eq!(notes.take(), seen);
    assert_eq!(Outcome::Failed(FaultKind::TimedOut).name(), "timed out");
}

/// Row B40: a link that only logs.
#[tokio::test]
async fn a_link_that_holds_nothing_lets_everything_through() {
    let log = Observed::new("log", Arc::new(Nothing), Arc::new(CallLog), Clock::system());
    let quiet = TierConfig { promote: false, ..TierConfig::named("log").cache() };
    let disk = file(&disk(), 1).await;
    let tiers = vec![Tier::new(quiet, Arc::new(log)), sync("disk", disk)];
    let (errors, mut receiver) = TierErrors::channel(10);
    let chain = Chain::open(ChainConfig::default(), tiers, None, seams(errors)).unwrap();
    put(&chain, chunk(0), &bytes(1000)).await.unwrap();
    assert!(get_all(&chain, chunk(0)).await.unwrap() == bytes(1000));
    assert_eq!(chain.delete(vec![chunk(0)]).await.unwrap(), 1);
    chain.settle().await;
    assert_eq!(chain.stats().promote.done, 0);
    receiver.try_recv().expect_err("nothing went wrong");
}

//! Runs that outlive their process. Row D30.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use cairn_kv::simulated::{Death, Odds, SimulatedStore};
use cairn_kv::{Durability, Kv, Txn};
use cairn_runtime::Clock;
use cairn_workflow::{
    Caller, Cancelled, CancelledBy, Check, Coordinator, Outcome, RunReport, RunStore, StepOutputs,
    StoreError,
};
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};

use crate::support::{BOUNDS, texts};

const RUN: &str = "upload 7";

/// What runs do to the world, which outlives processes as the store does.
#[derive(Debug, Default)]
struct World {
    /// What is there.
    there: Mutex<BTreeSet<&'static str>>,
    /// Phases that began, in order.
    begun: Mutex<Vec<String>>,
}

impl World {
    fn note(&self, phase: String) {
        self.begun.lock().expect("no panic").push(phase);
    }

    fn begun(&self) -> Vec<String> {
        self.begun.lock().expect("no panic").clone()
    }

    fn there(&self) -> Vec<&'static str> {
        self.there.lock().expect("no panic").iter().copied().collect()
    }
}

const STEPS: [&str; 3] = ["reserve", "write", "confirm"];

/// How the last step ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum End {
    Well,
    Badly,
    Cancelled,
}

/// Three steps that wait before and after they do something, the last of which ends as is asked for.
fn workflow(end: End) -> (Coordinator<World, End>, Vec<StepOutputs<String, u32>>) {
    let mut steps = Coordinator::<World, End>::builder("upload", Clock::system(), BOUNDS);
    let mut outputs = Vec::new();
    for (at, name) in STEPS.into_iter().enumerate() {
        let fails = at + 1 == STEPS.len();
        let added = steps
            .step(name)
            .pre_check(move |step| async move {
                step.context().note(format!("check {name}"));
                tokio::task::yield_now().await;
                Ok(Check::Go(name.to_owned()))
            })
            .job(move |step| async move {
                assert_eq!(*step.input(), end, "the input was stored");
                step.context().note(format!("job {name}"));
                tokio::task::yield_now().await;
                step.context().there.lock().expect("no panic").insert(name);
                tokio::task::yield_now().await;
                match *step.input() {
                    End::Badly if fails => Err("refused".into()),
                    End::Cancelled if fails => Err(Cancelled::because("no node is up").into()),
                    End::Well | End::Badly | End::Cancelled => Ok(u32::try_from(at)?),
                }
            })
            .compensate(move |step| async move {
                step.context().note(format!("undo {name}"));
                tokio::task::yield_now().await;
                step.context().there.lock().expect("no panic").remove(name);
                tokio::task::yield_now().await;
                Ok(())
            })
            .add();
        outputs.push(added);
    }
    (steps.build().expect("built"), outputs)
}

fn outcome(end: End) -> Outcome {
    let step = "confirm".to_owned();
    match end {
        End::Well => Outcome::Done,
        End::Badly => Outcome::Failed { step },
        End::Cancelled => Outcome::Cancelled { step, by: CancelledBy::Step },
    }
}

/// A store whose every transaction takes a few turns.
fn simulated() -> SimulatedStore {
    let store = SimulatedStore::new(|below| below - 1);
    store.set_odds(Odds { pauses: 2, ..Odds::default() });
    store
}

fn runs(store: &SimulatedStore) -> RunStore {
    RunStore::new(store.open(), "runs/")
}

/// A process of its own: it has the store and the world, and builds the workflow anew.
async fn process(
    runs: &RunStore,
    world: &Arc<World>,
    end: End,
) -> Result<(RunReport, Vec<StepOutputs<String, u32>>), StoreError> {
    let (steps, outputs) = workflow(end);
    let caller = Caller::new(Arc::clone(world));
    Ok((steps.start(runs, RUN, &caller, end).await?, outputs))
}

/// Lets `future` go on for so many turns; its output if it ended by then.
async fn for_turns<F: Future>(future: F, turns: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = turns;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        let polled = future.poll_unpin(context).map(Some);
        if polled.is_pending() {
            context.waker().wake_by_ref();
        }
        polled
    })
    .await
}

/// What must hold at the end, whatever was cut off: the outcome, the effects, and that nothing is done again of what a later
/// phase shows to be over. `lives` are what had begun at the end of each life.
fn check(
    end: End,
    report: &RunReport,
    outputs: &[StepOutputs<String, u32>],
    world: &World,
    lives: &[usize],
) {
    assert_eq!(report.outcome, outcome(end));
    let expected: &[&str] = if end == End::Well { &["confirm", "reserve", "write"] } else { &[] };
    assert_eq!(world.there(), expected);
    for (at, step) in outputs.iter().enumerate() {
        assert_eq!(report.output(step.checked).map(String::as_str), Ok(STEPS[at]));
    }
    assert_eq!(report.output(outputs[1].made), Ok(&1), "what a dead process made is read here");
    assert_eq!(report.errors.len(), usize::from(end != End::Well), "{:?}", texts(&report.errors));
    let order: Vec<String> = {
        let forward =
            STEPS.iter().flat_map(|name| [format!("check {name}"), format!("job {name}")]);
        let back = STEPS.iter().rev().map(|name| format!("undo {name}"));
        forward.chain(back.filter(|_| end != End::Well)).collect()
    };
    let place = |phase: &String| order.iter().position(|other| other == phase).expect("a phase");
    let begun = world.begun();
    let missing = order.iter().find(|phase| !begun.contains(phase));
    assert_eq!(missing, None, "each phase ran");
    let mut lives = lives.iter().copied().collect::<BTreeSet<_>>();
    for (at, phases) in begun.windows(2).enumerate() {
        let (before, next) = (place(&phases[0]), place(&phases[1]));
        // A new life begins with the step that was running, at its pre-check.
        let again = if lives.remove(&(at + 1)) {
            before - usize::from(order[before].starts_with("job"))
        } else {
            before + 1
        };
        assert!(next == before + 1 || next == again, "{begun:?}");
    }
}

#[tokio::test]
async fn a_run_that_is_dropped_at_any_two_turns_goes_on_elsewhere_without_doing_again_what_was_done()
 {
    for end in [End::Well, End::Badly, End::Cancelled] {
        let mut cut = 0;
        for first in 0.. {
            let mut ended_at_once = false;
            for second in 0..60 {
                let (store, world) = (simulated(), Arc::default());
                let runs = runs(&store);
                let mut lives = Vec::new();
                ended_at_once = for_turns(process(&runs, &world, end), first).await.is_some();
                lives.push(world.begun().len());
                if for_turns(process(&runs, &world, end), second).await.is_some() {
                    break;
                }
                lives.push(world.begun().len());
                let (report, outputs) = process(&runs, &world, end).await.expect("the store works");
                check(end, &report, &outputs, &world, &lives);
                cut += 1;
            }
            if ended_at_once {
                break;
            }
        }
        assert!(cut > 500, "{cut} pairs of turns");
    }
}

#[tokio::test]
async fn a_run_whose_process_dies_at_any_of_its_transactions_goes_on_elsewhere() {
    for end in [End::Well, End::Badly, End::Cancelled] {
        for happened in [false, true] {
            for at in 1.. {
                let (store, world) = (simulated(), Arc::default());
                store.die(Death { at, happened });
                let died = process(&runs(&store), &world, end).await;
                let lives = [world.begun().len()];
                let (report, outputs) = process(&runs(&store), &world, end).await.expect("resumed");
                check(end, &report, &outputs, &world, &lives);
                if let Err(error) = died {
                    assert!(error.is_retryable(), "{error}");
                } else {
                    assert!(at > 7, "six writes at least and {at} tried");
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_run_that_was_cancelled_before_it_was_resumed_takes_back_the_job_that_was_running() {
    let (store, world) = (simulated(), Arc::<World>::default());
    let runs = runs(&store);
    let mut dropped = Box::pin(process(&runs, &world, End::Well));
    while !world.begun().contains(&"job write".to_owned()) {
        assert!(futures_util::poll!(&mut dropped).is_pending());
    }
    drop(dropped);
    let (steps, _) = workflow(End::Well);
    let caller = Caller::new(Arc::clone(&world));
    caller.cancel.cancel();
    let report = steps.resume(&runs, RUN, &caller).await.expect("resumed");
    let (step, by) = ("write".to_owned(), CancelledBy::Caller);
    assert_eq!(report.outcome, Outcome::Cancelled { step, by });
    assert_eq!(world.begun().split_off(world.begun().len() - 2), ["undo write", "undo reserve"]);
    assert!(world.there().is_empty());
}

#[tokio::test]
async fn a_run_that_has_ended_gives_its_report_again_and_runs_nothing() {
    let world = Arc::<World>::default();
    let runs = RunStore::new(Kv::memory(), "runs/");
    let (first, _) = process(&runs, &world, End::Badly).await.expect("ran");
    let begun = world.begun();
    let (steps, outputs) = workflow(End::Badly);
    let caller = Caller::new(Arc::clone(&world));
    let again = steps.resume(&runs, RUN, &caller).await.expect("read");
    assert_eq!((&again.outcome, world.begun()), (&first.outcome, begun));
    assert_eq!(texts(&again.errors), texts(&first.errors));
    assert_eq!(again.output(outputs[0].made), Ok(&0));
}

#[tokio::test]
async fn of_two_who_go_on_with_one_run_the_slower_one_stops() {
    let (store, world) = (simulated(), Arc::<World>::default());
    let runs = runs(&store);
    let mut slow = Box::pin(process(&runs, &world, End::Badly));
    while !world.begun().contains(&"job write".to_owned()) {
        assert!(futures_util::poll!(&mut slow).is_pending());
    }
    let (report, _) = process(&runs, &world, End::Badly).await.expect("the faster one ends it");
    assert_eq!(report.outcome, outcome(End::Badly));
    let error = slow.await.expect_err("overtaken");
    assert!(matches!(&error, StoreError::Overtaken(id) if id == RUN) && error.is_retryable());
    assert_eq!(world.begun().iter().filter(|phase| phase.starts_with("undo")).count(), 3);
}

#[tokio::test]
async fn a_run_that_is_forgotten_in_a_transaction_is_unknown_and_may_be_begun_anew() {
    let world = Arc::<World>::default();
    let kv = Kv::memory();
    let runs = RunStore::new(kv.clone(), "runs/");
    process(&runs, &world, End::Well).await.expect("ran");
    let forgetting = runs.clone();
    let forget = move |txn: &mut Txn<'_>| forgetting.forget(txn, RUN);
    kv.transact(Durability::Synced, forget).await.expect("forgotten");
    let (steps, _) = workflow(End::Well);
    let caller = Caller::new(Arc::clone(&world));
    let unknown = steps.resume(&runs, RUN, &caller).await.expect_err("unknown");
    assert!(matches!(&unknown, StoreError::NotFound(id) if id == RUN) && !unknown.is_retryable());
    let before = world.begun().len();
    process(&runs, &world, End::Well).await.expect("ran");
    assert_eq!(world.begun().len(), 2 * before);
}

#[tokio::test]
async fn a_run_is_not_resumed_by_a_workflow_of_another_name_or_other_steps() {
    let world = Arc::<World>::default();
    let runs = RunStore::new(Kv::memory(), "runs/");
    process(&runs, &world, End::Well).await.expect("ran");
    for (name, steps) in [("import", &STEPS[..]), ("upload", &STEPS[..2])] {
        let mut other = Coordinator::<World, End>::builder(name, Clock::system(), BOUNDS);
        for step in steps {
            other.step(step).job(|_| async { Ok(()) }).add();
        }
        let other = other.build().expect("built");
        let caller = Caller::new(Arc::clone(&world));
        let error = other.resume(&runs, RUN, &caller).await.expect_err("refused");
        assert!(matches!(&error, StoreError::AnotherWorkflow { id, .. } if id == RUN), "{error}");
    }
}

#[tokio::test]
async fn a_record_that_is_damaged_is_refused_and_never_guessed_at() {
    let world = Arc::<World>::default();
    let kv = Kv::memory();
    let runs = RunStore::new(kv.clone(), "runs/");
    process(&runs, &world, End::Well).await.expect("ran");
    let damage = |txn: &mut Txn<'_>| -> Result<(), cairn_kv::AccessError> {
        use cairn_kv::Read;
        let key = [&b"runs/"[..], RUN.as_bytes()].concat();
        let mut value = txn.get(&key)?.unwrap_or_default().to_vec();
        value[20] ^= 1;
        txn.put(key, value)
    };
    kv.transact(Durability::Synced, damage).await.expect("damaged");
    let error = process(&runs, &world, End::Well).await.expect_err("damaged");
    assert!(matches!(&error, StoreError::Damaged { id, .. } if id == RUN), "{error}");
}

#[tokio::test]
async fn an_input_that_is_too_long_to_be_stored_is_refused_before_anything_runs() {
    let mut steps = Coordinator::<(), String>::builder("test", Clock::system(), BOUNDS);
    steps.step("never").job(|_| async { Err::<(), _>("not to be run".into()) }).add();
    let steps = steps.build().expect("built");
    let runs = RunStore::new(Kv::memory(), "runs/");
    let input = "x".repeat(cairn_workflow::MAX_INPUT_BYTES);
    let refused = steps.start(&runs, RUN, &Caller::new(Arc::new(())), input).await;
    assert!(matches!(refused, Err(StoreError::LongInput { .. })));
}

#[tokio::test]
async fn the_largest_run_fits_a_value_of_the_store() {
    let long = |what: &str| what.repeat(cairn_workflow::MAX_OUTPUT_BYTES - 2);
    let mut steps = Coordinator::<(), String>::builder("test", Clock::system(), BOUNDS);
    for at in 0..cairn_workflow::MAX_STEPS {
        let last = at + 1 == cairn_workflow::MAX_STEPS;
        steps
            .step(&format!("{at:0>100}"))
            .pre_check(move |_| async move { Ok(Check::Go(long("p"))) })
            .job(move |_| async move { if last { Err(long("é").into()) } else { Ok(long("j")) } })
            .compensate(move |_| async move { Err(long("é").into()) })
            .add();
    }
    let steps = steps.build().expect("built");
    let runs = RunStore::new(Kv::memory(), "runs/");
    let input = "x".repeat(cairn_workflow::MAX_INPUT_BYTES - 2);
    let caller = Caller::new(Arc::new(()));
    let report = steps.start(&runs, RUN, &caller, input).await.expect("stored");
    assert_eq!(report.not_undone().count(), cairn_workflow::MAX_STEPS);
    let again = steps.resume(&runs, RUN, &caller).await.expect("read");
    assert_eq!(again.outcome, report.outcome);
    assert!(again.errors.iter().all(|error| error.to_string().len() < 2000), "errors are cut");
}

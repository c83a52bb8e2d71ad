//! Many inputs. Rows D17 to D22, D24.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_runtime::Clock;
use cairn_workflow::{Caller, CancelledBy, Coordinator, Outcome};
use futures_util::{StreamExt, poll, stream};

use crate::support::{BOUNDS, Diary, SECOND, builder, caller, texts};

/// Runs that are going on, and the most that ever were.
#[derive(Debug, Default)]
struct AtWork {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl AtWork {
    fn enter(self: &Arc<Self>) -> Present {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        Present(Arc::clone(self))
    }
}

struct Present(Arc<AtWork>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Each input waits for as many seconds as it says.
fn waiting(clock: &Clock) -> Coordinator<AtWork, u64> {
    let mut steps = Coordinator::<AtWork, u64>::builder("test", clock.clone(), BOUNDS);
    let waits = clock.clone();
    steps
        .step("wait")
        .job(move |step| {
            let clock = waits.clone();
            async move {
                let _present = step.context().enter();
                clock.sleep(SECOND * u32::try_from(*step.input())?).await;
                Ok(())
            }
        })
        .add();
    steps.build().expect("built")
}

#[tokio::test(start_paused = true)]
async fn reports_come_as_runs_end_with_no_more_at_work_than_there_are_workers() {
    let clock = Clock::system();
    let steps = waiting(&clock);
    for (workers, order) in [(3, [1, 0, 2, 3, 4]), (1, [3, 1, 2, 0, 4])] {
        let caller = Caller::new(Arc::<AtWork>::default());
        let reports = steps.run_concurrent(&caller, stream::iter([3, 1, 2, 0, 4]), workers);
        let ended: Vec<u64> = reports.map(|(input, _)| *input).collect().await;
        assert_eq!(ended, order);
        assert_eq!(caller.context.most.load(Ordering::Relaxed), workers);
    }
}

#[tokio::test(start_paused = true)]
async fn without_workers_there_is_one() {
    let clock = Clock::system();
    let caller = Caller::new(Arc::<AtWork>::default());
    let ended = waiting(&clock).run_concurrent(&caller, stream::iter([1, 0]), 0).count().await;
    assert_eq!((ended, caller.context.most.load(Ordering::Relaxed)), (2, 1));
}

#[tokio::test]
async fn without_inputs_the_stream_ends_at_once() {
    let clock = Clock::system();
    let caller = Caller::new(Arc::<AtWork>::default());
    assert_eq!(waiting(&clock).run_concurrent(&caller, stream::empty(), 4).count().await, 0);
}

#[tokio::test]
async fn an_input_that_fails_or_panics_is_nothing_to_the_others_even_with_one_worker() {
    let mut steps = builder::<u32>();
    let doubled = steps
        .step("double")
        .job(|step| async move {
            match *step.input() {
                0 => Err("nothing to double".into()),
                1 => panic!("on purpose"),
                more => Ok(more * 2),
            }
        })
        .add();
    let (steps, caller) = (steps.build().expect("built"), caller());
    let reports: Vec<_> = steps.run_concurrent(&caller, stream::iter(0..4), 1).collect().await;
    let outcome = |at: usize| (*reports[at].0, reports[at].1.outcome.clone());
    assert_eq!(outcome(0), (0, Outcome::Failed { step: "double".to_owned() }));
    assert_eq!(texts(&reports[1].1.errors), [r#"job of "double": panicked: on purpose"#]);
    assert_eq!(reports[2].1.output(doubled.made), Ok(&4));
    assert_eq!(reports[3].1.output(doubled.made), Ok(&6));
}

#[tokio::test]
async fn a_thousand_inputs_twice_at_the_same_time_never_see_each_others_outputs() {
    let mut steps = builder::<(u8, u32)>();
    let first = steps.step("first").job(|step| async move { Ok(*step.input()) }).add();
    let second = steps
        .step("second")
        .job(move |step| async move {
            tokio::task::yield_now().await;
            let seen = *step.output(first.made)?;
            if seen != *step.input() {
                step.context().note(format!("{seen:?} in {:?}", step.input()));
            }
            Ok(seen)
        })
        .add();
    let (steps, caller) = (steps.build().expect("built"), caller());
    let all = |of: u8| {
        let inputs = stream::iter((0..1000).map(move |number| (of, number)));
        steps.run_concurrent(&caller, inputs, 16).collect::<Vec<_>>()
    };
    let (once, twice) = futures_util::join!(all(1), all(2));
    for (of, reports) in [(1, once), (2, twice)] {
        let mut seen: Vec<_> = reports
            .iter()
            .map(|(input, report)| {
                assert_eq!(report.output(second.made), Ok(&**input));
                **input
            })
            .collect();
        seen.sort_unstable();
        assert!(seen.iter().copied().eq((0..1000).map(|number| (of, number))));
    }
    assert_eq!(caller.context.take(), [""; 0]);
}

#[tokio::test]
async fn nothing_is_begun_ahead_of_who_reads_and_dropping_the_stream_drops_its_runs() {
    let mut steps = builder::<u32>();
    steps
        .step("hangs")
        .job(|step| async move {
            struct Note(Arc<Diary>, u32);
            impl Drop for Note {
                fn drop(&mut self) {
                    self.0.note(format!("{} dropped", self.1));
                }
            }
            let _note = Note(Arc::clone(step.context()), *step.input());
            step.context().note(format!("{} begins", step.input()));
            std::future::pending::<()>().await;
            Ok(())
        })
        .add();
    let (steps, caller) = (steps.build().expect("built"), caller());
    let mut reports = Box::pin(steps.run_concurrent(&caller, stream::iter(0..9), 2));
    assert_eq!(caller.context.take(), [""; 0], "nobody has asked yet");
    assert!(poll!(reports.next()).is_pending());
    assert_eq!(caller.context.take(), ["0 begins", "1 begins"]);
    drop(reports);
    let mut dropped = caller.context.take();
    dropped.sort_unstable();
    assert_eq!(dropped, ["0 dropped", "1 dropped"]);
}

#[tokio::test]
async fn a_caller_who_cancels_ends_the_runs_at_work_and_those_that_were_not_begun() {
    let mut steps = builder::<u32>();
    steps
        .step("hangs")
        .job(|step| async move {
            step.context().note(format!("{} begins", step.input()));
            std::future::pending::<()>().await;
            Ok(())
        })
        .add();
    let (steps, caller) = (steps.build().expect("built"), caller());
    let mut reports = Box::pin(steps.run_concurrent(&caller, stream::iter(0..5), 2));
    assert!(poll!(reports.next()).is_pending());
    caller.cancel.cancel();
    let ended: Vec<_> = reports.collect().await;
    assert_eq!(ended.len(), 5, "each input has its report");
    for (input, report) in &ended {
        let (step, by) = ("hangs".to_owned(), CancelledBy::Caller);
        assert_eq!(report.outcome, Outcome::Cancelled { step, by }, "{input}");
    }
    assert_eq!(caller.context.take(), ["0 begins", "1 begins"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_run_of_the_same_steps_does_not_wait_for_the_first() {
    let clock = Clock::system();
    let steps = waiting(&clock);
    let caller = Caller::new(Arc::<AtWork>::default());
    let mut first = Box::pin(steps.run(&caller, 50));
    assert!(poll!(&mut first).is_pending());
    assert_eq!(steps.run(&caller, 0).await.outcome, Outcome::Done);
    assert_eq!(first.await.outcome, Outcome::Done);
}

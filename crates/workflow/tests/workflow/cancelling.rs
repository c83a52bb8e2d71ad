//! Runs that are cancelled, or take too long. Rows D03, D05, D23, D26.

use cairn_runtime::Clock;
use cairn_workflow::{
    Bounds, Caller, Cancelled, CancelledBy, Check, Coordinator, Fault, Outcome, RunError,
};

use crate::support::{BOUNDS, Diary, SECOND, builder, caller, ending, noted, texts};

fn cancelled(step: &str, by: CancelledBy) -> Outcome {
    Outcome::Cancelled { step: step.to_owned(), by }
}

/// An error of a client, with the cancellation far down in its chain.
#[derive(Debug, thiserror::Error)]
#[error("ask the master")]
struct Wrapped(#[source] Inner);

#[derive(Debug, thiserror::Error)]
#[error("connect")]
struct Inner(#[source] Cancelled);

fn unreachable() -> Wrapped {
    Wrapped(Inner(Cancelled::by(std::io::Error::other("refused"))))
}

#[tokio::test]
async fn a_cancellation_in_the_chain_of_a_pre_checks_error_ends_the_run() {
    let mut steps = builder::<()>();
    noted(&mut steps, "first");
    steps
        .step("ask")
        .pre_check(|_| async { Err::<Check<()>, _>(unreachable().into()) })
        .job(|_| async { Ok(()) })
        .add();
    noted(&mut steps, "never");
    let caller = caller();
    let report = steps.build().expect("built").run(&caller, ()).await;
    assert_eq!(report.outcome, cancelled("ask", CancelledBy::Step));
    assert_eq!(caller.context.take(), ["first", "undo first"]);
    assert_eq!(texts(&report.errors), [r#"pre-check of "ask": ask the master"#]);
}

#[tokio::test]
async fn a_cancellation_by_a_job_cancels_as_one_by_a_pre_check_does() {
    let mut steps = builder::<()>();
    ending(&mut steps, "work", || Err(unreachable().into()));
    let caller = caller();
    let report = steps.build().expect("built").run(&caller, ()).await;
    assert_eq!(report.outcome, cancelled("work", CancelledBy::Step));
    assert_eq!(caller.context.take(), ["work", "undo work"]);
    let error = report.result().expect_err("cancelled");
    assert!(matches!(error, RunError::Cancelled { source: Some(_), .. }));
}

#[tokio::test]
async fn what_is_cancelled_before_it_begins_runs_nothing_and_names_the_first_step() {
    let mut steps = builder::<()>();
    noted(&mut steps, "first");
    let caller = caller();
    caller.cancel.cancel();
    let report = steps.build().expect("built").run(&caller, ()).await;
    assert_eq!(report.outcome, cancelled("first", CancelledBy::Caller));
    assert!(report.errors.is_empty() && caller.context.take().is_empty());
}

#[tokio::test]
async fn a_run_that_is_cancelled_between_steps_names_the_next_one() {
    let mut steps = builder::<()>();
    let caller = caller();
    let cancel = caller.cancel.clone();
    ending(&mut steps, "first", move || {
        cancel.cancel();
        Ok(())
    });
    noted(&mut steps, "second");
    let report = steps.build().expect("built").run(&caller, ()).await;
    assert_eq!(report.outcome, cancelled("second", CancelledBy::Caller));
    assert_eq!(caller.context.take(), ["first", "undo first"]);
}

#[tokio::test]
async fn a_step_that_waits_is_cut_off_and_taken_back() {
    let mut steps = builder::<()>();
    let caller = caller();
    let cancel = caller.cancel.clone();
    steps
        .step("waits")
        .job(move |_| {
            let cancel = cancel.clone();
            async move {
                cancel.cancel();
                std::future::pending::<()>().await;
                Ok(())
            }
        })
        .compensate(|step| async move {
            tokio::task::yield_now().await;
            step.context().note("undone though it is cancelled");
            Ok(())
        })
        .add();
    let report = steps.build().expect("built").run(&caller, ()).await;
    assert_eq!(report.outcome, cancelled("waits", CancelledBy::Caller));
    assert!(matches!(report.errors[0].fault, Fault::CutOff(CancelledBy::Caller)));
    assert_eq!(caller.context.take(), ["undone though it is cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_takes_longer_than_its_bound_fails_in_its_job_or_its_pre_check() {
    let clock = Clock::system();
    let mut steps = builder::<()>();
    let job = steps.step("slow").job(|_| std::future::pending());
    let _: cairn_workflow::StepOutputs<(), ()> = job.within(5 * SECOND).add();
    let report = steps.build().expect("built").run(&caller(), ()).await;
    assert_eq!(report.outcome, Outcome::Failed { step: "slow".to_owned() });
    assert!(matches!(report.errors[0].fault, Fault::Elapsed(bound) if bound == 5 * SECOND));
    assert_eq!(clock.monotonic().as_secs(), 5);

    let mut steps = builder::<()>();
    let check = |_| std::future::pending::<Result<Check<()>, _>>();
    steps.step("blind").pre_check(check).job(|_| async { Ok(()) }).add();
    let report = steps.build().expect("built").run(&caller(), ()).await;
    assert_eq!(report.outcome, Outcome::Failed { step: "blind".to_owned() });
    assert_eq!(clock.monotonic().as_secs(), 5 + BOUNDS.step.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_takes_longer_than_its_bound_is_cancelled_and_compensated() {
    let clock = Clock::system();
    let bounds = Bounds { run: 5 * SECOND, ..BOUNDS };
    let mut steps = Coordinator::<Diary, ()>::builder("test", clock.clone(), bounds);
    for name in ["two seconds", "two more", "and two"] {
        let clock = clock.clone();
        steps
            .step(name)
            .job(move |_| {
                let clock = clock.clone();
                async move {
                    clock.sleep(2 * SECOND).await;
                    Ok(())
                }
            })
            .compensate(move |step| async move {
                step.context().note(name);
                Ok(())
            })
            .add();
    }
    let caller = caller();
    let report = steps.build().expect("built").run(&caller, ()).await;
    assert_eq!(report.outcome, cancelled("and two", CancelledBy::Deadline));
    assert_eq!(caller.context.take(), ["and two", "two more", "two seconds"]);
    assert_eq!(clock.monotonic().as_secs(), 5);
}

#[tokio::test]
async fn steps_have_what_their_caller_gives_them_and_each_caller_its_own() {
    let mut steps = Coordinator::<String, ()>::builder("test", Clock::system(), BOUNDS);
    let told = steps.step("tell").job(|step| async move { Ok(step.context().len()) }).add();
    let steps = steps.build().expect("built");
    for name in ["", "a client", "another one"] {
        let caller = Caller::new(std::sync::Arc::new(name.to_owned()));
        assert_eq!(steps.run(&caller, ()).await.output(told.made), Ok(&name.len()));
    }
}

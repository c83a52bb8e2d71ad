//! One run: order, skips, failures, outputs, compensation. Rows D01, D02, D04, D06 to D10, D13, D15, D16, D27, D29.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_runtime::Clock;
use cairn_workflow::{
    Check, Coordinator, Fault, MAX_OUTPUT_BYTES, NoOutput, Outcome, Phase, RunError,
};

use crate::support::{BOUNDS, Diary, builder, caller, ending, noted, texts};

fn failed(step: &str) -> Outcome {
    Outcome::Failed { step: step.to_owned() }
}

#[tokio::test]
async fn ten_steps_run_in_order_each_after_the_one_before() {
    const NAMES: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let mut steps = builder();
    for name in NAMES {
        steps
            .step(name)
            .job(move |step| async move {
                step.context().note(format!("{name} begins"));
                tokio::task::yield_now().await;
                step.context().note(format!("{name} ends"));
                Ok(())
            })
            .add();
    }
    let caller = caller();
    let report = steps.build().expect("built").run(&caller, ()).await;
    assert_eq!(report.outcome, Outcome::Done);
    assert!(report.result().is_ok() && report.errors.is_empty());
    let expected: Vec<_> =
        NAMES.iter().flat_map(|name| [format!("{name} begins"), format!("{name} ends")]).collect();
    assert_eq!(caller.context.take(), expected);
}

#[tokio::test]
async fn a_pre_check_that_skips_or_fails_keeps_its_job_from_running_and_the_run_goes_on() {
    let mut steps = builder::<()>();
    let found = steps
        .step("found")
        .pre_check(|_| async { Ok(Check::skip(7, "it is there")) })
        .job(|step| async move {
            step.context().note("not to be run");
            Ok(8)
        })
        .add();
    let broken = steps
        .step("broken")
        .pre_check(|_| async { Err::<Check<u32>, _>("it cannot be seen".into()) })
        .job(|step| async move {
            step.context().note("not to be run");
            Ok(())
        })
        .add();
    noted(&mut steps, "next");
    let caller = caller();
    let report = steps.build().expect("built").run(&caller, ()).await;
    assert_eq!(report.outcome, Outcome::Done);
    assert_eq!(caller.context.take(), ["next"]);
    assert_eq!(
        texts(&report.errors),
        [r#"pre-check of "found": it is there"#, r#"pre-check of "broken": it cannot be seen"#],
    );
    assert_eq!(report.output(found.checked), Ok(&7), "what a skipping pre-check found is kept");
    let nothing = |step, phase| NoOutput::NotProduced { step, phase };
    assert_eq!(report.output(found.made), Err(nothing(0, Phase::Job)));
    assert_eq!(report.output(broken.checked), Err(nothing(1, Phase::PreCheck)));
}

#[tokio::test]
async fn a_job_that_fails_ends_the_run_which_names_the_step_and_keeps_the_cause() {
    let mut steps = builder::<()>();
    let checked = steps
        .step("copy")
        .pre_check(|_| async { Ok(Check::Go("from there".to_owned())) })
        .job(|_| async { Err::<u32, _>(std::io::Error::other("the disk is gone").into()) })
        .add();
    noted(&mut steps, "never");
    let caller = caller();
    let report = steps.build().expect("built").run(&caller, ()).await;
    assert_eq!(report.outcome, failed("copy"));
    assert_eq!(caller.context.take(), [""; 0]);
    assert_eq!(report.output(checked.checked).map(String::as_str), Ok("from there"));
    assert!(report.output(checked.made).is_err(), "a job's output counts when it succeeds");
    let error = report.result().expect_err("failed");
    assert!(matches!(&error, RunError::Failed { step, .. } if step == "copy"));
    assert_eq!(error.to_string(), r#"step "copy" failed"#);
    let of_step = error.source().expect("the error of the step");
    assert_eq!(of_step.to_string(), r#"job of "copy": the disk is gone"#);
    assert!(of_step.source().is_some_and(|cause| cause.is::<std::io::Error>()));
    let told = report.ended_by().expect("the step that ended it");
    assert!(told.cause::<std::io::Error>().is_some() && told.cause::<NoOutput>().is_none());
}

#[tokio::test]
async fn errors_of_pre_checks_and_jobs_stand_in_order_and_each_run_begins_without_any() {
    let fails = std::sync::Arc::new(AtomicBool::new(true));
    let mut steps = builder::<()>();
    steps
        .step("look")
        .pre_check(|_| async { Ok(Check::skip((), "no need")) })
        .job(|_| async { Ok(()) })
        .add();
    let failing = fails.clone();
    ending(&mut steps, "work", move || {
        if failing.load(Ordering::Relaxed) { Err("broken".into()) } else { Ok(()) }
    });
    let steps = steps.build().expect("built");
    let caller = caller();
    let report = steps.run(&caller, ()).await;
    let phases: Vec<_> = report.errors.iter().map(|error| (&*error.step, error.phase)).collect();
    assert_eq!(phases, [("look", Phase::PreCheck), ("work", Phase::Job)]);
    fails.store(false, Ordering::Relaxed);
    let again = steps.run(&caller, ()).await;
    assert_eq!(texts(&again.errors), [r#"pre-check of "look": no need"#]);
    assert_eq!((again.outcome, report.errors.len()), (Outcome::Done, 2), "the first report stays");
}

#[tokio::test]
async fn what_a_step_gave_is_read_with_its_type_by_steps_behind_it_and_only_of_the_same_run() {
    let mut steps = builder::<u32>();
    let first = steps
        .step("count")
        .pre_check(|step| async move {
            let even = step.input() % 2 == 0;
            Ok(if even { Check::Go(true) } else { Check::skip(false, "odd") })
        })
        .job(|step| async move { Ok(step.input() * 10) })
        .add();
    let second = steps
        .step("tell")
        .job(move |step| async move {
            let made = step.output(first.made).ok().copied();
            Ok(format!("{} {made:?}", step.output(first.checked)?))
        })
        .add();
    let steps = steps.build().expect("built");
    let caller = caller();
    for (input, told) in [(2, "true Some(20)"), (3, "false None"), (0, "true Some(0)")] {
        let report = steps.run(&caller, input).await;
        assert_eq!(report.output(second.made).map(String::as_str), Ok(told));
    }
}

#[tokio::test]
async fn the_output_of_another_workflow_is_told_from_one_that_is_not_there() {
    let mut other = builder::<()>();
    let foreign = other.step("same").job(|_| async { Ok(1) }).add();
    let mut steps = builder::<()>();
    let own = steps.step("same").job(|_| async { Ok(2) }).add();
    let report = steps.build().expect("built").run(&caller(), ()).await;
    assert_eq!(report.output(own.made), Ok(&2));
    assert_eq!(report.output(foreign.made), Err(NoOutput::AnotherWorkflow));
}

#[tokio::test]
async fn a_step_reads_its_own_outputs_and_none_of_a_step_behind_it() {
    let mut steps = builder::<()>();
    let step = steps.step("own").pre_check(|_| async { Ok(Check::Go(5)) });
    let checked = step.checked();
    let step = step.job(move |step| async move { Ok(step.output(checked)? + 1) });
    let made = step.made();
    let own = step
        .compensate(move |step| async move {
            step.context().note(format!("made {}", step.output(made)?));
            Ok(())
        })
        .add();
    ending(&mut steps, "fails", || Err("broken".into()));
    let caller = caller();
    let report = steps.build().expect("built").run(&caller, ()).await;
    assert_eq!(report.output(own.made), Ok(&6));
    assert_eq!(caller.context.take(), ["fails", "undo fails", "made 6"]);
}

#[tokio::test]
async fn a_workflow_in_memory_has_outputs_of_any_type_and_length() {
    /// Has no stored form.
    struct Receipt {
        lines: Vec<&'static str>,
    }
    let mut steps = Coordinator::<Diary, (), _>::in_memory("test", Clock::system(), BOUNDS);
    let sold = steps
        .step("sell")
        .pre_check(|_| async { Ok(Check::Go(Receipt { lines: vec!["bread"; MAX_OUTPUT_BYTES] })) })
        .job(|_| async { Ok(Receipt { lines: vec!["milk"] }) })
        .add();
    let report = steps.build().expect("built").run(&caller(), ()).await;
    assert_eq!(report.outcome, Outcome::Done);
    let lines = |output| report.output::<Receipt>(output).map(|receipt| receipt.lines.len());
    assert_eq!((lines(sold.checked), lines(sold.made)), (Ok(MAX_OUTPUT_BYTES), Ok(1)));
}

#[tokio::test]
async fn an_input_of_no_content_is_an_input() {
    let mut steps = builder::<String>();
    let said = steps.step("say").job(|step| async move { Ok(step.input().clone()) }).add();
    let report = steps.build().expect("built").run(&caller(), String::new()).await;
    assert_eq!(report.output(said.made).map(String::as_str), Ok(""));
}

#[tokio::test]
async fn when_a_run_fails_what_began_is_taken_back_last_first_and_what_was_skipped_is_not() {
    let mut steps = builder::<()>();
    noted(&mut steps, "reserve");
    steps
        .step("skipped")
        .pre_check(|_| async { Ok(Check::skip((), "no need")) })
        .job(|_| async { Ok(()) })
        .compensate(|step| async move {
            step.context().note("not to be undone");
            Ok(())
        })
        .add();
    noted(&mut steps, "write");
    ending(&mut steps, "confirm", || Err("refused".into()));
    noted(&mut steps, "commit");
    let caller = caller();
    let report = steps.build().expect("built").run(&caller, ()).await;
    assert_eq!(report.outcome, failed("confirm"));
    let expected = ["reserve", "write", "confirm", "undo confirm", "undo write", "undo reserve"];
    assert_eq!(caller.context.take(), expected);
    assert_eq!(report.not_undone().count(), 0);
}

#[tokio::test]
async fn a_step_whose_pre_check_failed_has_nothing_to_take_back() {
    let mut steps = builder::<()>();
    steps
        .step("blind")
        .pre_check(|_| async { Err::<Check<()>, _>("it cannot be seen".into()) })
        .job(|_| async { Ok(()) })
        .compensate(|step| async move {
            step.context().note("not to be undone");
            Ok(())
        })
        .add();
    ending(&mut steps, "fails", || Err("broken".into()));
    let caller = caller();
    let report = steps.build().expect("built").run(&caller, ()).await;
    assert_eq!(report.outcome, failed("fails"));
    assert_eq!(caller.context.take(), ["fails", "undo fails"]);
}

#[tokio::test(start_paused = true)]
async fn a_compensation_that_fails_panics_or_hangs_is_told_and_the_others_go_on() {
    let mut steps = builder::<()>();
    noted(&mut steps, "first");
    let job = |_| async { Ok(()) };
    steps.step("fails").job(job).compensate(|_| async { Err("stuck".into()) }).add();
    steps.step("panics").job(job).compensate(|_| async { panic!("on purpose") }).add();
    steps.step("hangs").job(job).compensate(|_| std::future::pending()).add();
    ending(&mut steps, "last", || Err("broken".into()));
    let caller = caller();
    let report = steps.build().expect("built").run(&caller, ()).await;
    assert_eq!(caller.context.take(), ["first", "last", "undo last", "undo first"]);
    assert_eq!(report.outcome, failed("last"));
    assert_eq!(report.not_undone().collect::<Vec<_>>(), ["hangs", "panics", "fails"]);
    assert!(
        report
            .result()
            .expect_err("failed")
            .source()
            .is_some_and(|of| { of.to_string() == r#"job of "last": broken"# })
    );
}

#[tokio::test]
async fn a_panic_is_an_error_of_its_step_wherever_it_happens() {
    let before_the_future = || -> u32 { panic!("at once") };
    let mut steps = builder::<()>();
    noted(&mut steps, "first");
    steps
        .step("job")
        .job(move |_| {
            let made = before_the_future();
            async move { Ok(made) }
        })
        .add();
    let caller = caller();
    let report = steps.build().expect("built").run(&caller, ()).await;
    assert_eq!(report.outcome, failed("job"));
    assert!(matches!(&report.errors[0].fault, Fault::Panic(message) if message == "at once"));
    assert_eq!(caller.context.take(), ["first", "undo first"]);

    let mut steps = builder::<()>();
    let boom = |what: &'static str| -> Check<()> { panic!("{what}") };
    steps
        .step("check")
        .pre_check(move |_| async move { Ok(boom("while it looks")) })
        .job(|_| async { Ok(()) })
        .add();
    let report = steps.build().expect("built").run(&caller, ()).await;
    assert_eq!(report.outcome, failed("check"), "a pre-check without an answer does not skip");
    assert_eq!(texts(&report.errors), [r#"pre-check of "check": panicked: while it looks"#]);
}

#[tokio::test]
async fn an_output_that_is_too_large_to_be_kept_fails_its_step() {
    let mut steps = builder::<()>();
    steps.step("large").job(|_| async { Ok("x".repeat(MAX_OUTPUT_BYTES)) }).add();
    let report = steps.build().expect("built").run(&caller(), ()).await;
    assert_eq!(report.outcome, failed("large"));
    assert!(matches!(&report.errors[0].fault, Fault::Output(_)));
}

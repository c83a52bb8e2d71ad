//! What is refused before anything runs. Rows D11, D12, D14, D25.

use cairn_workflow::{BuildError, MAX_NAME_BYTES, MAX_STEPS, Outcome};

use crate::support::{builder, caller, noted};

#[test]
fn a_workflow_without_steps_is_refused() {
    assert_eq!(builder::<()>().build().err(), Some(BuildError::Empty));
}

#[test]
fn two_steps_of_one_name_are_refused_so_that_none_takes_the_others_output() {
    let mut steps = builder::<()>();
    noted(&mut steps, "copy");
    noted(&mut steps, " copy ");
    assert_eq!(steps.build().err(), Some(BuildError::DuplicateName("copy".to_owned())));
}

#[test]
fn a_blank_name_becomes_the_place_of_the_step() {
    let mut steps = builder::<()>();
    noted(&mut steps, "first");
    noted(&mut steps, "  ");
    noted(&mut steps, "");
    let steps = steps.build().expect("built");
    assert!(format!("{steps:?}").contains(r##"["first", "#1", "#2"]"##), "{steps:?}");
}

#[test]
fn a_blank_name_does_not_take_one_that_was_given() {
    let mut steps = builder::<()>();
    noted(&mut steps, "#1");
    noted(&mut steps, "");
    assert_eq!(steps.build().err(), Some(BuildError::DuplicateName("#1".to_owned())));
}

#[test]
fn more_steps_and_longer_names_than_a_record_holds_are_refused() {
    let mut steps = builder::<()>();
    for _ in 0..=MAX_STEPS {
        noted(&mut steps, "");
    }
    assert_eq!(steps.build().err(), Some(BuildError::TooManySteps(MAX_STEPS + 1)));
    let mut steps = builder::<()>();
    steps.step(&"n".repeat(MAX_NAME_BYTES + 1)).job(|_| async { Ok(()) }).add();
    assert_eq!(steps.build().err(), Some(BuildError::LongName(MAX_NAME_BYTES + 1)));
}

#[tokio::test]
async fn a_clone_has_the_same_steps_which_nobody_changes_any_more() {
    let mut steps = builder::<()>();
    noted(&mut steps, "only");
    let steps = steps.build().expect("built");
    let caller = caller();
    let report = steps.clone().run(&caller, ()).await;
    assert_eq!(report.outcome, Outcome::Done);
    assert_eq!(steps.run(&caller, ()).await.outcome, Outcome::Done);
    assert_eq!(caller.context.take(), ["only", "only"]);
}

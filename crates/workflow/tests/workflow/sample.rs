//! The sample does what it says. Rows D28, D31.

#[path = "../../examples/statements.rs"]
#[allow(dead_code, reason = "the sample's main is run by hand")]
mod statements;

use std::sync::Arc;

use cairn_runtime::Clock;
use cairn_workflow::{Caller, CancelledBy, Outcome};
use statements::{Books, Line, workflow};

fn line(number: u32, amount: i64) -> Line {
    Line { statement: "November".to_owned(), number, amount }
}

#[tokio::test]
async fn a_line_goes_to_the_statement_that_was_made_or_else_to_the_one_that_was_found() {
    let workflow = workflow(Clock::system()).expect("built");
    let caller = Caller::new(Arc::new(Books::default()));
    let made = workflow.run(&caller, line(1, 313)).await;
    assert!(made.errors.is_empty());
    let found = workflow.run(&caller, line(2, 611)).await;
    assert_eq!(
        found.errors[0].to_string(),
        r#"pre-check of "create statement": the statement exists"#
    );
    let tables = caller.context.tables();
    assert_eq!(tables.statements.len(), 1);
    assert_eq!(tables.lines.iter().collect::<Vec<_>>(), [(&(1, 1), &313), (&(1, 2), &611)]);
}

#[tokio::test]
async fn a_line_that_is_refused_takes_back_its_own_statement_and_leaves_one_that_was_found() {
    let workflow = workflow(Clock::system()).expect("built");
    let caller = Caller::new(Arc::new(Books::default()));
    let failed = Outcome::Failed { step: "create line".to_owned() };
    assert_eq!(workflow.run(&caller, line(1, 0)).await.outcome, failed);
    assert!(caller.context.tables().statements.is_empty());
    assert_eq!(workflow.run(&caller, line(1, 1)).await.outcome, Outcome::Done);
    assert_eq!(workflow.run(&caller, line(2, 0)).await.outcome, failed);
    assert_eq!(caller.context.tables().statements.len(), 1);
}

#[tokio::test]
async fn while_the_books_are_closed_runs_are_cancelled() {
    let workflow = workflow(Clock::system()).expect("built");
    let caller = Caller::new(Arc::new(Books::default()));
    caller.context.tables().closed = true;
    let report = workflow.run(&caller, line(1, 1)).await;
    let (step, by) = ("create statement".to_owned(), CancelledBy::Step);
    assert_eq!(report.outcome, Outcome::Cancelled { step, by });
}

#[tokio::test]
async fn the_sample_runs_to_its_end() {
    let mut shown = Vec::new();
    statements::show(&mut shown).await.expect("shown");
    let shown = String::from_utf8(shown).expect("text");
    assert!(shown.ends_with("job of \"create line\": a line of nothing\n"), "{shown}");
}

//! Statements of accounts and their lines: the first step finds a statement that exists already, the second uses what the
//! first one made, or else what it found.
//!
//! ```sh
//! cargo run -p cairn-workflow --example statements
//! ```

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_runtime::Clock;
use cairn_workflow::{Bounds, BuildError, Caller, Cancelled, Check, Coordinator};
use futures_util::{StreamExt, stream};

/// What the steps work with. A real one would be a client of a database.
#[derive(Debug, Default)]
pub(crate) struct Books {
    tables: Mutex<Tables>,
}

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// Ids of statements, by name.
    pub(crate) statements: BTreeMap<String, u32>,
    /// Amounts, by the statement's id and the line.
    pub(crate) lines: BTreeMap<(u32, u32), i64>,
    /// Nobody can read the books.
    pub(crate) closed: bool,
}

impl Books {
    pub(crate) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The books, when they can be read. When not, no step can do anything.
    fn open(&self) -> Result<MutexGuard<'_, Tables>, Cancelled> {
        let tables = self.tables();
        if tables.closed { Err(Cancelled::because("the books are closed")) } else { Ok(tables) }
    }
}

/// A line of a statement.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) statement: String,
    pub(crate) number: u32,
    pub(crate) amount: i64,
}

/// The two steps.
pub(crate) fn workflow(clock: Clock) -> Result<Coordinator<Books, Line>, BuildError> {
    let second = Duration::from_secs(1);
    let bounds = Bounds { run: 10 * second, step: second, compensation: second };
    let mut steps = Coordinator::<Books, Line>::builder("statements", clock, bounds);
    let statement = steps
        .step("create statement")
        .pre_check(|step| async move {
            let found = step.context().open()?.statements.get(&step.input().statement).copied();
            Ok(match found {
                Some(_) => Check::skip(found, "the statement exists"),
                None => Check::Go(None),
            })
        })
        .job(|step| async move {
            let mut tables = step.context().open()?;
            let id = tables.statements.len() as u32 + 1;
            Ok(*tables.statements.entry(step.input().statement.clone()).or_insert(id))
        })
        .compensate(|step| async move {
            step.context().tables().statements.remove(&step.input().statement);
            Ok(())
        })
        .add();
    steps
        .step("create line")
        .job(move |step| async move {
            let id = match step.output(statement.made) {
                Ok(id) => *id,
                Err(_) => (*step.output(statement.checked)?).ok_or("there is no statement")?,
            };
            let Line { number, amount, .. } = *step.input();
            if amount == 0 {
                return Err("a line of nothing".into());
            }
            step.context().open()?.lines.insert((id, number), amount);
            Ok(())
        })
        .add();
    steps.build()
}

/// Shows what became of some lines.
pub(crate) async fn show(out: &mut impl Write) -> Result<(), Box<dyn std::error::Error>> {
    let workflow = workflow(Clock::system())?;
    let caller = Caller::new(Arc::new(Books::default()));
    let line = |(number, amount)| Line { statement: "November".to_owned(), number, amount };
    let lines = stream::iter([(1, 313), (2, 611), (3, 0)].map(line));
    let mut reports = std::pin::pin!(workflow.run_concurrent(&caller, lines, 1));
    while let Some((line, report)) = reports.next().await {
        writeln!(out, "line {}: {:?}", line.number, report.outcome)?;
        for error in report.errors {
            writeln!(out, "  {error}")?;
        }
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    show(&mut io::stdout().lock()).await
}

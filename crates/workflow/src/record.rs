//! A run as it is stored.
//!
//! ```text
//! key     prefix │ id
//! value   sealed (cairn_core::sealed): JSON of `Stored`
//! ```
//!
//! Lifetime: from [`start`](crate::Coordinator::start) until it is [forgotten](crate::RunStore::forget). All parts are
//! bounded, so that a record always fits a value of the store.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::BoxError;
use crate::report::{CancelledBy, Fault, Phase, StepError};
use crate::run::{Progress, Stage};
use crate::step::Step;

/// The form of the payload. Another one is refused.
pub(crate) const FORMAT: u8 = 1;
/// Most characters of an error that are stored.
const MAX_ERROR_CHARS: usize = 500;

/// What a run is about. Does not change while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) workflow: String,
    /// The names of the steps.
    pub(crate) steps: Vec<String>,
    /// JSON.
    pub(crate) input: String,
}

/// A run, read from its record. Inputs and outputs are JSON within JSON: only their workflow knows them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    workflow: String,
    input: String,
    /// One more with each write, so that no two values of a run are the same.
    pub(crate) revision: u64,
    steps: Vec<StoredStep>,
    stage: Stage,
    errors: Vec<StoredError>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredStep {
    name: String,
    begun: bool,
    checked: Option<String>,
    made: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredError {
    step: String,
    phase: Phase,
    fault: StoredFault,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredFault {
    Error(String),
    Panic(String),
    Elapsed(Duration),
    CutOff(CancelledBy),
    Output(String),
}

impl Stored {
    pub(crate) fn new(header: &Header, revision: u64, progress: &Progress) -> Self {
        let Progress { stage, begun, errors, outputs } = progress;
        let steps = header.steps.iter().zip(begun).enumerate().map(|(at, (name, begun))| {
            let [checked, made] =
                [Phase::PreCheck, Phase::Job].map(|phase| outputs.stored(at, phase));
            StoredStep { name: name.clone(), begun: *begun, checked, made }
        });
        Self {
            workflow: header.workflow.clone(),
            input: header.input.clone(),
            revision,
            steps: steps.collect(),
            stage: stage.clone(),
            errors: errors.iter().map(StoredError::of).collect(),
        }
    }

    pub(crate) fn header(&self) -> Header {
        Header {
            workflow: self.workflow.clone(),
            steps: self.steps.iter().map(|step| step.name.clone()).collect(),
            input: self.input.clone(),
        }
    }

    /// Where the run stood; `empty` is where it began. The steps must be those of the run.
    pub(crate) fn into_progress<C, I>(
        self,
        empty: Progress,
        steps: &[Step<C, I>],
    ) -> serde_json::Result<Progress> {
        let mut progress = empty;
        let outputs = Arc::make_mut(&mut progress.outputs);
        for (at, (stored, step)) in self.steps.into_iter().zip(steps).enumerate() {
            progress.begun[at] = stored.begun;
            if let Some(checked) = stored.checked {
                outputs.restore(at, Phase::PreCheck, checked, step.checked)?;
            }
            if let Some(made) = stored.made {
                outputs.restore(at, Phase::Job, made, step.made)?;
            }
        }
        progress.stage = self.stage;
        progress.errors = self.errors.into_iter().map(StoredError::read).collect();
        Ok(progress)
    }
}

impl StoredError {
    fn of(StepError { step, phase, fault }: &StepError) -> Self {
        let cut = |text: &str| text.chars().take(MAX_ERROR_CHARS).collect();
        let fault = match fault {
            Fault::Error(error) => StoredFault::Error(cut(&error.to_string())),
            Fault::Panic(message) => StoredFault::Panic(cut(message)),
            Fault::Elapsed(bound) => StoredFault::Elapsed(*bound),
            Fault::CutOff(by) => StoredFault::CutOff(*by),
            Fault::Output(why) => StoredFault::Output(cut(why)),
        };
        Self { step: step.clone(), phase: *phase, fault }
    }

    fn read(self) -> StepError {
        let Self { step, phase, fault } = self;
        let fault = match fault {
            StoredFault::Error(text) => Fault::Error(Arc::from(BoxError::from(text))),
            StoredFault::Panic(message) => Fault::Panic(message),
            StoredFault::Elapsed(bound) => Fault::Elapsed(bound),
            StoredFault::CutOff(by) => Fault::CutOff(by),
            StoredFault::Output(why) => Fault::Output(why),
        };
        StepError { step, phase, fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Keeping, Outputs, Storable};
    use crate::report::Outcome;

    /// The form of records is for good: one that an earlier version wrote is read.
    #[test]
    fn a_record_has_the_form_that_it_has_always_had() {
        let mut outputs = Outputs::new(0, 2);
        let codec = <Storable as Keeping<i32>>::codec();
        outputs.keep(0, Phase::PreCheck, Arc::new(7), codec).expect("small");
        let error = |phase, fault| StepError { step: "b".to_owned(), phase, fault };
        let progress = Progress {
            stage: Stage::Undoing(1, Outcome::Failed { step: "b".to_owned() }),
            begun: vec![true, false],
            errors: vec![
                error(Phase::PreCheck, Fault::Elapsed(Duration::from_secs(2))),
                error(Phase::Job, Fault::CutOff(CancelledBy::Deadline)),
            ],
            outputs: Arc::new(outputs),
        };
        let steps = vec!["a".to_owned(), "b".to_owned()];
        let header = Header { workflow: "w".to_owned(), steps, input: "null".to_owned() };
        let stored = serde_json::to_string(&Stored::new(&header, 3, &progress)).expect("JSON");
        let expected = concat!(
            r#"{"workflow":"w","input":"null","revision":3,"steps":["#,
            r#"{"name":"a","begun":true,"checked":"7","made":null},"#,
            r#"{"name":"b","begun":false,"checked":null,"made":null}],"#,
            r#""stage":{"undoing":[1,{"failed":{"step":"b"}}]},"errors":["#,
            r#"{"step":"b","phase":"pre_check","fault":{"elapsed":{"secs":2,"nanos":0}}},"#,
            r#"{"step":"b","phase":"job","fault":{"cut_off":"deadline"}}]}"#,
        );
        assert_eq!(stored, expected);
    }
}

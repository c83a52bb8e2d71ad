//! What steps give: typed for those who read it, plain values for the run that keeps it.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::BoxError;
use crate::report::Phase;

/// The longest output, in bytes of JSON. What is larger is stored by the step, and named by its output.
pub const MAX_OUTPUT_BYTES: usize = 4 << 10;

/// What can be an output, or the input, of a run that is stored: a plain value.
pub trait Value: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Value for T {}

/// Where the outputs of a workflow are kept: in memory only, or so that they can be stored as well.
pub trait Keeping<T>: sealed::Sealed {
    #[doc(hidden)]
    fn codec() -> Option<Codec>;
}

/// Runs can be stored: outputs are [values](Value).
#[derive(Debug)]
pub enum Storable {}

/// Runs live as long as their futures: outputs may be of any type, and are never written down.
#[derive(Debug)]
pub enum InMemory {}

impl<T: Value> Keeping<T> for Storable {
    fn codec() -> Option<Codec> {
        Some(Codec { encode: encode::<T>, decode: decode::<T> })
    }
}

impl<T: Send + Sync + 'static> Keeping<T> for InMemory {
    fn codec() -> Option<Codec> {
        None
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Storable {}
    impl Sealed for super::InMemory {}
}

/// Names what a phase of a step gives. Whoever has it knows the type.
pub struct Output<T> {
    workflow: u64,
    step: usize,
    phase: Phase,
    of: PhantomData<fn() -> T>,
}

impl<T> Output<T> {
    pub(crate) fn new(workflow: u64, step: usize, phase: Phase) -> Self {
        Self { workflow, step, phase, of: PhantomData }
    }
}

impl<T> Clone for Output<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Output<T> {}

impl<T> fmt::Debug for Output<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output(step {}, {})", self.step, self.phase)
    }
}

/// The outputs of one step.
pub struct StepOutputs<P, J> {
    /// What its pre-check gives, also when the job is skipped.
    pub checked: Output<P>,
    /// What its job gives when it succeeds.
    pub made: Output<J>,
}

impl<P, J> Clone for StepOutputs<P, J> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, J> Copy for StepOutputs<P, J> {}

impl<P, J> fmt::Debug for StepOutputs<P, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepOutputs")
            .field("checked", &self.checked)
            .field("made", &self.made)
            .finish()
    }
}

/// Why an output cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoOutput {
    /// That phase of the step did not run, or did not succeed.
    #[error("the {phase} of step {step} gave nothing")]
    NotProduced {
        /// The step's place, from 0.
        step: usize,
        /// Which of its phases.
        phase: Phase,
    },
    /// The name is that of another workflow's output.
    #[error("the output belongs to another workflow")]
    AnotherWorkflow,
}

/// A value as a run keeps it: its type is known to those only who have its name.
pub(crate) type Kept = Arc<dyn Any + Send + Sync>;

/// The stored form of an output of one type.
#[derive(Debug, Clone, Copy)]
pub struct Codec {
    encode: fn(&Kept) -> serde_json::Result<String>,
    decode: fn(&str) -> serde_json::Result<Kept>,
}

fn encode<T: Value>(kept: &Kept) -> serde_json::Result<String> {
    serde_json::to_string(kept.downcast_ref::<T>().expect("the output of its own step"))
}

fn decode<T: Value>(stored: &str) -> serde_json::Result<Kept> {
    Ok(Arc::new(serde_json::from_str::<T>(stored)?))
}

/// An output beside its stored form.
#[derive(Clone)]
struct Slot {
    value: Kept,
    stored: Option<Arc<str>>,
}

/// What the steps of one run gave so far.
#[derive(Clone)]
pub(crate) struct Outputs {
    workflow: u64,
    slots: Vec<[Option<Slot>; 2]>,
}

/// Which of a step's two outputs. A compensation has none.
fn place(phase: Phase) -> usize {
    usize::from(phase == Phase::Job)
}

impl Outputs {
    pub(crate) fn new(workflow: u64, steps: usize) -> Self {
        Self { workflow, slots: vec![[None, None]; steps] }
    }

    /// Steps of the workflow.
    pub(crate) fn steps(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn get<T: 'static>(&self, output: Output<T>) -> Result<&T, NoOutput> {
        let Output { workflow, step, phase, .. } = output;
        let missing = NoOutput::NotProduced { step, phase };
        if workflow != self.workflow {
            return Err(NoOutput::AnotherWorkflow);
        }
        let slot = self.slots.get(step).and_then(|slots| slots[place(phase)].as_ref());
        slot.ok_or(missing)?.value.downcast_ref().ok_or(missing)
    }

    /// Keeps an output; of a workflow whose runs can be stored also in that form, whether this one is stored or not: it
    /// does the same.
    pub(crate) fn keep(
        &mut self,
        step: usize,
        phase: Phase,
        value: Kept,
        codec: Option<Codec>,
    ) -> Result<(), BoxError> {
        let stored = codec.map(|codec| (codec.encode)(&value)).transpose()?;
        if let Some(len) = stored.as_ref().map(String::len).filter(|len| *len > MAX_OUTPUT_BYTES) {
            return Err(format!("it has {len} bytes, at most {MAX_OUTPUT_BYTES} are kept").into());
        }
        self.slots[step][place(phase)] = Some(Slot { value, stored: stored.map(Arc::from) });
        Ok(())
    }

    /// Takes back what was stored.
    pub(crate) fn restore(
        &mut self,
        step: usize,
        phase: Phase,
        stored: String,
        codec: Option<Codec>,
    ) -> serde_json::Result<()> {
        // Only workflows whose outputs have a stored form have stored runs.
        let Some(codec) = codec else { return Ok(()) };
        let value = (codec.decode)(&stored)?;
        self.slots[step][place(phase)] = Some(Slot { value, stored: Some(stored.into()) });
        Ok(())
    }

    pub(crate) fn stored(&self, step: usize, phase: Phase) -> Option<String> {
        let slot = self.slots[step][place(phase)].as_ref();
        slot.and_then(|slot| slot.stored.as_deref()).map(str::to_owned)
    }
}

impl fmt::Debug for Outputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.slots.iter().flatten().flatten().count();
        f.debug_struct("Outputs").field("kept", &kept).finish_non_exhaustive()
    }
}

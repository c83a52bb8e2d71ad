//! A context that remembers what steps did, and short ways to run things.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_runtime::Clock;
use cairn_workflow::{Bounds, BoxError, Builder, Caller, Coordinator};

/// What steps did, in order.
#[derive(Debug, Default)]
pub(crate) struct Diary(Mutex<Vec<String>>);

impl Diary {
    fn entries(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, entry: impl Into<String>) {
        self.entries().push(entry.into());
    }

    /// All that was noted since this was asked last.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.entries())
    }
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) const BOUNDS: Bounds =
    Bounds { run: Duration::from_secs(600), step: Duration::from_secs(60), compensation: SECOND };

pub(crate) fn builder<I>() -> Builder<Diary, I> {
    Coordinator::builder("test", Clock::system(), BOUNDS)
}

pub(crate) fn caller() -> Caller<Diary> {
    Caller::new(Arc::default())
}

/// Adds a step that notes that it ran, and when it is taken back.
pub(crate) fn noted<I: Send + Sync + 'static>(builder: &mut Builder<Diary, I>, name: &'static str) {
    ending(builder, name, || Ok(()));
}

/// As [`noted`], with an answer of its own.
pub(crate) fn ending<I: Send + Sync + 'static>(
    builder: &mut Builder<Diary, I>,
    name: &'static str,
    answer: impl Fn() -> Result<(), BoxError> + Send + Sync + 'static,
) {
    builder
        .step(name)
        .job(move |step| {
            step.context().note(name);
            let answer = answer();
            async move { answer }
        })
        .compensate(move |step| async move {
            step.context().note(format!("undo {name}"));
            Ok(())
        })
        .add();
}

/// What was noted or reported, as texts.
pub(crate) fn texts<T: ToString>(of: &[T]) -> Vec<String> {
    of.iter().map(ToString::to_string).collect()
}

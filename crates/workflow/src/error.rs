//! What steps may answer when they do not answer what was hoped for.

use std::error::Error;

/// Whatever a step fails with.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The run cannot go on, and nothing is wrong with the step: a server that it needs is away, an operator said stop.
///
/// A pre-check or a job that answers an error with this one in its chain of sources ends the run as cancelled.
#[derive(Debug, thiserror::Error)]
#[error("cancelled: {why}")]
pub struct Cancelled {
    why: String,
    source: Option<BoxError>,
}

impl Cancelled {
    /// Nothing failed: `why` says who wants it so.
    pub fn because(why: impl Into<String>) -> Self {
        Self { why: why.into(), source: None }
    }

    /// `error` makes it useless to go on.
    pub fn by(error: impl Into<BoxError>) -> Self {
        let source = error.into();
        Self { why: source.to_string(), source: Some(source) }
    }

    /// Whether `error` is, or comes from, a cancellation.
    pub(crate) fn is_in(error: &(dyn Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<Self>() {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// What a pre-check found.
#[derive(Debug)]
pub enum Check<P> {
    /// The job is to run.
    Go(P),
    /// The job need not run, for a reason that the report shows. The output is kept.
    Skip(P, BoxError),
}

impl<P> Check<P> {
    /// The job need not run, because of `reason`.
    pub fn skip(output: P, reason: impl Into<BoxError>) -> Self {
        Self::Skip(output, reason.into())
    }

    pub(crate) fn map<T>(self, with: impl FnOnce(P) -> T) -> Check<T> {
        match self {
            Self::Go(output) => Check::Go(with(output)),
            Self::Skip(output, reason) => Check::Skip(with(output), reason),
        }
    }
}

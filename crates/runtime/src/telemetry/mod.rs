//! Logs and traces of a process. Set up once, by the binary.
//!
//! ```text
//! spans, events ─► filter of the logs ──► lines on standard error: text for people, JSON on request
//!               └► ours, info and above ─► traces.rs ─► an OTLP collector; only when one is named
//! ```

pub mod traces;

use std::io::IsTerminal;

use tracing::{Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

pub use traces::{SpanCounts, Traces, TracesConfig, TracesError};

/// What begins with this is ours: `cairn`, `cairn_runtime::…`.
const OUR_TARGETS: &str = "cairn";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Logs cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("read log filter {filter:?}: {source}")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody set up logs before.
    #[error("logs are set up already")]
    Twice,
}

/// Sends log lines to standard error, and spans to `traces` when there are some. `filter` is like
/// `info,cairn_chunk_master=debug` and is for the lines alone.
///
/// # Errors
/// [`LogError`] when the filter is wrong or this was called before.
pub fn init(format: LogFormat, filter: &str, traces: Option<&Traces>) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    // Spans of libraries would be a span per frame.
    let ours = Targets::new().with_target(OUR_TARGETS, Level::INFO);
    tracing_subscriber::registry()
        .with(lines(format).with_filter(filter))
        .with(traces.map(|traces| traces.layer().with_filter(ours)))
        .try_init()
        .map_err(|_| LogError::Twice)
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_timer(SystemTime)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    }
}

//! The event log: what clients did and were told, what was broken, and what the services logged, with virtual time
//! only. A seed gives the same log byte for byte.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// Lines in the order in which they happened. Cheap to clone; clones are the same log.
#[derive(Debug, Clone, Default)]
pub struct EventLog(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    /// Time of the last line: what happens between two steps of the simulation has no time of its own.
    now: Duration,
    /// Lines that a service logged as an error.
    errors: Vec<String>,
    /// How often each fault was injected.
    faults: BTreeMap<&'static str, u64>,
    /// The time is [`Self::now`], whatever the hosts say.
    stands_still: bool,
    /// Nothing more is taken.
    closed: bool,
    /// No lines are kept, only what is counted and what is an error.
    faults_only: bool,
}

impl EventLog {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A log that keeps no lines, only faults and errors.
    pub(crate) fn faults_only() -> Self {
        let log = Self::default();
        log.lock().faults_only = true;
        log
    }

    fn keeps_lines(&self) -> bool {
        !self.lock().faults_only
    }

    /// Adds a line of `who`.
    pub fn note(&self, who: &str, what: impl fmt::Display) {
        if self.keeps_lines() {
            self.add(who, &format!("      {what}"));
        }
    }

    /// Counts a fault and adds a line for it.
    pub fn fault(&self, kind: &'static str, what: impl fmt::Display) {
        *self.lock().faults.entry(kind).or_default() += 1;
        self.note("FAULT", format_args!("{kind}: {what}"));
    }

    fn add(&self, who: &str, text: &str) -> Option<String> {
        let mut lines = self.lock();
        if lines.closed {
            return None;
        }
        if !lines.stands_still
            && let Some(now) = turmoil::sim_elapsed()
        {
            lines.now = now;
        }
        let line = format!("{:>9.3} {who:<8} {text}", lines.now.as_secs_f64());
        if !lines.faults_only {
            lines.lines.push(line.clone());
        }
        Some(line)
    }

    /// Holds the time of lines at `now`, or lets it go on.
    pub(crate) fn stand_still(&self, now: Option<Duration>) {
        let mut lines = self.lock();
        lines.stands_still = now.is_some();
        lines.now = now.unwrap_or(lines.now);
    }

    /// Takes nothing more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// All lines.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// What the services logged as errors.
    pub fn errors(&self) -> Vec<String> {
        self.lock().errors.clone()
    }

    /// What the services logged as errors, but for what they say of a store or a disk that was made to fail.
    pub(crate) fn unexpected_errors(&self) -> Vec<String> {
        const EXPECTED: [&str; 3] =
            ["the catalog cannot be read", "a commit of the catalog failed", "the power is off"];
        let expected = |line: &String| EXPECTED.iter().any(|text| line.contains(text));
        let errors = self.errors().into_iter().filter(|line| !expected(line));
        errors.map(|line| format!("logged as error: {line}")).collect()
    }

    /// Counts `count` faults of a kind without a line.
    pub(crate) fn count(&self, kind: &'static str, count: u64) {
        if count > 0 {
            *self.lock().faults.entry(kind).or_default() += count;
        }
    }

    /// How often each fault was injected.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.lock().faults.clone()
    }

    /// Runs `simulation` with the services' events going into this log. They run on this thread alone.
    pub fn collect<T>(&self, simulation: impl FnOnce() -> T) -> T {
        let host = if self.keeps_lines() { String::new() } else { "master".to_owned() };
        let collector = Collector { log: self.clone(), host: Mutex::new(host) };
        let most = if self.keeps_lines() { LevelFilter::DEBUG } else { LevelFilter::ERROR };
        let collector = collector.with_filter(told(most));
        tracing::subscriber::with_default(Registry::default().with(collector), simulation)
    }
}

/// What the log is told of: the hosts' spans, events of Cairn up to `most`, others up to information.
///
/// All of it is decided here and from the metadata alone. What `Layer::enabled` decides under a filter is asked
/// only of callsites that another thread is registering at the moment: then a line depends on what the tests beside
/// this one do.
fn told(most: LevelFilter) -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    filter_fn(move |metadata| {
        let target = metadata.target();
        let wanted = !target.starts_with("turmoil") || is_host_span(metadata);
        let most = if target.starts_with("cairn") { most } else { most.min(LevelFilter::INFO) };
        wanted && *metadata.level() <= most
    })
    .with_max_level_hint(most)
}

/// The span that turmoil enters around each host's step.
const HOST_SPAN: &str = "node";

/// Writes tracing events into the log.
struct Collector {
    log: EventLog,
    /// The host that runs now.
    host: Mutex<String>,
}

/// What is shown of a span in the lines of its events.
struct SpanText(String);

fn is_host_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.name() == HOST_SPAN && metadata.target().starts_with("turmoil")
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Collector {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let host = is_host_span(attributes.metadata());
        let text = if host { fields.name } else { fields.text };
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanText(text));
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id).filter(|span| is_host_span(span.metadata())) else {
            return;
        };
        let extensions = span.extensions();
        let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        *host = extensions.get::<SpanText>().map(|text| text.0.clone()).unwrap_or_default();
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let mut text = format!("{:<5} {}:", metadata.level(), metadata.target());
        // Writing to a string does not fail.
        let _ = write!(text, " {}{}", fields.message, fields.text);
        for span in context.event_scope(event).into_iter().flatten() {
            if !is_host_span(span.metadata()) {
                let extensions = span.extensions();
                let fields = extensions.get::<SpanText>().map_or("", |text| &text.0);
                let _ = write!(text, " in {}:{fields}", span.name());
            }
        }
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let line = self.log.add(&host, &text);
        if *metadata.level() == Level::ERROR {
            self.log.lock().errors.extend(line);
        }
    }
}

/// Fields as text.
#[derive(Default)]
struct Fields {
    message: String,
    name: String,
    text: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "name" => write!(self.name, "{value:?}"),
            other => write!(self.text, " {other}={value:?}"),
        };
    }
}

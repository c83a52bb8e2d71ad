//! What a command shows: results on stdout, progress on stderr.

use std::io::{self, ErrorKind, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::args::Telling;
use super::error::{ClientError, Kind, printable};

/// Known length: bytes, rate, time left.
const KNOWN: &str =
    "{bar:20} {bytes} of {total_bytes}  {binary_bytes_per_sec}  {eta} left  {wide_msg}";
/// Length that shows at the end.
const UNKNOWN: &str = "{spinner} {bytes}  {binary_bytes_per_sec}  {elapsed}  {wide_msg}";

/// Shows results and progress. Cheap to clone; clones share the progress.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    telling: Telling,
    bar: ProgressBar,
}

impl Output {
    /// Shows no progress before it begins.
    pub(crate) fn new(telling: Telling) -> Self {
        Self { telling, bar: ProgressBar::hidden() }
    }

    /// Progress of `total` bytes begins, or of a number that nobody knows yet. It is shown to people only: where stderr
    /// is a terminal.
    pub(crate) fn begin(&self, total: Option<u64>) {
        let template = if total.is_some() { KNOWN } else { UNKNOWN };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        if !self.telling.quiet && io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.reset_eta();
    }

    /// What is worked on.
    pub(crate) fn at(&self, what: &str) {
        self.bar.set_message(printable(what));
    }

    /// Bytes that have passed.
    pub(crate) fn passed(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Bytes that are here from an earlier try: they say nothing of the rate.
    pub(crate) fn here_already(&self, bytes: u64) {
        self.bar.inc(bytes);
        self.bar.reset_eta();
    }

    /// Bytes that have to pass again.
    pub(crate) fn back(&self, bytes: u64) {
        self.bar.set_position(self.bar.position().saturating_sub(bytes));
    }

    /// No more progress.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// Tells of one file that is done.
    pub(crate) fn done(&self, text: &str, json: &impl Serialize) -> Result<(), ClientError> {
        match (self.telling.json, self.telling.quiet) {
            (true, _) => self.json(json),
            (false, true) => Ok(()),
            (false, false) => self.line(&printable(text)),
        }
    }

    /// A line on stdout.
    pub(crate) fn line(&self, text: &str) -> Result<(), ClientError> {
        self.bar.suspend(|| write_out(format!("{text}\n").as_bytes()))
    }

    /// A line of JSON on stdout.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), ClientError> {
        let text = serde_json::to_string(value);
        self.line(&text.map_err(|error| ClientError::failed("write JSON", error))?)
    }

    /// Something that went wrong without ending the command.
    #[expect(clippy::print_stderr, reason = "for whoever started the command")]
    pub(crate) fn complain(&self, text: &str) {
        self.bar.suspend(|| eprintln!("cairn: {text}"));
    }
}

/// Writes to stdout. A reader that has gone, as `head` does, ends the command in silence.
pub(crate) fn write_out(bytes: &[u8]) -> Result<(), ClientError> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.map_err(|error| {
        let gone = error.kind() == ErrorKind::BrokenPipe;
        let kind = if gone { Kind::ReaderGone } else { Kind::Failed };
        ClientError::new(kind, "write to standard output", error)
    })
}

//! What clients asked for and were told, and whether one order explains all of it.
//!
//! Time in a history is the order in which things were noted: each call has a beginning and an end, and those that
//! overlap may have happened in any order. Whether there is one is the business of [`crate::linear`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::linear::object::{Object, Op, When};
use crate::linear::{self, Call, Refuted};

/// What a file holds, in place of its bytes: they are drawn from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content {
    /// Different for each write, but for empty files, which are all the same.
    pub seed: u64,
    /// Bytes.
    pub length: u64,
}

impl Content {
    /// The content of `length` bytes that is drawn from `seed`.
    pub fn new(seed: u64, length: u64) -> Self {
        Self { seed: if length == 0 { 0 } else { seed }, length }
    }

    /// The bytes.
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.length).unwrap_or(usize::MAX)];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_be_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} of {} bytes", self.seed, self.length)
    }
}

/// What a client was told of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It stands.
    Acknowledged,
    /// It did not happen and never will, because of what the name held: its condition did not hold, or there was
    /// nothing to delete.
    Refused,
    /// It did not happen and never will, whatever the name held.
    Declined,
    /// Nothing, or nothing that decides it.
    Unknown,
}

/// All that clients did. Cheap to clone; clones are the same history.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    now: u64,
    names: BTreeMap<String, Vec<Call<Op>>>,
    /// What was written, by the hash of its bytes.
    contents: HashMap<[u8; 32], Content>,
    /// Seen, and written by nobody.
    strangers: Vec<String>,
}

/// A write that runs.
#[derive(Debug, Clone)]
pub struct Ticket {
    key: String,
    at: usize,
}

/// When a read began.
#[derive(Debug, Clone, Copy)]
pub struct Moment(u64);

impl Log {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }
}

/// How many of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Acknowledged PUTs.
    pub puts: u64,
    /// Acknowledged DELETEs.
    pub deletes: u64,
    /// Writes that were refused, because of what the name held or for another reason.
    pub refused: u64,
    /// Writes of which the client does not know.
    pub unknown: u64,
    /// What was seen of names.
    pub reads: u64,
}

impl Tally {
    /// Adds the counts of another history.
    pub fn add(&mut self, other: &Self) {
        self.puts += other.puts;
        self.deletes += other.deletes;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.reads += other.reads;
    }

    /// All operations that the checkers looked at.
    pub fn operations(&self) -> u64 {
        self.puts + self.deletes + self.refused + self.unknown + self.reads
    }
}

impl History {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write of `key` begins; without content it is a delete.
    pub fn begin_write(&self, key: &str, content: Option<Content>, when: When) -> Ticket {
        let mut log = self.lock();
        let began = log.tick();
        let op = Op::Write { content, when, told: Told::Unknown };
        let calls = log.names.entry(key.to_owned()).or_default();
        calls.push(Call { op, began, ended: None });
        Ticket { key: key.to_owned(), at: calls.len() - 1 }
    }

    /// The client was told of its write. Never told, it is one of unknown outcome.
    pub fn told(&self, ticket: &Ticket, told: Told) {
        let mut log = self.lock();
        let now = log.tick();
        let call = log.names.get_mut(&ticket.key).and_then(|calls| calls.get_mut(ticket.at));
        if let Some(Call { op: Op::Write { told: known, .. }, ended, .. }) = call {
            *known = told;
            *ended = (told != Told::Unknown).then_some(now);
        }
    }

    /// A read begins.
    pub fn begin_read(&self) -> Moment {
        Moment(self.lock().tick())
    }

    /// Since `since`, `key` was seen to hold a content, or nothing.
    pub fn saw(&self, key: &str, since: Moment, seen: Option<Content>) {
        let mut log = self.lock();
        let now = log.tick();
        let call = Call { op: Op::Saw(seen), began: since.0, ended: Some(now) };
        log.names.entry(key.to_owned()).or_default().push(call);
    }

    /// Since `since`, the whole of `key` was read: its bytes, or that there is none.
    pub fn read(&self, key: &str, since: Moment, bytes: Option<&[u8]>) {
        match bytes.map(|bytes| self.written_as(bytes).ok_or(bytes.len())) {
            None => self.saw(key, since, None),
            Some(Ok(content)) => self.saw(key, since, Some(content)),
            Some(Err(length)) => {
                self.stranger(format!(
                    "half visible: a read of {key} gave {length} bytes that nobody wrote"
                ));
            }
        }
    }

    /// Something was seen that no write explains.
    pub fn stranger(&self, what: String) {
        self.lock().strangers.push(what);
    }

    /// Makes the bytes of a content known, so that whoever reads them learns what they are.
    pub fn will_write(&self, content: Content, bytes: &[u8]) {
        self.lock().contents.insert(*blake3::hash(bytes).as_bytes(), content);
    }

    fn written_as(&self, bytes: &[u8]) -> Option<Content> {
        self.lock().contents.get(blake3::hash(bytes).as_bytes()).copied()
    }

    /// Names that were written or seen.
    pub fn keys(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// A content that somebody tried to write to `key`; which one is `chosen` from their number.
    pub fn some_content(&self, key: &str, chosen: impl FnOnce(u64) -> u64) -> Option<Content> {
        let log = self.lock();
        let written = |call: &Call<Op>| match call.op {
            Op::Write { content, .. } => content,
            Op::Saw(_) => None,
        };
        let contents: Vec<Content> = log.names.get(key)?.iter().filter_map(written).collect();
        let at = usize::try_from(chosen(contents.len() as u64)).ok()?;
        contents.get(at).copied()
    }

    /// What no order of the calls explains, name by name, and what nobody wrote.
    pub fn violations(&self) -> Vec<String> {
        let log = self.lock();
        let mut violations = log.strangers.clone();
        for (key, calls) in &log.names {
            let declined =
                |call: &&Call<Op>| !matches!(call.op, Op::Write { told: Told::Declined, .. });
            let calls: Vec<Call<Op>> = calls.iter().filter(declined).cloned().collect();
            if let Err(refuted) = linear::check(&Object, &calls) {
                violations.push(explain(key, &calls, refuted));
            }
        }
        violations
    }

    /// How many of what.
    pub fn tally(&self) -> Tally {
        let log = self.lock();
        let mut tally = Tally::default();
        for call in log.names.values().flatten() {
            let count = match call.op {
                Op::Saw(_) => &mut tally.reads,
                Op::Write { told: Told::Acknowledged, content: Some(_), .. } => &mut tally.puts,
                Op::Write { told: Told::Acknowledged, content: None, .. } => &mut tally.deletes,
                Op::Write { told: Told::Refused | Told::Declined, .. } => &mut tally.refused,
                Op::Write { told: Told::Unknown, .. } => &mut tally.unknown,
            };
            *count += 1;
        }
        tally
    }
}

/// The violation, with the calls that lead to it.
fn explain(key: &str, calls: &[Call<Op>], refuted: Refuted) -> String {
    let mut lines = vec![format!("not linearizable: {key}: {refuted}")];
    for (at, Call { op, began, ended }) in calls.iter().enumerate() {
        let ends = ended.map_or("…".to_owned(), |ended| ended.to_string());
        let what = match op {
            Op::Saw(None) => "saw nothing".to_owned(),
            Op::Saw(Some(content)) => format!("saw {content}"),
            Op::Write { content: Some(content), when, told } => {
                format!("PUT {content}, {when:?} -> {told:?}")
            }
            Op::Write { content: None, when, told } => format!("DELETE, {when:?} -> {told:?}"),
        };
        lines.push(format!("    {at:>3} [{began:>5}–{ends:>5}] {what}"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Content = Content { seed: 1, length: 10 };
    const B: Content = Content { seed: 2, length: 10 };

    fn put(history: &History, content: Content, told: Told) {
        history.will_write(content, &content.bytes());
        let ticket = history.begin_write("k", Some(content), When::Always);
        history.told(&ticket, told);
    }

    fn sees(history: &History, seen: Option<Content>) -> bool {
        let since = history.begin_read();
        history.read("k", since, seen.map(Content::bytes).as_deref());
        history.violations().is_empty()
    }

    #[test]
    fn what_was_acknowledged_must_be_seen() {
        let history = History::default();
        assert!(sees(&history, None));
        put(&history, A, Told::Acknowledged);
        assert!(sees(&history, Some(A)));
        assert!(!sees(&history, None), "an acknowledged file is gone");
    }

    #[test]
    fn what_was_declined_must_not_be_seen() {
        let history = History::default();
        put(&history, A, Told::Declined);
        assert!(sees(&history, None) && !sees(&history, Some(A)));
    }

    #[test]
    fn a_call_that_never_came_to_an_end_may_have_happened() {
        let history = History::default();
        put(&history, A, Told::Acknowledged);
        history.will_write(B, &B.bytes());
        let _left = history.begin_write("k", Some(B), When::Is(A));
        assert!(sees(&history, Some(A)) && sees(&history, Some(B)) && !sees(&history, Some(A)));
    }

    #[test]
    fn a_part_of_a_file_is_no_file() {
        let history = History::default();
        put(&history, A, Told::Acknowledged);
        let since = history.begin_read();
        history.read("k", since, Some(&A.bytes()[..5]));
        assert!(history.violations()[0].starts_with("half visible"));
    }

    #[test]
    fn a_violation_shows_its_calls() {
        let history = History::default();
        put(&history, A, Told::Acknowledged);
        assert!(!sees(&history, None));
        let text = history.violations().join("\n");
        assert!(text.contains("PUT #1 of 10 bytes") && text.contains("saw nothing"), "{text}");
    }
}

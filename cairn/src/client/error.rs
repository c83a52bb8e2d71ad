//! What people and scripts learn from a command that did not do its work: a text that says what to do, and an exit code.

use std::fmt;

/// What kind of end it is. The numbers are part of the interface (`docs/cli.md`): they are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It failed in a way that has no code of its own.
    Failed,
    /// The command line, a name or a limit breaks its rule.
    Usage,
    /// There is no such file or bucket.
    NotFound,
    /// The file or bucket exists, or was changed meanwhile, or the bucket is not empty.
    Condition,
    /// A quota would be exceeded.
    Quota,
    /// No connection, or it broke.
    Unreachable,
    /// What arrived is not what was stored, or a check found what should not be.
    Mismatch,
    /// A check could not look at everything.
    Unchecked,
    /// Whoever read our output has gone: nothing is wrong, and there is nobody to tell.
    ReaderGone,
}

impl Kind {
    /// The exit code of the process.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::ReaderGone => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Condition => 4,
            Self::Quota => 5,
            Self::Unreachable => 6,
            Self::Mismatch => 7,
            Self::Unchecked => 8,
        }
    }

    /// True when the files that follow would end in the same way.
    pub(crate) const fn ends_all(self) -> bool {
        matches!(self, Self::Quota | Self::Unreachable | Self::ReaderGone)
    }
}

/// The exit codes, for `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage, or a name that breaks its rule
  3  no such file or bucket
  4  the file or bucket exists, or was changed meanwhile, or the bucket is not empty
  5  a quota would be exceeded
  6  the server cannot be reached
  7  what arrived is not what was stored, or a check found differences
  8  a check could not look at everything";

/// Whether the same request is worth repeating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// The answer would be the same.
    No,
    /// Nothing has happened; it can succeed later.
    Later,
    /// It may have happened: repeat only what has no second effect.
    IfRepeatable,
}

/// Why a command did not do its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct ClientError {
    pub(crate) kind: Kind,
    pub(crate) again: Again,
    /// What was tried, e.g. `get photos/a.jpg`.
    doing: String,
    problem: String,
    request_id: Option<String>,
    advice: Option<String>,
}

impl ClientError {
    #[expect(clippy::needless_pass_by_value, reason = "an error is handed over as it was caught")]
    pub(crate) fn new(kind: Kind, doing: impl Into<String>, problem: impl ToString) -> Self {
        let (doing, problem) = (doing.into(), problem.to_string());
        Self { kind, again: Again::No, doing, problem, request_id: None, advice: None }
    }

    pub(crate) fn usage(doing: impl Into<String>, problem: impl ToString) -> Self {
        Self::new(Kind::Usage, doing, problem)
    }

    pub(crate) fn failed(doing: impl Into<String>, problem: impl ToString) -> Self {
        Self::new(Kind::Failed, doing, problem)
    }

    /// Adds what to do about it.
    pub(crate) fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// Adds something more to do about it.
    pub(crate) fn advise_too(self, more: impl fmt::Display) -> Self {
        let advice = match &self.advice {
            Some(advice) => format!("{advice}; {more}"),
            None => more.to_string(),
        };
        self.advise(advice)
    }

    /// Adds the name under which the services logged the request.
    pub(crate) fn with_request_id(self, request_id: Option<String>) -> Self {
        Self { request_id, ..self }
    }

    /// Says whether a repeat is worth it.
    pub(crate) fn worth(self, again: Again) -> Self {
        Self { again, ..self }
    }

    /// Counts as another kind.
    pub(crate) fn counted_as(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// Says it in other words.
    pub(crate) fn saying(self, problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), ..self }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", printable(&self.doing), printable(&self.problem))?;
        if let Some(advice) = &self.advice {
            write!(f, "\n  what to do: {}", printable(advice))?;
        }
        if let Some(id) = &self.request_id {
            write!(f, "\n  request id: {}", printable(id))?;
        }
        Ok(())
    }
}

/// A text without control characters: names come from others, and a terminal obeys what it is shown.
pub(crate) fn printable(text: &str) -> String {
    let shown = |letter: char| -> String {
        if letter.is_control() { letter.escape_default().to_string() } else { letter.to_string() }
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_tried_what_went_wrong_and_what_to_do() {
        let error = ClientError::new(Kind::NotFound, "get a", "there is no such file")
            .with_request_id(Some("r-1".to_owned()))
            .advise("look with: cairn ls");
        let said =
            "get a: there is no such file\n  what to do: look with: cairn ls\n  request id: r-1";
        assert_eq!(error.to_string(), said);
        assert_eq!(error.kind.exit_code(), 3);
    }

    #[test]
    fn names_cannot_command_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nü"), "a\\u{1b}[2Jb\\nü");
    }
}

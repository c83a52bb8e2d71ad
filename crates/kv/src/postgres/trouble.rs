//! What errors of the server and of connections mean for a transaction.

use std::error::Error as _;
use std::fmt::Write as _;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::error::StorageFailure;

/// Why an attempt came to nothing. In none of these cases has anything happened.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Another transaction was in the way. The same again has every chance.
    Conflict(StorageFailure),
    /// The connection cannot be used any more, or there was none.
    Lost(StorageFailure),
    /// The server does not do it.
    Refused(StorageFailure),
}

impl Trouble {
    /// What an error means that was not the answer to a COMMIT.
    pub(super) fn of(doing: &'static str, error: &Error) -> Trouble {
        let failure = StorageFailure::new(doing, described(error));
        match error.code() {
            None => Trouble::Lost(failure),
            Some(code) if is_conflict(code) => Trouble::Conflict(failure),
            Some(code) if ends_the_session(code) => Trouble::Lost(failure),
            Some(_) => Trouble::Refused(failure),
        }
    }

    pub(super) fn failure(self) -> StorageFailure {
        match self {
            Trouble::Conflict(failure) | Trouble::Lost(failure) | Trouble::Refused(failure) => {
                failure
            }
        }
    }
}

/// The server rolled the transaction back because of another one: serialization failure, deadlock,
/// a lock that was not to be had in time.
pub(super) fn is_conflict(code: &SqlState) -> bool {
    [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED]
        .iter()
        .chain([&SqlState::LOCK_NOT_AVAILABLE])
        .any(|conflict| conflict == code)
}

/// Connection exceptions, too few resources, operators' interventions, sessions ended for idling: a
/// new connection may do better. A statement that took too long is none of them.
fn ends_the_session(code: &SqlState) -> bool {
    *code != SqlState::QUERY_CANCELED
        && (["08", "53", "57"].iter().any(|class| code.code().starts_with(class))
            || ["25P03", "25P04"].contains(&code.code()))
}

/// An error with its causes: its own text says little.
pub(super) fn described(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    if let Some(code) = error.code() {
        let _ = write!(text, " ({})", code.code());
    }
    text
}

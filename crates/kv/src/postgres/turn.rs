//! Taking turns with the other handles of the same store.
//!
//! Two masters that commit batches on the same accounts would roll each other back most of the time.
//! Whoever was disturbed locks a row for the length of each attempt, on a connection of its own, for
//! a while. This is a courtesy, not needed for correctness: who does not get the row in time goes on
//! without it.

use std::time::Duration;

use super::connect::{Link, Shared};
use super::trouble::Trouble;

/// How long turns are taken after a conflict.
const CONTENDED_FOR: Duration = Duration::from_secs(5);

/// The row, and whether it is worth having.
pub(super) struct Turn {
    link: Link,
    contended_until: Duration,
    held: bool,
}

impl Turn {
    pub(super) fn new(link: Link) -> Turn {
        Turn { link, contended_until: Duration::ZERO, held: false }
    }

    /// Another handle was in the way.
    pub(super) fn contended(&mut self, shared: &Shared) {
        self.contended_until = shared.clock.monotonic() + CONTENDED_FOR;
    }

    /// Waits for the turn, if there is contention; at most a second.
    pub(super) async fn take(&mut self, shared: &Shared) {
        if shared.clock.monotonic() >= self.contended_until {
            return;
        }
        let lock = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = 1000; \
             SELECT id FROM {}.turn WHERE id = 0 FOR UPDATE",
            shared.config.schema_in_sql()
        );
        self.held = true;
        self.say("take a turn", &lock).await;
    }

    /// Lets the next one go.
    pub(super) async fn give(&mut self) {
        if std::mem::take(&mut self.held) {
            self.say("end a turn", "ROLLBACK").await;
        }
    }

    async fn say(&mut self, doing: &'static str, statements: &str) {
        let said = match self.link.get().await {
            Ok(connection) => {
                let executed = connection.client.batch_execute(statements);
                match connection.answer(doing, executed).await {
                    Ok(answer) => answer.map_err(|error| Trouble::of(doing, &error)),
                    Err(trouble) => Err(trouble),
                }
            }
            Err(trouble) => Err(trouble),
        };
        match said {
            // The lock was not to be had in time: `give` ends that transaction as well.
            Ok(()) | Err(Trouble::Conflict(_)) => {}
            Err(trouble) => {
                tracing::debug!(trouble = %trouble.failure(), "going on without a turn");
                self.held = false;
                self.link.lose();
            }
        }
    }
}

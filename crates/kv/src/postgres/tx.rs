//! One SQL transaction: what is wanted is fetched in as few round trips as there are dependencies,
//! and everything is written together with the COMMIT.

use std::future::Future;

use bytes::Bytes;
use futures_util::future::{OptionFuture, join, join_all, join3};
use tokio_postgres::{Error, Row};

use super::connect::Connection;
use super::reads::{End, Interval, Reads, Wanted};
use super::trouble::{Trouble, described, is_conflict};
use crate::error::StorageFailure;
use crate::overlay::{Change, Overlay};
use crate::range::Direction;
use crate::read::Entry;

/// Names a commit, so that its outcome can be looked up.
pub(super) type BatchId = [u8; 16];

/// A SQL transaction. It begins with its first statement, in the same round trip.
pub(super) struct Tx<'c> {
    connection: &'c Connection,
    begin: Option<&'static str>,
}

/// How a transaction that wrote something is committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commit {
    pub(super) id: BatchId,
    pub(super) synced: bool,
}

/// Why a commit did not answer with success.
#[derive(Debug)]
pub(super) enum NotCommitted {
    /// It did not happen.
    Trouble(Trouble),
    /// The answer to the COMMIT was lost.
    Unknown(StorageFailure),
}

impl From<Trouble> for NotCommitted {
    fn from(trouble: Trouble) -> Self {
        NotCommitted::Trouble(trouble)
    }
}

impl<'c> Tx<'c> {
    pub(super) fn read_write(connection: &'c Connection) -> Tx<'c> {
        Tx { connection, begin: Some("BEGIN ISOLATION LEVEL SERIALIZABLE") }
    }

    pub(super) fn read_only(connection: &'c Connection) -> Tx<'c> {
        Tx { connection, begin: Some("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY") }
    }

    /// Begins, if that has not happened, in one round trip with what `statements` does.
    async fn with_begin<T>(
        &mut self,
        doing: &'static str,
        statements: impl Future<Output = T>,
    ) -> Result<T, Trouble> {
        let begin = self.begin.take().map(|begin| self.connection.client.batch_execute(begin));
        let both = join(OptionFuture::from(begin), statements);
        let (begun, answer) = self.connection.answer(doing, both).await?;
        match begun {
            Some(Err(error)) => Err(Trouble::of("begin a transaction", &error)),
            Some(Ok(())) | None => Ok(answer),
        }
    }

    /// Fetches what is wanted into `reads`, in one round trip.
    pub(super) async fn fetch(
        &mut self,
        wanted: &Wanted,
        reads: &mut Reads,
    ) -> Result<(), Trouble> {
        const DOING: &str = "read entries";
        let connection = self.connection;
        let keys: Vec<&[u8]> = wanted.keys.iter().map(Bytes::as_ref).collect();
        let by_key = async {
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            connection.client.query(&connection.statements.get, &[&keys]).await
        };
        let scans = wanted.scans.iter().map(|(interval, limit)| scan(connection, interval, *limit));
        let both = join(by_key, join_all(scans));
        let (rows, pages) = self.with_begin(DOING, both).await?;
        let failed = |error: Error| Trouble::of(DOING, &error);
        reads.note_fetched(wanted);
        for row in rows.map_err(failed)? {
            let (key, value) = entry(&row).map_err(failed)?;
            reads.add_entry(key, value);
        }
        for ((interval, limit), page) in wanted.scans.iter().zip(pages) {
            let page = page.map_err(failed)?.iter().map(entry).collect::<Result<_, _>>();
            reads.add_page(interval, *limit, page.map_err(failed)?);
        }
        Ok(())
    }

    /// Ends a transaction that wrote nothing. What it read holds only if this succeeds.
    pub(super) async fn end(self) -> Result<(), Trouble> {
        const DOING: &str = "end a transaction without writes";
        if self.begin.is_some() {
            // Nothing was read either.
            return Ok(());
        }
        let ended = self.connection.client.batch_execute("COMMIT");
        let ended = self.connection.answer(DOING, ended).await?;
        ended.map_err(|error| Trouble::of(DOING, &error))
    }

    /// Gives up a transaction after a conflict, so that the connection can be used on.
    pub(super) async fn roll_back(self) -> Result<(), Trouble> {
        const DOING: &str = "roll back";
        let rolled = self.connection.client.batch_execute("ROLLBACK");
        let rolled = self.connection.answer(DOING, rolled).await?;
        rolled.map_err(|error| Trouble::of(DOING, &error))
    }

    /// Writes and commits in one round trip: the server runs the statements one after the other,
    /// and a COMMIT behind one that failed rolls back.
    pub(super) async fn commit(
        mut self,
        writes: &Overlay,
        commit: &Commit,
    ) -> Result<(), NotCommitted> {
        const DOING: &str = "commit";
        // Whoever has read nothing begins here, and waits for it: outside of a transaction each of
        // the statements below would be one of its own.
        self.with_begin(DOING, async {}).await?;
        let Connection { client, statements, synced, .. } = self.connection;
        let Split { keys, values, gone } = Split::of(writes);
        let id: &[u8] = &commit.id;
        let level = format!("SET LOCAL synchronous_commit = {synced}");
        let level = async { client.batch_execute(&level).await.map(|()| 0) };
        let put = async { client.execute(&statements.put, &[&keys, &values]).await };
        let delete = async { client.execute(&statements.delete, &[&gone]).await };
        let note = async { client.execute(&statements.note_batch, &[&id]).await };
        let level = OptionFuture::from(commit.synced.then_some(level));
        let put = OptionFuture::from((!keys.is_empty()).then_some(put));
        let delete = OptionFuture::from((!gone.is_empty()).then_some(delete));
        // Polled, and so sent, in this order.
        let all = join(join(level, put), join3(delete, note, client.batch_execute("COMMIT")));
        let unknown = |problem: String| NotCommitted::Unknown(StorageFailure::new(DOING, problem));
        let answered = self.connection.answer(DOING, all).await;
        let ((level, put), (deleted, noted, committed)) =
            answered.map_err(|trouble| unknown(trouble.failure().to_string()))?;
        for earlier in [level, put, deleted, Some(noted)].into_iter().flatten() {
            match earlier {
                Err(error) if error.code().is_some() => {
                    return Err(Trouble::of("write entries", &error).into());
                }
                Err(error) => return Err(unknown(described(&error))),
                Ok(_) => {}
            }
        }
        match committed {
            Ok(()) => Ok(()),
            Err(error) if error.code().is_some_and(is_conflict) => {
                Err(Trouble::of(DOING, &error).into())
            }
            Err(error) => Err(unknown(described(&error))),
        }
    }
}

/// Keys and values to put, and keys to delete.
#[derive(Default)]
struct Split<'w> {
    keys: Vec<&'w [u8]>,
    values: Vec<&'w [u8]>,
    gone: Vec<&'w [u8]>,
}

impl<'w> Split<'w> {
    fn of(writes: &'w Overlay) -> Split<'w> {
        let mut split = Split::default();
        for (key, change) in writes.iter() {
            match change {
                Change::Put(value) => {
                    split.keys.push(key.as_ref());
                    split.values.push(value.as_ref());
                }
                Change::Delete => split.gone.push(key.as_ref()),
            }
        }
        split
    }
}

async fn scan(
    connection: &Connection,
    interval: &Interval,
    limit: usize,
) -> Result<Vec<Row>, Error> {
    let scans = &connection.statements.scan;
    let start: &[u8] = &interval.start;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    match (&interval.end, interval.direction) {
        (End::Before(end), direction) => {
            let end: &[u8] = end;
            let statement = match direction {
                Direction::Forward => &scans.forward,
                Direction::Backward => &scans.backward,
            };
            connection.client.query(statement, &[&start, &end, &limit]).await
        }
        (End::Open, direction) => {
            let statement = match direction {
                Direction::Forward => &scans.forward_open,
                Direction::Backward => &scans.backward_open,
            };
            connection.client.query(statement, &[&start, &limit]).await
        }
    }
}

fn entry(row: &Row) -> Result<Entry, Error> {
    let bytes = |column| row.try_get::<_, &[u8]>(column).map(Bytes::copy_from_slice);
    Ok((bytes(0)?, bytes(1)?))
}

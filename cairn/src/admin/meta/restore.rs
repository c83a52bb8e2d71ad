//! `cairn admin meta restore`: the catalog from what nodes keep.
//!
//! ```text
//! ask all nodes ─► the one that is furthest ─► its backup, or the operator's ─► its records, each behind the other
//!   ─► the catalog knows its nodes: did enough of them answer? ─► audit ─► a branch of its own
//! ```

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_chunk_master::{Held, Import as Filling};
use cairn_core::backup::{BackupPart, BackupReader};
use cairn_core::journal::{JournalRecord, Position};
use cairn_kv::{Kv, adopt_journal};
use cairn_proto::v1::read_meta_response::Part;
use cairn_runtime::Clock;

use super::args::Restore;
use super::file::OldFile;
use super::nodes::{Reading, Source, ask};
use super::offline::{SWEEP_WAITS, audit, close, fill, head, made, open, output, refused};
use crate::client::error::{ClientError, Kind};
use crate::master::CATALOG_FILE;

const DOING: &str = "restore the catalog";

pub(super) async fn run(args: &Restore) -> Result<(), ClientError> {
    let clock = Clock::system();
    let answered = ask_all(&clock, &args.nodes).await?;
    let best = furthest(&answered)?;
    let kv = open(DOING, &args.into, true)?;
    let filling = Filling::begin(&kv).await.map_err(refused(DOING))?;
    let restored = Restoring { filling: &filling, clock: &clock };
    let (last, entries, records) = restored.read(best, args).await?;
    let missing = missing(&kv, &answered).await?;
    let copies = answered.iter().map(|source| source.kept.copies).max().unwrap_or(0);
    if missing >= copies as usize && !args.allow_missing {
        let problem = format!(
            "{missing} nodes did not answer that the catalog knows, and {copies} of them may have changes \
             that the others lack"
        );
        return Err(ClientError::new(Kind::Unreachable, DOING, problem).advise(
            "start them and restore again, into an empty store; or say --allow-missing and lose these changes",
        ));
    }
    let held = (missing > 0).then(|| Held {
        since_ms: clock.wall_ms(),
        reason: format!("restored while {missing} nodes did not answer"),
    });
    filling.end(held).await.map_err(refused(DOING))?;
    audit(DOING, &kv).await?;
    close(DOING, &kv).await?;
    drop(kv);
    if let Some(data) = &args.into.data {
        let writers = answered.iter().filter_map(|source| source.kept.writer);
        let term = writers.map(|writer| writer.term).max().unwrap_or(0);
        adopt_journal(&data.join(CATALOG_FILE), last, term)
            .map_err(|error| ClientError::failed(DOING, error))?;
    }
    let from = &best.address;
    output().line(&format!(
        "{entries} records and {records} groups of changes from {from}, up to {}, all agree with each other",
        last.sequence
    ))?;
    if missing > 0 {
        output().line(SWEEP_WAITS)?;
    }
    Ok(())
}

async fn ask_all(clock: &Clock, addresses: &[String]) -> Result<Vec<Source>, ClientError> {
    let mut answered = Vec::new();
    for address in addresses {
        match ask(DOING, clock, address).await? {
            Ok(source) => answered.push(source),
            Err(problem) => output().complain(&format!("{address}: {problem}")),
        }
    }
    Ok(answered)
}

/// Who has most of the newest history.
fn furthest(answered: &[Source]) -> Result<&Source, ClientError> {
    let catalogs: BTreeSet<_> = answered
        .iter()
        .filter_map(|source| Some(*source.kept.writer?.catalog.as_bytes()))
        .collect();
    if catalogs.len() > 1 {
        let problem = "the nodes keep different catalogs: name only those of one cluster";
        return Err(ClientError::usage(DOING, problem));
    }
    let position = |source: &&Source| source.kept.position.map(|at| (at.branch, at.sequence));
    let best = answered.iter().filter(|source| position(source).is_some()).max_by_key(position);
    best.ok_or_else(|| {
        ClientError::new(Kind::NotFound, DOING, "no node that answered keeps a catalog")
            .advise("name all nodes, each with --node; or import a backup: cairn admin meta import")
    })
}

/// Nodes that the catalog knows and that did not answer.
async fn missing(kv: &Kv, answered: &[Source]) -> Result<usize, ClientError> {
    let known = cairn_chunk_master::known_nodes(kv).await.map_err(refused(DOING))?;
    let here: BTreeSet<&[u8]> = answered.iter().map(|source| source.node.as_ref()).collect();
    Ok(known.iter().filter(|node| !here.contains(node.as_bytes().as_slice())).count())
}

struct Restoring<'a> {
    filling: &'a Filling<'a>,
    clock: &'a Clock,
}

impl Restoring<'_> {
    /// Reads everything: how far it goes, entries of the backup, records behind it.
    async fn read(
        &self,
        best: &Source,
        args: &Restore,
    ) -> Result<(Position, u64, u64), ClientError> {
        let given = match &args.backup {
            None => None,
            Some(file) => {
                let (backup, head) = head(DOING, OldFile::open(DOING, file)?).await?;
                let totals = fill(DOING, backup, self.filling).await?;
                output().line(&format!("begun with a backup of {}", made(&head)))?;
                Some((head.position, totals.entries))
            }
        };
        let (mut last, mut entries) = match given {
            Some((position, entries)) => (Some(position), entries),
            None => (None, 0),
        };
        let mut reading = Reading::begin(DOING, self.clock, &best.address).await?;
        let (mut backup, mut ended, mut records) = (BackupReader::default(), false, 0);
        while let Some(part) = reading.next().await? {
            match part.part {
                Some(Part::Backup(_)) if given.is_some() => {}
                Some(Part::Backup(data)) => {
                    backup.push(&data);
                    while let Some(part) = backup.next_part().map_err(damaged)? {
                        match part {
                            BackupPart::Head(head) => last = Some(head.position),
                            BackupPart::Entries(page) => {
                                self.filling.entries(page).await.map_err(refused(DOING))?;
                            }
                            BackupPart::End(totals) => (entries, ended) = (totals.entries, true),
                        }
                    }
                }
                Some(Part::Records(data)) => {
                    let from = last.filter(|_| ended || given.is_some());
                    let from = from.ok_or_else(|| damaged("records come before the backup"))?;
                    let (now, count) = self.apply(from, data).await?;
                    last = Some(now);
                    records += count;
                }
                Some(Part::State(_)) | None => {}
            }
        }
        if given.is_none() {
            backup.finish().map_err(damaged)?;
        }
        let last = last.ok_or_else(|| damaged("there is no backup"))?;
        let wanted = best.kept.position.unwrap_or_default();
        let reached = last.branch == wanted.branch && last.sequence >= wanted.sequence;
        if !reached {
            let problem =
                format!("the records end at {}, not at {}", last.sequence, wanted.sequence);
            return Err(damaged(problem));
        }
        Ok((last, entries, records))
    }

    /// Applies records, each of which must follow the one before.
    async fn apply(
        &self,
        mut last: Position,
        mut data: Bytes,
    ) -> Result<(Position, u64), ClientError> {
        let mut count = 0;
        while let Some(record) = JournalRecord::take(&mut data).map_err(damaged)? {
            let position = record.position();
            // A backup of the operator's may be newer than the node's.
            if position.branch == last.branch && position.sequence <= last.sequence {
                continue;
            }
            if !record.follows(last) {
                let problem = format!(
                    "record {} does not follow {}: changes in between are missing",
                    position.sequence, last.sequence
                );
                return Err(damaged(problem));
            }
            let changes = record.changes().map_err(damaged)?;
            self.filling.changes(changes).await.map_err(refused(DOING))?;
            (last, count) = (position, count + 1);
        }
        Ok((last, count))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "an error is handed over as it was caught")]
fn damaged(problem: impl ToString) -> ClientError {
    ClientError::new(Kind::Mismatch, DOING, problem.to_string())
        .advise("empty the store; restore again without the node that was read, or from a backup")
}

//! Backups from and into a store that no master uses.

use cairn_chunk_master::{Held, Import as Filling, MasterError, export as pieces};
use cairn_core::backup::{BackupHead, BackupPart, BackupTotals};
use cairn_kv::Kv;
use cairn_runtime::{Clock, Entropy};
use futures_util::StreamExt;

use super::args::{Export, Import, Place};
use super::file::{NewFile, OldFile, told};
use super::shown;
use crate::client::args::Telling;
use crate::client::error::{ClientError, Kind};
use crate::client::output::Output;
use crate::master::{CATALOG_FILE, open_database, open_file};

/// Whether a store is named.
pub(super) fn is_named(place: &Place) -> bool {
    place.data.is_some() || place.store.is_some()
}

/// Where results go.
pub(super) fn output() -> Output {
    Output::new(Telling { quiet: true, json: false })
}

/// Opens the store. In a folder it must be there unless `new` is said.
pub(super) fn open(doing: &str, place: &Place, new: bool) -> Result<Kv, ClientError> {
    let opened = match (&place.data, &place.store) {
        (Some(data), _) => {
            let file = data.join(CATALOG_FILE);
            if !new && !file.exists() {
                let problem = format!("there is no catalog {}", file.display());
                return Err(ClientError::new(Kind::NotFound, doing, problem));
            }
            open_file(data, None)
        }
        (None, Some(url)) => {
            let entropy = Entropy::from_system();
            let entropy = entropy.map_err(|error| ClientError::failed(doing, error))?;
            open_database(Clock::system(), entropy, url, place.store_ca.clone())
        }
        (None, None) => {
            return Err(ClientError::usage(doing, "name the store: --data DIR or --store URL"));
        }
    };
    opened.map_err(|error| ClientError::failed(doing, error))
}

/// What the master's part of the work says.
pub(super) fn refused(doing: &str) -> impl Fn(MasterError) -> ClientError + '_ {
    move |error| ClientError::failed(doing, error)
}

pub(super) async fn close(doing: &str, kv: &Kv) -> Result<(), ClientError> {
    kv.close().await.map_err(|failure| ClientError::failed(doing, failure))
}

pub(super) async fn export(args: &Export) -> Result<(), ClientError> {
    let doing = format!("export to {}", shown(&args.file));
    let kv = open(&doing, &args.from, false)?;
    let pieces = pieces(&kv, Clock::system().wall_ms()).await.map_err(refused(&doing))?;
    let mut pieces = std::pin::pin!(pieces);
    let mut file = NewFile::create(&doing, &args.file).await?;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|failure| ClientError::failed(&doing, failure))?;
        file = file.with(piece).await?;
    }
    let totals = file.finish().await?;
    close(&doing, &kv).await?;
    output().line(&told(&args.file, totals))
}

pub(super) async fn import(args: &Import) -> Result<(), ClientError> {
    let doing = format!("import {}", shown(&args.file));
    // A file that is no backup is refused before the store is touched.
    let backup = OldFile::open(&doing, &args.file)?;
    let (backup, head) = head(&doing, backup).await?;
    let kv = open(&doing, &args.into, true)?;
    let filling = Filling::begin(&kv).await.map_err(refused(&doing))?;
    let totals = fill(&doing, backup, &filling).await?;
    let held = (!args.complete).then(|| Held {
        since_ms: Clock::system().wall_ms(),
        reason: format!("imported from a backup of {}", made(&head)),
    });
    filling.end(held).await.map_err(refused(&doing))?;
    audit(&doing, &kv).await?;
    close(&doing, &kv).await?;
    let BackupTotals { entries, .. } = totals;
    output().line(&format!("{entries} records imported, all agree with each other"))?;
    match args.complete {
        true => Ok(()),
        false => output().line(SWEEP_WAITS),
    }
}

/// What an operator has to know of a catalog that may be too old.
pub(super) const SWEEP_WAITS: &str = "the sweep waits: look whether files are missing, then let it go on with \
     cairn admin meta release-sweep";

pub(super) fn made(head: &BackupHead) -> String {
    let time = std::time::UNIX_EPOCH
        .checked_add(std::time::Duration::from_millis(head.made_ms))
        .map(|time| humantime::format_rfc3339_seconds(time).to_string());
    time.unwrap_or_else(|| "an unknown time".to_owned())
}

/// Reads the beginning.
pub(super) async fn head(
    doing: &str,
    backup: OldFile,
) -> Result<(OldFile, BackupHead), ClientError> {
    match backup.next_part().await? {
        (backup, Some(BackupPart::Head(head))) => Ok((backup, head)),
        _ => Err(ClientError::new(Kind::Mismatch, doing, "the backup has no beginning")),
    }
}

/// Fills the store with all of a backup.
pub(super) async fn fill(
    doing: &str,
    mut backup: OldFile,
    filling: &Filling<'_>,
) -> Result<BackupTotals, ClientError> {
    let mut totals = None;
    loop {
        let part;
        (backup, part) = backup.next_part().await?;
        match part {
            Some(BackupPart::Entries(entries)) => {
                filling.entries(entries).await.map_err(refused(doing))?;
            }
            Some(BackupPart::End(end)) => totals = Some(end),
            Some(BackupPart::Head(_)) => {}
            None => return Ok(totals.unwrap_or_default()),
        }
    }
}

/// Checks that all records agree with each other.
pub(super) async fn audit(doing: &str, kv: &Kv) -> Result<(), ClientError> {
    const SHOWN: usize = 20;
    let audit = cairn_chunk_master::audit(kv).await.map_err(refused(doing))?;
    let contradictions = &audit.contradictions;
    if contradictions.is_empty() {
        return Ok(());
    }
    for contradiction in contradictions.iter().take(SHOWN) {
        output().complain(contradiction);
    }
    let problem = format!("the catalog is there, with {} contradictions", contradictions.len());
    Err(ClientError::new(Kind::Mismatch, doing, problem)
        .advise("keep this output; do not start a master on it before you know why"))
}

//! Backups as files: written aside, proved while they are written, named when they are durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use cairn_core::backup::{BackupPart, BackupReader, BackupTotals};
use cairn_proto::v1::ExportMetaRequest;
use cairn_runtime::Blocking;

use super::args::Export;
use super::shown;
use crate::admin::Operator;
use crate::client::error::{ClientError, Kind};
use crate::human::bytes_as;

/// Longest silence of the master in the middle of a backup.
const SILENCE: Duration = Duration::from_secs(60);
/// How much of a file is read at once.
const PIECE_BYTES: usize = 1 << 20;

/// Writes what the master sends.
pub(super) async fn export(operator: &Operator, args: &Export) -> Result<(), ClientError> {
    let doing = format!("export to {}", shown(&args.file));
    let mut file = NewFile::create(&doing, &args.file).await?;
    let mut calls = operator.calls.clone();
    let call = calls.export_meta(ExportMetaRequest {});
    let mut pieces = operator.answer(&doing, call).await?;
    loop {
        let next = operator.clock.timeout(SILENCE, pieces.message()).await;
        let next = next.map_err(|elapsed| ClientError::failed(&doing, elapsed))?;
        match next.map_err(|status| operator.refusal(&doing, status))? {
            Some(piece) => file = file.with(piece.data).await?,
            None => break,
        }
    }
    let totals = file.finish().await?;
    operator.output.line(&told(&args.file, totals))
}

/// What was written.
pub(super) fn told(file: &Path, totals: BackupTotals) -> String {
    let BackupTotals { entries, bytes } = totals;
    format!("{}: {entries} records, {}, checked", shown(file), bytes_as(bytes, false))
}

/// A backup that is being written.
pub(super) struct NewFile {
    doing: String,
    path: PathBuf,
    aside: PathBuf,
    file: File,
    reader: BackupReader,
    totals: Option<BackupTotals>,
    blocking: Blocking,
}

fn failed(doing: &str) -> impl Fn(io::Error) -> ClientError + '_ {
    move |error| ClientError::failed(doing, error)
}

/// A thread for files.
pub(super) fn files(doing: &str) -> Result<Blocking, ClientError> {
    Blocking::threads("cairn-file", 1).map_err(failed(doing))
}

/// Work that blocks.
pub(super) async fn blocking<T: Send + 'static>(
    doing: &str,
    files: &Blocking,
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    let done = files.run(work).await;
    done.unwrap_or_else(|error| Err(ClientError::failed(doing, error)))
}

impl NewFile {
    pub(super) async fn create(doing: &str, path: &Path) -> Result<Self, ClientError> {
        let blocking = files(doing)?;
        let (doing, path) = (doing.to_owned(), path.to_owned());
        let aside = PathBuf::from(format!("{}.new", path.display()));
        if path.exists() {
            let problem = "there is a file of that name: name another, so that nothing is lost";
            return Err(ClientError::new(Kind::Condition, doing, problem));
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&aside);
        let file = file.map_err(failed(&doing))?;
        let reader = BackupReader::default();
        Ok(Self { doing, path, aside, file, reader, totals: None, blocking })
    }

    /// Adds the next bytes, which must lead on.
    pub(super) async fn with(mut self, data: Bytes) -> Result<Self, ClientError> {
        let (doing, files) = (self.doing.clone(), self.blocking.clone());
        let work = move || {
            self.reader.push(&data);
            let broken = |error| ClientError::new(Kind::Mismatch, &self.doing, error);
            while let Some(part) = self.reader.next_part().map_err(broken)? {
                if let BackupPart::End(totals) = part {
                    self.totals = Some(totals);
                }
            }
            self.file.write_all(&data).map_err(failed(&self.doing))?;
            Ok(self)
        };
        blocking(&doing, &files, work).await
    }

    /// The backup is whole: it gets its name.
    pub(super) async fn finish(self) -> Result<BackupTotals, ClientError> {
        let (doing, files) = (self.doing.clone(), self.blocking.clone());
        let work = move || {
            let broken = |error| ClientError::new(Kind::Mismatch, &self.doing, error);
            self.reader.finish().map_err(broken)?;
            self.file.sync_all().map_err(failed(&self.doing))?;
            fs::rename(&self.aside, &self.path).map_err(failed(&self.doing))?;
            let folder = self.path.parent().filter(|folder| *folder != Path::new(""));
            let folder = File::open(folder.unwrap_or(Path::new(".")));
            folder.and_then(|folder| folder.sync_all()).map_err(failed(&self.doing))?;
            Ok(self.totals.unwrap_or_default())
        };
        blocking(&doing, &files, work).await
    }
}

/// A backup that is read.
pub(super) struct OldFile {
    doing: String,
    file: File,
    reader: BackupReader,
    blocking: Blocking,
}

impl OldFile {
    pub(super) fn open(doing: &str, path: &Path) -> Result<Self, ClientError> {
        let file = File::open(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => ClientError::new(Kind::NotFound, doing, error),
            _ => ClientError::failed(doing, error),
        })?;
        let (doing, reader) = (doing.to_owned(), BackupReader::default());
        Ok(Self { blocking: files(&doing)?, doing, file, reader })
    }

    /// The next part; `None` behind the end.
    pub(super) async fn next_part(mut self) -> Result<(Self, Option<BackupPart>), ClientError> {
        let (doing, files) = (self.doing.clone(), self.blocking.clone());
        let work = move || {
            let doing = self.doing.clone();
            let broken = |error| ClientError::new(Kind::Mismatch, &doing, error);
            loop {
                if let Some(part) = self.reader.next_part().map_err(broken)? {
                    return Ok((self, Some(part)));
                }
                let mut piece = vec![0; PIECE_BYTES];
                let read = self.file.read(&mut piece).map_err(failed(&doing))?;
                if read == 0 {
                    self.reader.finish().map_err(broken)?;
                    return Ok((self, None));
                }
                self.reader.push(&piece[..read]);
            }
        };
        blocking(&doing, &files, work).await
    }
}

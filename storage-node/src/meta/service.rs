//! The generated trait: wire to domain, one piece of work on the files, what is kept afterwards.

use cairn_core::backup::{BackupPart, BackupReader};
use cairn_core::journal::{JournalKept, JournalWriter};
use cairn_proto::v1::meta_journal_server::MetaJournal;
use cairn_proto::v1::{MetaState, PutBackupRequest, ReadMetaResponse, read_meta_response};
use cairn_proto::{InvalidField, WireError, convert, meta, v1};
use futures_util::stream::{self, BoxStream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::{BackupHead, Contents, MetaKeeper, NewBackup, Refused};

/// Longest piece of a backup.
const MAX_PIECE_BYTES: usize = 3 << 20;

/// The gRPC service `cairn.v1.MetaJournal`. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MetaService {
    keeper: MetaKeeper,
}

impl MetaService {
    fn state(&self, kept: JournalKept) -> MetaState {
        let node_id = convert::bytes(self.keeper.identity.node().as_bytes());
        MetaState { node_id, ..MetaState::from(kept) }
    }

    fn answer(
        &self,
        rpc: &'static str,
        kept: Result<JournalKept, Refused>,
    ) -> Result<Response<MetaState>, Status> {
        kept.map(|kept| Response::new(self.state(kept))).map_err(|error| {
            tracing::debug!(rpc, %error, "refused");
            error.to_status()
        })
    }

    pub(super) fn new(keeper: MetaKeeper) -> Self {
        Self { keeper }
    }

    /// Only the master of the node's own catalog writes.
    fn writer(&self, by: Option<v1::MetaWriter>) -> Result<JournalWriter, Refused> {
        let writer = meta::writer(by)?;
        match self.keeper.identity.catalog() {
            Some(ours) if ours == writer.catalog => Ok(writer),
            Some(_) => Err(Refused::Foreign),
            None => Err(Refused::NotJoined),
        }
    }

    async fn begin(&self, request: v1::BeginTermRequest) -> Result<JournalKept, Refused> {
        let writer = self.writer(request.by)?;
        let position = convert::required("position", request.position)?.into();
        let copies = request.copies;
        let work = move |files: &mut super::Files| {
            files.begin(writer, position, copies)?;
            Ok(files.kept())
        };
        self.keeper.with(work).await
    }

    async fn append(&self, request: v1::AppendRecordsRequest) -> Result<JournalKept, Refused> {
        let writer = self.writer(request.by)?;
        let work = move |files: &mut super::Files| {
            if files.is_written_by(&writer) {
                files.append(request.records)?;
            }
            Ok(files.kept())
        };
        self.keeper.with(work).await
    }

    async fn put_backup_in(
        &self,
        mut pieces: Streaming<PutBackupRequest>,
    ) -> Result<JournalKept, Refused> {
        let _turn = self.keeper.backups.try_acquire().map_err(|_| Refused::Busy)?;
        let mut piece = next(&mut pieces).await?.ok_or(Refused::NotWhole)?;
        let writer = self.writer(piece.by.take())?;
        let disk = self.keeper.disk.clone();
        let new = self.keeper.blocking.run(move || NewBackup::create(&*disk)).await??;
        let mut taking = Taking { new, reader: BackupReader::default(), head: None, ended: false };
        loop {
            if piece.data.len() > MAX_PIECE_BYTES {
                let problem = format!("send at most {MAX_PIECE_BYTES} bytes at once");
                return Err(InvalidField::new("data", problem).into());
            }
            taking = self.keeper.blocking.run(move || taking.with(&piece.data)).await??;
            piece = match next(&mut pieces).await? {
                Some(piece) => piece,
                None => break,
            };
        }
        let (Some(head), true) = (taking.head, taking.ended) else {
            return Err(Refused::NotWhole);
        };
        if head.catalog != *writer.catalog.as_bytes() {
            return Err(Refused::Foreign);
        }
        let work = move |files: &mut super::Files| {
            if files.is_written_by(&writer) {
                files.adopt(&taking.new, &head)?;
            }
            Ok(files.kept())
        };
        self.keeper.with(work).await
    }
}

async fn next(
    pieces: &mut Streaming<PutBackupRequest>,
) -> Result<Option<PutBackupRequest>, Refused> {
    // Whoever breaks off gets no answer.
    pieces.message().await.map_err(|_| Refused::NotWhole)
}

/// A backup that comes in: it is checked while it is written.
struct Taking {
    new: NewBackup,
    reader: BackupReader,
    head: Option<BackupHead>,
    ended: bool,
}

impl Taking {
    fn with(mut self, data: &[u8]) -> Result<Self, super::MetaError> {
        self.reader.push(data);
        while let Some(part) = self.reader.next_part()? {
            match part {
                BackupPart::Head(head) => self.head = Some(head),
                BackupPart::Entries(_) => {}
                BackupPart::End(_) => self.ended = true,
            }
        }
        self.new.write(data)?;
        Ok(self)
    }
}

#[tonic::async_trait]
impl MetaJournal for MetaService {
    async fn begin_term(
        &self,
        request: Request<v1::BeginTermRequest>,
    ) -> Result<Response<MetaState>, Status> {
        self.answer("begin_term", self.begin(request.into_inner()).await)
    }

    async fn append_records(
        &self,
        request: Request<v1::AppendRecordsRequest>,
    ) -> Result<Response<MetaState>, Status> {
        self.answer("append_records", self.append(request.into_inner()).await)
    }

    async fn put_backup(
        &self,
        request: Request<Streaming<PutBackupRequest>>,
    ) -> Result<Response<MetaState>, Status> {
        self.answer("put_backup", self.put_backup_in(request.into_inner()).await)
    }

    async fn get_meta_state(
        &self,
        _: Request<v1::GetMetaStateRequest>,
    ) -> Result<Response<MetaState>, Status> {
        self.answer("get_meta_state", self.keeper.with(|files| Ok(files.kept())).await)
    }

    type ReadMetaStream = BoxStream<'static, Result<ReadMetaResponse, Status>>;

    async fn read_meta(
        &self,
        _: Request<v1::ReadMetaRequest>,
    ) -> Result<Response<Self::ReadMetaStream>, Status> {
        let opened = self.keeper.with(|files| Ok((files.kept(), files.contents()))).await;
        let opened =
            opened.and_then(|(kept, contents)| Ok((kept, contents.ok_or(Refused::Empty)?)));
        let (kept, contents) = opened.map_err(|error| error.to_status())?;
        let reading = Reading { keeper: self.keeper.clone(), contents, at: At::Backup(0) };
        let first = message(read_meta_response::Part::State(self.state(kept)));
        let first = stream::once(async move { Ok(first) });
        let rest = stream::try_unfold(reading, |reading| async {
            reading.next().await.map_err(|error| error.to_status())
        });
        Ok(Response::new(first.chain(rest).boxed()))
    }
}

fn message(part: read_meta_response::Part) -> ReadMetaResponse {
    ReadMetaResponse { part: Some(part) }
}

/// Where the reading is.
#[derive(Debug, Clone, Copy)]
enum At {
    Backup(u64),
    Segment(usize, u64),
}

/// What is kept, on its way out.
struct Reading {
    keeper: MetaKeeper,
    contents: Contents,
    at: At,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(ReadMetaResponse, Self)>, Refused> {
        let blocking = self.keeper.blocking.clone();
        loop {
            let (part, this) = blocking.run(move || self.step()).await??;
            self = this;
            match part {
                Step::Part(part) => return Ok(Some((message(part), self))),
                Step::Nothing => {}
                Step::End => return Ok(None),
            }
        }
    }

    fn step(mut self) -> Result<(Step, Self), super::MetaError> {
        let step = match self.at {
            At::Backup(at) => {
                let piece = self.contents.backup_piece(at)?;
                if piece.is_empty() {
                    self.at = At::Segment(0, 0);
                    Step::Nothing
                } else {
                    self.at = At::Backup(at + piece.len() as u64);
                    Step::Part(read_meta_response::Part::Backup(piece.into()))
                }
            }
            At::Segment(segment, _) if segment >= self.contents.segments() => Step::End,
            At::Segment(segment, at) => {
                let (records, next) = self.contents.records(segment, at)?;
                let moved = next > at && next < self.contents.segment_bytes(segment);
                self.at =
                    if moved { At::Segment(segment, next) } else { At::Segment(segment + 1, 0) };
                match records.is_empty() {
                    true => Step::Nothing,
                    false => Step::Part(read_meta_response::Part::Records(records)),
                }
            }
        };
        Ok((step, self))
    }
}

enum Step {
    Part(read_meta_response::Part),
    Nothing,
    End,
}

//! [`Client`] over `cairn.v1.Files`.

use std::net::SocketAddr;

use cairn_proto::RemoteError;
use cairn_proto::error::Reason;
use cairn_proto::v1::files_client::FilesClient;
use cairn_proto::v1::{
    DeleteFileRequest, GetFileRequest, ListFilesRequest, ObjectMeta, PutFileHeader, PutFileRequest,
    StatFileRequest, WriteCondition, get_file_response, put_file_request,
};
use futures_util::stream;
use sha2::{Digest, Sha256};
use tonic::Status;
use tonic::transport::Channel;

use super::admin::channel;
use super::{Client, Condition, Content, FileInfo, Listed, Refusal, Stored, hex};

#[derive(Debug)]
pub(crate) struct OverGrpc(FilesClient<Channel>);

impl OverGrpc {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(FilesClient::new(channel(address).await))
    }
}

fn wire(condition: Condition) -> Option<WriteCondition> {
    let mut wire = WriteCondition::default();
    match condition {
        Condition::Always => return None,
        Condition::MustNotExist => wire.must_not_exist = true,
        Condition::MustExist => wire.must_exist = true,
        Condition::Match(etag) => wire.if_match.push(etag),
        Condition::NoneMatch(etag) => wire.if_none_match.push(etag),
    }
    Some(wire)
}

fn refusal(status: Status) -> Refusal {
    let error = RemoteError::from(status);
    match error.reason {
        Reason::BucketNotFound => Refusal::BucketNotFound,
        Reason::ObjectNotFound => Refusal::FileNotFound,
        Reason::ObjectExists => Refusal::Exists,
        Reason::PreconditionFailed => Refusal::Precondition,
        Reason::InvalidField => Refusal::Invalid,
        Reason::QuotaExceeded => Refusal::Quota,
        reason => Refusal::Other(format!("{reason:?}: {error:?}")),
    }
}

fn parts(
    header: PutFileHeader,
    content: Content,
) -> impl futures_util::Stream<Item = PutFileRequest> + Send {
    let header = put_file_request::Part::Header(header);
    let data = content.frames().map(put_file_request::Part::Data);
    let part = |part| PutFileRequest { part: Some(part) };
    stream::iter(std::iter::once(header).chain(data).map(part))
}

impl Client for OverGrpc {
    async fn put(
        &mut self,
        bucket: &str,
        key: &str,
        content: Content,
        meta: &[(&str, &str)],
        condition: Condition,
    ) -> Result<Stored, Refusal> {
        let mut kept = ObjectMeta::default();
        for (name, value) in meta {
            match *name {
                "content-type" => kept.content_type = (*value).to_owned(),
                name => {
                    kept.user.insert(name.to_owned(), (*value).to_owned());
                }
            }
        }
        let header = PutFileHeader {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            length: Some(content.length),
            meta: Some(kept),
            condition: wire(condition),
            ..Default::default()
        };
        let stored = self.0.put(parts(header, content)).await.map_err(refusal)?;
        let stored = stored.into_inner();
        Ok(Stored {
            replaced: stored.replaced,
            etag: stored.file.expect("the stored file").etag,
            receipt: stored.receipt,
        })
    }

    async fn get(
        &mut self,
        bucket: &str,
        key: &str,
        offset: u64,
        length: u64,
    ) -> Result<(u64, [u8; 32]), Refusal> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        let request = GetFileRequest { bucket, key, offset, length, ..Default::default() };
        let mut answer = self.0.get(request).await.map_err(refusal)?.into_inner();
        let (mut read, mut hash) = (0, Sha256::new());
        while let Some(message) = answer.message().await.map_err(refusal)? {
            if let Some(get_file_response::Part::Data(data)) = message.part {
                read += data.len() as u64;
                hash.update(&data);
            }
        }
        Ok((read, hash.finalize().into()))
    }

    async fn stat(&mut self, bucket: &str, key: &str) -> Result<FileInfo, Refusal> {
        let request = StatFileRequest { bucket: bucket.to_owned(), key: key.to_owned() };
        let file = self.0.stat(request).await.map_err(refusal)?.into_inner();
        let file = file.file.expect("the file");
        let meta = file.meta.unwrap_or_default();
        let sha256 = <[u8; 32]>::try_from(file.sha256.as_ref()).expect("a SHA-256");
        Ok(FileInfo {
            length: file.length,
            etag: file.etag,
            sha256,
            content_type: match meta.content_type.as_str() {
                "" => "application/octet-stream".to_owned(),
                stated => stated.to_owned(),
            },
            meta: meta.user.into_iter().collect(),
        })
    }

    async fn list(
        &mut self,
        bucket: &str,
        prefix: &str,
        delimiter: &str,
        after: &str,
        limit: u32,
    ) -> Result<Listed, Refusal> {
        let request = ListFilesRequest {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            delimiter: delimiter.to_owned(),
            after: after.to_owned(),
            limit,
        };
        let page = self.0.list(request).await.map_err(refusal)?.into_inner();
        let files = page.files.into_iter();
        Ok(Listed {
            files: files.map(|file| (file.key, file.length, hex(&file.sha256))).collect(),
            prefixes: page.common_prefixes,
            next_after: page.next_after,
        })
    }

    async fn delete(
        &mut self,
        bucket: &str,
        key: &str,
        condition: Condition,
    ) -> Result<(), Refusal> {
        let request = DeleteFileRequest {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            condition: wire(condition),
        };
        self.0.delete(request).await.map_err(refusal)?;
        Ok(())
    }
}

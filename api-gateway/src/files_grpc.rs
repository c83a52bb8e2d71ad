//! `cairn.v1.Files`: the same uploads, downloads and names as REST.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use cairn_core::ids::NodeId;
use cairn_core::names::{BucketName, Principal};
use cairn_core::range::ByteRange;
use cairn_proto::v1::files_server::{Files as FilesService, FilesServer};
use cairn_proto::v1::{get_file_response, put_file_request};
use cairn_proto::{InvalidField, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, WireError, convert, v1};
use cairn_runtime::RequestId;
use futures_util::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status, Streaming};

use crate::download::Wait;
use crate::files::Files;
use crate::master::CallContext;
use crate::namespace::{ListQuery, MAX_PAGE};
use crate::upload::{Body, BodyError, NewFile};

/// The service.
pub fn service(files: Files) -> FilesServer<FilesGrpc> {
    FilesServer::new(FilesGrpc { files }).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// Answers `cairn.v1.Files`.
#[derive(Debug, Clone)]
pub struct FilesGrpc {
    files: Files,
}

fn context<T>(request: &Request<T>) -> CallContext {
    let id = request.extensions().get::<RequestId>().cloned();
    let request_id = id.unwrap_or_else(|| RequestId::background("in-process"));
    CallContext { request_id, principal: Principal::standard() }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn refused(error: impl WireError) -> Status {
    error.to_status()
}

fn bucket(name: &str) -> Result<BucketName, Status> {
    if name.is_empty() {
        Ok(BucketName::standard())
    } else {
        convert::bucket(name).map_err(refused)
    }
}

fn new_file(header: v1::PutFileHeader) -> Result<NewFile, Status> {
    Ok(NewFile {
        bucket: bucket(&header.bucket)?,
        key: convert::key(header.key).map_err(refused)?,
        length: header.length,
        chunking: convert::chunking(header.chunking).map_err(refused)?,
        sha256: None,
        meta: convert::meta(header.meta).map_err(refused)?,
        condition: header.condition.unwrap_or_default().into(),
        write: convert::strategy("write", &header.write).map_err(refused)?,
        durability: convert::asked_durability(header.durability).map_err(refused)?,
    })
}

fn timing(node: NodeId, took: Duration) -> v1::NodeTiming {
    let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    v1::NodeTiming { node: node.to_string(), took_us }
}

/// The data messages of a put.
fn body(parts: Streaming<v1::PutFileRequest>) -> Body {
    parts
        .map(|part| match part.map_err(|status| BodyError(status.message().to_owned()))?.part {
            Some(put_file_request::Part::Data(data)) if data.len() <= MAX_FRAME_BYTES => Ok(data),
            Some(put_file_request::Part::Data(data)) => {
                Err(BodyError(format!("{} bytes in one message: send at most 1 MiB", data.len())))
            }
            _ => Err(BodyError("a message without data after the header".to_owned())),
        })
        .boxed()
}

#[tonic::async_trait]
impl FilesService for FilesGrpc {
    async fn put(
        &self,
        request: Request<Streaming<v1::PutFileRequest>>,
    ) -> Result<Response<v1::PutFileResponse>, Status> {
        let context = context(&request);
        let mut parts = request.into_inner();
        let first = parts.message().await?;
        let Some(put_file_request::Part::Header(header)) = first.and_then(|part| part.part) else {
            return Err(refused(InvalidField::new("header", "must be the first message")));
        };
        let file = new_file(header)?;
        let stored = self.files.uploads.store(context, file, body(parts), false).await;
        let stored = stored.map_err(refused)?;
        Ok(Response::new(v1::PutFileResponse {
            file: Some((&stored.object).into()),
            replaced: stored.replaced,
            receipt: stored.durability.to_string(),
            nodes: stored.nodes.iter().map(|(node, took)| timing(*node, *took)).collect(),
        }))
    }

    type GetStream = Pin<Box<dyn Stream<Item = Result<v1::GetFileResponse, Status>> + Send>>;

    async fn get(
        &self,
        request: Request<v1::GetFileRequest>,
    ) -> Result<Response<Self::GetStream>, Status> {
        let context = context(&request);
        let v1::GetFileRequest { bucket: name, key, offset, length, read, wait } =
            request.into_inner();
        let (bucket, key) = (bucket(&name)?, convert::key(key).map_err(refused)?);
        let strategy = convert::strategy("read", &read).map_err(refused)?;
        let wait = wait.map(|wait| Wait::new(wait.seconds, wait.replaced)).transpose();
        let wait = wait.map_err(|error| refused(InvalidField::new("wait", error.to_string())))?;
        let downloads = &self.files.downloads;
        let located = downloads.locate(&context, &bucket, &key, wait).await.map_err(refused)?;
        let total = located.object.length;
        if offset > total {
            let problem = format!("beyond the end: the file has {total} bytes");
            return Err(refused(InvalidField::new("offset", problem)));
        }
        let wanted = if length == 0 { u64::MAX } else { length };
        let header = get_file_response::Part::Header((&located.object).into());
        let range = ByteRange::within(offset, wanted, total);
        let opened = downloads.open(context, located, range, strategy).await.map_err(refused)?;
        let message = |part| v1::GetFileResponse { part: Some(part), served_by: None };
        let served_by = opened.served_by.map(|(node, took)| timing(node, took));
        let header = stream::iter([Ok(v1::GetFileResponse { part: Some(header), served_by })]);
        let data = opened.body.map(move |bytes: Result<Bytes, _>| {
            bytes.map(|bytes| message(get_file_response::Part::Data(bytes))).map_err(refused)
        });
        Ok(Response::new(Box::pin(header.chain(data))))
    }

    async fn stat(
        &self,
        request: Request<v1::StatFileRequest>,
    ) -> Result<Response<v1::StatFileResponse>, Status> {
        let context = context(&request);
        let v1::StatFileRequest { bucket: name, key } = request.into_inner();
        let (bucket, key) = (bucket(&name)?, convert::key(key).map_err(refused)?);
        let object = self.files.downloads.stat(&context, &bucket, &key).await.map_err(refused)?;
        Ok(Response::new(v1::StatFileResponse { file: Some((&object).into()) }))
    }

    async fn list(
        &self,
        request: Request<v1::ListFilesRequest>,
    ) -> Result<Response<v1::ListFilesResponse>, Status> {
        let context = context(&request);
        let request = request.into_inner();
        let v1::ListFilesRequest { bucket: name, prefix, delimiter, after, limit } = request;
        if limit > MAX_PAGE {
            let problem = format!("{limit}: use at most {MAX_PAGE}");
            return Err(refused(InvalidField::new("limit", problem)));
        }
        let limit = if limit == 0 { MAX_PAGE } else { limit };
        let query = ListQuery { prefix, delimiter, after, limit };
        let page = self.files.namespace.list(&context, &bucket(&name)?, query).await;
        let page = page.map_err(refused)?;
        Ok(Response::new(v1::ListFilesResponse {
            files: page.files.iter().map(Into::into).collect(),
            common_prefixes: page.prefixes,
            next_after: page.next_after,
        }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteFileRequest>,
    ) -> Result<Response<v1::DeleteFileResponse>, Status> {
        let context = context(&request);
        let v1::DeleteFileRequest { bucket: name, key, condition } = request.into_inner();
        let (bucket, key) = (bucket(&name)?, convert::key(key).map_err(refused)?);
        let condition = condition.unwrap_or_default().into();
        let deleted = self.files.namespace.delete(&context, &bucket, &key, condition).await;
        deleted.map_err(refused)?;
        Ok(Response::new(v1::DeleteFileResponse {}))
    }
}

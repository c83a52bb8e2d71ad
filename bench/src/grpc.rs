//! `cairn.v1.Files`.

use cairn_proto::v1;
use cairn_proto::v1::files_client::FilesClient;
use cairn_proto::v1::{get_file_response, put_file_request};
use cairn_runtime::{Dial, NetworkDial, PeerChannel};
use futures_util::{StreamExt, stream};

use crate::content::Noise;
use crate::load::{Client, Failure, Operation};

/// One connection.
pub(crate) struct Grpc {
    client: FilesClient<PeerChannel>,
    noise: Noise,
    verify: bool,
}

impl Grpc {
    /// Will connect to `authority`, e.g. `127.0.0.1:8080`.
    pub(crate) fn new(authority: &str, noise: Noise, verify: bool) -> Result<Self, Failure> {
        let channel = NetworkDial::tcp(1).dial(&format!("http://{authority}"))?;
        Ok(Self { client: FilesClient::new(channel), noise, verify })
    }

    async fn put(&mut self, key: String, file: u64, size: u64) -> Result<u64, Failure> {
        let message = |part| v1::PutFileRequest { part: Some(part) };
        let header = v1::PutFileHeader { key, length: Some(size), ..Default::default() };
        let header = stream::iter([message(put_file_request::Part::Header(header))]);
        let pieces = self.noise.clone().pieces(file, size);
        let data = stream::iter(pieces.map(move |p| message(put_file_request::Part::Data(p))));
        self.client.put(header.chain(data)).await?;
        Ok(size)
    }

    async fn get(&mut self, key: String, file: u64, size: u64) -> Result<u64, Failure> {
        let request = v1::GetFileRequest { key, ..Default::default() };
        let mut parts = self.client.get(request).await?.into_inner();
        let mut received = 0;
        while let Some(part) = parts.message().await? {
            let Some(get_file_response::Part::Data(data)) = part.part else { continue };
            if self.verify && !self.noise.matches(file, received, &data) {
                return Err(format!("file {file} differs after byte {received}").into());
            }
            received += data.len() as u64;
        }
        if received == size { Ok(size) } else { Err(format!("{received} bytes of {size}").into()) }
    }
}

impl Client for Grpc {
    async fn run(&mut self, operation: Operation, file: u64, size: u64) -> Result<u64, Failure> {
        let key = format!("{file:08}");
        match operation {
            Operation::Put => self.put(key, file, size).await,
            Operation::Get => self.get(key, file, size).await,
            Operation::Delete => {
                let request = v1::DeleteFileRequest { key, ..Default::default() };
                self.client.delete(request).await?;
                Ok(0)
            }
            Operation::List => {
                let page = self.client.list(v1::ListFilesRequest::default()).await?.into_inner();
                let first = page.files.first();
                let right = first.is_some_and(|f| f.length == size && f.key == format!("{:08}", 0));
                if self.verify && !right {
                    return Err(format!("the list begins with {first:?}").into());
                }
                Ok(0)
            }
        }
    }
}

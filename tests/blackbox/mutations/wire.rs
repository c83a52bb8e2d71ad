//! Calls as bytes: what is sent is what the caller says, and what comes back is judged as a client would.

use std::net::SocketAddr;

use bytes::Bytes;
use cairn_proto::{Reason, RemoteError};
use http_body_util::{BodyExt, Full};
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::{channel, within};

/// Longest wait for an answer: longer than any call of a master takes to give up on nodes that are not there.
const BOUND_SECONDS: u64 = 60;

/// The call whose stream has no end: its first message will do.
const ENDLESS: &str = "/WatchNodes";

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Success, with the first message.
    Done(Bytes),
    /// A refusal with a reason that a client understands.
    Refused(Reason),
    /// A refusal without one.
    Untyped(Code, String),
    /// The connection or the stream broke.
    Broken(String),
}

/// A way to one port.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    address: SocketAddr,
    channel: Channel,
}

impl Wire {
    pub(super) async fn to(address: SocketAddr) -> Self {
        Self { address, channel: channel(address).await }
    }

    /// Sends a body to a path.
    pub(super) async fn ask(&mut self, path: &str, body: Vec<u8>) -> Answer {
        within(BOUND_SECONDS, path, self.exchange(path, body)).await
    }

    async fn exchange(&mut self, path: &str, body: Vec<u8>) -> Answer {
        let request = http::Request::post(format!("http://{}{path}", self.address))
            .version(http::Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::new(Full::new(Bytes::from(body))))
            .expect("a request");
        if let Err(broken) = std::future::poll_fn(|context| {
            GrpcService::<Body>::poll_ready(&mut self.channel, context)
        })
        .await
        {
            return Answer::Broken(broken.to_string());
        }
        match GrpcService::call(&mut self.channel, request).await {
            Ok(response) => read(response, path.ends_with(ENDLESS)).await,
            Err(broken) => Answer::Broken(format!("{broken:?}")),
        }
    }
}

async fn read(response: http::Response<Body>, is_endless: bool) -> Answer {
    let (head, mut body) = response.into_parts();
    if head.status != http::StatusCode::OK {
        return Answer::Broken(format!("HTTP {}", head.status));
    }
    if let Some(status) = Status::from_header_map(&head.headers) {
        return judged(status, &Bytes::new());
    }
    let mut message = Bytes::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => match frame.into_data() {
                Ok(data) if is_endless => return Answer::Done(data),
                // What is longer than a frame is not looked at.
                Ok(data) if message.is_empty() => message = data,
                Ok(_) => {}
                Err(trailers) => {
                    let trailers = trailers.into_trailers().unwrap_or_default();
                    return match Status::from_header_map(&trailers) {
                        Some(status) => judged(status, &message),
                        None => Answer::Broken("trailers without a status".to_owned()),
                    };
                }
            },
            Err(broken) => return Answer::Broken(broken.to_string()),
        }
    }
    Answer::Broken("no status".to_owned())
}

fn judged(status: Status, message: &Bytes) -> Answer {
    let (code, text) = (status.code(), status.message().to_owned());
    if code == Code::Ok {
        // Without the frame around it.
        return Answer::Done(message.slice(message.len().min(5)..));
    }
    let carries_one = !status.details().is_empty();
    match RemoteError::from(status).reason {
        reason if carries_one && reason != Reason::Unspecified => Answer::Refused(reason),
        _ => Answer::Untyped(code, text),
    }
}

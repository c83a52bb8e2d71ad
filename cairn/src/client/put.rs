//! `cairn put`: files into the store.
//!
//! ```text
//! file ─► read and hash (thread) ─► few pieces ahead ─► body ─► the answer's Repr-Digest must be the same
//! ```

mod plan;
mod source;

use std::time::Duration;

use bytes::Bytes;
use cairn_core::digest::Sha256;
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use self::plan::{Item, Origin};
use self::source::Source;
use super::args::Put;
use super::error::{ClientError, Kind};
use super::http::{Body, read_json, text};
use super::remote::Described;
use super::{Client, block_on, digest, each};
use crate::human;

/// Pieces that are read before they are sent.
const PIECES_AHEAD: usize = 4;
/// From this length on, the server is asked before the body is sent.
const ASK_FIRST_BYTES: u64 = 1 << 20;
/// Longest wait for the server's leave; it may be one that gives none (RFC 9110, section 10.1.1).
const LEAVE_BOUND: Duration = Duration::from_secs(5);
/// Longest wait for the reader of a file after the request has failed.
const READER_BOUND: Duration = Duration::from_secs(1);

/// A stored file, in JSON.
#[derive(Serialize)]
struct Stored<'a> {
    #[serde(flatten)]
    file: &'a Described,
    source: &'a str,
    replaced: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<&'a str>,
}

pub(crate) fn run(args: &Put) -> Result<(), ClientError> {
    block_on(async {
        let client = Client::open(&args.connection, args.telling, args.parallel)?;
        let planned = plan::plan(&args.paths, args.recursive)?;
        for skipped in &planned.skipped {
            client
                .output
                .complain(&format!("put {}: skipped: it is a link or a device", skipped.display()));
        }
        client.output.begin(planned.bytes());
        let ended = each(&client, args.parallel, planned.items, |item| put(&client, args, item));
        let ended = ended.await;
        client.output.end();
        ended
    })
}

/// Stores one file, again when the server asks for that.
async fn put(client: &Client, args: &Put, item: Item) -> Result<(), ClientError> {
    client.output.at(item.key.as_str());
    let doing = format!("put {} as {}", item.origin, item.key);
    let mut tried = 0;
    loop {
        let source = Source::open(&doing, &item.origin)?;
        let counted = client.output.clone();
        let sent = source.counter();
        match attempt(client, args, &item, &doing, source).await {
            Ok(()) => return Ok(()),
            // What came from a pipe is gone.
            Err(error) if matches!(item.origin, Origin::Stdin) => return Err(error),
            Err(error) => {
                tried += 1;
                client.api.pause(error, !args.new, tried).await?;
                counted.back(sent.get());
            }
        }
    }
}

async fn attempt(
    client: &Client,
    args: &Put,
    item: &Item,
    doing: &str,
    source: Source,
) -> Result<(), ClientError> {
    let (pieces, queue) = mpsc::channel(PIECES_AHEAD);
    let request = request(client, args, item, doing, source.length(), queue)?;
    let output = client.output.clone();
    let reader = client.blocking(doing, {
        let doing = doing.to_owned();
        move || source.pump(&doing, &pieces, |bytes| output.passed(bytes))
    });
    let (answer, sent) = exchange(client, doing, request, reader).await?;
    let replaced = answer.status() == StatusCode::OK;
    let (parts, body) = answer.into_parts();
    let body = client.api.all(doing, body).await?;
    let file: Described = read_json(doing, &body)?;
    match digest::stated(&parts.headers) {
        // The bucket wants no SHA-256, and the lengths of chunks are known only now.
        None if file.root.is_some() => {
            let text = "not compared with what was sent: the bucket keeps no SHA-256";
            client.output.complain(&format!("{doing}: {text}"));
        }
        stored => verify(doing, &sent, stored)?,
    }
    let source = item.origin.to_string();
    let line = format!("{source} -> {} ({})", file.key, human::bytes(file.length));
    let receipt = text(&parts.headers, "cairn-receipt");
    client.output.done(&line, &Stored { file: &file, source: &source, replaced, receipt })
}

/// Sends the request while the reader feeds it. When both fail, the reader's reason is the one to tell.
async fn exchange(
    client: &Client,
    doing: &str,
    request: Request<Body>,
    reader: impl Future<Output = Result<Sha256, ClientError>>,
) -> Result<(Response<Incoming>, Sha256), ClientError> {
    let mut reader = std::pin::pin!(reader);
    let mut read = None;
    let answer = {
        let mut answer = std::pin::pin!(client.api.send(doing, request));
        loop {
            tokio::select! {
                answer = &mut answer => break answer,
                ended = &mut reader, if read.is_none() => read = Some(ended),
            }
        }
    };
    match (answer, read) {
        (Ok(answer), Some(read)) => Ok((answer, read?)),
        (Ok(answer), None) => Ok((answer, reader.await?)),
        (Err(error), Some(Err(unreadable))) => Err(cause(unreadable, error)),
        (Err(error), Some(Ok(_))) => Err(error),
        (Err(error), None) => match client.api.clock.timeout(READER_BOUND, reader).await {
            Ok(Err(unreadable)) => Err(cause(unreadable, error)),
            _ => Err(error),
        },
    }
}

/// Why a request failed whose body could not be fed either: a body that nobody takes any more is the refusal's echo.
fn cause(unreadable: ClientError, error: ClientError) -> ClientError {
    if unreadable.kind == Kind::Unreachable { error } else { unreadable }
}

fn request(
    client: &Client,
    args: &Put,
    item: &Item,
    doing: &str,
    length: Option<u64>,
    queue: mpsc::Receiver<std::io::Result<Bytes>>,
) -> Result<Request<Body>, ClientError> {
    let method = if args.new { Method::POST } else { Method::PUT };
    let mut head = client.api.file(method, &item.key);
    if let Some(length) = length {
        head = head.header(CONTENT_LENGTH, length);
    }
    if let Some(kind) = &args.content_type {
        head = head.header(CONTENT_TYPE, kind);
    }
    for (name, value) in &args.meta {
        head = head.header(format!("cairn-meta-{name}"), value.as_bytes());
    }
    if let Some(chunking) = args.chunking {
        head = head.header("cairn-chunking", chunking.to_string());
    }
    let wrong = |error: http::Error| ClientError::usage(doing, error);
    if length.is_some_and(|length| length < ASK_FIRST_BYTES) {
        return head.body(body(None, queue)).map_err(wrong);
    }
    let (give, leave) = oneshot::channel();
    let give = std::sync::Mutex::new(Some(give));
    let waits = leave_given(client, leave);
    let mut request =
        head.header(EXPECT, "100-continue").body(body(Some(waits), queue)).map_err(wrong)?;
    hyper::ext::on_informational(&mut request, move |informational| {
        if informational.status() == StatusCode::CONTINUE
            && let Ok(mut give) = give.lock()
            && let Some(give) = give.take()
        {
            // The body may have gone on without it.
            let _ = give.send(());
        }
    });
    Ok(request)
}

type Leave = futures_util::future::BoxFuture<'static, ()>;

/// Waits until the server wants the body.
fn leave_given(client: &Client, leave: oneshot::Receiver<()>) -> Leave {
    let clock = client.api.clock.clone();
    Box::pin(async move {
        // Whether it came or not, the body goes out now.
        let _ = clock.timeout(LEAVE_BOUND, leave).await;
    })
}

fn body(leave: Option<Leave>, queue: mpsc::Receiver<std::io::Result<Bytes>>) -> Body {
    let next = |(leave, mut queue): (Option<Leave>, mpsc::Receiver<_>)| async move {
        if let Some(leave) = leave {
            leave.await;
        }
        let piece: std::io::Result<Bytes> = queue.recv().await?;
        Some((piece.map(Frame::data), (None, queue)))
    };
    StreamBody::new(stream::unfold((leave, queue), next).boxed()).boxed_unsync()
}

/// What the server has must be what was sent.
fn verify(doing: &str, sent: &Sha256, stored: Option<Sha256>) -> Result<(), ClientError> {
    let problem = match stored {
        Some(stored) if stored == *sent => return Ok(()),
        Some(stored) => format!("sent SHA-256 {sent}, but the server stored {stored}"),
        None => "the server does not say the SHA-256 of what it stored".to_owned(),
    };
    Err(ClientError::new(Kind::Mismatch, doing, problem)
        .advise("store it again: what is there now cannot be trusted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_must_be_what_was_sent() {
        let (one, other) = (Sha256([1; 32]), Sha256([2; 32]));
        assert_eq!(verify("put", &one, Some(one)), Ok(()));
        for stored in [Some(other), None] {
            let error = verify("put", &one, stored).expect_err("another digest");
            assert_eq!(error.kind, Kind::Mismatch);
        }
    }
}

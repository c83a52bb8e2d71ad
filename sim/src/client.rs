//! A client of the gateway over HTTP/1.1, as curl is: one connection a request.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use cairn_runtime::Clock;
use futures_util::{Stream, stream};
use http::header::{CONTENT_LENGTH, HOST, IF_NONE_MATCH};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Body, Frame};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::cluster::{GATEWAY, GATEWAY_PORT, clock};
use crate::events::EventLog;
use crate::history::{Content, History, Told};
use crate::linear::object::When;
use crate::network::Network;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(90);

/// How a file is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upload {
    pub(crate) content: Content,
    /// The condition that is sent along.
    pub(crate) when: When,
    /// Whether the length is announced.
    pub(crate) announced: bool,
    /// Bytes sent at a time, and the pause after them.
    pub(crate) piece: usize,
    pub(crate) pause: Duration,
    /// The connection is dropped after so many bytes.
    pub(crate) cut_after: Option<u64>,
}

/// A client with a name of its own in the log.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) log: EventLog,
    pub(crate) history: History,
    pub(crate) clock: Clock,
}

struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Answer {
    /// Which of the gateway's problems it tells.
    fn problem(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let kind = text.split_once("\"type\":\"").and_then(|(_, rest)| rest.split_once('"'));
        kind.map_or_else(String::new, |(kind, _)| kind.to_owned())
    }
}

/// No answer came, or not the whole of it.
struct Broken(String);

impl Broken {
    fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into().to_string())
    }
}

impl Client {
    pub(crate) fn new(name: impl Into<String>, log: &EventLog, history: &History) -> Self {
        let (log, history) = (log.clone(), history.clone());
        Self { name: name.into(), log, history, clock: clock() }
    }

    /// Stores a file; what the client was told.
    pub(crate) async fn put(&self, key: &str, upload: Upload) -> Told {
        let Upload { content, announced, cut_after, .. } = upload;
        let known = if announced { "" } else { " of unknown length" };
        self.log.note(&self.name, format_args!("PUT {key} {content}{known}"));
        let bytes = content.bytes();
        self.history.will_write(content, &bytes);
        let ticket = self.history.begin_write(key, Some(content), upload.when);
        let mut request = request(Method::PUT, key);
        if announced {
            request = request.header(CONTENT_LENGTH, content.length);
        }
        if upload.when == When::Absent {
            request = request.header(IF_NONE_MATCH, "*");
        }
        let body = StreamBody::new(self.pieces(upload, bytes.into()));
        let sent = self.send(request.body(body));
        let answer = match cut_after {
            None => sent.await,
            Some(bytes) => {
                let pieces = bytes / upload.piece.max(1) as u64;
                let time = upload.pause * u32::try_from(pieces).unwrap_or(u32::MAX);
                self.cut(time, sent).await
            }
        };
        let told = match &answer {
            Ok(answer) if answer.status.is_success() => Told::Acknowledged,
            Ok(answer) if by_condition(answer) => Told::Refused,
            Ok(answer) if decides(answer) => Told::Declined,
            Ok(_) | Err(_) => Told::Unknown,
        };
        self.history.told(&ticket, told);
        self.note_end("PUT", key, &answer);
        told
    }

    /// Deletes a file.
    pub(crate) async fn delete(&self, key: &str) {
        self.log.note(&self.name, format_args!("DELETE {key}"));
        let ticket = self.history.begin_write(key, None, When::Always);
        let answer = self.send(request(Method::DELETE, key).body(Empty::new())).await;
        let told = match &answer {
            Ok(answer) if answer.status.is_success() => Told::Acknowledged,
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => Told::Refused,
            Ok(_) | Err(_) => Told::Unknown,
        };
        self.history.told(&ticket, told);
        self.note_end("DELETE", key, &answer);
    }

    /// Reads a file; true when the answer was whole.
    pub(crate) async fn get(&self, key: &str) -> bool {
        self.log.note(&self.name, format_args!("GET {key}"));
        let since = self.history.begin_read();
        let answer = self.send(request(Method::GET, key).body(Empty::new())).await;
        let whole = match &answer {
            Ok(Answer { status: StatusCode::OK, body }) => {
                self.history.read(key, since, Some(body));
                true
            }
            Ok(Answer { status: StatusCode::NOT_FOUND, .. }) => {
                self.history.read(key, since, None);
                true
            }
            Ok(_) | Err(_) => false,
        };
        self.note_end("GET", key, &answer);
        whole
    }

    /// Reads a file with `pauses` of `pause` each, evenly over its bytes; true when it was read to its end.
    pub(crate) async fn get_slowly(&self, key: &str, pauses: u32, pause: Duration) -> bool {
        self.log.note(&self.name, format_args!("GET {key}, slowly"));
        let since = self.history.begin_read();
        let request = request(Method::GET, key).body(Empty::<Bytes>::new()).map_err(Broken::new);
        let pace = Pace { clock: self.clock.clone(), pauses, pause };
        let answer = match request {
            Ok(request) => Box::pin(exchange(request, Some(pace))).await,
            Err(broken) => Err(broken),
        };
        let whole = matches!(&answer, Ok(Answer { status: StatusCode::OK, .. }));
        if let (true, Ok(Answer { body, .. })) = (whole, &answer) {
            self.history.read(key, since, Some(body));
        }
        self.note_end("GET", key, &answer);
        whole
    }

    fn note_end(&self, method: &str, key: &str, answer: &Result<Answer, Broken>) {
        match answer {
            Ok(answer) => self.log.note(
                &self.name,
                format_args!("{method} {key} -> {} {}", answer.status.as_u16(), answer.problem()),
            ),
            Err(broken) => {
                self.log.note(&self.name, format_args!("{method} {key} -> broken: {}", broken.0));
            }
        }
    }

    /// The body, a piece at a time.
    fn pieces(
        &self,
        upload: Upload,
        bytes: Bytes,
    ) -> impl Stream<Item = Result<Frame<Bytes>, Broken>> + use<> {
        let clock = self.clock.clone();
        stream::unfold(bytes, move |mut rest| {
            let clock = clock.clone();
            async move {
                if rest.is_empty() {
                    return None;
                }
                let piece = rest.split_to(upload.piece.min(rest.len()));
                clock.sleep(upload.pause).await;
                Some((Ok(Frame::data(piece)), rest))
            }
        })
    }

    /// Drops the connection after `time`.
    async fn cut(
        &self,
        time: Duration,
        sent: impl Future<Output = Result<Answer, Broken>>,
    ) -> Result<Answer, Broken> {
        match self.clock.timeout(time, sent).await {
            Ok(answer) => answer,
            Err(_) => {
                self.log.fault("upload cut", &self.name);
                Err(Broken::new("the client left"))
            }
        }
    }

    async fn send<B>(&self, request: Result<Request<B>, http::Error>) -> Result<Answer, Broken>
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let request = request.map_err(Broken::new)?;
        let answer = self.clock.timeout(PATIENCE, Box::pin(exchange(request, None))).await;
        answer.unwrap_or_else(|elapsed| Err(Broken::new(elapsed)))
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Broken {}

/// Whether an error says for certain that nothing was stored. The others are those of a master that could not be asked
/// to the end, or did not know itself.
fn decides(answer: &Answer) -> bool {
    const UNDECIDED: [&str; 3] = ["unavailable", "outcome-unknown", "internal"];
    let problem = answer.problem();
    !UNDECIDED.iter().any(|undecided| problem.ends_with(undecided))
}

/// Whether an error says that the condition did not hold.
fn by_condition(answer: &Answer) -> bool {
    matches!(answer.status, StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED)
}

fn request(method: Method, key: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("/v1/files/{key}")).header(HOST, GATEWAY)
}

/// How slowly a body is read.
struct Pace {
    clock: Clock,
    pauses: u32,
    pause: Duration,
}

impl Pace {
    async fn collect(self, mut body: hyper::body::Incoming) -> Result<Bytes, Broken> {
        let length = body.size_hint().exact().unwrap_or(0);
        let (mut read, mut paused) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(Broken::new)?.into_data() {
                read.extend_from_slice(&data);
            }
            while paused < self.pauses
                && read.len() as u64 * u64::from(self.pauses) >= length * u64::from(paused)
            {
                paused += 1;
                self.clock.sleep(self.pause).await;
            }
        }
        Ok(read.into())
    }
}

/// Connects, sends, reads the answer; the connection ends with the future.
async fn exchange<B>(request: Request<B>, pace: Option<Pace>) -> Result<Answer, Broken>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let stream = Network::default().connect(GATEWAY, GATEWAY_PORT).await.map_err(Broken::new)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(Broken::new)?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(Broken::new)?;
        let (head, body) = response.into_parts();
        let body = match pace {
            Some(pace) => pace.collect(body).await?,
            None => body.collect().await.map_err(Broken::new)?.to_bytes(),
        };
        Ok(Answer { status: head.status, body })
    };
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        biased;
        answer = answered.as_mut() => return answer,
        // The answer may have come before the end; if not, this is why.
        _ = connection => {}
    }
    answered.await
}

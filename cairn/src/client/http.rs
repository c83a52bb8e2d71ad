//! Requests to a gateway, and what its answers mean. The contract is `docs/rest.md`.

use std::time::Duration;

use bytes::Bytes;
use cairn_core::names::{BucketName, ObjectKey};
use cairn_runtime::Clock;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Builder;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::error::{Again, ClientError, Kind};
use super::names::{path_of, query_of};

/// The body of a request.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Bound on making a connection.
const CONNECT_BOUND: Duration = Duration::from_secs(5);
/// Longest silence of a server that has all of the request, and within its answer.
const SILENCE_BOUND: Duration = Duration::from_secs(60);
/// Longest time that sent bytes stay unacknowledged: notices a server that is cut off.
const UNACKNOWLEDGED_BOUND: Duration = Duration::from_secs(30);
/// Read buffer of a connection: the size in which bodies arrive.
const READ_BUFFER_BYTES: usize = 512 << 10;
/// Largest JSON answer: a page of a list.
const MAX_JSON_BYTES: usize = 16 << 20;
/// Tries of a request that the server asks to repeat.
const TRIES: u32 = 4;
/// Longest wait between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// One bucket of one gateway.
pub(super) struct Api {
    client: Client<HttpConnector, Body>,
    base: String,
    bucket: BucketName,
    pub(super) clock: Clock,
    /// Fetches in flight at once, over all files.
    pub(super) fetches: Semaphore,
}

#[derive(Debug, Deserialize)]
struct Problem {
    #[serde(default)]
    r#type: String,
    detail: String,
    request_id: Option<String>,
}

/// `http://HOST:PORT` out of what a person gave.
pub(crate) fn base_url(option: &str, text: &str) -> Result<String, ClientError> {
    let wrong = |problem: &str| {
        Err(ClientError::usage(
            format!("{option} {text}"),
            format!("{problem}: use http://HOST:PORT"),
        ))
    };
    let Ok(uri) = text.parse::<Uri>() else { return wrong("not a URL") };
    let Some(authority) = uri.authority() else { return wrong("not a URL") };
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return wrong("https is not spoken yet"),
        _ => return wrong("not an http URL"),
    }
    if authority.as_str().contains('@') {
        return wrong("credentials in a URL are not taken");
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return wrong("only the server is named, without a path");
    }
    Ok(format!("http://{authority}"))
}

/// A body in hand.
pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// No body.
pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

impl Api {
    pub(super) fn new(base: String, bucket: BucketName, clock: Clock, fetches: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_BOUND));
        connector.set_keepalive(Some(UNACKNOWLEDGED_BOUND));
        connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED_BOUND));
        let client = Client::builder(TokioExecutor::new())
            .http1_max_buf_size(READ_BUFFER_BYTES)
            .build(connector);
        Self { client, base, bucket, clock, fetches: Semaphore::new(fetches) }
    }

    pub(super) fn bucket(&self) -> &str {
        self.bucket.as_str()
    }

    /// A request for one file.
    pub(super) fn file(&self, method: Method, key: &ObjectKey) -> Builder {
        let path = path_of(key.as_str());
        let uri = format!("{}/v1/buckets/{}/files/{path}", self.base, self.bucket);
        Request::builder().method(method).uri(uri)
    }

    /// A request for a page of names.
    pub(super) fn list(&self, prefix: &str, delimiter: &str, after: &str) -> Builder {
        let (prefix, delimiter, after) = (query_of(prefix), query_of(delimiter), query_of(after));
        let query = format!("list&prefix={prefix}&delimiter={delimiter}&after={after}");
        let uri = format!("{}/v1/buckets/{}/files?{query}", self.base, self.bucket);
        Request::builder().method(Method::GET).uri(uri)
    }

    /// A request about the bucket itself.
    pub(super) fn of_bucket(&self, method: Method, query: &str) -> Builder {
        let uri = format!("{}/v1/buckets/{}{query}", self.base, self.bucket);
        Request::builder().method(method).uri(uri)
    }

    /// A request for a path of the server itself.
    pub(super) fn path(&self, path: &str) -> Builder {
        Request::builder().method(Method::GET).uri(format!("{}{path}", self.base))
    }

    /// Sends a request once. Every status but success is an error.
    pub(super) async fn send(
        &self,
        doing: &str,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, ClientError> {
        let head = request.method() == Method::HEAD;
        let answer = self.exchange(doing, request).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (parts, body) = answer.into_parts();
        let body = if head { Bytes::new() } else { self.all(doing, body).await? };
        Err(refusal(doing, parts.status, &parts.headers, &body))
    }

    /// Sends a request once; any status is an answer.
    pub(super) async fn exchange(
        &self,
        doing: &str,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, ClientError> {
        let sent = self.client.request(request).await;
        sent.map_err(|error| {
            if error.is_connect() {
                self.unreachable(doing, "cannot reach", &error).worth(Again::No)
            } else {
                self.unreachable(doing, "lost the connection to", &error)
            }
        })
    }

    /// Sends a request without a body, again when the server asks for that.
    pub(super) async fn ask(
        &self,
        doing: &str,
        repeatable: bool,
        request: impl Fn() -> Result<Request<Body>, http::Error>,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut tried = 0;
        loop {
            let built = request().map_err(|error| ClientError::usage(doing, error))?;
            let answer = self.clock.timeout(SILENCE_BOUND, self.send(doing, built)).await;
            let answer = answer.unwrap_or_else(|_| Err(self.silent(doing)));
            tried += 1;
            match answer {
                Err(error) if error.kind != Kind::Unreachable => {
                    self.pause(error, repeatable, tried).await?;
                }
                answer => return answer,
            }
        }
    }

    /// Waits before another try, or gives the error back when there is to be none.
    pub(super) async fn pause(
        &self,
        error: ClientError,
        repeatable: bool,
        tried: u32,
    ) -> Result<(), ClientError> {
        let worth = match error.again {
            Again::No => false,
            Again::Later => true,
            Again::IfRepeatable => repeatable,
        };
        if !worth || tried >= TRIES {
            return Err(error);
        }
        let pause = Duration::from_secs(1) * 2_u32.pow(tried - 1);
        self.clock.sleep(pause.min(MAX_PAUSE)).await;
        Ok(())
    }

    /// The next piece of an answer.
    pub(super) async fn piece(
        &self,
        doing: &str,
        body: &mut Incoming,
    ) -> Result<Option<Bytes>, ClientError> {
        loop {
            let frame = self.clock.timeout(SILENCE_BOUND, body.frame()).await;
            match frame.map_err(|_| self.silent(doing))? {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(error)) => {
                    return Err(self.unreachable(doing, "lost the connection to", &error));
                }
            }
        }
    }

    /// A whole answer, of bounded size.
    pub(super) async fn all(&self, doing: &str, body: Incoming) -> Result<Bytes, ClientError> {
        let all = self.clock.timeout(SILENCE_BOUND, Limited::new(body, MAX_JSON_BYTES).collect());
        let all = all.await.map_err(|_| self.silent(doing))?;
        let lost = |error: Box<dyn std::error::Error + Send + Sync>| {
            self.unreachable(doing, "lost the connection to", error.as_ref())
        };
        Ok(all.map_err(lost)?.to_bytes())
    }

    fn silent(&self, doing: &str) -> ClientError {
        let problem = format!("{} has said nothing for {SILENCE_BOUND:?}", self.base);
        ClientError::new(Kind::Unreachable, doing, problem).worth(Again::IfRepeatable)
    }

    fn unreachable(
        &self,
        doing: &str,
        what: &str,
        error: &(dyn std::error::Error + 'static),
    ) -> ClientError {
        let problem = format!("{what} {}: {}", self.base, root_cause(error));
        ClientError::new(Kind::Unreachable, doing, problem)
            .worth(Again::IfRepeatable)
            .advise("see that Cairn runs there, or name another gateway with --url or CAIRN_URL")
    }
}

/// The innermost cause: what the operating system said.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Reads an answer of JSON.
pub(super) fn read_json<'a, T: Deserialize<'a>>(
    doing: &str,
    body: &'a [u8],
) -> Result<T, ClientError> {
    let stranger = |error| {
        ClientError::failed(doing, format!("the answer is not one of Cairn's: {error}"))
            .advise("see that --url names a gateway of Cairn")
    };
    serde_json::from_slice(body).map_err(stranger)
}

/// A header as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

/// What an answer means that is no success.
fn refusal(doing: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ClientError {
    let is_problem =
        text(headers, CONTENT_TYPE.as_str()).is_some_and(|kind| kind.contains("problem+json"));
    let problem = is_problem.then(|| serde_json::from_slice::<Problem>(body).ok()).flatten();
    let ours = text(headers, "x-request-id").map(str::to_owned);
    let Some(problem) = problem else {
        return unexplained(doing, status, ours.is_some()).with_request_id(ours);
    };
    let name = problem.r#type.strip_prefix("urn:cairn:problem:").unwrap_or("");
    let (kind, again, advice) = meaning(name, status);
    let error = ClientError::new(kind, doing, problem.detail).worth(again);
    let error = error.with_request_id(problem.request_id.or(ours));
    match (advice, text(headers, RETRY_AFTER.as_str())) {
        ("", Some(seconds)) => error.advise(format!("try again in {seconds} s")),
        ("", None) => error,
        (advice, _) => error.advise(advice),
    }
}

/// Kind, whether to repeat, and advice for each type of problem in `docs/rest.md`.
fn meaning(problem: &str, status: StatusCode) -> (Kind, Again, &'static str) {
    match problem {
        "invalid-name" | "invalid-request" => (Kind::Usage, Again::No, ""),
        "file-not-found" => (Kind::NotFound, Again::No, "see what is there: cairn ls"),
        "bucket-not-found" => (
            Kind::NotFound,
            Again::No,
            "see the buckets: cairn bucket ls; choose one with --bucket",
        ),
        "bucket-exists" | "bucket-deleting" => {
            (Kind::Condition, Again::No, "see the buckets: cairn bucket ls")
        }
        "bucket-not-empty" => (
            Kind::Condition,
            Again::No,
            "delete it with all that is in it: cairn bucket rm --contents",
        ),
        "file-exists" => (Kind::Condition, Again::No, "leave --new out to replace it"),
        "precondition-failed" => (Kind::Condition, Again::No, "look at it with: cairn stat KEY"),
        "quota-exceeded" => (
            Kind::Quota,
            Again::No,
            "delete files with cairn rm, or raise the limit: cairn admin quota set BUCKET --bytes SIZE",
        ),
        "outcome-unknown" => {
            (Kind::Failed, Again::IfRepeatable, "it may have happened: look with cairn stat KEY")
        }
        _ if status == StatusCode::SERVICE_UNAVAILABLE => (Kind::Failed, Again::Later, ""),
        _ => (Kind::Failed, Again::No, ""),
    }
}

/// An answer without a problem: to HEAD, or from a server that is not Cairn's.
fn unexplained(doing: &str, status: StatusCode, is_cairn: bool) -> ClientError {
    let said = format!("the server answered {status}");
    match status {
        StatusCode::NOT_FOUND if is_cairn => {
            ClientError::new(Kind::NotFound, doing, "there is no such file")
                .advise("see what is there: cairn ls")
        }
        StatusCode::PRECONDITION_FAILED => ClientError::new(Kind::Condition, doing, said),
        StatusCode::SERVICE_UNAVAILABLE => {
            ClientError::failed(doing, said).worth(Again::Later).advise("try again in a moment")
        }
        _ => ClientError::failed(doing, said).advise("see that --url names a gateway of Cairn"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_scheme_host_and_port() {
        assert_eq!(base_url("--url", "http://a:8080/").as_deref(), Ok("http://a:8080"));
        assert_eq!(base_url("--url", "http://[::1]:80").as_deref(), Ok("http://[::1]:80"));
        for text in
            ["", "a", "a:80", "https://a", "http://a/b", "http://u:p@a", "http://a?q", "ftp://a"]
        {
            let error = base_url("--url", text).expect_err(text);
            assert_eq!(error.kind, Kind::Usage, "{text}: {error}");
        }
    }

    #[test]
    fn a_problem_gives_its_detail_its_request_and_its_exit_code() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/problem+json".parse().expect("a header"));
        let body = br#"{"type":"urn:cairn:problem:quota-exceeded","title":"","status":507,
            "detail":"the bucket is full","request_id":"r-1"}"#;
        let error = refusal("put a", StatusCode::INSUFFICIENT_STORAGE, &headers, body);
        assert_eq!(error.kind, Kind::Quota);
        let said = error.to_string();
        assert!(said.starts_with("put a: the bucket is full\n"), "{said}");
        assert!(said.contains("request id: r-1"), "{said}");
    }

    #[test]
    fn what_another_server_says_is_told_as_it_is() {
        let error = refusal("ls", StatusCode::BAD_GATEWAY, &HeaderMap::new(), b"<html>");
        assert_eq!(error.kind, Kind::Failed);
        assert!(error.to_string().contains("502 Bad Gateway"), "{error}");
        // Only Cairn knows which files there are.
        let error = refusal("stat a", StatusCode::NOT_FOUND, &HeaderMap::new(), b"");
        assert_eq!(error.kind, Kind::Failed);
    }
}

//! A real server that speaks S3: moto, from PyPI.
//!
//! ```text
//! test process ── pipe ──► sh (keeper) ──► python3 -m moto.server
//! ```
//! A test can end in ways in which no destructor runs. So a shell holds the server, and ends it by its process id when
//! the pipe from the test closes. A missing moto is said loudly, and is a failure where `CAIRN_REQUIRE` names `moto`.

#![allow(clippy::print_stderr, reason = "a skipped test must be seen")]
#![allow(
    clippy::missing_panics_doc,
    reason = "a test ends where its server does not do as it should"
)]

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cairn_runtime::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;

/// Where CI installs Python's packages.
const PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/python");
/// Longest wait for the server to start.
const BOUND: Duration = Duration::from_secs(60);

/// moto wants requests to be signed, and takes every signature.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 \
    Credential=id/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";

/// A running server; it ends with the process.
#[derive(Debug)]
pub struct Server {
    port: u16,
    buckets: AtomicU32,
    _keeper: Child,
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Status line and headers, in small letters.
    pub head: String,
    /// What follows.
    pub body: Vec<u8>,
}

impl Server {
    /// The server that the tests of this process share, started by the first that asks; `None`, said loudly, where moto
    /// is missing.
    pub async fn shared() -> Option<&'static Server> {
        static SHARED: OnceCell<Option<Server>> = OnceCell::const_new();
        SHARED.get_or_init(start).await.as_ref()
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The name of a new and empty bucket.
    pub async fn new_bucket(&self) -> String {
        let name = format!("bucket-{}", self.buckets.fetch_add(1, Ordering::Relaxed));
        let made = self.request("PUT", &format!("/{name}"), &[], b"").await;
        assert_eq!(made.status, 200, "{made:?}");
        name
    }

    /// Asks the server for something behind the store's back.
    pub async fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\
             Content-Length: {}\r\nAuthorization: {AUTHORIZATION}\r\n",
            self.port,
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await;
        let mut stream = stream.expect("the server listens");
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.write_all(body).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Answer { status: status.expect("a status"), head, body: answer[end + 4..].to_vec() }
    }
}

fn with_packages(command: &mut Command) -> &mut Command {
    if Path::new(PACKAGES).is_dir() {
        command.env("PYTHONPATH", PACKAGES);
    }
    command
}

fn is_there() -> bool {
    let mut look = Command::new("python3");
    look.args(["-c", "import moto.server, flask_cors"]).stdout(Stdio::null()).stderr(Stdio::null());
    let there = with_packages(&mut look).status().is_ok_and(|status| status.success());
    let required = std::env::var("CAIRN_REQUIRE").unwrap_or_default();
    let required = required.split([',', ' ']).any(|tool| tool == "moto");
    assert!(there || !required, "moto is required and missing: pip install 'moto[server]'");
    if !there {
        eprintln!("SKIPPED: no moto (pip install 'moto[server]')");
    }
    there
}

async fn start() -> Option<Server> {
    if !is_there() {
        return None;
    }
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let script = r#""$@" </dev/null >/dev/null 2>&1 & server=$!
        read -r _; kill $server; wait $server"#;
    let mut keeper = Command::new("sh");
    keeper
        .args(["-c", script, "keeper", "python3", "-m", "moto.server"])
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .env_remove("AWS_CA_BUNDLE")
        .stdin(Stdio::piped());
    let keeper = with_packages(&mut keeper).spawn().expect("sh runs");
    let clock = Clock::system();
    let listens = async {
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
            clock.sleep(Duration::from_millis(20)).await;
        }
    };
    clock.timeout(BOUND, listens).await.expect("moto starts");
    Some(Server { port, buckets: AtomicU32::new(0), _keeper: keeper })
}

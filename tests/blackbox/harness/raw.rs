//! A bare socket: for requests that no client library would send, and for cutting them off.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

/// Longest wait for an answer.
const BOUND_SECONDS: u64 = 60;

/// How a connection is broken off.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// Both directions closed, as an ended process does.
    Close,
    /// A reset, as a crashed host or a middlebox does.
    Reset,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl RawAnswer {
    /// Reads one; nothing when the text is no whole answer.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split_whitespace().nth(1)?.parse().ok()?;
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok());
        if length.is_some_and(|length: usize| body.len() < length) {
            return None;
        }
        Some(Self { status, head: head.to_owned(), body: body.to_owned() })
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Raw {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("connect");
        socket.set_nodelay(true).expect("set TCP_NODELAY");
        let read = Vec::new();
        Self { socket, read }
    }

    /// Sends as much as the other side takes; false when it takes no more.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = self.socket.write_all(bytes);
        within(BOUND_SECONDS, "send", sent).await.is_ok()
    }

    /// Says that nothing more is sent.
    pub(crate) async fn finish(&mut self) {
        // An error means that the other side is gone, which the answer tells.
        let _ = self.socket.shutdown().await;
    }

    /// The next answer; nothing when the connection ends before.
    pub(crate) async fn try_answer(&mut self) -> Option<RawAnswer> {
        self.answer_within(BOUND_SECONDS).await
    }

    /// As [`Self::try_answer`], with a bound in seconds.
    pub(crate) async fn answer_within(&mut self, seconds: u64) -> Option<RawAnswer> {
        let reading = async {
            let mut buffer = vec![0; 64 << 10];
            loop {
                if let Some(answer) = RawAnswer::parse(&self.read) {
                    self.read.clear();
                    return Some(answer);
                }
                match self.socket.read(&mut buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(count) => self.read.extend_from_slice(&buffer[..count]),
                }
            }
        };
        within(seconds, "an answer on a bare socket", reading).await
    }

    pub(crate) async fn answer(&mut self) -> RawAnswer {
        let answer = self.try_answer().await;
        answer.unwrap_or_else(|| {
            let read = String::from_utf8_lossy(&self.read);
            panic!("the connection ended after {read:?}, without an answer")
        })
    }

    /// Breaks it off.
    pub(crate) fn cut(self, cut: Cut) {
        match cut {
            Cut::Close => {}
            Cut::Reset => self.socket.set_zero_linger().expect("set SO_LINGER"),
        }
    }
}

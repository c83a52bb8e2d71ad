//! Accepting connections, and telling HTTP/1 from HTTP/2 by their first bytes.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Where connections come from: a socket, or a simulated network.
pub trait Listen: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, SocketAddr)>> + Send;
}

impl Listen for TcpListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        // Without it small answers wait 40 ms for the client's delayed acknowledgement.
        stream.set_nodelay(true)?;
        Ok((stream, peer))
    }
}

/// Client connection preface of HTTP/2 (RFC 9113, section 3.4).
const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Which protocol a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Everything that is not HTTP/2; what is not HTTP at all gets its 400 from the HTTP/1 parser.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// Reads until the protocol is certain, at most 24 bytes, and puts them back in front.
pub(crate) async fn sniff<Io: AsyncRead + Unpin>(
    mut io: Io,
) -> io::Result<(Protocol, Rewound<Io>)> {
    let mut seen = [0; H2_PREFACE.len()];
    let mut filled = 0;
    let protocol = loop {
        let read = io.read(&mut seen[filled..]).await?;
        filled += read;
        let same = seen[..filled] == H2_PREFACE[..filled];
        match (same, filled == seen.len(), read) {
            (true, true, _) => break Protocol::Http2,
            (false, ..) | (_, _, 0) => break Protocol::Http1,
            (true, false, _) => {}
        }
    };
    Ok((protocol, Rewound { seen, next: 0, filled, io }))
}

/// A connection whose first bytes are read once more.
#[derive(Debug)]
pub(crate) struct Rewound<Io> {
    seen: [u8; H2_PREFACE.len()],
    next: usize,
    filled: usize,
    io: Io,
}

impl<Io: AsyncRead + Unpin> AsyncRead for Rewound<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.next < self.filled {
            let take = buf.remaining().min(self.filled - self.next);
            buf.put_slice(&self.seen[self.next..self.next + take]);
            self.next += take;
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Rewound<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sniffed(bytes: &[u8]) -> (Protocol, Vec<u8>) {
        let (protocol, mut io) = sniff(bytes).await.expect("a slice can be read");
        let mut all = Vec::new();
        io.read_to_end(&mut all).await.expect("a slice can be read");
        (protocol, all)
    }

    #[tokio::test]
    async fn the_first_bytes_tell_the_protocol_and_are_read_again() {
        let h2 = [&H2_PREFACE[..], b"rest"].concat();
        assert_eq!(sniffed(&h2).await, (Protocol::Http2, h2));
        for other in [&b"PUT /v1/files/a HTTP/1.1\r\n"[..], b"PRI", b"", b"\x16\x03\x01"] {
            assert_eq!(sniffed(other).await, (Protocol::Http1, other.to_vec()));
        }
    }
}

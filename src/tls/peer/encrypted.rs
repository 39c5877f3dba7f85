//! A connection whose TLS has begun, and that remembers whether it was TLS that it failed by.
//!
//! In TLS 1.3 a peer that does not accept our certificate says so after our handshake has ended
//! (RFC 8446 §4.4.2.4), so its alert comes in place of an answer.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use crate::tls::facts::cut;
use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// See the module.
#[derive(Debug)]
pub struct Encrypted {
    stream: TlsStream<TcpStream>,
    ends: Option<SystemTime>,
    /// Something has come that the peer could only send once it had accepted us.
    answered: bool,
    failed: Rc<Cell<bool>>,
}

impl Encrypted {
    pub(super) fn new(stream: TlsStream<TcpStream>, ends: Option<SystemTime>) -> Self {
        Self {
            stream,
            ends,
            answered: false,
            failed: Rc::default(),
        }
    }

    /// When what the peer has shown is no longer good; `None`: never.
    pub fn ends(&self) -> Option<SystemTime> {
        self.ends
    }

    /// Whether the handshake went on with an earlier session (RFC 8446 §2.2).
    pub fn is_resumed(&self) -> bool {
        let (_, connection) = self.stream.get_ref();
        connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Whether TLS has failed; shared with the connection.
    pub fn failure(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.failed)
    }

    /// Only TLS finds data invalid. And an alert may be lost to the reset behind it, so whatever
    /// ends a connection out of order before it has answered counts as one.
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            if !self.answered || error.kind() == io::ErrorKind::InvalidData {
                tracing::info!(
                    error = cut(&error.to_string()),
                    "TLS with a destination failed"
                );
                self.failed.set(true);
            }
        })
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        // The end without `close_notify` is an error of the library: a cut is not taken for an end.
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        self.answered |= buf.filled().len() > before;
        Poll::Ready(self.note(result))
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        Poll::Ready(self.note(result))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        Poll::Ready(self.note(result))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(self.note(result))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

//! The last answer of a connection waits for the end of the connection, so that the kernel sends
//! both in one segment: a client that asks for one thing is told with one packet instead of two.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::header::{CONNECTION, HeaderMap};
use hyper::{Request, Response, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::prefixed::Prefixed;
use crate::socket;

/// A connection, told when what is written to it is its last.
#[derive(Debug)]
pub struct LastAnswer {
    inner: Prefixed<TcpStream>,
    is_last: Rc<Cell<bool>>,
}

impl LastAnswer {
    /// `is_last` is set before the last answer is written.
    pub fn new(inner: Prefixed<TcpStream>, is_last: Rc<Cell<bool>>) -> Self {
        Self { inner, is_last }
    }

    /// The kernel keeps what is less than a segment until the connection ends, or for 200 ms
    /// (tcp(7), `TCP_CORK`).
    fn hold(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let stream = self.inner.get_ref();
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match socket::send_more_follows(stream, bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

/// Whether the connection ends with the answer to this request (RFC 9112 §9.3).
pub fn is_last_request<B>(request: &Request<B>) -> bool {
    let persists = request.version() == Version::HTTP_11
        || (request.version() == Version::HTTP_10 && has(request.headers(), "keep-alive"));
    request.version() < Version::HTTP_2 && (!persists || has(request.headers(), "close"))
}

/// Whether the connection ends with this answer, whatever was asked for.
pub fn is_last_answer<B>(response: &Response<B>) -> bool {
    has(response.headers(), "close")
}

fn has(headers: &HeaderMap, option: &str) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|given| given.trim().eq_ignore_ascii_case(option))
}

impl AsyncRead for LastAnswer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for LastAnswer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_last.get() {
            return self.hold(cx, &[IoSlice::new(buf)]);
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_last.get() {
            return self.hold(cx, bufs);
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_last.get() {
            // It is dropped at once, which says the same and sends what was held.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_last_when_nothing_may_follow() {
        let request = |version, connection: &[&str]| {
            let mut request = Request::new(());
            *request.version_mut() = version;
            for value in connection {
                let value = value.parse().unwrap();
                request.headers_mut().append(CONNECTION, value);
            }
            is_last_request(&request)
        };
        assert!(request(Version::HTTP_10, &[]));
        assert!(!request(Version::HTTP_10, &["Keep-Alive"]));
        assert!(request(Version::HTTP_10, &["keep-alive, close"]));
        assert!(!request(Version::HTTP_11, &[]));
        assert!(request(Version::HTTP_11, &["te", "x, Close"]));
        assert!(!request(Version::HTTP_2, &["close"]));
    }
}

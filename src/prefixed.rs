//! A connection whose first bytes have been read already: they come out again before the rest.
//! It also counts what is read, so that an idle end can be told from one in the middle of a head.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the module.
#[derive(Debug)]
pub struct Prefixed<I> {
    prefix: Bytes,
    inner: I,
    read: Rc<Cell<u64>>,
}

impl<I> Prefixed<I> {
    /// `prefix` comes out before what `inner` has.
    pub fn new(prefix: Bytes, inner: I) -> Self {
        Self {
            prefix,
            inner,
            read: Rc::default(),
        }
    }

    /// The connection itself.
    pub fn get_ref(&self) -> &I {
        &self.inner
    }

    /// What has been read already, and the connection.
    pub fn into_parts(self) -> (Bytes, I) {
        (self.prefix, self.inner)
    }

    /// How many bytes have been read so far; shared with the connection.
    pub fn read_counter(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.read)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Prefixed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = if self.prefix.has_remaining() {
            let n = self.prefix.remaining().min(buf.remaining());
            buf.put_slice(&self.prefix.split_to(n));
            if !self.prefix.has_remaining() {
                // An empty rest would keep the buffer for as long as the connection lives.
                self.prefix = Bytes::new();
            }
            Poll::Ready(Ok(()))
        } else {
            Pin::new(&mut self.inner).poll_read(cx, buf)
        };
        let n = buf.filled().len() - before;
        self.read.set(self.read.get() + n as u64);
        result
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Prefixed<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

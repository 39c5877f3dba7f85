//! Reads the first bytes of a connection: as few as say what it speaks.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::detect::{Detected, classify};
use crate::tls::hello::{self, ClientHello};

/// What is read at once, in bytes: most requests.
const PIECE: usize = 2048;

/// What a connection began with.
#[derive(Debug)]
pub enum Sniffed {
    /// A request.
    Http {
        /// Of HTTP/2.
        h2: bool,
    },
    /// TLS.
    Tls(ClientHello),
    /// What should be TLS, and is not.
    NoHello,
    /// Something else.
    Unknown,
}

/// Reads until it is certain which protocol this is, or can be none.
///
/// # Errors
/// What the kernel says; [`io::ErrorKind::UnexpectedEof`] when the client says no more.
pub async fn first_bytes(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Sniffed> {
    loop {
        if poll_fn(|cx| poll_some(stream, buffer, cx)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match classify(buffer) {
            Detected::NeedMore => {}
            Detected::Http1 => return Ok(Sniffed::Http { h2: false }),
            Detected::Http2 => return Ok(Sniffed::Http { h2: true }),
            Detected::Unknown => return Ok(Sniffed::Unknown),
            Detected::Tls => match hello::parse(buffer) {
                Ok(None) => {}
                Ok(Some(hello)) => return Ok(Sniffed::Tls(hello)),
                Err(_) => return Ok(Sniffed::NoHello),
            },
        }
    }
}

/// Only what has come is kept, so that an idle connection costs little.
fn poll_some(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut piece = [const { MaybeUninit::uninit() }; PIECE];
    let mut piece = ReadBuf::uninit(&mut piece);
    ready!(Pin::new(stream).poll_read(cx, &mut piece))?;
    buffer.extend_from_slice(piece.filled());
    Poll::Ready(Ok(piece.filled().len()))
}

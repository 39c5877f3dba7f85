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

/// What is read at once, in bytes: most requests.
const PIECE: usize = 2048;

/// Reads until it is certain which protocol this is, or can be none.
///
/// # Errors
/// What the kernel says; [`io::ErrorKind::UnexpectedEof`] when the client says no more.
pub async fn first_bytes(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Detected> {
    loop {
        if poll_fn(|cx| poll_some(stream, buffer, cx)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match classify(buffer) {
            Detected::NeedMore => {}
            certain => return Ok(certain),
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

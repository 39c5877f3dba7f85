//! Reading a body whole, within a limit and a time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use lazaret_policy::Reason;

/// No more than this is reserved on the word of a `Content-Length`, in bytes.
const MAX_RESERVE: u64 = 256 * 1024;

/// A body that was not read to its end.
#[derive(Debug)]
pub struct Unread {
    /// Why not.
    pub reason: Reason,
    /// What had been read.
    pub read: Bytes,
}

/// Reads a body whole. Trailers are dropped: the policy has no place for them. What is left of
/// the body stays in `incoming`.
///
/// # Errors
/// [`Reason::BodyTooLarge`], [`Reason::BodyTimeout`] or [`Reason::BodyIncomplete`].
pub async fn read(
    incoming: &mut Incoming,
    max_bytes: usize,
    timeout: Duration,
) -> Result<Bytes, Unread> {
    let unread = |reason, read| Unread { reason, read };
    // A body that says that it is too long need not be read to be refused.
    if incoming.size_hint().lower() > max_bytes as u64 {
        return Err(unread(Reason::BodyTooLarge, Bytes::new()));
    }
    if incoming.is_end_stream() {
        return Ok(Bytes::new());
    }
    let mut read = Read::default();
    match tokio::time::timeout(timeout, collect(incoming, max_bytes, &mut read)).await {
        Ok(Ok(())) => Ok(read.finish()),
        Ok(Err(reason)) => Err(unread(reason, read.finish())),
        Err(_) => Err(unread(Reason::BodyTimeout, read.finish())),
    }
}

/// Lets the rest of a refused request in HTTP/2 come, if it is short and soon there, and forgets it.
/// What is answered before a request has ended is followed by a reset of the stream (RFC 9113 §8.1),
/// for which some clients forget the answer; libcurl 7.88 is one.
pub async fn let_end(incoming: &mut Incoming) {
    const MAX_BYTES: usize = 64 << 10;
    const SOON: Duration = Duration::from_millis(100);
    let rest = async {
        let mut left = MAX_BYTES;
        while let Some(Ok(frame)) = incoming.frame().await {
            let len = frame.data_ref().map_or(0, Bytes::len);
            if len > left {
                return;
            }
            left -= len;
        }
    };
    // Not in time: the client is told all the same.
    let _ = tokio::time::timeout(SOON, rest).await;
}

async fn collect(incoming: &mut Incoming, max_bytes: usize, read: &mut Read) -> Result<(), Reason> {
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|_| Reason::BodyIncomplete)?;
        if let Ok(data) = frame.into_data() {
            read.push(data, incoming.size_hint().lower());
            if read.len() > max_bytes {
                return Err(Reason::BodyTooLarge);
            }
        }
    }
    Ok(())
}

/// Most bodies come in one piece, which then need not be copied.
#[derive(Debug, Default)]
struct Read {
    first: Bytes,
    rest: Option<BytesMut>,
}

impl Read {
    fn len(&self) -> usize {
        self.rest.as_ref().map_or(self.first.len(), BytesMut::len)
    }

    fn push(&mut self, data: Bytes, expected: u64) {
        match &mut self.rest {
            Some(rest) => rest.extend_from_slice(&data),
            None if self.first.is_empty() => self.first = data,
            None => {
                let more = usize::try_from(expected.min(MAX_RESERVE)).unwrap_or(0);
                let mut rest = BytesMut::with_capacity(self.first.len() + data.len() + more);
                rest.extend_from_slice(&self.first);
                rest.extend_from_slice(&data);
                self.rest = Some(rest);
            }
        }
    }

    fn finish(self) -> Bytes {
        self.rest.map_or(self.first, BytesMut::freeze)
    }
}

//! The body of a message that the gateway sends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::http::forward::Lease;

/// A body on its way out of the gateway.
#[derive(Debug)]
pub enum Payload {
    /// Known whole: judged, or ours.
    Whole(Option<Bytes>),
    /// Passed on as it comes.
    Relayed(Relayed),
}

/// A body that is passed on as it comes, without its trailers.
#[derive(Debug)]
pub struct Relayed {
    /// What had been read of it before it was decided to pass it on.
    before: Option<Bytes>,
    incoming: Incoming,
    /// The connection it comes from, free again when it has ended.
    lease: Option<Lease>,
}

impl Payload {
    /// No body.
    pub const fn empty() -> Self {
        Self::Whole(None)
    }

    /// These bytes.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }

    /// These bytes, then what still comes.
    pub fn relayed(before: Bytes, incoming: Incoming, lease: Option<Lease>) -> Self {
        Self::Relayed(Relayed {
            before: (!before.is_empty()).then_some(before),
            incoming,
            lease,
        })
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Relayed(relayed) => relayed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            // The lease is given back when the end is polled.
            Self::Relayed(relayed) => {
                relayed.before.is_none()
                    && relayed.lease.is_none()
                    && relayed.incoming.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Relayed(relayed) => {
                let before = relayed.before.as_ref().map_or(0, Bytes::len) as u64;
                let mut hint = relayed.incoming.size_hint();
                if let Some(upper) = hint.upper() {
                    hint.set_upper(upper + before);
                }
                hint.set_lower(hint.lower() + before);
                hint
            }
        }
    }
}

impl Relayed {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(before) = self.before.take() {
            return Poll::Ready(Some(Ok(Frame::data(before))));
        }
        loop {
            let polled = Pin::new(&mut self.incoming).poll_frame(cx);
            // A body of known length ends with its last byte, and is not polled again then.
            let ended = matches!(polled, Poll::Ready(None)) || self.incoming.is_end_stream();
            if ended && let Some(lease) = self.lease.take() {
                lease.give_back();
            }
            match polled {
                Poll::Ready(Some(Ok(frame))) if !frame.is_data() => {}
                other => return other,
            }
        }
    }
}

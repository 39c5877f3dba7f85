//! A connection while an exchange has it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use lazaret_policy::Reason;

use super::{Pool, Secured, Sender, Via, blame};
use crate::addr::UpstreamAddr;
use crate::http::payload::Payload;
use crate::tls::{Failed, Session};

/// A connection for one exchange.
#[derive(Debug)]
pub struct Lease {
    pub(super) pool: Rc<Pool>,
    pub(super) to: UpstreamAddr,
    pub(super) via: Via,
    pub(super) sender: Sender,
    pub(super) tls: Option<Rc<Secured>>,
    /// It has carried an exchange before, so its peer may have closed it by now.
    pub(super) used: bool,
}

impl Lease {
    /// Where it leads.
    pub fn to(&self) -> UpstreamAddr {
        self.to
    }

    /// Its TLS.
    pub fn session(&self) -> Option<&Arc<Session>> {
        self.tls.as_ref().map(|tls| &tls.session)
    }

    /// Whether it speaks HTTP/2.
    pub fn is_h2(&self) -> bool {
        matches!(self.sender, Sender::H2(_))
    }

    /// Sends one request and waits for the head of its answer. A kept connection that its peer
    /// has closed is replaced once, if nothing of the request was sent.
    ///
    /// # Errors
    /// [`Reason::UpstreamUnreachable`], [`Reason::UpstreamTimeout`],
    /// [`Reason::UpstreamProtocol`], or why there is no TLS.
    pub async fn send(
        mut self,
        mut request: Request<Payload>,
        timeout: Duration,
    ) -> Result<(Response<Incoming>, Lease), Failed> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let sending = self.try_send(request);
            match tokio::time::timeout_at(deadline, sending).await {
                Err(_) => {
                    // Other exchanges must not wait for the same dead connection.
                    self.pool.h2.borrow_mut().remove(&self.via.key(self.to));
                    return Err(Reason::UpstreamTimeout.into());
                }
                // A switch that nobody asked for (RFC 9110 §15.2.2); hyper drops all other 1xx.
                Ok(Ok(response)) if response.status().is_informational() => {
                    return Err(Reason::UpstreamProtocol.into());
                }
                Ok(Ok(response)) => return Ok((response, self)),
                Ok(Err((_, Some(unsent)))) if self.used => {
                    let h2 = self.is_h2();
                    if h2 {
                        self.pool.h2.borrow_mut().remove(&self.via.key(self.to));
                    }
                    let pool = Rc::clone(&self.pool);
                    let opened = Box::pin(pool.open(self.to, &self.via)).await;
                    let opened = opened?;
                    // The head was written for the version of the first connection, and the record
                    // names whom it was released to: another peer is for another exchange.
                    if opened.is_h2() != h2 || opened.session() != self.session() {
                        return Err(Reason::UpstreamProtocol.into());
                    }
                    self = opened;
                    request = *unsent;
                }
                Ok(Err((error, _))) => {
                    tracing::debug!(to = %self.to, %error, "upstream failed");
                    return Err(blame(&self.tls, Reason::UpstreamProtocol).into());
                }
            }
        }
    }

    async fn try_send(
        &mut self,
        request: Request<Payload>,
    ) -> Result<Response<Incoming>, (hyper::Error, Option<Box<Request<Payload>>>)> {
        let failed = |mut error: hyper::client::conn::TrySendError<Request<Payload>>| {
            let unsent = error.take_message().map(Box::new);
            (error.into_error(), unsent)
        };
        match &mut self.sender {
            Sender::H1(sender) => sender.try_send_request(request).await.map_err(failed),
            Sender::H2(sender) => sender.try_send_request(request).await.map_err(failed),
        }
    }

    /// Keeps the connection for the next exchange; the body of the last answer has ended.
    pub fn give_back(self) {
        if let Sender::H1(sender) = self.sender
            && !sender.is_closed()
        {
            let key = self.via.key(self.to);
            self.pool.keep(key, sender, self.tls);
        }
    }
}

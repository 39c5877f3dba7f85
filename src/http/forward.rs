//! Connections to destinations: opened, kept for the next exchange, and used for one request at a
//! time unless they speak HTTP/2.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use lazaret_policy::Reason;

use crate::addr::UpstreamAddr;
use crate::http::payload::Payload;
use crate::http::serve::LocalExecutor;
use crate::settings::Limits;
use crate::socket;

/// How long a kept connection may take to be ready for the next request.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// Unused connections of one thread.
#[derive(Debug)]
pub struct Pool {
    h1: RefCell<HashMap<UpstreamAddr, Vec<Idle>>>,
    h2: RefCell<HashMap<UpstreamAddr, http2::SendRequest<Payload>>>,
    limits: Limits,
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<Payload>,
    since: Instant,
}

/// A connection for one exchange.
#[derive(Debug)]
pub struct Lease {
    pool: Rc<Pool>,
    to: UpstreamAddr,
    sender: Sender,
    /// It has carried an exchange before, so its peer may have closed it by now.
    used: bool,
}

#[derive(Debug)]
enum Sender {
    H1(http1::SendRequest<Payload>),
    H2(http2::SendRequest<Payload>),
}

impl Pool {
    /// No connections yet.
    pub fn new(limits: &Limits) -> Rc<Self> {
        Rc::new(Self {
            h1: RefCell::default(),
            h2: RefCell::default(),
            limits: limits.clone(),
        })
    }

    /// A connection to one of these addresses, tried in turn.
    ///
    /// # Errors
    /// [`Reason::UpstreamUnreachable`] or [`Reason::UpstreamTimeout`].
    pub async fn lease(self: &Rc<Self>, to: &[UpstreamAddr], h2: bool) -> Result<Lease, Reason> {
        for to in to {
            if let Some(lease) = self.idle(*to, h2).await {
                return Ok(lease);
            }
        }
        let mut failure = Reason::UpstreamUnreachable;
        for to in to {
            // Boxed, as everything that few exchanges need: hyper moves their futures around.
            match Box::pin(self.open(*to, h2)).await {
                Ok(lease) => return Ok(lease),
                Err(reason) => failure = reason,
            }
        }
        Err(failure)
    }

    async fn idle(self: &Rc<Self>, to: UpstreamAddr, h2: bool) -> Option<Lease> {
        if h2 {
            let sender = self.h2.borrow().get(&to).cloned()?;
            if sender.is_closed() {
                self.h2.borrow_mut().remove(&to);
                return None;
            }
            return Some(self.leased(to, Sender::H2(sender), true));
        }
        loop {
            // The most recently used one: the others may go idle long enough to be closed.
            let mut idle = self.h1.borrow_mut().get_mut(&to)?.pop()?;
            let fresh = idle.since.elapsed() < self.limits.pool_idle;
            // Soon ready, unless its peer answered before it had read the whole request.
            let ready = tokio::time::timeout(READY_TIMEOUT, idle.sender.ready());
            if fresh && matches!(ready.await, Ok(Ok(()))) {
                return Some(self.leased(to, Sender::H1(idle.sender), true));
            }
        }
    }

    async fn open(self: &Rc<Self>, to: UpstreamAddr, h2: bool) -> Result<Lease, Reason> {
        let opening = self.handshake(to, h2);
        match tokio::time::timeout(self.limits.connect_timeout, opening).await {
            Ok(Ok(sender)) => Ok(self.leased(to, sender, false)),
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err(Reason::UpstreamTimeout),
        }
    }

    async fn handshake(&self, to: UpstreamAddr, h2: bool) -> Result<Sender, Reason> {
        let stream = socket::connect(to).await.map_err(|error| {
            tracing::debug!(%to, %error, "cannot connect");
            Reason::UpstreamUnreachable
        })?;
        let io = TokioIo::new(stream);
        let failed = |_| Reason::UpstreamProtocol;
        if h2 {
            let (sender, connection) = http2::Builder::new(LocalExecutor)
                .timer(TokioTimer::new())
                .keep_alive_interval(self.limits.pool_idle)
                .keep_alive_timeout(self.limits.connect_timeout)
                .max_header_list_size(self.limits.max_head_bytes)
                .handshake(io)
                .await
                .map_err(failed)?;
            tokio::task::spawn_local(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "upstream connection ended");
                }
            });
            self.h2.borrow_mut().insert(to, sender.clone());
            Ok(Sender::H2(sender))
        } else {
            let (sender, connection) = http1::Builder::new()
                .max_headers(self.limits.max_headers)
                .max_buf_size(self.limits.max_head_bytes as usize)
                .handshake(io)
                .await
                .map_err(failed)?;
            tokio::task::spawn_local(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "upstream connection ended");
                }
            });
            Ok(Sender::H1(sender))
        }
    }

    /// Closes what has been unused for too long, also at destinations that are not asked again.
    pub async fn sweep(self: Rc<Self>) {
        let mut every = tokio::time::interval(self.limits.pool_idle.max(Duration::from_secs(1)));
        loop {
            every.tick().await;
            self.h1.borrow_mut().retain(|_, idle| {
                idle.retain(|i| i.since.elapsed() < self.limits.pool_idle && !i.sender.is_closed());
                !idle.is_empty()
            });
            self.h2.borrow_mut().retain(|_, sender| !sender.is_closed());
        }
    }

    fn leased(self: &Rc<Self>, to: UpstreamAddr, sender: Sender, used: bool) -> Lease {
        Lease {
            pool: Rc::clone(self),
            to,
            sender,
            used,
        }
    }

    fn keep(&self, to: UpstreamAddr, sender: http1::SendRequest<Payload>) {
        let mut pool = self.h1.borrow_mut();
        let idle = pool.entry(to).or_default();
        let now = Instant::now();
        // The oldest first: what is too old stands at the front.
        let stale = |i: &Idle| now.duration_since(i.since) >= self.limits.pool_idle;
        let old = idle.iter().take_while(|i| stale(i)).count();
        idle.drain(..old);
        if idle.len() < self.limits.pool_size {
            idle.push(Idle { sender, since: now });
        }
    }
}

impl Lease {
    /// Where it leads.
    pub fn to(&self) -> UpstreamAddr {
        self.to
    }

    /// Sends one request and waits for the head of its answer. A kept connection that its peer
    /// has closed is replaced once, if nothing of the request was sent.
    ///
    /// # Errors
    /// [`Reason::UpstreamUnreachable`], [`Reason::UpstreamTimeout`] or
    /// [`Reason::UpstreamProtocol`].
    pub async fn send(
        mut self,
        mut request: Request<Payload>,
        timeout: Duration,
    ) -> Result<(Response<Incoming>, Lease), Reason> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let sending = self.try_send(request);
            match tokio::time::timeout_at(deadline, sending).await {
                Err(_) => {
                    // Other exchanges must not wait for the same dead connection.
                    self.pool.h2.borrow_mut().remove(&self.to);
                    return Err(Reason::UpstreamTimeout);
                }
                // A switch that nobody asked for (RFC 9110 §15.2.2); hyper drops all other 1xx.
                Ok(Ok(response)) if response.status().is_informational() => {
                    return Err(Reason::UpstreamProtocol);
                }
                Ok(Ok(response)) => return Ok((response, self)),
                Ok(Err((_, Some(unsent)))) if self.used => {
                    let h2 = matches!(self.sender, Sender::H2(_));
                    if h2 {
                        self.pool.h2.borrow_mut().remove(&self.to);
                    }
                    let pool = Rc::clone(&self.pool);
                    self = Box::pin(pool.open(self.to, h2)).await?;
                    request = *unsent;
                }
                Ok(Err((error, _))) => {
                    tracing::debug!(to = %self.to, %error, "upstream failed");
                    return Err(Reason::UpstreamProtocol);
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
            self.pool.keep(self.to, sender);
        }
    }
}

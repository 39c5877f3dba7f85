//! Connections to destinations: opened, kept for the next exchange, and used for one request at a
//! time unless they speak HTTP/2.

mod lease;
mod secured;

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use lazaret_policy::Reason;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::addr::UpstreamAddr;
use crate::http::payload::Payload;
use crate::http::serve::LocalExecutor;
use crate::settings::Limits;
use crate::socket;
use crate::tls::peer::Peer;
use crate::tls::{Failed, Leg};
use crate::worker::Shared;

pub use lease::Lease;
use secured::{Secured, blame, is_good};

/// How long a kept connection may take to be ready for the next request.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// Unused connections of one thread.
pub struct Pool {
    h1: RefCell<HashMap<Key, Vec<Idle>>>,
    h2: RefCell<HashMap<Key, Multiplexed>>,
    /// The TLS of the policy in force: connections of another are not kept.
    in_force: RefCell<Vec<u64>>,
    shared: Arc<Shared>,
}

/// How a destination is spoken to.
#[derive(Clone, Debug)]
pub enum Via {
    /// In plain text, with this version of HTTP.
    Plain {
        /// HTTP/2 with prior knowledge.
        h2: bool,
    },
    /// Encrypted; the version of HTTP is what the peer chooses (RFC 7301).
    Tls(Rc<TlsVia>),
}

/// How a destination is spoken to in TLS.
#[derive(Debug)]
pub struct TlsVia {
    /// Its roots, pins and identities, and ours.
    pub peer: Arc<Peer>,
    /// Whom its certificate must name.
    pub name: ServerName<'static>,
    /// For the metrics.
    pub leg: Leg,
}

/// Connections are used again only for the same address, spoken to in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    to: UpstreamAddr,
    tls: Option<Rc<TlsVia>>,
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<Payload>,
    tls: Option<Rc<Secured>>,
    since: Instant,
}

/// A connection of HTTP/2, which many exchanges use at a time.
#[derive(Clone, Debug)]
struct Multiplexed {
    sender: http2::SendRequest<Payload>,
    tls: Option<Rc<Secured>>,
}

#[derive(Debug)]
enum Sender {
    H1(http1::SendRequest<Payload>),
    H2(http2::SendRequest<Payload>),
}

impl Pool {
    /// No connections yet.
    pub fn new(shared: Arc<Shared>) -> Rc<Self> {
        let in_force = shared.policies.load().tls.ids().collect();
        Rc::new(Self {
            h1: RefCell::default(),
            h2: RefCell::default(),
            in_force: RefCell::new(in_force),
            shared,
        })
    }

    /// A connection to one of these addresses, tried in turn.
    ///
    /// # Errors
    /// [`Reason::UpstreamUnreachable`], [`Reason::UpstreamTimeout`], or why there is no TLS.
    pub async fn lease(self: &Rc<Self>, to: &[UpstreamAddr], via: &Via) -> Result<Lease, Failed> {
        for to in to {
            if let Some(lease) = self.idle(*to, via).await {
                return Ok(lease);
            }
        }
        let mut failure = Failed::from(Reason::UpstreamUnreachable);
        for to in to {
            // Boxed, as everything that few exchanges need: hyper moves their futures around.
            match Box::pin(self.open(*to, via)).await {
                Ok(lease) => return Ok(lease),
                // Whoever showed a certificate is not forgotten for who is not there.
                Err(failed) if failure.peer.is_none() => failure = failed,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    async fn idle(self: &Rc<Self>, to: UpstreamAddr, via: &Via) -> Option<Lease> {
        let key = via.key(to);
        if !matches!(via, Via::Plain { h2: false }) {
            let kept = self.h2.borrow().get(&key).cloned();
            match kept {
                Some(kept) if kept.sender.is_closed() || !is_good(&kept.tls) => {
                    self.h2.borrow_mut().remove(&key);
                }
                Some(Multiplexed { sender, tls }) => {
                    let sender = Sender::H2(sender);
                    return Some(self.leased(to, via, sender, tls, true));
                }
                None => {}
            }
            if matches!(via, Via::Plain { h2: true }) {
                return None;
            }
        }
        loop {
            // The most recently used one: the others may go idle long enough to be closed.
            let mut idle = self.h1.borrow_mut().get_mut(&key)?.pop()?;
            let fresh = idle.since.elapsed() < self.limits().pool_idle && is_good(&idle.tls);
            // Soon ready, unless its peer answered before it had read the whole request.
            let ready = tokio::time::timeout(READY_TIMEOUT, idle.sender.ready());
            if fresh && matches!(ready.await, Ok(Ok(()))) {
                let sender = Sender::H1(idle.sender);
                return Some(self.leased(to, via, sender, idle.tls, true));
            }
        }
    }

    async fn open(self: &Rc<Self>, to: UpstreamAddr, via: &Via) -> Result<Lease, Failed> {
        let opening = self.connect(to, via);
        match tokio::time::timeout(self.limits().connect_timeout, opening).await {
            Ok(Ok((sender, tls))) => Ok(self.leased(to, via, sender, tls, false)),
            Ok(Err(failed)) => Err(failed),
            Err(_) => Err(Reason::UpstreamTimeout.into()),
        }
    }

    async fn connect(
        &self,
        to: UpstreamAddr,
        via: &Via,
    ) -> Result<(Sender, Option<Rc<Secured>>), Failed> {
        let stream = socket::connect(to).await.map_err(|error| {
            tracing::debug!(%to, %error, "cannot connect");
            Reason::UpstreamUnreachable
        })?;
        let (peer, name, leg) = match via {
            Via::Plain { h2 } => {
                let sender = self.handshake(to, via, stream, *h2, None).await?;
                return Ok((sender, None));
            }
            Via::Tls(via) => (&via.peer, &via.name, via.leg),
        };
        let connected = peer.connect(name.clone(), stream).await;
        let counted = connected.as_ref().map(|(_, session)| session);
        let metrics = &self.shared.metrics;
        metrics.handshake(leg, counted.map_err(|failed| failed.reason));
        let (stream, session) = connected?;
        let h2 = session.h2;
        let tls = Some(Rc::new(Secured::new(session, &stream)));
        let sender = self.handshake(to, via, stream, h2, tls.clone()).await?;
        Ok((sender, tls))
    }

    async fn handshake<I>(
        &self,
        to: UpstreamAddr,
        via: &Via,
        io: I,
        h2: bool,
        tls: Option<Rc<Secured>>,
    ) -> Result<Sender, Reason>
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let io = TokioIo::new(io);
        let limits = self.limits();
        let failed = |_| blame(&tls, Reason::UpstreamProtocol);
        if h2 {
            let (sender, connection) = http2::Builder::new(LocalExecutor)
                .timer(TokioTimer::new())
                .keep_alive_interval(limits.pool_idle)
                .keep_alive_timeout(limits.connect_timeout)
                .max_header_list_size(limits.max_head_bytes)
                .handshake(io)
                .await
                .map_err(failed)?;
            tokio::task::spawn_local(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "upstream connection ended");
                }
            });
            let key = via.key(to);
            if self.may_keep(&key) {
                let sender = sender.clone();
                self.h2
                    .borrow_mut()
                    .insert(key, Multiplexed { sender, tls });
            }
            Ok(Sender::H2(sender))
        } else {
            let (sender, connection) = http1::Builder::new()
                .max_headers(limits.max_headers)
                .max_buf_size(limits.max_head_bytes as usize)
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

    /// Closes what has been unused for too long, also at destinations that are not asked again,
    /// and soon after each change what another policy, key or certificate had opened.
    pub async fn sweep(self: Rc<Self>) {
        let pool_idle = self.limits().pool_idle;
        let mut every = tokio::time::interval(pool_idle.max(Duration::from_secs(1)));
        let mut changes = self.shared.policies.changes();
        loop {
            *self.in_force.borrow_mut() = self.shared.policies.load().tls.ids().collect();
            self.h1.borrow_mut().retain(|key, idle| {
                idle.retain(|i| i.since.elapsed() < pool_idle && !i.sender.is_closed());
                !idle.is_empty() && self.may_keep(key)
            });
            self.h2
                .borrow_mut()
                .retain(|key, kept| !kept.sender.is_closed() && self.may_keep(key));
            tokio::select! {
                _ = every.tick() => {}
                // Without anyone who could change it there is nothing to wait for.
                Ok(()) = changes.changed() => {}
            }
        }
    }

    fn may_keep(&self, key: &Key) -> bool {
        key.tls
            .as_ref()
            .is_none_or(|tls| self.in_force.borrow().contains(&tls.peer.id))
    }

    fn limits(&self) -> &Limits {
        &self.shared.settings.limits
    }

    fn leased(
        self: &Rc<Self>,
        to: UpstreamAddr,
        via: &Via,
        sender: Sender,
        tls: Option<Rc<Secured>>,
        used: bool,
    ) -> Lease {
        Lease {
            pool: Rc::clone(self),
            to,
            via: via.clone(),
            sender,
            tls,
            used,
        }
    }

    fn keep(&self, key: Key, sender: http1::SendRequest<Payload>, tls: Option<Rc<Secured>>) {
        if !self.may_keep(&key) {
            return;
        }
        let mut pool = self.h1.borrow_mut();
        let idle = pool.entry(key).or_default();
        let now = Instant::now();
        // The oldest first: what is too old stands at the front.
        let stale = |i: &Idle| now.duration_since(i.since) >= self.limits().pool_idle;
        let old = idle.iter().take_while(|i| stale(i)).count();
        idle.drain(..old);
        if idle.len() < self.limits().pool_size {
            idle.push(Idle {
                sender,
                tls,
                since: now,
            });
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Via {
    fn key(&self, to: UpstreamAddr) -> Key {
        let tls = match self {
            Self::Plain { .. } => None,
            Self::Tls(via) => Some(Rc::clone(via)),
        };
        Key { to, tls }
    }
}

/// The leg follows from the peer.
impl PartialEq for TlsVia {
    fn eq(&self, other: &Self) -> bool {
        (self.peer.id, &self.name) == (other.peer.id, &other.name)
    }
}

impl Eq for TlsVia {}

impl Hash for TlsVia {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.peer.id, &self.name).hash(hasher);
    }
}

//! One connection from start to end: where it was meant to go, what the policy says to that, what
//! protocol it speaks, and then its tunnel or its exchanges.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lazaret_policy::{Direction, Mode, Reason};
use rustls_pki_types::UnixTime;
use tokio::net::TcpStream;

use crate::addr::{ClientAddr, OrigDst};
use crate::detect::may_be_whole;
use crate::http;
use crate::http::forward::Via;
use crate::prefixed::Prefixed;
use crate::sniff::{self, Sniffed};
use crate::socket;
use crate::tls::Session;
use crate::tls::caller::Server;
use crate::tls::pod::PodName;
use crate::tunnel;
use crate::worker::Worker;

mod course;
mod refused;
mod secure;

pub use course::{still_ends_tls, still_inspects, still_tunnels};
pub use refused::{drop_refused, record_failure, record_refusal, refuse, reset};

use course::{Course, course};
use refused::give_up;

/// How long a connection that no rule allows may take to say that it speaks HTTP, so that it can
/// be told why.
const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// What is known of an inspected connection.
#[derive(Clone, Debug)]
pub struct Conn {
    /// Who opened it.
    pub direction: Direction,
    /// Its client.
    pub client: ClientAddr,
    /// Where it was meant to go. Only an explicit proxy does not know before it reads a request.
    pub to: Option<OrigDst>,
    /// Whether it speaks HTTP/2.
    pub h2: bool,
    /// Its TLS, if that ends here.
    pub tls: Option<Rc<ClientTls>>,
    /// How often the policy had been replaced when it was judged.
    pub generation: u64,
    /// Whether refusals were only recorded when it was judged.
    pub observed: bool,
    /// Whether no rule allowed it, so that it is there only to be told why.
    pub refused: bool,
}

impl Conn {
    /// How the other side is spoken to in plain text: with the client's version of HTTP, unless it
    /// was agreed on in TLS, which says nothing of the other side.
    pub fn plain(&self) -> Via {
        Via::Plain {
            h2: self.h2 && self.tls.is_none(),
        }
    }
}

/// The TLS of a client that ends here.
#[derive(Debug)]
pub struct ClientTls {
    /// What was agreed on.
    pub session: Arc<Session>,
    /// Whom the client speaks to.
    pub with: TlsWith,
}

/// Whom a client of ours speaks to in TLS.
#[derive(Debug)]
pub enum TlsWith {
    /// The pod: to whom it believes it does.
    Peer(PodName),
    /// A caller: to the producer's certificate.
    Server {
        /// What it had to show.
        server: Arc<Server>,
        /// Until when what it showed counts, in seconds since 1970.
        until: Option<i64>,
    },
}

impl ClientTls {
    /// Whether what a caller showed has ended, or can no longer be known not to be revoked.
    pub fn is_over(&self) -> bool {
        match self.with {
            TlsWith::Server {
                until: Some(until), ..
            } => UnixTime::now().as_secs() > until.max(0).unsigned_abs(),
            TlsWith::Server { until: None, .. } | TlsWith::Peer(_) => false,
        }
    }
}

/// Carries one connection, accepted by the listener `at` this address.
pub async fn run(
    worker: Rc<Worker>,
    stream: TcpStream,
    client: ClientAddr,
    at: SocketAddr,
    direction: Direction,
) {
    let standalone = &worker.shared.settings.standalone;
    let (client, to) = if standalone.standalone {
        let client = match (standalone.caller, direction) {
            (Some(ip), Direction::Ingress) => {
                ClientAddr::new(SocketAddr::new(ip, client.get().port()))
            }
            _ => client,
        };
        let app = standalone
            .app
            .map(|app| OrigDst::new(SocketAddr::new(app.address.ip(), app.port)));
        (
            client,
            if direction == Direction::Ingress {
                app
            } else {
                None
            },
        )
    } else {
        match original(&worker, &stream, at, direction) {
            Ok(to) => (client, Some(to)),
            Err(reason) => {
                drop_refused(&worker, stream, client, direction, reason).await;
                return;
            }
        }
    };
    let conn = Conn {
        direction,
        client,
        to,
        h2: false,
        tls: None,
        // Before the policy is read, so that a replacement in between is seen.
        generation: worker.recheck.generation(),
        observed: worker.policy().mode == Mode::Observe,
        refused: false,
    };
    let policy = worker.policy();
    match course(&worker, &policy, &conn).await {
        // Boxed, as all that is large: most connections are idle most of the time.
        Course::Tunnel(tunnel) => {
            let stream = Prefixed::new(Bytes::new(), stream);
            Box::pin(tunnel::run(&worker, stream, conn, tunnel)).await;
        }
        Course::Http => inspect(worker, stream, conn, None).await,
        Course::Refuse(reason) => {
            // A caller from outside learns nothing; the pod's own developer learns why.
            if direction == Direction::Egress {
                inspect(worker, stream, conn, Some(reason)).await;
            } else {
                give_up(worker, stream, conn, Bytes::new(), reason).await;
            }
        }
    }
}

/// Where the kernel says that the connection was meant to go.
fn original(
    worker: &Worker,
    stream: &TcpStream,
    at: SocketAddr,
    direction: Direction,
) -> Result<OrigDst, Reason> {
    let own = if at.ip().is_unspecified() {
        stream
            .local_addr()
            .map_err(|_| Reason::OriginalDestinationUnknown)?
    } else {
        at
    };
    let to = socket::original_dst(stream, own).map_err(|_| Reason::OriginalDestinationUnknown)?;
    // A connection made straight to a listener has the listener as its destination; one that was
    // redirected may still have had a port of the gateway as its goal.
    let settings = &worker.shared.settings;
    let is_own_port = [&settings.outbound, &settings.inbound, &settings.admin]
        .into_iter()
        .flatten()
        .any(|listener| listener.port() == to.get().port());
    let is_local = to.get().ip().is_loopback() || to.get().ip() == own.ip().to_canonical();
    if to == OrigDst::new(own) || (is_own_port && is_local) {
        return Err(Reason::GatewayAddress);
    }
    // The kernel redirects only what is for the pod; should anything else ever get here, this is
    // no relay for it.
    let elsewhere = direction == Direction::Ingress && to.get().ip() != own.ip().to_canonical();
    if elsewhere && !socket::is_local(to.get().ip()) {
        return Err(Reason::OriginalDestinationUnknown);
    }
    Ok(to)
}

/// Finds out the protocol and serves HTTP. `refusal`: no rule allows the connection, and HTTP is
/// only a way to say so.
async fn inspect(
    worker: Rc<Worker>,
    mut stream: TcpStream,
    mut conn: Conn,
    refusal: Option<Reason>,
) {
    conn.refused = refusal.is_some();
    let limit = match refusal {
        Some(_) => EXPLAIN_TIMEOUT,
        None => worker.shared.settings.limits.detect_timeout,
    };
    let mut buffer = BytesMut::new();
    let sniffed = tokio::select! {
        sniffed = tokio::time::timeout(limit, sniff::first_bytes(&mut stream, &mut buffer)) => sniffed,
        () = worker.recheck.drained() => return,
    };
    let prefix = buffer.freeze();
    let reason = match sniffed {
        Ok(Ok(Sniffed::Http { h2 })) if refusal.is_some() || may_be_plain(&worker, &conn) => {
            conn.h2 = h2;
            if h2 || !may_be_whole(&prefix) {
                socket::acknowledge(&stream);
            }
            let stream = Prefixed::new(prefix, stream);
            return Box::pin(http::serve::serve(worker, stream, conn)).await;
        }
        Ok(Ok(Sniffed::Http { .. })) => Reason::TlsRequired,
        Ok(Ok(Sniffed::Tls(hello))) if refusal.is_none() => {
            socket::acknowledge(&stream);
            let stream = Prefixed::new(prefix, stream);
            return Box::pin(secure::carry(worker, stream, conn, hello)).await;
        }
        // A client that says nothing and goes has been refused nothing.
        Ok(Err(_)) if prefix.is_empty() && refusal.is_none() => return,
        Ok(Ok(Sniffed::Tls(_))) => Reason::ProtocolTls,
        Ok(Ok(Sniffed::NoHello)) => Reason::TlsClientHello,
        Ok(Ok(Sniffed::Unknown) | Err(_)) => Reason::ProtocolUnknown,
        Err(_) => Reason::ProtocolTimeout,
    };
    give_up(worker, stream, conn, prefix, refusal.unwrap_or(reason)).await;
}

/// Whether HTTP may be spoken without TLS. From the pod, each request says what rule it is for.
fn may_be_plain(worker: &Worker, conn: &Conn) -> bool {
    still_ends_tls(&worker.policy(), conn)
}

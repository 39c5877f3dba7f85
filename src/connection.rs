//! One connection from start to end: where it was meant to go, what the policy says to that, what
//! protocol it speaks, and then its tunnel or its exchanges.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lazaret_policy::{Action, Direction, Mode, Policy, Reason};
use tokio::net::TcpStream;

use crate::addr::{ClientAddr, OrigDst, UpstreamAddr};
use crate::allow::{self, EgressClass};
use crate::audit::{Kind, Record, Verdict};
use crate::detect::{Detected, may_be_whole};
use crate::http;
use crate::prefixed::Prefixed;
use crate::sniff;
use crate::socket;
use crate::tunnel::{self, Tunnel};
use crate::worker::Worker;

/// How long a connection that no rule allows may take to say that it speaks HTTP, so that it can
/// be told why.
const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// What is known of an inspected connection.
#[derive(Clone, Copy, Debug)]
pub struct Conn {
    /// Who opened it.
    pub direction: Direction,
    /// Its client.
    pub client: ClientAddr,
    /// Where it was meant to go. Only an explicit proxy does not know before it reads a request.
    pub to: Option<OrigDst>,
    /// Whether it speaks HTTP/2.
    pub h2: bool,
    /// How often the policy had been replaced when it was judged.
    pub generation: u64,
    /// Whether refusals were only recorded when it was judged.
    pub observed: bool,
    /// Whether no rule allowed it, so that it is there only to be told why.
    pub refused: bool,
}

/// What may be done with a connection.
#[derive(Debug)]
enum Course {
    Tunnel(Tunnel),
    Http,
    Refuse(Reason),
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
            Err(reason) => return refuse(&worker, stream, client, direction, None, reason).await,
        }
    };
    let conn = Conn {
        direction,
        client,
        to,
        h2: false,
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

async fn course(worker: &Worker, policy: &Policy, conn: &Conn) -> Course {
    let Some(to) = conn.to else {
        return Course::Http;
    };
    let opaque = |rule| {
        Course::Tunnel(Tunnel {
            rule,
            upstream: upstream(worker, conn, to),
            reason: None,
        })
    };
    match conn.direction {
        Direction::Egress => match allow::egress(policy, to.get()) {
            EgressClass::Inspect => Course::Http,
            EgressClass::Refuse(reason) => Course::Refuse(reason),
            EgressClass::Opaque(rule) => opaque(rule.name.clone()),
            EgressClass::NamedTunnels(rules) => {
                for rule in rules {
                    if is_named(worker, policy, &rule.to, to).await {
                        return opaque(rule.name.clone());
                    }
                }
                Course::Refuse(Reason::DestinationNotAllowed)
            }
        },
        Direction::Ingress => {
            match allow::ingress(policy, conn.client.get().ip(), to.get().port()) {
                Err(reason) => Course::Refuse(reason),
                Ok(rule) => match rule.action {
                    Action::Inspect(_) => Course::Http,
                    Action::Direct | Action::Tunnel => opaque(rule.name.clone()),
                },
            }
        }
    }
}

/// Whether the policy still lets this tunnel be.
pub async fn still_tunnels(worker: &Worker, policy: &Policy, conn: &Conn, rule: &str) -> bool {
    match course(worker, policy, conn).await {
        Course::Tunnel(tunnel) => *tunnel.rule == *rule,
        Course::Refuse(_) => policy.mode == Mode::Observe,
        Course::Http => rule.is_empty() && policy.mode == Mode::Observe,
    }
}

/// Whether the policy still lets this connection carry exchanges.
pub async fn still_inspects(worker: &Worker, policy: &Policy, conn: &Conn) -> bool {
    // What was begun unjudged must not go on when refusals are enforced.
    if conn.observed && policy.mode == Mode::Enforce {
        return false;
    }
    // One that never might has nothing to lose but its answer.
    conn.refused || matches!(course(worker, policy, conn).await, Course::Http)
}

/// Whether the address is one that a name of the rule stands for.
async fn is_named(
    worker: &Worker,
    policy: &Policy,
    rule: &lazaret_policy::rule::Destination,
    to: OrigDst,
) -> bool {
    for host in &rule.hosts {
        let port = to.get().port();
        let resolved = Box::pin(worker.resolver.name(&policy.dns, rule, host, port)).await;
        if resolved.is_ok_and(|all| all.contains(&UpstreamAddr::new(to.get()))) {
            return true;
        }
    }
    false
}

fn upstream(worker: &Worker, conn: &Conn, to: OrigDst) -> UpstreamAddr {
    match (conn.direction, worker.shared.settings.standalone.app) {
        (Direction::Ingress, Some(app)) => UpstreamAddr::new(app.address),
        (Direction::Ingress, None) => UpstreamAddr::new(to.get()),
        (Direction::Egress, _) => worker.resolver.address(to.get()),
    }
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
    let detected = tokio::select! {
        detected = tokio::time::timeout(limit, sniff::first_bytes(&mut stream, &mut buffer)) => detected,
        () = worker.recheck.drained() => return,
    };
    let prefix = buffer.freeze();
    let reason = match detected {
        Ok(Ok(Detected::Http1)) => None,
        Ok(Ok(Detected::Http2)) => {
            conn.h2 = true;
            None
        }
        // A client that says nothing and goes has been refused nothing.
        Ok(Err(_)) if prefix.is_empty() && refusal.is_none() => return,
        Ok(Ok(Detected::Tls)) => Some(Reason::ProtocolTls),
        Ok(Ok(Detected::Unknown | Detected::NeedMore) | Err(_)) => Some(Reason::ProtocolUnknown),
        Err(_) => Some(Reason::ProtocolTimeout),
    };
    match reason {
        None => {
            if conn.h2 || !may_be_whole(&prefix) {
                socket::acknowledge(&stream);
            }
            let stream = Prefixed::new(prefix, stream);
            Box::pin(http::serve::serve(worker, stream, conn)).await;
        }
        Some(reason) => give_up(worker, stream, conn, prefix, refusal.unwrap_or(reason)).await,
    }
}

/// Refuses a connection that cannot be told why, or lets it pass when the policy only observes.
async fn give_up(worker: Rc<Worker>, stream: TcpStream, conn: Conn, prefix: Bytes, reason: Reason) {
    let observe = worker.policy().mode == Mode::Observe;
    if let (true, Some(to)) = (observe, conn.to) {
        let tunnel = Tunnel {
            rule: "".into(),
            upstream: upstream(&worker, &conn, to),
            reason: Some(reason),
        };
        let stream = Prefixed::new(prefix, stream);
        return Box::pin(tunnel::run(&worker, stream, conn, tunnel)).await;
    }
    refuse(
        &worker,
        stream,
        conn.client,
        conn.direction,
        conn.to,
        reason,
    )
    .await;
}

/// Ends a connection and records why.
pub async fn refuse(
    worker: &Worker,
    stream: TcpStream,
    client: ClientAddr,
    direction: Direction,
    to: Option<OrigDst>,
    reason: Reason,
) {
    reset(&stream);
    drop(stream);
    Box::pin(record_refusal(worker, client, direction, to, reason)).await;
}

/// Makes the end of a connection a reset, not an orderly one: its peer must not take what has come
/// so far for all there is.
pub fn reset(stream: &TcpStream) {
    if let Err(error) = socket::reset_on_close(stream) {
        tracing::debug!(%error, "cannot set linger");
    }
}

/// Records a connection that was refused without an exchange.
pub async fn record_refusal(
    worker: &Worker,
    client: ClientAddr,
    direction: Direction,
    to: Option<OrigDst>,
    reason: Reason,
) {
    let mut record = Record::new(Kind::Connection);
    record.direction = Some(direction);
    record.verdict = Some(Verdict::Refused);
    record.enforced = Some(true);
    record.reason = Some(reason);
    record.client = Some(client.get());
    record.destination = to.map(OrigDst::get);
    record.policy = Some(worker.policy().digest.clone());
    worker
        .shared
        .metrics
        .connection(direction, "", "", Verdict::Refused, Some(reason));
    tracing::info!(
        %client,
        direction = direction.as_str(), reason = reason.code(), "connection refused"
    );
    if worker.shared.audit.append(&record).await.is_err() {
        worker.shared.metrics.audit_failure();
    }
}

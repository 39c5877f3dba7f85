//! Opaque bytes for rules that say so: counted, recorded, cut when no longer allowed. Nothing is
//! sniffed, so protocols in which the server speaks first work.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use lazaret_policy::{Direction, Host, Reason};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;

use crate::addr::{OrigDst, UpstreamAddr};
use crate::audit::{Kind, Record, Verdict};
use crate::connection::{self, Conn};
use crate::prefixed::Prefixed;
use crate::socket;
use crate::worker::Worker;

/// Bytes in flight per direction. Larger ones do not make it faster on a veth.
const BUFFER_BYTES: usize = 64 * 1024;

/// An allowed tunnel.
#[derive(Debug)]
pub struct Tunnel {
    /// The rule that allows it; empty when there is none and the policy only observes.
    pub rule: Arc<str>,
    /// The name that the client asked for, if that is what allows it.
    pub host: Option<Host>,
    /// Where it leads: addresses that are tried in turn, at least one.
    pub upstream: Vec<UpstreamAddr>,
    /// Why it would have been refused, had the policy been enforced.
    pub reason: Option<Reason>,
}

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Both sides closed.
    Closed,
    /// One side failed.
    Failed,
    /// The gateway cut it.
    Cut(Reason),
}

/// Carries a tunnel until it ends.
pub async fn run(worker: &Rc<Worker>, client: Prefixed<TcpStream>, conn: Conn, tunnel: Tunnel) {
    socket::acknowledge(client.get_ref());
    let started = Instant::now();
    let limits = &worker.shared.settings.limits;
    let connecting = tokio::time::timeout(limits.connect_timeout, connect(&tunnel.upstream));
    let (to, upstream) = match connecting.await {
        Ok(Some(connected)) => connected,
        Ok(None) => return failed(worker, &client, &conn, Reason::UpstreamUnreachable).await,
        Err(_) => return failed(worker, &client, &conn, Reason::UpstreamTimeout).await,
    };
    let verdict = if tunnel.reason.is_some() {
        Verdict::Refused
    } else {
        Verdict::Allowed
    };
    let mut record = record(worker, &conn, &tunnel, to, Kind::Connection);
    record.verdict = Some(verdict);
    record.enforced = Some(tunnel.reason.is_none());
    record.reason = tunnel.reason;
    let metrics = &worker.shared.metrics;
    if worker.shared.audit.append(&record).await.is_err() {
        metrics.audit_failure();
        metrics.connection(
            conn.direction,
            &tunnel.rule,
            "tunnel",
            Verdict::Refused,
            Some(Reason::AuditUnavailable),
        );
        connection::reset(client.get_ref());
        return;
    }
    metrics.connection(
        conn.direction,
        &tunnel.rule,
        "tunnel",
        verdict,
        tunnel.reason,
    );
    let mut ended = Ended {
        worker: Rc::clone(worker),
        record: self::record(worker, &conn, &tunnel, to, Kind::TunnelEnd),
        rule: tunnel.rule.clone(),
        direction: conn.direction,
        started,
        sent: Rc::default(),
        received: Rc::default(),
    };
    if let End::Cut(reason) = carry(worker, client, (to, upstream), &conn, &tunnel, &ended).await {
        ended.record.reason = Some(reason);
    }
}

async fn carry(
    worker: &Rc<Worker>,
    client: Prefixed<TcpStream>,
    (to, upstream): (UpstreamAddr, TcpStream),
    conn: &Conn,
    tunnel: &Tunnel,
    ended: &Ended,
) -> End {
    if let Err(error) = socket::keep_alive(&upstream) {
        tracing::debug!(%error, "gone before it began");
    }
    let activity = Rc::new(Cell::new(tokio::time::Instant::now()));
    let counted = |bytes: &Rc<Cell<u64>>| (Rc::clone(bytes), Rc::clone(&activity));
    let mut client = Counted::new(client, counted(&ended.sent));
    let mut upstream = Counted::new(upstream, counted(&ended.received));
    let copy =
        copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER_BYTES, BUFFER_BYTES);
    let idle = worker.shared.settings.limits.tunnel_idle;
    let end = tokio::select! {
        copied = copy => copied.map_or(End::Failed, |_| End::Closed),
        () = revoked(worker, conn, tunnel, to) => End::Cut(Reason::PolicyChanged),
        () = idle_for(&activity, idle) => End::Cut(Reason::BodyTimeout),
        () = drained(worker) => End::Cut(Reason::Draining),
    };
    if !matches!(end, End::Closed) {
        connection::reset(client.inner.get_ref());
        connection::reset(&upstream.inner);
    }
    end
}

/// Ends when a new policy no longer allows the tunnel.
async fn revoked(worker: &Worker, conn: &Conn, tunnel: &Tunnel, to: UpstreamAddr) {
    let mut changes = worker.shared.policies.changes();
    loop {
        // Judged at once, too: the policy may have changed since the connection was let in.
        let (rule, host) = (&tunnel.rule, tunnel.host.as_ref());
        let policy = worker.policy();
        if !connection::still_tunnels(worker, &policy, conn, rule, host, to).await {
            return;
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn idle_for(activity: &Cell<tokio::time::Instant>, limit: Duration) {
    loop {
        let until = activity.get() + limit;
        tokio::time::sleep_until(until).await;
        if activity.get() + limit <= until {
            return;
        }
    }
}

/// Ends when shutting down takes too long to wait for the tunnel.
async fn drained(worker: &Worker) {
    worker.shared.drain.clone().wait().await;
    // A little before the thread gives up waiting, so that the end is on record.
    let limit = worker.shared.settings.drain_timeout;
    tokio::time::sleep(limit.mul_f32(0.9)).await;
}

async fn connect(to: &[UpstreamAddr]) -> Option<(UpstreamAddr, TcpStream)> {
    for to in to {
        match socket::connect(*to).await {
            Ok(stream) => return Some((*to, stream)),
            Err(error) => tracing::debug!(%to, %error, "cannot connect"),
        }
    }
    None
}

async fn failed(worker: &Worker, client: &Prefixed<TcpStream>, conn: &Conn, reason: Reason) {
    connection::reset(client.get_ref());
    connection::record_refusal(worker, conn, reason).await;
}

fn record(worker: &Worker, conn: &Conn, tunnel: &Tunnel, to: UpstreamAddr, kind: Kind) -> Record {
    let mut record = Record::new(kind);
    record.direction = Some(conn.direction);
    record.rule = Some((&tunnel.rule).into());
    record.client = Some(conn.client.get());
    record.destination = conn.to.map(OrigDst::get);
    record.upstream = Some(to.get());
    record.policy = Some(worker.policy().digest.clone());
    record
}

/// Writes what a tunnel came to, however it ends.
struct Ended {
    worker: Rc<Worker>,
    record: Record,
    rule: Arc<str>,
    direction: Direction,
    started: Instant,
    sent: Rc<Cell<u64>>,
    received: Rc<Cell<u64>>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let (sent, received) = (self.sent.get(), self.received.get());
        self.record.bytes_in = Some(sent);
        self.record.bytes_out = Some(received);
        self.record.duration_us = self.started.elapsed().as_micros().try_into().ok();
        let shared = &self.worker.shared;
        shared
            .metrics
            .tunnel_bytes(self.direction, &self.rule, sent, received);
        if shared.audit.append_nowait(&self.record).is_err() {
            shared.metrics.audit_failure();
        }
    }
}

/// Counts what is read from a side of the tunnel.
struct Counted<I> {
    inner: I,
    read: Rc<Cell<u64>>,
    activity: Rc<Cell<tokio::time::Instant>>,
}

impl<I> Counted<I> {
    fn new(inner: I, (read, activity): (Rc<Cell<u64>>, Rc<Cell<tokio::time::Instant>>)) -> Self {
        Self {
            inner,
            read,
            activity,
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Counted<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        let n = buf.filled().len() - before;
        if n > 0 {
            self.read.set(self.read.get() + n as u64);
            self.activity.set(tokio::time::Instant::now());
        }
        result
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Counted<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

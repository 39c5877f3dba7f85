//! The end of a connection that is refused without an exchange.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use lazaret_policy::{Direction, Mode, Reason};
use tokio::net::TcpStream;

use super::Conn;
use super::course::{must_be_tls, upstream};
use crate::addr::{ClientAddr, OrigDst};
use crate::audit::{Kind, Record, Verdict};
use crate::prefixed::Prefixed;
use crate::socket;
use crate::tls::Failed;
use crate::tunnel::{self, Tunnel};
use crate::worker::Worker;

/// Refuses a connection that cannot be told why, or lets it pass when the policy only observes.
pub(super) async fn give_up(
    worker: Rc<Worker>,
    stream: TcpStream,
    conn: Conn,
    prefix: Bytes,
    reason: Reason,
) {
    let policy = worker.policy();
    let passes = policy.mode == Mode::Observe && !must_be_tls(&policy, &conn);
    if let (true, Some(to)) = (passes, conn.to) {
        let tunnel = Tunnel {
            rule: "".into(),
            host: None,
            upstream: vec![upstream(&worker, &conn, to)],
            reason: Some(reason),
        };
        let stream = Prefixed::new(prefix, stream);
        return Box::pin(tunnel::run(&worker, stream, conn, tunnel)).await;
    }
    refuse(&worker, stream, &conn, reason).await;
}

/// Ends a connection and records why.
pub async fn refuse(worker: &Worker, stream: TcpStream, conn: &Conn, reason: Reason) {
    reset(&stream);
    drop(stream);
    Box::pin(record_refusal(worker, conn, reason)).await;
}

/// Ends a connection of which nothing more is known, and records why.
pub async fn drop_refused(
    worker: &Worker,
    stream: TcpStream,
    client: ClientAddr,
    direction: Direction,
    reason: Reason,
) {
    let conn = Conn {
        direction,
        client,
        to: None,
        h2: false,
        tls: None,
        generation: 0,
        observed: false,
        refused: true,
    };
    refuse(worker, stream, &conn, reason).await;
}

/// Makes the end of a connection a reset, not an orderly one: its peer must not take what has come
/// so far for all there is.
pub fn reset(stream: &TcpStream) {
    if let Err(error) = socket::reset_on_close(stream) {
        tracing::debug!(%error, "cannot set linger");
    }
}

/// Records a connection that was refused without an exchange.
pub async fn record_refusal(worker: &Worker, conn: &Conn, reason: Reason) {
    record_failure(worker, conn, reason.into()).await;
}

/// Records a connection that was refused, with whose certificate was not accepted.
pub async fn record_failure(worker: &Worker, conn: &Conn, failed: Failed) {
    let (direction, reason) = (conn.direction, failed.reason);
    let mut record = Record::new(Kind::Connection);
    record.direction = Some(direction);
    record.verdict = Some(Verdict::Refused);
    record.enforced = Some(true);
    record.reason = Some(reason);
    record.client = Some(conn.client.get());
    record.destination = conn.to.map(OrigDst::get);
    record.client_tls = conn.tls.as_ref().map(|tls| Arc::clone(&tls.session));
    record.refused_peer = failed.peer.map(Box::new);
    record.policy = Some(worker.policy().digest.clone());
    worker
        .shared
        .metrics
        .connection(direction, "", "", Verdict::Refused, Some(reason));
    tracing::info!(
        client = %conn.client,
        direction = direction.as_str(), reason = reason.code(), "connection refused"
    );
    if worker.shared.audit.append(&record).await.is_err() {
        worker.shared.metrics.audit_failure();
    }
}

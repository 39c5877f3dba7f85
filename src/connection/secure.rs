//! A connection that begins with a ClientHello: ended here, tunnelled by its server name, or
//! refused.

use std::rc::Rc;
use std::sync::Arc;

use lazaret_policy::{Direction, Reason};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::course::server_for;
use super::refused::{give_up, record_failure};
use super::{ClientTls, Conn, TlsWith};
use crate::addr::OrigDst;
use crate::allow::{self, TlsCourse};
use crate::http;
use crate::prefixed::Prefixed;
use crate::tls::hello::ClientHello;
use crate::tls::pod::PodName;
use crate::tls::{Failed, Leg, Session};
use crate::tunnel::{self, Tunnel};
use crate::worker::Worker;

type Accepted = (TlsStream<Prefixed<TcpStream>>, Session, TlsWith);

/// Carries a connection that begins with this ClientHello, which `stream` still holds.
pub(super) async fn carry(
    worker: Rc<Worker>,
    stream: Prefixed<TcpStream>,
    conn: Conn,
    hello: ClientHello,
) {
    match conn.direction {
        Direction::Egress => from_pod(worker, stream, conn, hello).await,
        Direction::Ingress => from_caller(worker, stream, conn).await,
    }
}

async fn from_pod(worker: Rc<Worker>, stream: Prefixed<TcpStream>, conn: Conn, hello: ClientHello) {
    let policy = worker.policy();
    let to = conn.to.map(OrigDst::get);
    // The inner name would be another than the one that is judged (RFC 9849).
    let course = if hello.has_ech {
        Err(Reason::TlsEch)
    } else {
        allow::tls(&policy, to, hello.sni.as_ref())
    };
    match course {
        Ok(TlsCourse::Intercept(name)) => intercept(worker, stream, conn, name).await,
        Ok(TlsCourse::Tunnel(rule, host)) => {
            let port = to.map_or(allow::HTTPS, |to| to.port());
            let resolved = worker.resolver.name(&policy.dns, &rule.to, &host, port);
            match Box::pin(resolved).await {
                Ok(upstream) => {
                    let tunnel = Tunnel {
                        rule: Arc::clone(&rule.name),
                        host: Some(host),
                        upstream,
                        reason: None,
                    };
                    Box::pin(tunnel::run(&worker, stream, conn, tunnel)).await;
                }
                Err(reason) => refuse(worker, stream, conn, reason).await,
            }
        }
        Err(reason) => refuse(worker, stream, conn, reason).await,
    }
}

async fn intercept(worker: Rc<Worker>, stream: Prefixed<TcpStream>, conn: Conn, name: PodName) {
    let policy = worker.policy();
    let Some(minter) = policy.tls.minter() else {
        return refuse(worker, stream, conn, Reason::Internal).await;
    };
    let accepting = minter.accept(&name, stream);
    let accepted = in_time(&worker, accepting).await;
    let accepted = accepted.map(|(stream, session)| (stream, session, TlsWith::Peer(name)));
    serve(worker, conn, Leg::Pod, accepted).await;
}

async fn from_caller(worker: Rc<Worker>, stream: Prefixed<TcpStream>, conn: Conn) {
    let policy = worker.policy();
    let Some(server) = server_for(&policy, &conn) else {
        return refuse(worker, stream, conn, Reason::ProtocolTls).await;
    };
    let Some(server) = server else {
        return refuse(worker, stream, conn, Reason::Internal).await;
    };
    let accepting = server.accept(stream);
    let accepted = in_time(&worker, accepting).await;
    let accepted = accepted
        .map(|(stream, session, until)| (stream, session, TlsWith::Server { server, until }));
    serve(worker, conn, Leg::Caller, accepted).await;
}

async fn in_time<T>(
    worker: &Worker,
    accepting: impl Future<Output = Result<T, Failed>>,
) -> Result<T, Failed> {
    let limit = worker.shared.settings.limits.detect_timeout;
    tokio::select! {
        accepted = tokio::time::timeout(limit, accepting) => {
            accepted.unwrap_or(Err(Reason::ProtocolTimeout.into()))
        }
        () = worker.recheck.drained() => Err(Reason::Draining.into()),
    }
}

async fn serve(worker: Rc<Worker>, mut conn: Conn, leg: Leg, accepted: Result<Accepted, Failed>) {
    let counted = accepted.as_ref().map(|(_, session, _)| session);
    let metrics = &worker.shared.metrics;
    metrics.handshake(leg, counted.map_err(|failed| failed.reason));
    match accepted {
        Ok((stream, session, with)) => {
            conn.h2 = session.h2;
            conn.tls = Some(Rc::new(ClientTls {
                session: Arc::new(session),
                with,
            }));
            http::serve::serve_tls(worker, stream, conn).await;
        }
        // The library has told the client by an alert.
        Err(failed) => record_failure(&worker, &conn, failed).await,
    }
}

/// Refuses a connection before any handshake; what only observes lets it pass as it is.
async fn refuse(worker: Rc<Worker>, stream: Prefixed<TcpStream>, conn: Conn, reason: Reason) {
    let (prefix, stream) = stream.into_parts();
    give_up(worker, stream, conn, prefix, reason).await;
}

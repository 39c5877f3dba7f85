//! hyper serves the connection, told to be as strict as it can be.

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use lazaret_policy::{Direction, Reason};
use rustls::HandshakeKind;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::connection::{self, Conn, TlsWith};
use crate::http::last::{self, LastAnswer};
use crate::http::payload::Payload;
use crate::http::{egress, ingress};
use crate::prefixed::Prefixed;
use crate::worker::Worker;

/// How long an exchange may go on that the policy no longer allows.
const REVOKED_GRACE: Duration = Duration::from_secs(1);

/// Streams of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 128;

/// Runs futures of this thread for hyper.
#[derive(Clone, Copy, Debug)]
pub struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// Serves one connection until it ends, the process drains, or a new policy no longer lets it
/// carry exchanges.
pub async fn serve(worker: Rc<Worker>, io: Prefixed<TcpStream>, conn: Conn) {
    let read = io.read_counter();
    let is_last = Rc::new(Cell::new(false));
    let io = LastAnswer::new(io, Rc::clone(&is_last));
    carry(worker, io, read, is_last, conn).await;
}

/// Like [`serve`], of a connection whose TLS ends here.
pub async fn serve_tls(worker: Rc<Worker>, mut io: TlsStream<Prefixed<TcpStream>>, conn: Conn) {
    if !speaks(&worker, &mut io, &conn).await {
        return;
    }
    let io = Prefixed::new(Bytes::new(), io);
    let read = io.read_counter();
    // How many segments end a TLS connection is the library's business.
    carry(worker, io, read, Rc::default(), conn).await;
}

/// Waits for the first byte behind the handshake, without taking it.
///
/// A client may end its handshake first and only then look at the certificate: pins of libcurl,
/// all of Node. There is no alert then, only a client that leaves.
async fn speaks(worker: &Worker, io: &mut TlsStream<Prefixed<TcpStream>>, conn: &Conn) -> bool {
    let limit = worker.shared.settings.limits.head_timeout;
    let byte = poll_fn(|cx| {
        let filled = Pin::new(&mut *io)
            .poll_fill_buf(cx)
            .map_ok(|bytes| !bytes.is_empty());
        if filled.is_pending() {
            // What the library itself answers, such as that it negotiates nothing anew.
            let _ = Pin::new(&mut *io).poll_flush(cx)?;
        }
        filled
    });
    let first = tokio::select! {
        first = tokio::time::timeout(limit, byte) => first,
        _ = must_end(worker, conn) => {
            // Told that this is the end, not that something failed.
            let _ = tokio::time::timeout(REVOKED_GRACE, io.shutdown()).await;
            return false;
        }
    };
    let is_pod = (conn.tls.as_deref()).is_some_and(|tls| matches!(tls.with, TlsWith::Peer(_)));
    // Whoever resumes has accepted the certificate before.
    let may_pin = is_pod && io.get_ref().1.handshake_kind() != Some(HandshakeKind::Resumed);
    match first {
        Ok(Ok(true)) => return true,
        Ok(_) if may_pin => connection::record_refusal(worker, conn, Reason::TlsPinned).await,
        Ok(_) => {}
        Err(_) => connection::record_refusal(worker, conn, Reason::ProtocolTimeout).await,
    }
    false
}

async fn carry<I>(
    worker: Rc<Worker>,
    io: I,
    read: Rc<Cell<u64>>,
    is_last: Rc<Cell<bool>>,
    conn: Conn,
) where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    // What had been read when the last request was answered: an end there cuts nothing off.
    let settled = Rc::new(Cell::new(0));
    let io = TokioIo::new(io);
    let conn = Rc::new(conn);
    let service = {
        let (worker, read, settled) = (Rc::clone(&worker), Rc::clone(&read), Rc::clone(&settled));
        let conn = Rc::clone(&conn);
        service_fn(move |request| {
            let worker = Rc::clone(&worker);
            let conn = Rc::clone(&conn);
            let (read, settled) = (Rc::clone(&read), Rc::clone(&settled));
            let is_last = Rc::clone(&is_last);
            async move {
                let ends = last::is_last_request(&request);
                let response = exchange(worker, conn, request).await;
                settled.set(read.get());
                is_last.set(ends || last::is_last_answer(&response));
                Ok::<_, Infallible>(response)
            }
        })
    };
    let mut ending = None;
    // The two connection types have the same methods, and no trait.
    macro_rules! until_it_must_end {
        ($serving:expr) => {{
            let mut serving = pin!($serving);
            tokio::select! {
                result = serving.as_mut() => result,
                end = must_end(&worker, &conn) => {
                    ending = Some(end);
                    serving.as_mut().graceful_shutdown();
                    match end {
                        // The thread sees to it that this ends in time.
                        Reason::Draining => serving.await,
                        _ => tokio::time::timeout(REVOKED_GRACE, serving).await.unwrap_or(Ok(())),
                    }
                }
            }
        }};
    }
    let result = if conn.h2 {
        until_it_must_end!(http2_builder(&worker).serve_connection(io, service))
    } else {
        until_it_must_end!(http1_builder(&worker).serve_connection(io, service))
    };
    if let (Ok(()), Some(reason)) = (&result, ending)
        && read.get() != settled.get()
    {
        // What had been read of a request came to nothing.
        connection::record_refusal(&worker, &conn, reason).await;
    }
    if let Err(error) = result {
        let idle = read.get() == settled.get();
        if let Some(reason) = refused_by_hyper(&error, idle, conn.h2) {
            tracing::debug!(client = %conn.client, %error, "connection ended by hyper");
            connection::record_refusal(&worker, &conn, reason).await;
        }
    }
}

async fn exchange(
    worker: Rc<Worker>,
    conn: Rc<Conn>,
    request: Request<Incoming>,
) -> Response<Payload> {
    match conn.direction {
        Direction::Egress => egress::exchange(worker, conn, request).await,
        Direction::Ingress => ingress::exchange(worker, conn, request).await,
    }
}

fn http1_builder(worker: &Worker) -> http1::Builder {
    let limits = &worker.shared.settings.limits;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_headers(limits.max_headers)
        .max_buf_size(limits.max_head_bytes as usize)
        .ignore_invalid_headers(false)
        .allow_multiple_spaces_in_request_line_delimiters(false)
        .half_close(false);
    builder
}

fn http2_builder(worker: &Worker) -> http2::Builder<LocalExecutor> {
    let limits = &worker.shared.settings.limits;
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(limits.max_head_bytes)
        .keep_alive_interval(limits.head_timeout)
        .keep_alive_timeout(limits.head_timeout);
    builder
}

/// Ends when the connection must not carry further exchanges, and says why.
async fn must_end(worker: &Worker, conn: &Conn) -> Reason {
    let revoked = async {
        // Also a replacement since the connection was let in counts.
        let mut generation = conn.generation;
        loop {
            generation = worker.recheck.replaced(generation).await;
            if !connection::still_inspects(worker, &worker.policy(), conn).await {
                return;
            }
        }
    };
    tokio::select! {
        () = worker.recheck.drained() => Reason::Draining,
        () = revoked => Reason::PolicyChanged,
    }
}

/// Why hyper refused a message before we saw it; `None` for a connection that just ended.
fn refused_by_hyper(error: &hyper::Error, idle: bool, h2: bool) -> Option<Reason> {
    // What ends an HTTP/2 connection is a breach of the protocol, unless the network or time did.
    let breach = || !error.is_timeout() && !caused_by_io(error);
    if error.is_parse_too_large() {
        Some(Reason::HeadTooLarge)
    } else if error.is_parse() || (h2 && breach()) {
        Some(Reason::HttpMalformed)
    } else if error.is_timeout() && !idle {
        Some(Reason::HeadTimeout)
    } else {
        None
    }
}

fn caused_by_io(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<std::io::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

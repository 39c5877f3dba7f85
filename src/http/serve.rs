//! hyper serves the connection, told to be as strict as it can be.

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use lazaret_policy::{Direction, Reason};
use tokio::net::TcpStream;

use crate::connection::{self, Conn};
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
    // What had been read when the last request was answered: an end there cuts nothing off.
    let settled = Rc::new(Cell::new(0));
    let is_last = Rc::new(Cell::new(false));
    let io = TokioIo::new(LastAnswer::new(io, Rc::clone(&is_last)));
    let service = {
        let (worker, read, settled) = (Rc::clone(&worker), Rc::clone(&read), Rc::clone(&settled));
        service_fn(move |request| {
            let worker = Rc::clone(&worker);
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
        let Conn {
            client,
            direction,
            to,
            ..
        } = conn;
        connection::record_refusal(&worker, client, direction, to, reason).await;
    }
    if let Err(error) = result {
        let idle = read.get() == settled.get();
        if let Some(reason) = refused_by_hyper(&error, idle, conn.h2) {
            tracing::debug!(client = %conn.client, %error, "connection ended by hyper");
            let Conn {
                client,
                direction,
                to,
                ..
            } = conn;
            connection::record_refusal(&worker, client, direction, to, reason).await;
        }
    }
}

async fn exchange(worker: Rc<Worker>, conn: Conn, request: Request<Incoming>) -> Response<Payload> {
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

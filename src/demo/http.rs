//! A small HTTP client for the parts.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::orders::Got;

/// How long an exchange may take: longer than anything that the gateway waits for here.
const TIMEOUT: Duration = Duration::from_secs(15);

/// More than any answer here.
const MAX_BODY_BYTES: usize = 1 << 20;

/// A `GET`; the target is in absolute form for a proxy, and in origin form otherwise.
pub(super) fn get(target: &str, host: &str) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    Request::builder()
        .method(Method::GET)
        .uri(target)
        .header(HOST, host)
        .body(Full::default())
}

/// Sends one request over a connection of its own.
pub(super) async fn send(to: SocketAddr, request: Request<Full<Bytes>>) -> io::Result<Got> {
    tokio::time::timeout(TIMEOUT, exchange(to, request))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn exchange(to: SocketAddr, request: Request<Full<Bytes>>) -> io::Result<Got> {
    let stream = TcpStream::connect(to).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // It ends with the sender; its errors are the errors of the exchange.
    tokio::spawn(connection);
    let response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_BODY_BYTES)
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    let media_type = head
        .headers
        .get(CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    Ok(Got {
        status: head.status.as_u16(),
        media_type: media_type.unwrap_or_default(),
        body: String::from_utf8_lossy(&body).into_owned(),
        sent_bytes: 0,
    })
}

//! An exchange that a caller from outside begins: its response is what leaves.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use lazaret_policy::exchange::{ResponseBody, choose};
use lazaret_policy::judge::BodyHead;
use lazaret_policy::{Action, AppTls, Contract, Exchange, Reason};
use rustls_pki_types::ServerName;

use crate::addr::{OrigDst, UpstreamAddr};
use crate::allow::{self, Dial};
use crate::connection::{self, Conn};
use crate::http::body;
use crate::http::case::Case;
use crate::http::egress::{address, judge_body};
use crate::http::forward::{Lease, TlsVia, Via};
use crate::http::gate;
use crate::http::outgoing::Outgoing;
use crate::http::payload::Payload;
use crate::http::respond::{Message, Refusal};
use crate::reload::InForce;
use crate::tls::Leg;
use crate::worker::Worker;

/// Carries one exchange from its request to the head of its answer.
pub async fn exchange(
    worker: Rc<Worker>,
    conn: Rc<Conn>,
    request: Request<Incoming>,
) -> Response<Payload> {
    let policy = worker.policy();
    let (head, mut body) = request.into_parts();
    let mut case = Case::new(Rc::clone(&worker), &conn, &policy, &head);
    let result = carry(&worker, &policy, &conn, &mut case, &head, &mut body).await;
    match result {
        Ok(response) => response,
        Err(refusal) => {
            if conn.h2 && !body.is_end_stream() {
                Box::pin(body::let_end(&mut body)).await;
            }
            Box::pin(case.refuse(refusal)).await
        }
    }
}

async fn carry(
    worker: &Worker,
    policy: &InForce,
    conn: &Conn,
    case: &mut Case,
    head: &Parts,
    body: &mut Incoming,
) -> Result<Response<Payload>, Refusal> {
    // What comes in is held to the policy in every mode: `observe` is about what goes out.
    gate::form(head).map_err(Refusal::request)?;
    gate::host(head, conn.tls.is_some()).map_err(Refusal::request)?;
    let to = conn
        .to
        .ok_or(Refusal::request(Reason::OriginalDestinationUnknown))?;
    let rule = allow::ingress(policy, conn.client.get().ip(), to.get().port())
        .map_err(Refusal::request)?;
    case.rule(&rule.name);
    // Another policy may ask for what this connection was never asked for.
    if !connection::still_ends_tls(policy, conn) {
        return Err(Refusal::request(Reason::PolicyChanged));
    }
    // A connection does not outlive what it was let in for.
    if conn.tls.as_ref().is_some_and(|tls| tls.is_over()) {
        return Err(Refusal::request(Reason::TlsClientCertificate));
    }
    let Action::Inspect(exchanges) = &rule.action else {
        return Err(Refusal::request(Reason::PolicyChanged));
    };
    let path = head.uri.path();
    let exchange = choose(exchanges, head.method.as_str(), path).map_err(Refusal::request)?;
    case.exchange(exchange);
    let target = exchange
        .rebuild_target(path, head.uri.query())
        .map_err(Refusal::request)?;
    let (fields, _) = gate::request_fields(&head.headers, exchange).map_err(Refusal::request)?;
    let contract = exchange.request_body.as_ref();
    // What comes in is no release.
    let received = judge_body(worker, case, contract, head, body, &mut Bytes::new()).await?;
    let mut request = Request::new(Payload::whole(received.bytes));
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = target
        .parse()
        .map_err(|_| Refusal::request(Reason::Internal))?;
    if let Some(contract) = contract {
        let value = HeaderValue::from_str(&contract.media_type);
        let value = value.map_err(|_| Refusal::request(Reason::Internal))?;
        request.headers_mut().insert(CONTENT_TYPE, value);
    }
    request.headers_mut().extend(fields);
    let via = match rule.tls.as_ref().map(|tls| tls.app) {
        Some(AppTls::Tls) => Via::Tls(Rc::new(TlsVia {
            peer: (policy.tls.app().cloned()).ok_or(Refusal::request(Reason::Internal))?,
            name: ServerName::IpAddress(to.get().ip().into()),
            leg: Leg::App,
        })),
        Some(AppTls::Plain) | None => conn.plain(),
    };
    let leased = worker.pool.lease(&[app(worker, to)], &via).await;
    let lease = leased.map_err(|failed| Refusal::response(case.not_connected(failed)))?;
    case.upstream(&lease);
    address(&mut request, &Dial::Address(to.get()), &lease).map_err(Refusal::request)?;
    let timeout = worker.shared.settings.limits.response_timeout;
    let sent = lease.send(request, timeout).await;
    let (response, lease) = sent.map_err(|failed| Refusal::response(case.not_connected(failed)))?;
    let asked_for_head = head.method == Method::HEAD;
    answer(
        worker,
        case,
        Some(exchange),
        response,
        lease,
        asked_for_head,
    )
    .await
}

fn app(worker: &Worker, to: OrigDst) -> UpstreamAddr {
    let app = worker.shared.settings.standalone.app;
    UpstreamAddr::new(app.map_or(to.get(), |app| app.address))
}

/// Judges a response and rebuilds it; in both directions. `exchange` is `None` when the exchange
/// passes unjudged.
pub(super) async fn answer(
    worker: &Worker,
    case: &mut Case,
    exchange: Option<&Exchange>,
    response: Response<Incoming>,
    lease: Lease,
    asked_for_head: bool,
) -> Result<Response<Payload>, Refusal> {
    let (head, mut body) = response.into_parts();
    let Some(exchange) = exchange else {
        let mut answer = Response::new(relayed(Bytes::new(), body, lease));
        *answer.status_mut() = head.status;
        *answer.headers_mut() = gate::end_to_end(head.headers);
        return Ok(answer);
    };
    let mut read = Bytes::new();
    let no_body = asked_for_head
        || head.status == StatusCode::NO_CONTENT
        || head.status == StatusCode::NOT_MODIFIED;
    match judge(worker, case, exchange, &head, &mut body, &mut read, no_body).await {
        Ok((fields, judged)) => {
            let payload = match judged {
                Judged::Body(outgoing) => {
                    let status = Some(head.status.as_u16());
                    case.release(Message::Response, Some(&outgoing), status)
                        .await?;
                    if body.is_end_stream() {
                        lease.give_back();
                    }
                    Payload::whole(outgoing.bytes)
                }
                Judged::Relay => {
                    case.release(Message::Response, None, Some(head.status.as_u16()))
                        .await?;
                    relayed(Bytes::new(), body, lease)
                }
            };
            let mut answer = Response::new(payload);
            *answer.status_mut() = head.status;
            answer.headers_mut().extend(fields);
            Ok(answer)
        }
        Err(refusal) if case.observes() => {
            case.observe(refusal).await?;
            let mut answer = Response::new(relayed(read, body, lease));
            *answer.status_mut() = head.status;
            *answer.headers_mut() = gate::end_to_end(head.headers);
            Ok(answer)
        }
        Err(refusal) => Err(refusal),
    }
}

enum Judged {
    Body(Outgoing),
    Relay,
}

async fn judge(
    worker: &Worker,
    case: &mut Case,
    exchange: &Exchange,
    head: &hyper::http::response::Parts,
    body: &mut Incoming,
    read: &mut Bytes,
    no_body: bool,
) -> Result<(gate::Passed, Judged), Refusal> {
    let rule = &exchange.response;
    let status = head.status.as_u16();
    if rule
        .statuses
        .as_ref()
        .is_some_and(|all| !all.contains(&status))
    {
        return Err(Refusal::response(Reason::StatusNotAllowed));
    }
    let (mut fields, dropped) =
        gate::response_fields(&head.headers, rule).map_err(Refusal::response)?;
    if exchange.judges_response() {
        case.dropped_fields(dropped);
    }
    let contract = match &rule.body {
        ResponseBody::Any => {
            for name in [CONTENT_TYPE, CONTENT_ENCODING] {
                if let Some(value) = head.headers.get(&name) {
                    fields.push((name, value.clone()));
                }
            }
            return Ok((fields, Judged::Relay));
        }
        ResponseBody::None => None,
        ResponseBody::Contract(contract) => Some(contract),
    };
    // The body of an error is as free as an error message: it never passes.
    if no_body || !head.status.is_success() {
        // Nothing is remembered of an answer without a body, so it carries nothing of the app's choice
        // but its status.
        if exchange.judges_response() && contract.is_some_and(|c| c.release.is_some()) {
            fields.clear();
        }
        return Ok((fields, Judged::Body(Outgoing::EMPTY)));
    }
    let outgoing = match contract {
        Some(contract) => {
            let value = HeaderValue::from_str(&contract.media_type);
            let value = value.map_err(|_| Refusal::response(Reason::Internal))?;
            fields.insert(0, (CONTENT_TYPE, value));
            judged_body(worker, case, contract, head, body, read).await?
        }
        None => {
            let limit = worker.shared.settings.limits.body_timeout;
            match body::read(body, 0, limit).await {
                Ok(_) => Outgoing::EMPTY,
                Err(unread) => {
                    *read = unread.read;
                    return Err(Refusal::response(match unread.reason {
                        Reason::BodyTooLarge => Reason::BodyNotAllowed,
                        other => other,
                    }));
                }
            }
        }
    };
    Ok((fields, Judged::Body(outgoing)))
}

async fn judged_body(
    worker: &Worker,
    case: &mut Case,
    contract: &Arc<Contract>,
    head: &hyper::http::response::Parts,
    body: &mut Incoming,
    read: &mut Bytes,
) -> Result<Outgoing, Refusal> {
    case.contract(contract);
    let limits = &worker.shared.settings.limits;
    let refused = |violations| Refusal::body(Message::Response, violations);
    gate::framing(&head.headers).map_err(Refusal::response)?;
    let body_head = BodyHead {
        content_type: gate::single(&head.headers, CONTENT_TYPE),
        content_encoding: gate::single(&head.headers, CONTENT_ENCODING),
    };
    contract
        .judge_head(body_head)
        .map_err(|violation| refused(vec![violation]))?;
    let max = contract.max_bytes.min(limits.max_body_bytes);
    match body::read(body, max, limits.body_timeout).await {
        Ok(bytes) => *read = bytes,
        Err(unread) => {
            *read = unread.read;
            return Err(match unread.reason {
                Reason::BodyTooLarge => refused(vec![contract.too_large()]),
                other => Refusal::response(other),
            });
        }
    }
    case.received(read.len());
    case.judge(contract, read)
        .map(|cleared| Outgoing::new(contract, cleared))
        .map_err(refused)
}

/// A body that is passed on as it comes; a connection whose body has ended already is free.
fn relayed(before: Bytes, body: Incoming, lease: Lease) -> Payload {
    if body.is_end_stream() {
        lease.give_back();
        return Payload::whole(before);
    }
    Payload::relayed(before, body, Some(lease))
}

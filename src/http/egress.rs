//! An exchange that the pod begins: its request is what leaves.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, Uri, Version};
use lazaret_policy::exchange::choose;
use lazaret_policy::judge::BodyHead;
use lazaret_policy::{Action, Contract, EgressRule, Exchange, Policy, Reason};
use rustls_pki_types::ServerName;

use crate::addr::UpstreamAddr;
use crate::allow::{self, Dial, HTTPS, HostClaim};
use crate::connection::{Conn, TlsWith};
use crate::http::body;
use crate::http::case::Case;
use crate::http::forward::{Lease, TlsVia, Via};
use crate::http::gate;
use crate::http::ingress::answer;
use crate::http::outgoing::Outgoing;
use crate::http::payload::Payload;
use crate::http::respond::{Message, Refusal};
use crate::reload::InForce;
use crate::tls::Leg;
use crate::tls::pod::PodName;
use crate::worker::Worker;

/// A request that may leave.
struct Release<'p> {
    route: Route,
    request: Request<Payload>,
    /// The judged body; `None` when a rule lets the request pass unjudged.
    body: Option<Outgoing>,
    /// `None` when a rule lets the exchange pass unjudged.
    exchange: Option<&'p Exchange>,
}

/// Carries one exchange from its request to the head of its answer.
pub async fn exchange(
    worker: Rc<Worker>,
    conn: Rc<Conn>,
    request: Request<Incoming>,
) -> Response<Payload> {
    let policy = worker.policy();
    let (head, mut body) = request.into_parts();
    let mut case = Case::new(Rc::clone(&worker), &conn, &policy, &head);
    let mut read = Bytes::new();
    let asked_for_head = head.method == Method::HEAD;
    let judged = judge(
        &worker, &policy, &conn, &mut case, &head, &mut body, &mut read,
    )
    .await;
    let result = match judged {
        Ok(Release {
            route,
            request,
            body: judged,
            exchange,
        }) => {
            let request = match &judged {
                Some(_) => request,
                // Unjudged: what has come and what still comes.
                None => request.map(|_| Payload::relayed(read, body, None)),
            };
            send(&worker, &mut case, &route, request, judged.as_ref())
                .await
                .map(|answered| (answered, exchange))
        }
        // Behind a CONNECT there would be nothing to observe.
        Err(refusal) if case.observes() && refusal.reason != Reason::ConnectNotAllowed => {
            let request = Request::from_parts(head, Payload::relayed(read, body, None));
            Box::pin(observed(
                &worker, &policy, &conn, &mut case, refusal, request,
            ))
            .await
            .map(|answered| (answered, None))
        }
        Err(refusal) => {
            if conn.h2 && !body.is_end_stream() {
                Box::pin(body::let_end(&mut body)).await;
            }
            Err(refusal)
        }
    };
    let result = match result {
        Ok(((response, lease), exchange)) => {
            answer(
                &worker,
                &mut case,
                exchange,
                response,
                lease,
                asked_for_head,
            )
            .await
        }
        Err(refusal) => Err(refusal),
    };
    match result {
        Ok(response) => response,
        Err(refusal) => Box::pin(case.refuse(refusal)).await,
    }
}

async fn judge<'p>(
    worker: &Worker,
    policy: &'p InForce,
    conn: &Conn,
    case: &mut Case,
    head: &Parts,
    body: &mut Incoming,
    read: &mut Bytes,
) -> Result<Release<'p>, Refusal> {
    gate::form(head).map_err(Refusal::request)?;
    let tls = believed_peer(conn);
    let claim = gate::host(head, tls.is_some()).map_err(Refusal::request)?;
    let to = conn.to.map(|to| to.get());
    let (rule, dial) = allow::request(policy, to, claim, tls).map_err(Refusal::request)?;
    case.rule(&rule.name);
    let Action::Inspect(exchanges) = &rule.action else {
        // Only in standalone mode does the proxy stand for the kernel. Elsewhere a tunnel is for
        // connections to an address of its rule, and this is none.
        if !worker.shared.settings.standalone.standalone {
            return Err(Refusal::request(Reason::DestinationNotAllowed));
        }
        let route = route(worker, policy, conn, rule, dial).await?;
        let request = unjudged(head).map_err(Refusal::request)?;
        return Ok(Release {
            route,
            request,
            body: None,
            exchange: None,
        });
    };
    let path = head.uri.path();
    let exchange = choose(exchanges, head.method.as_str(), path).map_err(Refusal::request)?;
    case.exchange(exchange);
    let target = exchange
        .rebuild_target(path, head.uri.query())
        .map_err(Refusal::request)?;
    let (fields, dropped) =
        gate::request_fields(&head.headers, exchange).map_err(Refusal::request)?;
    case.dropped_fields(dropped);
    let contract = exchange.request_body.as_ref();
    let outgoing = judge_body(worker, case, contract, head, body, read).await?;
    let route = route(worker, policy, conn, rule, dial).await?;
    let mut request = Request::new(Payload::whole(outgoing.bytes.clone()));
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
    Ok(Release {
        route,
        request,
        body: Some(outgoing),
        exchange: Some(exchange),
    })
}

/// The judged body, empty if there must be none.
pub(super) async fn judge_body(
    worker: &Worker,
    case: &mut Case,
    contract: Option<&Arc<Contract>>,
    head: &Parts,
    body: &mut Incoming,
    read: &mut Bytes,
) -> Result<Outgoing, Refusal> {
    let limits = &worker.shared.settings.limits;
    let Some(contract) = contract else {
        if body.is_end_stream() {
            return Ok(Outgoing::EMPTY);
        }
        // A chunked body may still turn out to be empty.
        return match body::read(body, 0, limits.body_timeout).await {
            Ok(_) => Ok(Outgoing::EMPTY),
            Err(unread) => {
                *read = unread.read;
                Err(Refusal::request(match unread.reason {
                    Reason::BodyTooLarge => Reason::BodyNotAllowed,
                    other => other,
                }))
            }
        };
    };
    case.contract(contract);
    let refused = |violations| Refusal::body(Message::Request, violations);
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
                other => Refusal::request(other),
            });
        }
    }
    case.received(read.len());
    case.judge(contract, read)
        .map(|cleared| Outgoing::new(contract, cleared))
        .map_err(refused)
}

/// Where a request is sent, and how.
struct Route {
    dial: Dial,
    to: Vec<UpstreamAddr>,
    via: Via,
}

/// Whom the client believes to speak to, if its TLS ends here.
fn believed_peer(conn: &Conn) -> Option<&PodName> {
    match conn.tls.as_deref()?.with {
        TlsWith::Peer(ref name) => Some(name),
        TlsWith::Server { .. } => None,
    }
}

async fn route(
    worker: &Worker,
    policy: &InForce,
    conn: &Conn,
    rule: &EgressRule,
    dial: Dial,
) -> Result<Route, Refusal> {
    let to = resolve(worker, policy, rule, &dial)
        .await
        .map_err(Refusal::request)?;
    let via = match &rule.tls.peer {
        // What the peer speaks is its own choice, whatever came from the pod.
        Some(_) => Via::Tls(Rc::new(TlsVia {
            peer: (policy.tls.peer(&rule.name))
                .cloned()
                .ok_or(Refusal::request(Reason::Internal))?,
            name: server_name(&dial).ok_or(Refusal::request(Reason::Internal))?,
            leg: Leg::Peer,
        })),
        None => conn.plain(),
    };
    Ok(Route { dial, to, via })
}

fn server_name(dial: &Dial) -> Option<ServerName<'static>> {
    match dial {
        Dial::Name(host, _) => ServerName::try_from(host.as_str().to_owned()).ok(),
        Dial::Address(to) => Some(ServerName::IpAddress(to.ip().into())),
    }
}

async fn resolve(
    worker: &Worker,
    policy: &Policy,
    rule: &EgressRule,
    dial: &Dial,
) -> Result<Vec<UpstreamAddr>, Reason> {
    match dial {
        Dial::Address(to) => Ok(vec![worker.resolver.address(*to)]),
        Dial::Name(host, port) => {
            worker
                .resolver
                .name(&policy.dns, &rule.to, host, *port)
                .await
        }
    }
}

type Answered = (Response<Incoming>, Lease);

/// Connects, writes the record, and only then sends.
async fn send(
    worker: &Worker,
    case: &mut Case,
    route: &Route,
    mut request: Request<Payload>,
    judged: Option<&Outgoing>,
) -> Result<Answered, Refusal> {
    let leased = worker.pool.lease(&route.to, &route.via).await;
    let lease = leased.map_err(|failed| Refusal::request(case.not_connected(failed)))?;
    case.upstream(&lease);
    address(&mut request, &route.dial, &lease).map_err(Refusal::request)?;
    case.release(Message::Request, judged, None).await?;
    let timeout = worker.shared.settings.limits.response_timeout;
    let sent = lease.send(request, timeout).await;
    sent.map_err(|failed| Refusal::response(case.not_connected(failed)))
}

/// Lets a request pass that would be refused if the policy were enforced.
async fn observed(
    worker: &Worker,
    policy: &InForce,
    conn: &Conn,
    case: &mut Case,
    refusal: Refusal,
    request: Request<Payload>,
) -> Result<Answered, Refusal> {
    case.observe(refusal).await?;
    let (head, payload) = request.into_parts();
    let tls = believed_peer(conn);
    let claim = gate::host(&head, tls.is_some()).ok().flatten();
    let rule = allow::request(policy, conn.to.map(|to| to.get()), claim.clone(), tls).ok();
    // TLS that was ended here is not sent on in plain text.
    if rule.is_none() && tls.is_some() {
        return Err(Refusal::request(Reason::HostMismatch));
    }
    let plain = |to: SocketAddr| Route {
        dial: Dial::Address(to),
        to: vec![worker.resolver.address(to)],
        via: conn.plain(),
    };
    let route = match (rule, conn.to, claim) {
        (Some((rule, dial)), _, _) => route(worker, policy, conn, rule, dial).await?,
        (None, Some(to), _) => plain(to.get()),
        (None, None, Some((HostClaim::Address(ip), port))) => plain(SocketAddr::new(ip, port)),
        // A name that no rule lists is resolved for nobody.
        (None, None, _) => return Err(Refusal::request(Reason::UpstreamUnresolved)),
    };
    let request = unjudged(&head).map_err(Refusal::request)?;
    send(worker, case, &route, request.map(|_| payload), None).await
}

/// The head as the pod sent it, without what concerns this connection alone.
fn unjudged(head: &Parts) -> Result<Request<Payload>, Reason> {
    let mut request = Request::new(Payload::empty());
    *request.method_mut() = head.method.clone();
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse().map_err(|_| Reason::Internal)?;
    let mut fields = gate::end_to_end(head.headers.clone());
    // Both are written anew: from the policy, and by hyper.
    fields.remove(HOST);
    fields.remove(CONTENT_LENGTH);
    for (name, value) in &fields {
        request.headers_mut().append(name, value.clone());
    }
    Ok(request)
}

/// Writes version and host, each from what the policy says, for a connection that is there.
pub(super) fn address(
    request: &mut Request<Payload>,
    dial: &Dial,
    lease: &Lease,
) -> Result<(), Reason> {
    let (scheme, default_port) = match lease.session() {
        Some(_) => ("https", HTTPS),
        None => ("http", 80),
    };
    let host = match dial {
        Dial::Name(host, port) if *port == default_port => host.as_str().to_owned(),
        Dial::Name(host, port) => format!("{host}:{port}"),
        Dial::Address(to) if to.port() == default_port => match to.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        },
        Dial::Address(to) => to.to_string(),
    };
    if lease.is_h2() {
        *request.version_mut() = Version::HTTP_2;
        let target = (request.uri().path_and_query()).map_or("/", |target| target.as_str());
        let uri = format!("{scheme}://{host}{target}");
        *request.uri_mut() = uri.parse::<Uri>().map_err(|_| Reason::Internal)?;
    } else {
        // The first of the fields (RFC 9110 §7.2).
        let fields = std::mem::take(request.headers_mut());
        let value = HeaderValue::from_str(&host).map_err(|_| Reason::Internal)?;
        request.headers_mut().insert(HOST, value);
        request.headers_mut().extend(fields);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F, A, B, C, Fut>(_: F) -> usize
    where
        F: Fn(A, B, C) -> Fut,
    {
        size_of::<Fut>()
    }

    /// hyper moves the future of each exchange into place, so its size is paid for by every one.
    #[test]
    fn the_future_of_an_exchange_stays_small() {
        let (egress, ingress) = (size(exchange), size(crate::http::ingress::exchange));
        assert!(egress <= 5120, "egress: {egress} bytes");
        assert!(ingress <= 5120, "ingress: {ingress} bytes");
    }
}

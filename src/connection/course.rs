//! What the policy lets happen with a connection, when it begins and whenever the policy changes.

use std::sync::Arc;

use lazaret_policy::{Action, Direction, Host, Mode, Policy, Reason};

use super::{Conn, TlsWith};
use crate::addr::{OrigDst, UpstreamAddr};
use crate::allow::{self, EgressClass, TlsCourse};
use crate::reload::InForce;
use crate::tls::caller::Server;
use crate::tls::pod::PodName;
use crate::tunnel::Tunnel;
use crate::worker::Worker;

/// What may be done with a connection.
#[derive(Debug)]
pub(super) enum Course {
    Tunnel(Tunnel),
    Http,
    Refuse(Reason),
}

/// What may be done with it now.
pub(super) async fn course(worker: &Worker, policy: &Policy, conn: &Conn) -> Course {
    let Some(to) = conn.to else {
        return Course::Http;
    };
    let opaque = |rule| {
        Course::Tunnel(Tunnel {
            rule,
            host: None,
            upstream: vec![upstream(worker, conn, to)],
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

/// Whether the policy still lets this tunnel be, which leads to `upstream`.
pub async fn still_tunnels(
    worker: &Worker,
    policy: &Policy,
    conn: &Conn,
    rule: &str,
    host: Option<&Host>,
    upstream: UpstreamAddr,
) -> bool {
    if host.is_some() {
        let to = conn.to.map(OrigDst::get);
        let port = to.map_or(allow::HTTPS, |to| to.port());
        return match allow::tls(policy, to, host) {
            Ok(TlsCourse::Tunnel(allowed, host)) if *allowed.name == *rule => {
                (worker.resolver).still_leads(&policy.dns, &allowed.to, &host, port, upstream)
            }
            _ => false,
        };
    }
    match course(worker, policy, conn).await {
        Course::Tunnel(tunnel) => *tunnel.rule == *rule,
        Course::Refuse(_) => policy.mode == Mode::Observe && !must_be_tls(policy, conn),
        Course::Http => {
            rule.is_empty() && policy.mode == Mode::Observe && !must_be_tls(policy, conn)
        }
    }
}

/// Whether the policy still lets this connection carry exchanges.
pub async fn still_inspects(worker: &Worker, policy: &InForce, conn: &Conn) -> bool {
    // What was begun unjudged must not go on when refusals are enforced.
    if conn.observed && policy.mode == Mode::Enforce {
        return false;
    }
    // One that never might has nothing to lose but its answer.
    if conn.refused {
        return true;
    }
    still_ends_tls(policy, conn) && matches!(course(worker, policy, conn).await, Course::Http)
}

/// Whether the policy still has the TLS of this connection end here, with what was asked of its
/// client; or has plain text there, if that is what it speaks.
pub fn still_ends_tls(policy: &InForce, conn: &Conn) -> bool {
    let to = conn.to.map(OrigDst::get);
    match (conn.tls.as_deref().map(|tls| &tls.with), conn.direction) {
        (Some(TlsWith::Peer(name)), _) => {
            let sni = match name {
                PodName::Host(host) => Some(host),
                PodName::Address(_) => None,
            };
            matches!(allow::tls(policy, to, sni), Ok(TlsCourse::Intercept(_)))
        }
        // A renewed certificate cuts nobody off; another demand on callers does.
        (Some(TlsWith::Server { server, .. }), _) => (server_for(policy, conn))
            .is_some_and(|wanted| wanted.is_some_and(|wanted| wanted.demands_like(server))),
        (None, Direction::Ingress) => server_for(policy, conn).is_none(),
        // Each request is judged by this, too.
        (None, Direction::Egress) => true,
    }
}

/// Whether callers of this port must speak TLS. Then nothing else passes in any mode: a caller would
/// need no certificate, if only it spoke no TLS or came from where no rule lets it in.
pub(super) fn must_be_tls(policy: &Policy, conn: &Conn) -> bool {
    let Some(to) = conn.to else { return false };
    let mut on_port = (policy.ingress.iter()).filter(|rule| rule.port == to.get().port());
    conn.direction == Direction::Ingress && on_port.any(|rule| rule.tls.is_some())
}

/// What a caller is served with: `None` in plain text, `Some(None)` if that is not there.
pub(super) fn server_for(policy: &InForce, conn: &Conn) -> Option<Option<Arc<Server>>> {
    let port = conn.to?.get().port();
    let rule = allow::ingress(policy, conn.client.get().ip(), port).ok()?;
    rule.tls.as_ref()?;
    Some(policy.tls.server(&rule.name).cloned())
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

/// Where it leads when nothing but its address says so.
pub(super) fn upstream(worker: &Worker, conn: &Conn, to: OrigDst) -> UpstreamAddr {
    match (conn.direction, worker.shared.settings.standalone.app) {
        (Direction::Ingress, Some(app)) => UpstreamAddr::new(app.address),
        (Direction::Ingress, None) => UpstreamAddr::new(to.get()),
        (Direction::Egress, _) => worker.resolver.address(to.get()),
    }
}

//! Who may connect where: pure decisions over one policy.
//!
//! The destination that the kernel reports is the truth about where the pod meant to go; the host
//! that a request names is a claim. A rule by address needs the address; a rule by name needs the
//! name, and then the gateway dials its own resolution of it, whatever address the pod chose.

use std::net::{IpAddr, SocketAddr};

use lazaret_policy::rule::Destination;
use lazaret_policy::{Action, EgressRule, Host, IngressRule, Policy, Reason};

/// What may be done with a connection of the pod, judged by its destination alone.
#[derive(Debug)]
pub enum EgressClass<'p> {
    /// Opaque bytes to the original destination.
    Opaque(&'p EgressRule),
    /// Opaque bytes, if the destination is an address of one of these rules' names.
    NamedTunnels(Vec<&'p EgressRule>),
    /// HTTP; each request is judged by the host that it names.
    Inspect,
    /// Nothing.
    Refuse(Reason),
}

/// Where a request says that it wants to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostClaim {
    /// An address literal.
    Address(IpAddr),
    /// A name.
    Name(Host),
}

/// Where an allowed request is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dial {
    /// To this address.
    Address(SocketAddr),
    /// To what the gateway itself resolves.
    Name(Host, u16),
}

/// Judges a connection of the pod by its destination.
pub fn egress(policy: &Policy, to: SocketAddr) -> EgressClass<'_> {
    if let Some(rule) = by_address(policy, to) {
        return match rule.action {
            Action::Direct | Action::Tunnel => EgressClass::Opaque(rule),
            Action::Inspect(_) => EgressClass::Inspect,
        };
    }
    // The policy does not load when tunnels and inspection by name share a port.
    let named: Vec<&EgressRule> = (policy.egress.iter().map(|rule| &**rule))
        .filter(|rule| !rule.to.hosts.is_empty() && rule.to.ports.contains(&to.port()))
        .collect();
    match named.first().map(|rule| &rule.action) {
        None => EgressClass::Refuse(Reason::DestinationNotAllowed),
        Some(Action::Inspect(_)) => EgressClass::Inspect,
        Some(Action::Direct | Action::Tunnel) => EgressClass::NamedTunnels(named),
    }
}

/// The rule for one request of the pod, and where it is sent. `to` is the original destination,
/// which only an explicit proxy does not have.
///
/// # Errors
/// Why no rule allows it.
pub fn request(
    policy: &Policy,
    to: Option<SocketAddr>,
    claim: Option<(HostClaim, u16)>,
) -> Result<(&EgressRule, Dial), Reason> {
    let (claim, port) = match (claim, to) {
        (Some(claim), _) => claim,
        // HTTP/1.0 need not name a host (RFC 1945 §5.1.2); the address is then all there is.
        (None, Some(to)) => (HostClaim::Address(to.ip()), to.port()),
        (None, None) => return Err(Reason::HostMissing),
    };
    if to.is_some_and(|to| to.port() != port) {
        return Err(Reason::HostMismatch);
    }
    match claim {
        HostClaim::Address(ip) => {
            let claimed = SocketAddr::new(ip, port);
            if to.is_some_and(|to| to != claimed) {
                return Err(Reason::HostMismatch);
            }
            match by_address(policy, claimed) {
                Some(rule) => Ok((rule, Dial::Address(claimed))),
                None if names_on(policy, port).next().is_some() => Err(Reason::HostNotAllowed),
                None => Err(Reason::DestinationNotAllowed),
            }
        }
        HostClaim::Name(host) => {
            let found = names_on(policy, port).find(|rule| rule.to.has_host(&host));
            match found {
                Some(rule) => Ok((rule, Dial::Name(host, port))),
                None if to.is_some_and(|to| nothing_at(policy, to)) => {
                    Err(Reason::DestinationNotAllowed)
                }
                None => Err(Reason::HostNotAllowed),
            }
        }
    }
}

/// The rule for a connection to the pod.
///
/// # Errors
/// Why no rule allows it.
pub fn ingress(policy: &Policy, from: IpAddr, port: u16) -> Result<&IngressRule, Reason> {
    let mut on_port = policy
        .ingress
        .iter()
        .filter(|rule| rule.port == port)
        .peekable();
    if on_port.peek().is_none() {
        return Err(Reason::PortNotAllowed);
    }
    let from = from.to_canonical();
    on_port
        .find(|rule| rule.from.iter().any(|net| net.contains(&from)))
        .map(|rule| &**rule)
        .ok_or(Reason::SourceNotAllowed)
}

/// Which of the resolved addresses of a name may be dialled. Networks in the rule bound them; a
/// resolver's answer may never lead back into the pod or to the node (DNS rebinding).
pub fn dialable(to: &Destination, pinned: bool, resolved: &[IpAddr]) -> Vec<IpAddr> {
    resolved
        .iter()
        .map(IpAddr::to_canonical)
        .filter(|ip| to.cidrs.is_empty() || to.has_ip(*ip))
        .filter(|ip| pinned || !is_special(*ip))
        .collect()
}

fn by_address(policy: &Policy, to: SocketAddr) -> Option<&EgressRule> {
    policy
        .egress
        .iter()
        .map(|rule| &**rule)
        .find(|rule| rule.to.hosts.is_empty() && rule.to.has_address(to))
}

fn names_on(policy: &Policy, port: u16) -> impl Iterator<Item = &EgressRule> {
    policy
        .egress
        .iter()
        .map(|rule| &**rule)
        .filter(move |rule| !rule.to.hosts.is_empty() && rule.to.ports.contains(&port))
}

fn nothing_at(policy: &Policy, to: SocketAddr) -> bool {
    matches!(egress(policy, to), EgressClass::Refuse(_))
}

fn is_special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_link_local()
                || ip.is_broadcast()
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unicast_link_local()
        }
    }
}

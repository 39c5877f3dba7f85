//! Who may connect where: pure decisions over one policy.
//!
//! The destination that the kernel reports is the truth about where the pod meant to go; the host
//! that a request names is a claim. A rule by address needs the address; a rule by name needs the
//! name, and then the gateway dials its own resolution of it, whatever address the pod chose.

use std::net::{IpAddr, SocketAddr};

use lazaret_policy::rule::Destination;
use lazaret_policy::{Action, EgressRule, Host, IngressRule, PodTls, Policy, Reason};

use crate::tls::pod::PodName;

/// The port of `https` (RFC 9110 §4.2.2).
pub const HTTPS: u16 = 443;

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
    // The policy does not load when opaque tunnels and inspection by name share a port.
    let named: Vec<&EgressRule> = names_on(policy, to.port()).collect();
    match named.first() {
        None => EgressClass::Refuse(Reason::DestinationNotAllowed),
        // What the client says first tells which rule it is.
        Some(rule) if rule.sni || matches!(rule.action, Action::Inspect(_)) => EgressClass::Inspect,
        Some(_) => EgressClass::NamedTunnels(named),
    }
}

/// What may be done with TLS from the pod.
#[derive(Debug)]
pub enum TlsCourse<'p> {
    /// The gateway ends it, under this name.
    Intercept(PodName),
    /// It stays as it is, and leads to what the gateway resolves this name to.
    Tunnel(&'p EgressRule, Host),
}

/// Judges TLS from the pod by the name in its ClientHello. `to` is the original destination, which
/// only an explicit proxy does not have; the port is then the one of `https`.
///
/// # Errors
/// Why no rule allows it.
pub fn tls<'p>(
    policy: &'p Policy,
    to: Option<SocketAddr>,
    sni: Option<&Host>,
) -> Result<TlsCourse<'p>, Reason> {
    let port = to.map_or(HTTPS, |to| to.port());
    let (rule, name) = match (sni, to) {
        (Some(sni), _) => {
            let rule = names_on(policy, port).find(|rule| rule.to.has_host(sni));
            let rule = rule.ok_or(Reason::TlsSniNotAllowed)?;
            (rule, PodName::Host(sni.clone()))
        }
        (None, Some(to)) => {
            let rule = by_address(policy, to).ok_or(Reason::TlsSniMissing)?;
            (rule, PodName::Address(to.ip()))
        }
        (None, None) => return Err(Reason::TlsSniMissing),
    };
    match (&rule.action, rule.tls.pod, name) {
        (Action::Inspect(_), PodTls::Intercept, name) => Ok(TlsCourse::Intercept(name)),
        (Action::Tunnel, _, PodName::Host(host)) if rule.sni => Ok(TlsCourse::Tunnel(rule, host)),
        _ => Err(Reason::ProtocolTls),
    }
}

/// The rule for one request of the pod, and where it is sent. `to` is the original destination,
/// which only an explicit proxy does not have. `tls` is whom the client believes to speak to, if
/// its TLS ends here.
///
/// # Errors
/// Why no rule allows it.
pub fn request<'p>(
    policy: &'p Policy,
    to: Option<SocketAddr>,
    claim: Option<(HostClaim, u16)>,
    tls: Option<&PodName>,
) -> Result<(&'p EgressRule, Dial), Reason> {
    // A handshake without a destination was judged by this port.
    let handshake = to.map_or(HTTPS, |to| to.port());
    if tls.is_some() && claim.as_ref().is_some_and(|(_, port)| *port != handshake) {
        return Err(Reason::HostMismatch);
    }
    let (rule, dial) = named(policy, to, claim)?;
    let is_same = |name: &PodName| match (name, &dial) {
        (PodName::Host(name), Dial::Name(host, _)) => name == host,
        (PodName::Address(ip), Dial::Address(to)) => *ip == to.ip(),
        _ => false,
    };
    match (tls, rule.tls.pod) {
        // One name in the handshake and another in the request: domain fronting.
        (Some(name), PodTls::Intercept) if is_same(name) => Ok((rule, dial)),
        (Some(_), _) => Err(Reason::HostMismatch),
        (None, PodTls::None) if !rule.sni => Ok((rule, dial)),
        (None, _) => Err(Reason::TlsRequired),
    }
}

fn named(
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

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
apiVersion: lazaret/v1
kind: Policy
metadata: { name: lab, producer: hospital-a, consumer: pharma-x }
require_encryption: false
dns:
  hosts:
    svc.hospital.example: [203.0.113.20]
    other.hospital.example: [203.0.113.20]
    report.pharma.example: [203.0.113.21]
    second.pharma.example: [203.0.113.21]
    plain.pharma.example: [203.0.113.22]
egress:
  - { name: svc, to: { hosts: [svc.hospital.example], ports: [443] }, action: tunnel, tls: sni }
  - { name: other, to: { hosts: [other.hospital.example], ports: [443] }, action: tunnel, tls: sni }
  - name: report
    to: { hosts: [report.pharma.example, second.pharma.example], ports: [443] }
    action: inspect
    tls: { pod: intercept, peer: {} }
    exchanges: [{ request: { method: GET, path: / } }]
  - name: elsewhere
    to: { hosts: [report.pharma.example], ports: [9443] }
    action: inspect
    tls: { pod: intercept, peer: {} }
    exchanges: [{ request: { method: GET, path: / } }]
  - name: plain
    to: { hosts: [plain.pharma.example], ports: [80] }
    action: inspect
    exchanges: [{ request: { method: GET, path: / } }]
  - name: address
    to: { cidrs: [203.0.113.7, 203.0.113.8], ports: [8443] }
    action: inspect
    tls: { pod: intercept, peer: {} }
    exchanges: [{ request: { method: GET, path: / } }]
  - name: bare
    to: { cidrs: [203.0.113.9], ports: [8443] }
    action: inspect
    exchanges: [{ request: { method: GET, path: / } }]
"#;

    fn policy() -> Policy {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("policy.yaml");
        std::fs::write(&path, POLICY).expect("a file in it");
        let loaded = lazaret_policy::load(&path);
        loaded.unwrap_or_else(|errors| panic!("{errors}")).0
    }

    fn at(to: &str) -> Option<SocketAddr> {
        (!to.is_empty()).then(|| to.parse().expect("an address and port"))
    }

    fn host(name: &str) -> Host {
        name.parse().expect("a name")
    }

    /// The address that the pod chose is anyone's, if not said otherwise.
    const ANY: &str = "198.51.100.1:443";

    #[test]
    fn tls_goes_where_its_name_leads() {
        let policy = policy();
        for (to, sni, expected) in [
            (ANY, "svc.hospital.example", "tunnel svc"),
            ("", "svc.hospital.example", "tunnel svc"),
            ("203.0.113.21:443", "svc.hospital.example", "tunnel svc"),
            (ANY, "other.hospital.example", "tunnel other"),
            (
                ANY,
                "report.pharma.example",
                "intercept report.pharma.example",
            ),
            (
                "",
                "second.pharma.example",
                "intercept second.pharma.example",
            ),
            ("203.0.113.7:8443", "", "intercept 203.0.113.7"),
            // A name that is listed, but not on this port.
            (
                "198.51.100.1:9443",
                "svc.hospital.example",
                "tls-sni-not-allowed",
            ),
            (
                "203.0.113.20:80",
                "svc.hospital.example",
                "tls-sni-not-allowed",
            ),
            // A rule by address is for who names nobody.
            (
                "203.0.113.7:8443",
                "report.pharma.example",
                "tls-sni-not-allowed",
            ),
            (ANY, "evil.example", "tls-sni-not-allowed"),
            (ANY, "x.svc.hospital.example", "tls-sni-not-allowed"),
            (ANY, "hospital.example", "tls-sni-not-allowed"),
            // The address of a name is not the name.
            ("203.0.113.20:443", "", "tls-sni-missing"),
            ("", "", "tls-sni-missing"),
            // Rules that know nothing of TLS.
            ("198.51.100.1:80", "plain.pharma.example", "protocol-tls"),
            ("203.0.113.9:8443", "", "protocol-tls"),
        ] {
            let name = (!sni.is_empty()).then(|| host(sni));
            let course = match tls(&policy, at(to), name.as_ref()) {
                Ok(TlsCourse::Intercept(PodName::Host(name))) => format!("intercept {name}"),
                Ok(TlsCourse::Intercept(PodName::Address(ip))) => format!("intercept {ip}"),
                Ok(TlsCourse::Tunnel(rule, to)) => {
                    assert_eq!(Some(to), name);
                    format!("tunnel {}", rule.name)
                }
                Err(reason) => reason.code().to_owned(),
            };
            assert_eq!(course, expected, "{to} {sni}");
        }
    }

    #[test]
    fn handshake_and_request_and_destination_agree_or_are_refused() {
        let policy = policy();
        // Destination, name in the handshake ("-": plain text), host and port in the request.
        for (to, handshake, claim, expected) in [
            (
                ANY,
                "report.pharma.example",
                "report.pharma.example:443",
                "report",
            ),
            (
                "",
                "report.pharma.example",
                "report.pharma.example:443",
                "report",
            ),
            (
                "198.51.100.1:9443",
                "report.pharma.example",
                "report.pharma.example:9443",
                "elsewhere",
            ),
            (
                "203.0.113.7:8443",
                "203.0.113.7",
                "203.0.113.7:8443",
                "address",
            ),
            ("203.0.113.7:8443", "203.0.113.7", "", "address"),
            ("198.51.100.1:80", "-", "plain.pharma.example:80", "plain"),
            ("203.0.113.9:8443", "-", "203.0.113.9:8443", "bare"),
            // Domain fronting, within a rule and between two.
            (
                ANY,
                "report.pharma.example",
                "second.pharma.example:443",
                "host-mismatch",
            ),
            (
                ANY,
                "report.pharma.example",
                "svc.hospital.example:443",
                "host-mismatch",
            ),
            (
                ANY,
                "report.pharma.example",
                "evil.example:443",
                "host-not-allowed",
            ),
            (
                "203.0.113.7:8443",
                "203.0.113.7",
                "203.0.113.8:8443",
                "host-mismatch",
            ),
            (
                "203.0.113.7:8443",
                "203.0.113.8",
                "203.0.113.7:8443",
                "host-mismatch",
            ),
            (
                "203.0.113.7:8443",
                "203.0.113.7",
                "report.pharma.example:8443",
                "host-not-allowed",
            ),
            // Another port, listed for the name or not.
            (
                ANY,
                "report.pharma.example",
                "report.pharma.example:9443",
                "host-mismatch",
            ),
            (
                "",
                "report.pharma.example",
                "report.pharma.example:9443",
                "host-mismatch",
            ),
            (
                "",
                "report.pharma.example",
                "plain.pharma.example:80",
                "host-mismatch",
            ),
            // The name, and in the request the address that it leads to.
            (
                "203.0.113.21:443",
                "report.pharma.example",
                "203.0.113.21:443",
                "host-not-allowed",
            ),
            (
                "203.0.113.21:443",
                "report.pharma.example",
                "",
                "host-not-allowed",
            ),
            // TLS that ended here is not for rules that say nothing of it.
            (
                "198.51.100.1:80",
                "plain.pharma.example",
                "plain.pharma.example:80",
                "host-mismatch",
            ),
            (
                "203.0.113.9:8443",
                "203.0.113.9",
                "203.0.113.9:8443",
                "host-mismatch",
            ),
            (
                ANY,
                "svc.hospital.example",
                "svc.hospital.example:443",
                "host-mismatch",
            ),
            // Plain text is not for rules that want TLS.
            (ANY, "-", "report.pharma.example:443", "tls-required"),
            (ANY, "-", "svc.hospital.example:443", "tls-required"),
            ("", "-", "svc.hospital.example:443", "tls-required"),
            ("203.0.113.7:8443", "-", "203.0.113.7:8443", "tls-required"),
        ] {
            let claim = at_name(claim);
            let tls = (handshake != "-").then(|| match handshake.parse() {
                Ok(ip) => PodName::Address(ip),
                Err(_) => PodName::Host(host(handshake)),
            });
            let what = format!("{to} {handshake} {claim:?}");
            let course = match request(&policy, at(to), claim, tls.as_ref()) {
                Ok((rule, _)) => rule.name.to_string(),
                Err(reason) => reason.code().to_owned(),
            };
            assert_eq!(course, expected, "{what}");
        }
    }

    fn at_name(claim: &str) -> Option<(HostClaim, u16)> {
        let (name, port) = claim.rsplit_once(':')?;
        let name = match name.parse() {
            Ok(ip) => HostClaim::Address(ip),
            Err(_) => HostClaim::Name(host(name)),
        };
        Some((name, port.parse().expect("a port")))
    }
}

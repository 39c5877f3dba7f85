//! The typed policy: what a loaded policy file means. Invalid states have no representation here;
//! whatever could be wrong was refused by [`crate::compile`].

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

pub use crate::host::{Host, HostError};
use crate::tls::{EgressTls, IngressTls};
use crate::{Contract, Exchange};

/// One producer's policy, compiled: all schemas are built, all names resolved.
#[derive(Debug)]
pub struct Policy {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.producer`: whose data it is.
    pub producer: Arc<str>,
    /// `metadata.consumer`: who receives what is released.
    pub consumer: Arc<str>,
    /// Whether verdicts are enforced or only recorded.
    pub mode: Mode,
    /// SHA-256 over the policy file and every schema, code list, root and revocation list that it
    /// uses, lower-case hex.
    pub digest: Arc<str>,
    /// Whether plain text that leaves `internal` was an error when this was loaded.
    pub require_encryption: bool,
    /// Where plain text may go. No network here is loopback, and none is everything.
    pub internal: Vec<IpNet>,
    /// How names are resolved.
    pub dns: Dns,
    /// Rules for connections that the pod opens, in file order: the first match decides.
    pub egress: Vec<Arc<EgressRule>>,
    /// Rules for connections that others open to the pod, in file order.
    pub ingress: Vec<Arc<IngressRule>>,
    /// All contracts by name.
    pub contracts: BTreeMap<Arc<str>, Arc<Contract>>,
}

/// What happens on a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What the policy does not allow is refused.
    Enforce,
    /// Decide and record, but let everything pass: to find out what an application does.
    Observe,
}

/// Name resolution as the producer set it. The pod's own settings are never consulted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Servers that the gateway asks, and the only ones the pod may reach on port 53.
    pub resolvers: Vec<SocketAddr>,
    /// Names with fixed addresses: these are never asked for.
    pub hosts: BTreeMap<Host, Vec<IpAddr>>,
}

/// An allowlist entry for connections that the pod opens.
#[derive(Debug)]
pub struct EgressRule {
    /// Unique among the egress rules.
    pub name: Arc<str>,
    /// Where to.
    pub to: Destination,
    /// What may be done there.
    pub action: Action,
    /// Encryption on both sides; the default, which is none, unless the rule is inspected.
    pub tls: EgressTls,
    /// The tunnel takes nothing but TLS whose server name is one of the hosts; only of a
    /// [`Action::Tunnel`] with hosts.
    pub sni: bool,
}

/// Where an egress rule leads. At least one of `cidrs` and `hosts` is not empty; `ports` never is.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Networks. With `hosts` given too, the addresses that a name may resolve to.
    pub cidrs: Vec<IpNet>,
    /// Exact names, compared case-insensitively. The gateway dials its own resolution of them.
    pub hosts: Vec<Host>,
    /// TCP ports.
    pub ports: Vec<u16>,
}

/// An allowlist entry for connections that others open to the pod.
#[derive(Debug)]
pub struct IngressRule {
    /// Unique among the ingress rules.
    pub name: Arc<str>,
    /// Networks that callers may come from; never empty.
    pub from: Vec<IpNet>,
    /// The TCP port of the pod that is called.
    pub port: u16,
    /// What may be done there.
    pub action: Action,
    /// The TLS that the gateway serves; `None`: plain text. Only of an inspected rule.
    pub tls: Option<IngressTls>,
}

/// What a rule lets happen.
#[derive(Debug)]
pub enum Action {
    /// The kernel lets it pass; the gateway never sees it.
    Direct,
    /// Opaque bytes through the gateway: counted, recorded, cut when no longer allowed.
    Tunnel,
    /// HTTP, and only these exchanges; never empty.
    Inspect(Vec<Exchange>),
}

/// Which way a connection was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// By the pod.
    Egress,
    /// To the pod.
    Ingress,
}

impl Direction {
    /// The label in metrics and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }
}

impl Action {
    /// The label in metrics and records.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Tunnel => "tunnel",
            Self::Inspect(_) => "inspect",
        }
    }
}

impl Mode {
    /// The label in metrics and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

impl Destination {
    /// Whether the address is in one of the networks and the port is listed. Says nothing about
    /// names: a rule with `hosts` is chosen by name first.
    pub fn has_address(&self, to: SocketAddr) -> bool {
        self.ports.contains(&to.port()) && self.has_ip(to.ip())
    }

    /// Whether the address is in one of the networks.
    pub fn has_ip(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.cidrs.iter().any(|net| net.contains(&ip))
    }

    /// Whether the name is listed.
    pub fn has_host(&self, host: &Host) -> bool {
        self.hosts.contains(host)
    }
}

//! What the rules are made of: the settings and the parts of the policy that the kernel decides.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use lazaret_policy::{Action, Diagnostics, Policy};

use crate::args::Settings;

/// Everything that [`crate::ruleset`] needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The gateway's user, not 0.
    pub uid: u32,
    /// The gateway's group, not 0.
    pub gid: u32,
    /// The gateway's ports.
    pub ports: Ports,
    /// Destinations that the pod reaches without the gateway.
    pub direct: Vec<(IpNet, u16)>,
    /// Callers that reach a port of the pod without the gateway.
    pub ingress_direct: Vec<(IpNet, u16)>,
    /// The only DNS servers that the pod may ask.
    pub resolvers: Vec<SocketAddr>,
    /// Who may reach the admin port from outside.
    pub admin_from: Vec<IpNet>,
    /// Every network device there is, without the loopback device.
    pub devices: Vec<String>,
}

/// The gateway's ports: distinct, none 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// For connections that the pod opens; on loopback only.
    pub outbound: u16,
    /// For connections that others open to the pod.
    pub inbound: u16,
    /// For health and metrics.
    pub admin: u16,
}

/// Why no rules can be made.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// A flag that this command cannot do without.
    #[error("--{0} is missing")]
    Missing(&'static str),
    /// Two of the gateway's ports are one.
    #[error("the outbound, inbound and admin ports must differ: {}, {}, {}", .0.outbound, .0.inbound, .0.admin)]
    SamePorts(Ports),
    /// The policy does not load.
    #[error("{0}")]
    Policy(Diagnostics),
    /// An ingress rule would let callers reach the gateway as if it were the application.
    #[error(
        "ingress rule `{rule}` opens port {port} directly, which is one of the gateway's own ports"
    )]
    GatewayPort {
        /// Its name.
        rule: String,
        /// Its port.
        port: u16,
    },
    /// The kernel does not tell which network devices there are.
    #[error("cannot list the network devices: {0}")]
    Devices(#[from] nix::Error),
    /// A name that cannot stand in a ruleset.
    #[error("cannot write rules for the network device {0:?}: its name is not plain text")]
    DeviceName(String),
}

impl CaptureError {
    /// Whether the user asked for something wrong, rather than the system failing.
    pub const fn is_usage(&self) -> bool {
        !matches!(self, Self::Devices(_) | Self::DeviceName(_))
    }
}

impl Capture {
    /// Puts the settings, the policy file and this namespace's devices together. The second part
    /// are the warnings about the policy.
    ///
    /// # Errors
    /// All that is wrong, and not only what was found first.
    pub fn load(settings: &Settings) -> Result<(Self, Diagnostics), Vec<CaptureError>> {
        let mut errors = Vec::new();
        let path = required("policy", settings.policy.clone(), &mut errors);
        let uid = required("uid", settings.uid, &mut errors);
        let gid = required("gid", settings.gid, &mut errors);
        let ports = Ports {
            outbound: settings.outbound_port,
            inbound: settings.inbound_port,
            admin: settings.admin_port,
        };
        if !ports.are_distinct() {
            errors.push(CaptureError::SamePorts(ports));
        }
        let policy = path.and_then(|path: PathBuf| {
            lazaret_policy::load(&path)
                .map_err(|found| errors.push(CaptureError::Policy(found)))
                .ok()
        });
        let devices = devices().map_err(|error| errors.push(error)).ok();
        let (Some((policy, warnings)), Some(uid), Some(gid), Some(devices)) =
            (policy, uid, gid, devices)
        else {
            return Err(errors);
        };
        let capture = Self {
            uid,
            gid,
            ports,
            direct: direct(&policy),
            ingress_direct: ingress_direct(&policy, ports, &mut errors),
            resolvers: policy.dns.resolvers.clone(),
            admin_from: settings.admin_from.clone(),
            devices,
        };
        if errors.is_empty() {
            Ok((capture, warnings))
        } else {
            Err(errors)
        }
    }
}

impl Ports {
    /// All of them.
    pub const fn all(self) -> [u16; 3] {
        [self.outbound, self.inbound, self.admin]
    }

    const fn are_distinct(self) -> bool {
        self.outbound != self.inbound && self.outbound != self.admin && self.inbound != self.admin
    }
}

/// The same networks without overlaps, by port: nft refuses two elements of a set that overlap.
pub fn merged(pairs: &[(IpNet, u16)]) -> Vec<(IpNet, u16)> {
    let mut by_port: BTreeMap<u16, Vec<IpNet>> = BTreeMap::new();
    for (net, port) in pairs {
        by_port.entry(*port).or_default().push(net.trunc());
    }
    by_port
        .into_iter()
        .flat_map(|(port, nets)| {
            IpNet::aggregate(&nets)
                .into_iter()
                .map(move |net| (net, port))
        })
        .collect()
}

fn required<T>(flag: &'static str, value: Option<T>, errors: &mut Vec<CaptureError>) -> Option<T> {
    if value.is_none() {
        errors.push(CaptureError::Missing(flag));
    }
    value
}

// Order among rules need not be looked at: a policy in which a `direct` rule overlaps one with
// another action does not load.
fn direct(policy: &Policy) -> Vec<(IpNet, u16)> {
    let rules = policy.egress.iter();
    rules
        .filter(|rule| matches!(rule.action, Action::Direct))
        .flat_map(|rule| {
            let ports = &rule.to.ports;
            let pairs = move |net| ports.iter().map(move |port| (net, *port));
            rule.to.cidrs.iter().copied().flat_map(pairs)
        })
        .collect()
}

fn ingress_direct(
    policy: &Policy,
    ports: Ports,
    errors: &mut Vec<CaptureError>,
) -> Vec<(IpNet, u16)> {
    let rules = policy.ingress.iter();
    let direct = rules.filter(|rule| matches!(rule.action, Action::Direct));
    let mut pairs = Vec::new();
    for rule in direct {
        if ports.all().contains(&rule.port) {
            errors.push(CaptureError::GatewayPort {
                rule: rule.name.to_string(),
                port: rule.port,
            });
        }
        pairs.extend(rule.from.iter().map(|net| (*net, rule.port)));
    }
    pairs
}

/// The kernel is asked rather than /sys/class/net, which shows the namespace it was mounted in.
fn devices() -> Result<Vec<String>, CaptureError> {
    let mut names = Vec::new();
    for interface in &nix::net::if_::if_nameindex()? {
        let name = interface.name().to_string_lossy().into_owned();
        if name == "lo" {
            continue;
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-@+".contains(c);
        if !name.chars().all(plain) {
            return Err(CaptureError::DeviceName(name));
        }
        names.push(name);
    }
    names.sort();
    Ok(names)
}

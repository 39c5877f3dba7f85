//! Whether plain text stays where it may go (`require_encryption`, `internal`), and whether the
//! rules of one port can be served with one certificate.
//!
//! A destination counts as internal only where the policy alone proves it: what a resolver will
//! answer does not. Loopback never does, whatever the networks say: it is the pod.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::overlap::covers;
use super::{Report, text};
use crate::diagnostic::Severity;
use crate::file::{PolicyFile, Written};
use crate::rule::{Action, Dns, EgressRule, IngressRule};
use crate::tls::PodTls;

/// Where plain text may go, and what it means if it goes elsewhere.
pub(super) struct Encryption<'f> {
    pub(super) required: bool,
    pub(super) internal: Vec<IpNet>,
    dns: &'f Dns,
}

impl<'f> Encryption<'f> {
    /// `None` when what is written about it is broken and was reported.
    pub(super) fn new(file: &PolicyFile, dns: &'f Dns, report: &mut Report) -> Option<Self> {
        let internal = match file.internal.sound() {
            Some(internal) => networks(&internal.cidrs, report),
            None => None,
        };
        Some(Self {
            required: *file.require_encryption.sound()?,
            internal: internal?,
            dns,
        })
    }

    pub(super) fn egress(&self, rules: &[Option<EgressRule>], report: &mut Report) {
        for (i, rule) in rules.iter().enumerate() {
            let Some(rule) = rule else { continue };
            let plain = match &rule.action {
                Action::Inspect(_) => rule.tls.peer.is_none(),
                Action::Tunnel => !rule.sni,
                Action::Direct => true,
            };
            if plain && !self.is_internal(rule) {
                self.plain_egress(rule, &format!("/egress/{i}"), report);
            }
        }
    }

    fn plain_egress(&self, rule: &EgressRule, pointer: &str, report: &mut Report) {
        let intercepted = rule.tls.pod == PodTls::Intercept;
        let severity = match (self.required, intercepted) {
            (true, _) => Severity::Error,
            (false, true) => Severity::Warning,
            (false, false) => return,
        };
        let (at, message) = if intercepted {
            let message = format!(
                "`{}` takes TLS from the app and goes on in plain text, which may leave `internal`",
                rule.name
            );
            (format!("{pointer}/tls/pod"), message)
        } else {
            let message = format!("`{}` lets plain text leave `internal`", rule.name);
            (format!("{pointer}/to"), message)
        };
        let tls = match (&rule.action, rule.to.hosts.is_empty()) {
            (Action::Inspect(_), _) => "give `tls.peer`",
            (Action::Tunnel, false) => "give `tls: sni`",
            (Action::Tunnel, true) => "list `hosts` and give `tls: sni`",
            (Action::Direct, _) => "use `inspect` with `tls.peer`, or `tunnel` with `tls: sni`",
        };
        let networks = if rule.to.hosts.is_empty() {
            "list all of `to.cidrs` under `internal.cidrs`"
        } else {
            "list what its names resolve to in `to.cidrs` and under `internal.cidrs`"
        };
        let help = help(tls, networks);
        let absent = [
            "/require_encryption",
            "/internal",
            "/internal/cidrs",
            "/dns",
            "/dns/hosts",
            &format!("{pointer}/tls"),
            &format!("{pointer}/tls/peer"),
            &format!("{pointer}/to/cidrs"),
        ];
        report.lack(&absent, &at, severity, message, Some(help));
    }

    pub(super) fn ingress(&self, rules: &[Option<IngressRule>], report: &mut Report) {
        for (i, rule) in rules.iter().enumerate() {
            let Some(rule) = rule else { continue };
            if !self.required || rule.tls.is_some() || self.holds(&rule.from) {
                continue;
            }
            let message = format!(
                "`{}` answers in plain text to callers outside `internal`",
                rule.name
            );
            let tls = match rule.action {
                Action::Inspect(_) => "give `tls`",
                Action::Tunnel | Action::Direct => "use `inspect` with `tls`",
            };
            let help = help(tls, "list all of `from.cidrs` under `internal.cidrs`");
            let pointer = format!("/ingress/{i}");
            let absent = [
                "/require_encryption",
                "/internal",
                "/internal/cidrs",
                &format!("{pointer}/tls"),
            ];
            let at = format!("{pointer}/from");
            report.lack(&absent, &at, Severity::Error, message, Some(help));
        }
    }

    fn is_internal(&self, rule: &EgressRule) -> bool {
        let to = &rule.to;
        if !to.cidrs.is_empty() && self.holds(&to.cidrs) {
            return true;
        }
        let pinned = |host| {
            let addresses = self.dns.hosts.get(host)?;
            let nets: Vec<IpNet> = addresses.iter().map(|ip| IpNet::from(*ip)).collect();
            Some(!nets.is_empty() && self.holds(&nets))
        };
        !to.hosts.is_empty() && to.hosts.iter().all(|host| pinned(host) == Some(true))
    }

    fn holds(&self, nets: &[IpNet]) -> bool {
        !nets.iter().any(meets_loopback) && covers(self.internal.iter(), nets)
    }
}

/// Reports rules of one port that cannot be served alike: a connection is taken over with one
/// certificate, and the app behind the port speaks in one way. What callers must show may differ,
/// since callers are told apart by their addresses.
pub(super) fn one_server_for_each_port(rules: &[Option<IngressRule>], report: &mut Report) {
    let inspected = || {
        let sound = rules.iter().enumerate();
        let sound = sound.filter_map(|(i, rule)| Some((i, rule.as_ref()?)));
        sound.filter(|(_, rule)| matches!(rule.action, Action::Inspect(_)))
    };
    for (i, rule) in inspected() {
        let first = inspected().find(|(_, first)| first.port == rule.port);
        let Some((earlier, first)) = first else {
            continue;
        };
        let Some(what) = difference(first, rule) else {
            continue;
        };
        let message = format!("the rules of port {} differ in {what}", rule.port);
        let help = format!(
            "write the same as in ingress rule {earlier}, `{}`; only `client` may differ",
            first.name
        );
        let tls = format!("/ingress/{i}/tls");
        let other = format!("/ingress/{earlier}/tls");
        report.lack(&[&tls, &other], &tls, Severity::Error, message, Some(help));
    }
}

fn difference(first: &IngressRule, rule: &IngressRule) -> Option<&'static str> {
    match (&first.tls, &rule.tls) {
        (Some(a), Some(b)) if a.pair != b.pair => Some("`cert` and `key`"),
        (Some(a), Some(b)) if a.min != b.min => Some("`min`"),
        (Some(a), Some(b)) if a.app != b.app => Some("`app`"),
        (Some(_), None) | (None, Some(_)) => Some("`tls`"),
        _ => None,
    }
}

fn help(tls: &str, networks: &str) -> String {
    format!("{tls}, or {networks}, or write `require_encryption: false`")
}

fn networks(written: &Written<Vec<Written<String>>>, report: &mut Report) -> Option<Vec<IpNet>> {
    let nets = text::cidrs(written, "/internal/cidrs", report)?;
    let mut ok = true;
    for (i, net) in nets.iter().enumerate() {
        let (message, help) = if net.prefix_len() == 0 {
            let message = format!("`{net}` is everything");
            (
                message,
                "list networks, or write `require_encryption: false`",
            )
        } else if meets_loopback(net) {
            let message = format!("`{net}` holds loopback, which is the pod and never internal");
            (message, "remove it")
        } else {
            continue;
        };
        report.error(&format!("/internal/cidrs/{i}"), message, Some(help.into()));
        ok = false;
    }
    ok.then_some(nets)
}

/// 127.0.0.0/8 (RFC 1122 §3.2.1.3) and ::1 (RFC 4291 §2.5.3).
fn meets_loopback(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => {
            let loopback = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
            loopback.contains(net) || net.contains(&loopback)
        }
        IpNet::V6(net) => net.contains(&Ipv6Net::from(Ipv6Addr::LOCALHOST)),
    }
}

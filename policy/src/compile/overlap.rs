//! Rules that could both decide about one connection. The first match decides, so an overlap is
//! not undefined; but a reader of the policy would have to know it, and the kernel decides about
//! `direct` before any order counts. So it is reported: as an error where a rule could never be
//! reached or where the two differ in what they let happen, as a warning otherwise.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::Report;
use crate::diagnostic::Severity;
use crate::rule::{Action, Dns, EgressRule, IngressRule};
use crate::tls::PodTls;

pub(super) fn egress(rules: &[Option<EgressRule>], dns: &Dns, report: &mut Report) {
    for (later, rule) in rules.iter().enumerate() {
        let Some(rule) = rule else { continue };
        let before = || rules[..later].iter().enumerate();
        let by_address = || before().filter_map(|(_, r)| r.as_ref().filter(|r| !has_names(r)));
        let covered = !has_names(rule)
            && rule.to.ports.iter().all(|port| {
                let here = by_address().filter(|r| r.to.ports.contains(port));
                covers(here.flat_map(|r| &r.to.cidrs), &rule.to.cidrs)
            });
        for (earlier, first) in before() {
            let Some(first) = first else { continue };
            if let Some((severity, message)) = egress_pair(first, rule, covered, dns) {
                let help = format!("see egress rule {earlier}, `{}`", first.name);
                report.at(&format!("/egress/{later}"), severity, message, Some(help));
            }
        }
    }
}

pub(super) fn ingress(rules: &[Option<IngressRule>], report: &mut Report) {
    for (later, rule) in rules.iter().enumerate() {
        let Some(rule) = rule else { continue };
        let before = || {
            (rules[..later].iter().enumerate())
                .filter_map(|(i, r)| Some((i, r.as_ref()?)))
                .filter(|(_, r)| r.port == rule.port)
        };
        let covered = covers(before().flat_map(|(_, r)| &r.from), &rule.from);
        for (earlier, first) in before().filter(|(_, r)| meet(&r.from, &rule.from)) {
            let (severity, message) = finding(&rule.name, covered, &first.action, &rule.action);
            let help = format!("see ingress rule {earlier}, `{}`", first.name);
            report.at(&format!("/ingress/{later}"), severity, message, Some(help));
        }
    }
}

fn egress_pair(
    first: &EgressRule,
    rule: &EgressRule,
    covered: bool,
    dns: &Dns,
) -> Option<(Severity, String)> {
    if !rule.to.ports.iter().any(|p| first.to.ports.contains(p)) {
        return None;
    }
    match (has_names(first), has_names(rule)) {
        (false, false) => meet(&first.to.cidrs, &rule.to.cidrs)
            .then(|| finding(&rule.name, covered, &first.action, &rule.action)),
        (true, true) => {
            let same_host = rule.to.hosts.iter().find(|h| first.to.hosts.contains(h));
            if let Some(host) = same_host {
                let message = format!("`{host}` stands in two rules for one port");
                return Some((Severity::Error, message));
            }
            let differ = kind(first) != kind(rule) && !told_by_server_name(first, rule);
            differ.then(|| {
                let message = format!(
                    "`{}` is told from another rule on this port by its name only, and a name is \
                     not known before the connection is inspected; in TLS it is: `pod: intercept` \
                     and `tls: sni` may share a port",
                    rule.name
                );
                (Severity::Error, message)
            })
        }
        (true, false) => by_name_and_by_address(first, rule, dns),
        (false, true) => by_name_and_by_address(rule, first, dns),
    }
}

/// A rule with names and one with networks: the addresses of the names may be in the networks, and
/// then a connection to the address goes past what the rule with the names holds it to.
fn by_name_and_by_address(
    named: &EgressRule,
    plain: &EgressRule,
    dns: &Dns,
) -> Option<(Severity, String)> {
    let pinned = named.to.hosts.iter().filter_map(|host| dns.hosts.get(host));
    let mut known: Vec<IpNet> = pinned.flatten().map(|ip| IpNet::from(*ip)).collect();
    if !named.to.cidrs.is_empty() {
        known.clone_from(&named.to.cidrs);
    }
    if !meet(&known, &plain.to.cidrs) {
        return None;
    }
    let severity = if kind(plain) == kind(named) {
        Severity::Warning
    } else {
        Severity::Error
    };
    let message = format!(
        "addresses of the names of `{}` are in the networks of `{}`",
        named.name, plain.name
    );
    Some((severity, message))
}

fn finding(name: &str, covered: bool, first: &Action, later: &Action) -> (Severity, String) {
    if covered {
        (Severity::Error, format!("`{name}` can never be reached"))
    } else if first.as_str() == later.as_str() {
        let message = format!("`{name}` overlaps another rule");
        (Severity::Warning, message)
    } else {
        let message = format!("`{name}` overlaps another rule, which has another action");
        (Severity::Error, message)
    }
}

/// What a rule lets happen: an opaque tunnel and one of TLS only are two things.
fn kind(rule: &EgressRule) -> &'static str {
    if rule.sni {
        "sni"
    } else {
        rule.action.as_str()
    }
}

/// Whether both rules take TLS, whose ClientHello names a server before anything is decided.
fn told_by_server_name(first: &EgressRule, rule: &EgressRule) -> bool {
    let intercepts = |rule: &EgressRule| rule.tls.pod == PodTls::Intercept;
    (first.sni && intercepts(rule)) || (intercepts(first) && rule.sni)
}

fn has_names(rule: &EgressRule) -> bool {
    !rule.to.hosts.is_empty()
}

fn meet(a: &[IpNet], b: &[IpNet]) -> bool {
    a.iter()
        .any(|a| b.iter().any(|b| a.contains(b) || b.contains(a)))
}

/// Whether the outer networks together hold all of the inner ones.
pub(super) fn covers<'n>(outer: impl Iterator<Item = &'n IpNet>, inner: &[IpNet]) -> bool {
    let outer: BTreeSet<IpNet> = outer.copied().collect();
    let outer = IpNet::aggregate(&outer.into_iter().collect());
    (inner.iter()).all(|inner| outer.iter().any(|outer| outer.contains(inner)))
}

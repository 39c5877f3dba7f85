//! Rules that could both decide about one connection. The first match decides, so an overlap is
//! not undefined; but a reader of the policy would have to know it, and the kernel decides about
//! `direct` before any order counts. So it is reported: as an error where a rule could never be
//! reached or where the two differ in what they let happen, as a warning otherwise.

use ipnet::IpNet;

use super::Report;
use crate::diagnostic::Severity;
use crate::rule::{Action, EgressRule, IngressRule};

pub(super) fn egress(rules: &[Option<EgressRule>], report: &mut Report) {
    for (later, rule) in rules.iter().enumerate() {
        let Some(rule) = rule else { continue };
        for (earlier, first) in rules[..later].iter().enumerate() {
            let Some(first) = first else { continue };
            if let Some((severity, message)) = egress_pair(first, rule) {
                let help = format!("see egress rule {earlier}, `{}`", first.name);
                report.at(&format!("/egress/{later}"), severity, message, Some(help));
            }
        }
    }
}

pub(super) fn ingress(rules: &[Option<IngressRule>], report: &mut Report) {
    for (later, rule) in rules.iter().enumerate() {
        let Some(rule) = rule else { continue };
        for (earlier, first) in rules[..later].iter().enumerate() {
            let Some(first) = first else { continue };
            if first.port != rule.port || !meet(&first.from, &rule.from) {
                continue;
            }
            let covered = covers(&first.from, &rule.from);
            let finding = verdict(covered, &first.action, &rule.action);
            let message = match finding {
                Severity::Error if covered => format!("`{}` can never be reached", rule.name),
                _ => format!("`{}` overlaps another rule", rule.name),
            };
            let help = format!("see ingress rule {earlier}, `{}`", first.name);
            report.at(&format!("/ingress/{later}"), finding, message, Some(help));
        }
    }
}

fn egress_pair(first: &EgressRule, rule: &EgressRule) -> Option<(Severity, String)> {
    let shared: Vec<u16> = (rule.to.ports.iter().copied())
        .filter(|port| first.to.ports.contains(port))
        .collect();
    if shared.is_empty() {
        return None;
    }
    let all_ports = shared.len() == rule.to.ports.len();
    match (first.to.hosts.is_empty(), rule.to.hosts.is_empty()) {
        (true, true) if meet(&first.to.cidrs, &rule.to.cidrs) => {
            let covered = all_ports && covers(&first.to.cidrs, &rule.to.cidrs);
            let severity = verdict(covered, &first.action, &rule.action);
            let message = if covered {
                format!("`{}` can never be reached", rule.name)
            } else {
                format!("`{}` overlaps another rule", rule.name)
            };
            Some((severity, message))
        }
        (false, false) => {
            let same_host = rule.to.hosts.iter().find(|h| first.to.hosts.contains(h));
            if let Some(host) = same_host {
                let message = format!("`{host}` stands in two rules for one port");
                return Some((Severity::Error, message));
            }
            let differ = first.action.as_str() != rule.action.as_str();
            differ.then(|| {
                let message = format!(
                    "`{}` is told from another rule on this port by its name only, and a name is \
                     not known before the connection is inspected",
                    rule.name
                );
                (Severity::Error, message)
            })
        }
        _ => None,
    }
}

fn verdict(covered: bool, first: &Action, later: &Action) -> Severity {
    if covered || first.as_str() != later.as_str() {
        Severity::Error
    } else {
        Severity::Warning
    }
}

fn meet(a: &[IpNet], b: &[IpNet]) -> bool {
    a.iter()
        .any(|a| b.iter().any(|b| a.contains(b) || b.contains(a)))
}

fn covers(outer: &[IpNet], inner: &[IpNet]) -> bool {
    inner
        .iter()
        .all(|inner| outer.iter().any(|outer| outer.contains(inner)))
}

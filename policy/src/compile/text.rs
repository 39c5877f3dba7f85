//! Names, hosts and networks: from the text in a policy to typed values.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::Report;
use crate::diagnostic::Severity;
use crate::file::{DnsFile, Written};
use crate::rule::{Dns, Host};
use crate::source::join;

/// The longest name, in characters: names are metric labels.
const MAX_NAME: usize = 63;

pub(super) fn name(text: &str, pointer: &str, report: &mut Report) {
    let ok = (1..=MAX_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !ok {
        let help = format!("1 to {MAX_NAME} of letters, digits, `-`, `_` and `.`");
        report.error(pointer, format!("`{text}` is no name"), Some(help));
    }
}

pub(super) fn host(text: &str, pointer: &str, report: &mut Report) -> Option<Host> {
    text.parse()
        .inspect_err(|error| {
            let message = format!("`{text}` is no host name: {error}");
            report.error(pointer, message, None);
        })
        .ok()
}

/// All of the networks, or `None` when one is broken and has been reported.
pub(super) fn cidrs(
    texts: &Written<Vec<Written<String>>>,
    pointer: &str,
    report: &mut Report,
) -> Option<Vec<IpNet>> {
    let mut nets = Vec::new();
    let mut ok = texts.sound().is_some();
    for (i, text) in texts.items() {
        let net = text.and_then(|text| cidr(text, &join(pointer, i), report));
        match net {
            Some(net) => nets.push(net),
            None => ok = false,
        }
    }
    ok.then_some(nets)
}

fn cidr(text: &str, pointer: &str, report: &mut Report) -> Option<IpNet> {
    let net = text
        .parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let (message, help) = match net {
        None => (
            format!("`{text}` is no network"),
            "`10.96.0.0/16` or `fd00::/64`".to_owned(),
        ),
        Some(net) if net != net.trunc() => (
            format!("`{text}` has bits behind its prefix"),
            format!("`{}`, or `{}`", net.trunc(), net.addr()),
        ),
        // Addresses are compared in their IPv4 form, so this would never match.
        Some(IpNet::V6(net)) if net.addr().to_ipv4_mapped().is_some() => (
            format!("`{text}` is an IPv4 network written as IPv6"),
            "write it as IPv4".to_owned(),
        ),
        Some(net) => return Some(net),
    };
    report.error(pointer, message, Some(help));
    None
}

pub(super) fn dns(file: &DnsFile, report: &mut Report) -> Dns {
    let mut dns = Dns::default();
    for (i, text) in file.resolvers.items() {
        let Some(text) = text else { continue };
        let server = text.parse::<SocketAddr>().ok().or_else(|| {
            text.parse::<IpAddr>()
                .ok()
                .map(|ip| SocketAddr::new(ip, 53))
        });
        match server {
            Some(server) if server.port() != 0 => dns.resolvers.push(server),
            _ => report.error(
                &format!("/dns/resolvers/{i}"),
                format!("`{text}` is no address of a DNS server"),
                Some("`10.96.0.10`, `10.96.0.10:53` or `[fd00::a]:53`".into()),
            ),
        }
    }
    for (key, addresses) in file.hosts.sound().into_iter().flatten() {
        let pointer = join("/dns/hosts", key);
        let Some(host) = host(key, &pointer, report) else {
            continue;
        };
        let mut pinned = Vec::new();
        for (i, text) in addresses.items() {
            match text.map(|text| (text, text.parse::<IpAddr>())) {
                Some((_, Ok(ip))) => pinned.push(ip.to_canonical()),
                Some((text, Err(_))) => {
                    let message = format!("`{text}` is no IP address");
                    report.error(&join(&pointer, i), message, None);
                }
                None => {}
            }
        }
        if addresses.is_empty() {
            report.error(&pointer, format!("`{key}` has no address"), None);
        }
        if dns.hosts.insert(host, pinned).is_some() {
            let message = format!("`{key}` stands here twice, in two spellings");
            report.error(&pointer, message, None);
        }
    }
    dns
}

/// A list of small values, without repetitions: what stands twice is reported, and harmless.
pub(super) fn distinct<T: Ord + Copy + std::fmt::Display>(
    values: &Written<Vec<Written<T>>>,
    pointer: &str,
    report: &mut Report,
) -> Option<Vec<T>> {
    let mut seen = BTreeSet::new();
    let mut distinct = Vec::new();
    let mut ok = values.sound().is_some();
    for (i, value) in values.items() {
        match value {
            Some(value) if seen.insert(*value) => distinct.push(*value),
            Some(value) => {
                let message = format!("{value} stands here twice");
                report.at(&join(pointer, i), Severity::Warning, message, None);
            }
            None => ok = false,
        }
    }
    ok.then_some(distinct)
}

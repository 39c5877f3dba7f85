//! The lists of the policy, as nft sets: one pair of sets, IPv4 and IPv6, for each list.

use std::net::IpAddr;

use ipnet::IpNet;

use super::text::line;
use crate::capture::{Capture, merged};

/// All sets, empty ones too, so that the rules are the same whatever the policy says.
pub(super) fn sets(out: &mut String, capture: &Capture) {
    let pairs = |pairs: &[(IpNet, u16)]| -> Vec<(IpAddr, String)> {
        let element = |(net, port): (IpNet, u16)| (net.addr(), format!("{} . {port}", bare(net)));
        merged(pairs).into_iter().map(element).collect()
    };
    let mut resolvers: Vec<_> = capture
        .resolvers
        .iter()
        .map(|at| (at.ip().to_canonical(), at.port()))
        .collect();
    resolvers.sort();
    resolvers.dedup();
    let resolvers: Vec<_> = resolvers
        .into_iter()
        .map(|(ip, port)| (ip, format!("{ip} . {port}")))
        .collect();
    let admin: Vec<IpNet> = capture.admin_from.iter().map(IpNet::trunc).collect();
    let admin: Vec<_> = IpNet::aggregate(&admin)
        .into_iter()
        .map(|net| (net.addr(), bare(net)))
        .collect();

    set(
        out,
        "direct",
        " . inet_service",
        true,
        &pairs(&capture.direct),
    );
    let callers = pairs(&capture.ingress_direct);
    set(out, "ingress_direct", " . inet_service", true, &callers);
    set(out, "dns", " . inet_service", false, &resolvers);
    set(out, "admin", "", true, &admin);
}

/// A pair of sets, one for each family, with the elements that belong there.
fn set(out: &mut String, name: &str, more: &str, interval: bool, elements: &[(IpAddr, String)]) {
    for (suffix, family, is_v4) in [("4", "ipv4_addr", true), ("6", "ipv6_addr", false)] {
        line(out, 1, &format!("set {name}{suffix} {{"));
        line(out, 2, &format!("type {family}{more}"));
        if interval {
            line(out, 2, "flags interval");
        }
        let own: Vec<&str> = (elements.iter())
            .filter(|(ip, _)| ip.is_ipv4() == is_v4)
            .map(|(_, text)| text.as_str())
            .collect();
        if !own.is_empty() {
            line(out, 2, &format!("elements = {{ {} }}", own.join(", ")));
        }
        line(out, 1, "}");
    }
}

/// Without the prefix length of a single address, which nft would not print either.
fn bare(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

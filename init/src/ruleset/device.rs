//! What is seen at the devices themselves, behind all chains of IP.

use super::ANY_USER;
use super::text::{chain, rule};
use crate::capture::Capture;

/// What AF_PACKET sends never passes the chains above. It also has no route, while whatever passed
/// them has one; `meta rtclassid` matches exactly if there is a route, whatever its value.
pub(super) fn egress(out: &mut String, capture: &Capture) {
    let routed = "meta rtclassid 0-4294967295 accept";
    let unrouted = format!("{ANY_USER} drop");
    let loopback = [
        rule(
            routed,
            "loopback: routed by the kernel, so the output chain let it pass",
        ),
        rule(unrouted.clone(), "loopback: frames made by a process"),
    ];
    chain(out, "loopback", &egress_head("\"lo\""), &loopback);
    if capture.devices.is_empty() {
        return;
    }
    let quoted = capture.devices.iter().map(|name| format!("\"{name}\""));
    let devices = quoted.collect::<Vec<_>>().join(", ");
    let wire = [
        // A socket bound to a device keeps that device when it is redirected.
        rule(
            "ip daddr 127.0.0.0/8 drop",
            "redirected, but bound to a device: must not leave by it",
        ),
        rule(
            "ip6 daddr ::1 drop",
            "redirected, but bound to a device: must not leave by it, IPv6",
        ),
        rule(
            routed,
            "routed by the kernel, so the output chain let it pass",
        ),
        rule(
            unrouted,
            "frames made by a process: AF_PACKET, with or without a queue",
        ),
        rule(
            "meta protocol arp accept",
            "address resolution by the kernel",
        ),
    ];
    chain(out, "egress", &egress_head(&devices), &wire);
}

fn egress_head(devices: &str) -> String {
    format!("type filter hook egress devices = {{ {devices} }} priority filter; policy drop;")
}

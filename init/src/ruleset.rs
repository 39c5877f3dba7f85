//! The rules as text, made by a pure function: what to capture in, nft input out.
//!
//! One nft transaction replaces both tables, so that there is no moment with half of the rules,
//! and loading the same text twice changes nothing. Both families get the same rules.
//!
//! What nft can see of a sender decides the order of the rules. `meta skuid` is the user that
//! opened the socket. It does not match packets that the kernel makes, nor, and this matters,
//! packets of a socket that was closed with data in flight, is waiting to be accepted, or is in
//! time-wait. Those are told apart by the mark of their connection, which only these rules can
//! set: a process with NET_RAW may mark its packets, but not its connections.
//!
//! No rule can stop AF_XDP, whose transmit path has no hook. It needs NET_RAW, which therefore
//! must be taken from the application.

mod device;
mod sets;
mod text;

use self::text::{chain, rule};
use crate::capture::{Capture, Ports};

/// What nft is given to put the rules in place of any earlier ones.
pub fn text(capture: &Capture) -> String {
    let mut out = removal();
    out.push_str("\ntable inet lazaret {\n");
    sets::sets(&mut out, capture);
    redirect_out(&mut out, capture);
    redirect_in(&mut out, capture);
    closed(&mut out);
    output(&mut out, capture);
    from_pod(&mut out, capture);
    input(&mut out, capture);
    let forward = "type filter hook forward priority filter; policy drop;";
    chain(&mut out, "forward", forward, &[]);
    out.push_str("}\n\ntable netdev lazaret {\n");
    device::egress(&mut out, capture);
    out.push_str("}\n");
    out
}

/// What nft is given to take all rules away. Declaring a table first makes its deletion succeed
/// whether or not it was there.
pub fn removal() -> String {
    let tables = TABLES.map(|table| format!("table {table} {{}}\ndelete table {table}\n"));
    tables.concat()
}

/// The tables that are ours.
pub const TABLES: [&str; 2] = ["inet lazaret", "netdev lazaret"];

/// The comments of the rules in the text, in order: what a live ruleset is compared by, since nft
/// prints rules in its own spelling.
pub fn comments(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.rsplit_once(" comment \"")?.1.strip_suffix('"'))
        .collect()
}

/// The mark of connections in which the gateway's user has taken part.
const MARK: u32 = 0x4c5a;

/// Matches whatever has a socket that a process holds.
const ANY_USER: &str = "meta skuid 0-4294967295";

/// A connection's first packet; SYN-ACK does not match.
const SYN: &str = "tcp flags syn / fin,syn,rst,ack";

fn redirect_out(out: &mut String, capture: &Capture) {
    let Capture {
        uid, gid, ports, ..
    } = capture;
    let head = "type nat hook output priority -100; policy accept;";
    let rules = [
        rule(
            format!("meta skuid {uid} meta skgid {gid} return"),
            "the gateway's own connections; user and group both, never a mark",
        ),
        rule("ip daddr . tcp dport @direct4 return", "direct by policy"),
        rule(
            "ip6 daddr . tcp dport @direct6 return",
            "direct by policy, IPv6",
        ),
        rule(
            "ip daddr . tcp dport @dns4 return",
            "DNS over TCP to a resolver of the policy",
        ),
        rule(
            "ip6 daddr . tcp dport @dns6 return",
            "DNS over TCP to a resolver of the policy, IPv6",
        ),
        rule(
            "fib daddr type local return",
            "what stays in the pod is not redirected",
        ),
        rule(
            format!("meta l4proto tcp redirect to :{}", ports.outbound),
            "all other TCP goes to the gateway",
        ),
    ];
    chain(out, "redirect_out", head, &rules);
}

fn redirect_in(out: &mut String, capture: &Capture) {
    let ports = capture.ports;
    let head = "type nat hook prerouting priority dstnat; policy accept;";
    let rules = [
        rule(
            "iif \"lo\" return",
            "the output hook has decided about these",
        ),
        rule(
            "ip saddr . tcp dport @ingress_direct4 return",
            "direct callers by policy",
        ),
        rule(
            "ip6 saddr . tcp dport @ingress_direct6 return",
            "direct callers by policy, IPv6",
        ),
        rule(
            format!("tcp dport {} ip saddr @admin4 return", ports.admin),
            "health and metrics for the platform",
        ),
        rule(
            format!("tcp dport {} ip6 saddr @admin6 return", ports.admin),
            "health and metrics for the platform, IPv6",
        ),
        rule(
            format!(
                "fib daddr type local meta l4proto tcp redirect to :{}",
                ports.inbound
            ),
            "all other TCP for the pod goes to the gateway, whatever the port; the pod is no router",
        ),
    ];
    chain(out, "redirect_in", head, &rules);
}

/// Later packets of a connection to the gateway. Its first one has passed all the rules below these,
/// and conntrack gives its state to the same addresses and ports alone; that NAT leads there, only
/// `redirect_out` can have decided.
fn known(ports: &Ports) -> String {
    format!(
        "ct state established ct status dnat ct direction original tcp dport {} accept",
        ports.outbound
    )
}

/// Where packets of the gateway's connections go that the gateway's owner did not already decide
/// about: they are the other side's, or nobody's.
fn closed(out: &mut String) {
    let rules = [
        rule(
            format!("{ANY_USER} return"),
            "sent by the other side, which the mark does not excuse",
        ),
        rule(
            "fib saddr type local accept",
            "the rest of the gateway's connections after it closed them",
        ),
    ];
    chain(out, "closed", "", &rules);
}

fn output(out: &mut String, capture: &Capture) {
    let Capture {
        uid, gid, ports, ..
    } = capture;
    let own_ports = ports.all().map(|port| port.to_string()).join(", ");
    let outbound = ports.outbound;
    let head = "type filter hook output priority filter; policy drop;";
    let rules = [
        rule(
            "ct state invalid drop",
            "conntrack cannot place it, so NAT did not touch it",
        ),
        rule(
            format!("meta skuid {uid} meta skgid {gid} ct mark set {MARK:#010x} accept"),
            "the gateway; its connections are marked for when a socket is closed",
        ),
        rule(
            format!("{SYN} ct mark set 0x00000000"),
            "a new connection does not inherit the mark of an old one with its ports",
        ),
        rule("ip hdrlength != 5 drop", "IP options route and carry data"),
        rule(
            "ip6 nexthdr != { tcp, udp, ipv6-icmp } drop",
            "extension headers route and carry data",
        ),
        rule(known(ports), "more of what was redirected to the gateway"),
        rule(
            format!("meta l4proto tcp ct mark {MARK:#010x} jump closed"),
            "whether anybody holds the socket decides",
        ),
        rule(
            "meta l4proto { tcp, udp } fib saddr type != local drop",
            "a foreign source address would draw the answer out of the pod",
        ),
        // The hook still sees the device of the route before redirection, so the new destination
        // is what is matched.
        rule(
            format!(
                "ct status dnat ct direction original tcp dport {outbound} fib daddr type local accept"
            ),
            "redirected to the gateway",
        ),
        rule(
            format!(
                "ct direction original tcp dport {{ {own_ports} }} fib daddr type local reject with tcp reset"
            ),
            "nobody in the pod calls the gateway itself",
        ),
        rule(
            "ct direction original meta skuid 0 fib daddr type local drop",
            "port-forward and exec as root do not reach the application",
        ),
        rule(
            "oif \"lo\" fib daddr type local accept",
            "the application's own processes",
        ),
        rule(
            "ip daddr . tcp dport @direct4 accept",
            "direct by policy, past the gateway",
        ),
        rule(
            "ip6 daddr . tcp dport @direct6 accept",
            "direct by policy, past the gateway, IPv6",
        ),
        rule(
            "meta l4proto { tcp, udp } ip daddr . th dport @dns4 accept",
            "DNS to a resolver of the policy",
        ),
        rule(
            "meta l4proto { tcp, udp } ip6 daddr . th dport @dns6 accept",
            "DNS to a resolver of the policy, IPv6",
        ),
        rule(
            "ct direction reply ip daddr . tcp sport @ingress_direct4 accept",
            "answers to direct callers",
        ),
        rule(
            "ct direction reply ip6 daddr . tcp sport @ingress_direct6 accept",
            "answers to direct callers, IPv6",
        ),
        rule(
            format!("{ANY_USER} drop"),
            "whatever else a process sends: UDP, raw, old flows, a stand-in for the gateway",
        ),
        // From here on: packets without a process.
        rule(
            "ct direction reply ct status dnat tcp flags & rst == rst meta length <= 64 accept",
            "callers of a dead gateway are refused; no payload fits",
        ),
        rule(
            "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept",
            "neighbour discovery by the kernel, without which IPv6 is lost",
        ),
    ];
    chain(out, "output", head, &rules);
}

/// What comes in by loopback.
fn from_pod(out: &mut String, capture: &Capture) {
    let rules = [
        rule(
            "ct status dnat ct direction reply accept",
            "the gateway answers in the name of the original destination",
        ),
        rule(
            known(&capture.ports),
            "more of what the output chain let pass to the gateway",
        ),
        rule(
            "fib saddr type != local drop",
            "a foreign source on loopback would draw the answer out of the pod",
        ),
        rule("accept", "the output chain has decided about these"),
    ];
    chain(out, "from_pod", "", &rules);
}

fn input(out: &mut String, capture: &Capture) {
    let ports = capture.ports;
    let head = "type filter hook input priority filter; policy drop;";
    let rules = [
        rule(
            format!("{SYN} ct mark set 0x00000000"),
            "a new caller does not inherit the mark of an old connection with its ports",
        ),
        rule(
            "ct state invalid drop",
            "conntrack cannot place what comes in",
        ),
        rule("iif \"lo\" goto from_pod", "what the pod sends to itself"),
        rule("ip hdrlength != 5 drop", "IP options would be echoed"),
        rule("ct state established,related accept", "answers"),
        rule(
            format!("ct status dnat tcp dport {} accept", ports.inbound),
            "callers, redirected to the gateway; calls to its port itself are not",
        ),
        rule(
            "ip saddr . tcp dport @ingress_direct4 accept",
            "direct callers may come in",
        ),
        rule(
            "ip6 saddr . tcp dport @ingress_direct6 accept",
            "direct callers may come in, IPv6",
        ),
        rule(
            format!("tcp dport {} ip saddr @admin4 accept", ports.admin),
            "the platform may ask for health and metrics",
        ),
        rule(
            format!("tcp dport {} ip6 saddr @admin6 accept", ports.admin),
            "the platform may ask for health and metrics, IPv6",
        ),
        rule(
            "icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept",
            "neighbour discovery by the others on the link",
        ),
    ];
    chain(out, "input", head, &rules);
}

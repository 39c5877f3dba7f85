//! The text of the rules: golden files, and properties that hold whatever the policy says.
//! `LAZARET_BLESS=1` writes the golden files anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ipnet::IpNet;
use lazaret_init::capture::{Capture, Ports, merged};
use lazaret_init::ruleset;

/// Nothing allowed, no device but loopback.
fn empty() -> Capture {
    Capture {
        uid: 1337,
        gid: 1338,
        ports: Ports {
            outbound: 15001,
            inbound: 15006,
            admin: 15020,
        },
        direct: Vec::new(),
        ingress_direct: Vec::new(),
        resolvers: Vec::new(),
        admin_from: Vec::new(),
        devices: Vec::new(),
    }
}

/// Something of everything, with overlaps, duplicates and host bits.
fn full() -> Capture {
    Capture {
        ports: Ports {
            outbound: 1,
            inbound: 2,
            admin: 65535,
        },
        direct: nets(&[
            ("10.96.0.20/32", 8080),
            ("10.96.0.20/32", 8080),
            ("10.1.2.3/8", 5432),
            ("10.200.0.0/16", 5432),
            ("192.168.0.0/25", 80),
            ("192.168.0.128/25", 80),
            ("0.0.0.0/0", 443),
            ("fd00::/8", 5432),
            ("fd00:1::/32", 5432),
            ("2001:db8::1/128", 80),
        ]),
        ingress_direct: nets(&[("10.200.0.0/16", 8000), ("fd77::/64", 8000)]),
        resolvers: [
            "10.96.0.10:53",
            "[fd00::a]:53",
            "[::ffff:10.96.0.11]:5353",
            "10.96.0.10:53",
        ]
        .map(|at| at.parse().unwrap())
        .to_vec(),
        admin_from: ["10.0.0.1/32", "10.0.0.0/24", "fe80::/10"]
            .map(|net| net.parse().unwrap())
            .to_vec(),
        devices: vec!["eth0".into(), "net1.100".into()],
        ..empty()
    }
}

fn nets(pairs: &[(&str, u16)]) -> Vec<(IpNet, u16)> {
    let pair = |(net, port): &(&str, u16)| (net.parse().unwrap(), *port);
    pairs.iter().map(pair).collect()
}

fn cases() -> [(&'static str, Capture); 2] {
    [("empty", empty()), ("full", full())]
}

#[test]
fn text_is_the_golden_one() {
    for (name, capture) in cases() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(name)
            .with_extension("nft");
        let text = ruleset::text(&capture);
        if std::env::var_os("LAZARET_BLESS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            golden,
            "{}; LAZARET_BLESS=1 writes it anew",
            path.display()
        );
    }
}

/// The lines of a chain that are rules.
fn rules(text: &str) -> Vec<&str> {
    let is_rule = |line: &&str| {
        line.starts_with("\t\t")
            && !["type ", "flags ", "elements "]
                .iter()
                .any(|head| line.trim().starts_with(head))
    };
    text.lines().filter(is_rule).map(str::trim).collect()
}

#[test]
fn every_rule_says_why() {
    for (name, capture) in cases() {
        let text = ruleset::text(&capture);
        let comments = ruleset::comments(&text);
        assert_eq!(rules(&text).len(), comments.len(), "{name}");
        for (i, comment) in comments.iter().enumerate() {
            // The kernel's limit.
            assert!(comment.len() < 128, "{comment}");
            assert!(comment.starts_with("lazaret: "), "{comment}");
            assert!(
                !comments[..i].contains(comment),
                "twice in one table or two: {comment}"
            );
        }
    }
}

#[test]
fn both_families_have_the_same_rules() {
    let text = ruleset::text(&full());
    for rule in rules(&text).into_iter().filter(|rule| rule.contains('@')) {
        let (matches, _) = rule.split_once(" comment ").unwrap();
        let twin = matches.replace("ip ", "ip6 ").replace("4 ", "6 ");
        let is_v6 = matches.contains("ip6 ");
        assert!(is_v6 || text.contains(&twin), "without a twin: {matches}");
    }
}

#[test]
fn what_is_let_through_is_let_through_for_a_reason_that_cannot_be_forged() {
    for (name, capture) in cases() {
        let text = ruleset::text(&capture);
        assert!(
            !text.contains("meta mark"),
            "{name}: a packet's mark can be set with NET_RAW"
        );
        assert!(
            !text.contains("skuid 1337 accept"),
            "{name}: the user alone"
        );
        for head in text.lines().filter(|line| line.contains("type filter")) {
            assert!(head.ends_with("policy drop;"), "{name}: {head}");
        }
    }
}

#[test]
fn elements_of_a_set_do_not_overlap() {
    for (case, given, expected) in [
        ("nothing", nets(&[]), nets(&[])),
        (
            "twice",
            nets(&[("10.0.0.1/32", 1), ("10.0.0.1/32", 1)]),
            nets(&[("10.0.0.1/32", 1)]),
        ),
        (
            "inside",
            nets(&[("10.0.0.1/32", 1), ("10.0.0.0/8", 1)]),
            nets(&[("10.0.0.0/8", 1)]),
        ),
        (
            "host bits",
            nets(&[("10.0.0.1/8", 1), ("10.0.0.2/8", 1)]),
            nets(&[("10.0.0.0/8", 1)]),
        ),
        (
            "adjacent",
            nets(&[("10.0.0.0/9", 1), ("10.128.0.0/9", 1)]),
            nets(&[("10.0.0.0/8", 1)]),
        ),
        (
            "another port",
            nets(&[("10.0.0.1/32", 2), ("10.0.0.0/8", 1)]),
            nets(&[("10.0.0.0/8", 1), ("10.0.0.1/32", 2)]),
        ),
        (
            "another family",
            nets(&[("::/0", 1), ("0.0.0.0/0", 1)]),
            nets(&[("0.0.0.0/0", 1), ("::/0", 1)]),
        ),
    ] {
        assert_eq!(merged(&given), expected, "{case}");
    }
}

#[test]
fn order_and_duplicates_of_the_policy_do_not_matter() {
    let mut other = full();
    other.direct.reverse();
    other.direct.extend(full().direct);
    other.resolvers.reverse();
    other.admin_from.reverse();
    assert_eq!(ruleset::text(&other), ruleset::text(&full()));
}

#[test]
fn nft_and_the_kernel_take_it() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    if !status.lines().any(|line| line.starts_with("Uid:\t0\t0\t")) {
        assert!(std::env::var_os("CI").is_none(), "CI must have root");
        eprintln!("not run: making network namespaces needs root");
        return;
    }
    for (name, capture) in cases() {
        let devices = capture.devices.iter();
        let links: String = devices
            .map(|device| format!("ip link add name {device} type veth\n"))
            .collect();
        let script = format!("set -e\n{links}exec nft -c -f -\n");
        let mut child = Command::new("unshare")
            .args(["-n", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(ruleset::text(&capture).as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
    }
}

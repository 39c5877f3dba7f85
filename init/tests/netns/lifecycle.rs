//! What `apply`, `probe`, `show` and `remove` do to the system, and how they end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::lab::{APP, Done, GATEWAY, Lab, ROOT, run};

const POLICY: &str = "
dns: { resolvers: ['10.77.0.1:53', '[fd77::1]:53'] }
egress:
  - { name: out, to: { cidrs: [10.77.0.1, 'fd77::1'], ports: [9090] }, action: direct }
ingress:
  - { name: in, from: { cidrs: [10.77.0.0/24, 'fd77::/64'] }, port: 7070, action: direct }
";

fn report(done: &Done) -> Value {
    serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"))
}

/// `check/family: outcome` of every check.
fn outcomes(report: &Value) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap().iter();
    let line = |check: &Value| {
        let family = check["family"].as_str().unwrap_or("-");
        let name = check["check"].as_str().unwrap();
        format!("{name}/{family}: {}", check["outcome"].as_str().unwrap())
    };
    checks.map(line).collect()
}

const ALL_EFFECTIVE: [&str; 8] = [
    "tcp/ipv4: effective",
    "udp/ipv4: effective",
    "icmp/ipv4: effective",
    "tcp/ipv6: effective",
    "udp/ipv6: effective",
    "icmp/ipv6: effective",
    "rules/-: effective",
    "rules/-: effective",
];

#[test]
fn apply_proves_both_families_and_twice_is_once() {
    let Some(lab) = Lab::new() else { return };
    lab.set_policy(POLICY);
    let first = lab.init("apply", &["--output", "json"]);
    assert!(first.status.success(), "{first:?}");
    assert_eq!(outcomes(&report(&first)), ALL_EFFECTIVE);
    let once = lab.ruleset();
    assert!(once.contains("table inet lazaret") && once.contains("table netdev lazaret"));
    assert!(lab.init("apply", &[]).status.success());
    assert_eq!(lab.ruleset(), once);
    assert!(lab.init("probe", &[]).status.success());
    assert_eq!(lab.ruleset(), once);
}

#[test]
fn remove_leaves_nothing_and_may_be_repeated() {
    let Some(lab) = Lab::new() else { return };
    lab.apply();
    for _ in 0..2 {
        let done = lab.init("remove", &[]);
        assert!(done.status.success(), "{done:?}");
        assert_eq!(lab.ruleset(), "");
    }
}

#[test]
fn show_and_dry_runs_change_nothing() {
    let Some(lab) = Lab::new() else { return };
    lab.set_policy(POLICY);
    let shown = lab.init("show", &[]);
    assert!(shown.stdout.contains("10.77.0.1 . 9090"), "{shown:?}");
    let dry = lab.init("apply", &["--dry-run"]);
    assert!(dry.status.success(), "{dry:?}");
    assert_eq!(dry.stdout, shown.stdout);
    assert_eq!(lab.ruleset(), "");
    lab.apply();
    let before = lab.ruleset();
    assert!(lab.init("remove", &["--dry-run"]).status.success());
    assert_eq!(lab.ruleset(), before);
}

#[test]
fn a_failing_nft_leaves_nothing() {
    let Some(lab) = Lab::new() else { return };
    for (nft, code) in [
        ("/bin/false", 95),
        ("/nonexistent/nft", 70),
        // Says yes and does nothing: the proof fails.
        ("/bin/true", 95),
    ] {
        let done = lab.init("apply", &["--nft", nft]);
        assert_eq!(done.status.code(), Some(code), "{nft}: {done:?}");
        assert!(!done.stderr.is_empty(), "{nft}");
        assert_eq!(lab.ruleset(), "", "{nft}");
    }
}

#[test]
fn a_transaction_that_fails_at_its_end_changes_nothing() {
    let Some(lab) = Lab::new() else { return };
    lab.apply();
    let before = lab.ruleset();
    lab.set_policy(POLICY);
    let nft = lab.path("nft-with-one-more-command");
    let script = "#!/bin/sh\n{ cat; echo 'delete table ip not-there'; } | nft \"$@\"\n";
    fs::write(&nft, script).unwrap();
    fs::set_permissions(&nft, fs::Permissions::from_mode(0o755)).unwrap();
    let done = lab.init("apply", &["--nft", nft.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(95), "{done:?}");
    assert!(done.stderr.contains("nothing was changed"), "{done:?}");
    assert_eq!(lab.ruleset(), before);
}

#[test]
fn without_the_right_to_change_rules_it_says_so() {
    let Some(lab) = Lab::new() else { return };
    let directory = lab.path("");
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let done = lab.init_as(APP, "apply", &[]);
    assert_eq!(done.status.code(), Some(70), "{done:?}");
    assert!(done.stderr.contains("CAP_NET_ADMIN"), "{done:?}");
    assert_eq!(lab.ruleset(), "");
}

#[test]
fn bad_usage_and_bad_policies_change_nothing() {
    let Some(lab) = Lab::new() else { return };
    let with = |policy: &str, more: &[&str]| {
        lab.set_policy(policy);
        let done = lab.init("apply", more);
        assert_eq!(done.status.code(), Some(64), "{policy} {more:?}: {done:?}");
        done.stderr
    };
    with("", &["--mode", "tproxy"]);
    with("", &["--outbound-port", "0"]);
    with("", &["--admin-from", "everywhere"]);
    let same = with("", &["--outbound-port", "15006"]);
    assert!(same.contains("must differ"), "{same}");
    with("egress: [{}]", &[]);
    let own = "ingress: [{ name: in, from: { cidrs: [10.0.0.0/8] }, port: 15020, action: direct }]";
    let own = with(own, &[]);
    assert!(own.contains("`in`") && own.contains("15020"), "{own}");
    let binary = env!("CARGO_BIN_EXE_lazaret-init");
    for (arguments, expected) in [
        (&["apply"][..], "--policy is missing"),
        (&["apply", "--uid", "0", "--gid", "7"], "--uid"),
        (&["apply", "--uid", "7", "--gid", "0"], "--gid"),
        (&["apply", "--uid", "4294967295", "--gid", "7"], "--uid"),
        (&[], "Usage"),
    ] {
        let command = [&[binary], arguments].concat();
        let done = run(&lab.in_pod(ROOT, &command));
        assert_eq!(done.status.code(), Some(64), "{arguments:?}: {done:?}");
        assert!(done.stderr.contains(expected), "{arguments:?}: {done:?}");
    }
    assert_eq!(lab.ruleset(), "");
}

#[test]
fn a_family_without_a_route_is_closed() {
    let Some(lab) = Lab::new() else { return };
    lab.sysctl("net.ipv6.conf.all.disable_ipv6=1");
    let done = lab.init("apply", &["--output", "json"]);
    assert!(done.status.success(), "{done:?}");
    let outcomes = outcomes(&report(&done));
    for check in ["tcp", "udp", "icmp"] {
        assert!(
            outcomes.contains(&format!("{check}/ipv6: no-route")),
            "{outcomes:?}"
        );
        assert!(
            outcomes.contains(&format!("{check}/ipv4: effective")),
            "{outcomes:?}"
        );
    }
}

#[test]
fn the_probe_asks_a_gateway_that_already_runs() {
    let Some(lab) = Lab::new() else { return };
    lab.apply();
    for (reason, code) in [("destination-not-allowed", 0), ("", 95)] {
        let _gateways = ["127.0.0.1", "::1"]
            .map(|address| lab.pod_peer(GATEWAY, &["refuse", address, "15001", reason]));
        let done = lab.init("probe", &["--output", "json"]);
        assert_eq!(done.status.code(), Some(code), "{reason}: {done:?}");
        assert_eq!(report(&done)["effective"], code == 0);
    }
}

#[test]
fn the_probe_notices_every_missing_rule() {
    let Some(lab) = Lab::new() else { return };
    lab.set_policy(POLICY);
    let nft = |command: &str| {
        let done = run(&lab.in_pod(ROOT, &["nft", command]));
        assert!(done.status.success(), "{command}: {done:?}");
    };
    for tampering in [
        "delete table netdev lazaret",
        "delete table inet lazaret",
        "flush chain inet lazaret redirect_out",
        "flush chain netdev lazaret egress",
        "insert rule inet lazaret output accept comment \"mine\"",
        "chain inet lazaret output { policy accept; }",
        "chain inet lazaret forward { policy accept; }",
    ] {
        lab.apply();
        nft(tampering);
        let done = lab.init("probe", &[]);
        assert_eq!(done.status.code(), Some(95), "{tampering}: {done:?}");
    }
    lab.apply();
    assert!(lab.init("probe", &[]).status.success());
}

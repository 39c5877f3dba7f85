//! What of the settings and the policy becomes rules.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;

use clap::Parser as _;
use lazaret_init::args::{Cli, Command, Settings};
use lazaret_init::capture::{Capture, CaptureError};

const POLICY: &str = "
apiVersion: lazaret/v1
kind: Policy
metadata: { name: test, producer: hospital, consumer: pharma }
require_encryption: false
dns: { resolvers: [10.96.0.10, '[fd00::a]:5353'] }
egress:
  - name: data
    to: { cidrs: [10.96.0.20, 10.97.0.0/16, 'fd00:1::/64'], ports: [5432, 8080] }
    action: direct
  - { name: broker, to: { cidrs: [10.96.0.30], ports: [5672] }, action: tunnel }
  - { name: named, to: { hosts: [broker.example], ports: [5673] }, action: tunnel }
ingress:
  - { name: probes, from: { cidrs: [10.0.0.0/24, 'fd00::/64'] }, port: 9000, action: direct }
  - { name: stream, from: { cidrs: [10.200.0.0/16] }, port: 9001, action: tunnel }
";

fn load(policy: &str, more: &[&str]) -> Result<Capture, Vec<CaptureError>> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.yaml");
    fs::write(&path, policy).unwrap();
    let policy = path.to_str().unwrap();
    let words = ["lazaret-init", "show", "--policy", policy];
    Capture::load(&settings(&[&words, more].concat())).map(|(capture, _)| capture)
}

fn settings(words: &[&str]) -> Settings {
    match Cli::parse_from(words).command {
        Command::Show { settings } => settings,
        other => panic!("{other:?}"),
    }
}

fn pairs(list: &[(ipnet::IpNet, u16)]) -> Vec<String> {
    list.iter()
        .map(|(net, port)| format!("{net} {port}"))
        .collect()
}

const USER: [&str; 4] = ["--uid", "7", "--gid", "8"];

#[test]
fn direct_rules_and_resolvers_become_rules_and_nothing_else_does() {
    let capture = load(
        POLICY,
        &[&USER[..], &["--admin-from", "10.0.0.1,fd00::/64"]].concat(),
    );
    let capture = capture.unwrap();
    assert_eq!((capture.uid, capture.gid), (7, 8));
    assert_eq!(
        pairs(&capture.direct),
        [
            "10.96.0.20/32 5432",
            "10.96.0.20/32 8080",
            "10.97.0.0/16 5432",
            "10.97.0.0/16 8080",
            "fd00:1::/64 5432",
            "fd00:1::/64 8080",
        ]
    );
    assert_eq!(
        pairs(&capture.ingress_direct),
        ["10.0.0.0/24 9000", "fd00::/64 9000"]
    );
    let resolvers: Vec<_> = capture.resolvers.iter().map(ToString::to_string).collect();
    assert_eq!(resolvers, ["10.96.0.10:53", "[fd00::a]:5353"]);
    let admin: Vec<_> = capture.admin_from.iter().map(ToString::to_string).collect();
    assert_eq!(admin, ["10.0.0.1/32", "fd00::/64"]);
    assert!(!capture.devices.iter().any(|name| name == "lo"));
}

#[test]
fn every_error_is_told_at_once() {
    let errors = load("kind: Policy", &["--admin-port", "15001", "--gid", "8"]).unwrap_err();
    let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told.iter().any(|text| text == "--uid is missing"),
        "{told:?}"
    );
    assert!(
        told.iter().any(|text| text.contains("must differ")),
        "{told:?}"
    );
    assert!(
        told.iter().any(|text| text.contains("apiVersion")),
        "{told:?}"
    );
    assert!(errors.iter().all(CaptureError::is_usage));
}

#[test]
fn direct_callers_never_reach_the_gateways_ports() {
    for port in ["15001", "15006", "15020"] {
        let policy = POLICY.replace("port: 9000", &format!("port: {port}"));
        let errors = load(&policy, &USER).unwrap_err();
        assert!(
            matches!(&errors[..], [CaptureError::GatewayPort { rule, .. }] if rule == "probes")
        );
    }
}

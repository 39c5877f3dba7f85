//! Tunnels by server name, from a pod that says one thing in its ClientHello and another to the
//! kernel.

use crate::common::hello::{hello, real, server_name};
use crate::common::raw::End;
use crate::lab::{HOME, HOSPITAL, Lab, NOWHERE};
use crate::peers::{Dns, Server};

const POLICY: &str = r#"
apiVersion: lazaret/v1
kind: Policy
metadata: { name: lab, producer: hospital-a, consumer: pharma-x }
dns: { resolvers: [10.77.0.3] }
egress:
  - name: services
    to: { hosts: [svc4.hospital.example, svc6.hospital.example, trap.hospital.example], ports: [9443] }
    action: tunnel
    tls: sni
"#;

/// Whatever address the pod chooses, the gateway goes where the name leads.
#[test]
fn the_name_decides_and_not_the_address() {
    let Some(lab) = Lab::new() else { return };
    let _dns = Dns::start(
        &lab,
        &[
            ("svc4.hospital.example", HOSPITAL[0]),
            ("svc6.hospital.example", HOSPITAL[1]),
            ("trap.hospital.example", "127.0.0.1"),
            ("evil.pharma.example", HOME[0]),
        ],
    );
    let hospital = Server::echo(lab.hospital.listen(9443));
    let home = Server::echo(lab.home.listen(9443));
    let inside = Server::echo(lab.pod.listen_at("127.0.0.1", 9443));
    let gateway = lab.start(POLICY);
    let mut seen = 0;
    for (to, name) in [
        (HOSPITAL, "svc4.hospital.example"),
        (HOME, "svc4.hospital.example"),
        (HOME, "svc6.hospital.example"),
        (NOWHERE, "SVC6.Hospital.Example"),
    ] {
        for ip in to {
            let bytes = hello(&[server_name(name)]);
            let mut client = lab.dial(ip, 9443);
            client.send(&bytes);
            assert_eq!(client.exactly(bytes.len()), Some(bytes), "{ip} {name}");
            drop(client);
            seen += 2;
            let records = gateway.wait_verdicts(seen);
            assert_eq!(records[seen - 2]["verdict"], "allowed", "{ip} {name}");
        }
    }
    let accepted = hospital.accepted();
    for (to, bytes, reason) in [
        (
            HOME,
            hello(&[server_name("evil.pharma.example")]),
            "tls-sni-not-allowed",
        ),
        (
            HOSPITAL,
            hello(&[server_name("evil.pharma.example")]),
            "tls-sni-not-allowed",
        ),
        (HOME, real("openssl-no-name"), "tls-sni-missing"),
        (HOSPITAL, real("openssl-no-name"), "tls-sni-missing"),
        (
            HOME,
            hello(&[server_name("svc4.hospital.example"), (0xfe0d, vec![0])]),
            "tls-ech",
        ),
        (
            HOME,
            hello(&[server_name("trap.hospital.example")]),
            "upstream-address-not-allowed",
        ),
    ] {
        for ip in to {
            let mut client = lab.dial(ip, 9443);
            client.send(&bytes);
            assert_eq!(client.rest(), (Vec::new(), End::Reset), "{ip} {reason}");
            seen += 1;
            assert_eq!(
                gateway.wait_verdicts(seen)[seen - 1]["reason"],
                reason,
                "{ip}"
            );
        }
    }
    let host = "svc4.hospital.example:9443";
    let mut client = lab.dial(HOSPITAL[0], 9443);
    let answer = client.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    assert_eq!(answer.reason(), "tls-required");
    assert_eq!(hospital.accepted(), accepted);
    assert_eq!((home.accepted(), inside.accepted()), (0, 0));
}

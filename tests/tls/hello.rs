//! Tunnels by server name. What is let through is with the real peer, unchanged; what is refused
//! has been seen by nobody but the audit log.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::common::hello::{hello, message, of_size, real, records, server_name};
use crate::common::raw::End;
use crate::common::{CANARY, Client, Gateway, Launch, Recorder, contains, eventually};
use crate::pki::Pki;
use crate::servers::Server;

const SVC: &str = "svc.hospital.example";

/// As large as a ClientHello may be, in bytes.
const MAX_HELLO: usize = 32 << 10;

/// Two services on one address.
const POLICY: &str = r#"
apiVersion: lazaret/v1
kind: Policy
metadata: { name: lab, producer: hospital-a, consumer: pharma-x }
dns:
  hosts:
    svc.hospital.example: [203.0.113.20]
    other.hospital.example: [203.0.113.20]
egress:
  - { name: svc, to: { hosts: [svc.hospital.example], ports: [443] }, action: tunnel, tls: sni }
  - { name: other, to: { hosts: [other.hospital.example], ports: [443] }, action: tunnel, tls: sni }
"#;

fn launch(upstream: SocketAddr) -> Launch {
    let names = [SVC, "other.hospital.example"];
    Launch::new(POLICY).args(names.map(|name| format!("--map={name}:443={upstream}")))
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// Asks `https://HOST/` through the gateway, trusting nobody but this authority.
fn curl(gateway: &Gateway, host: &str, root: &Path) -> Output {
    let through = format!("::{}", gateway.outbound);
    Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--noproxy",
            "*",
        ])
        .args(["--connect-to", &through, "--cacert"])
        .arg(root)
        .arg(format!("https://{host}/"))
        .output()
        .unwrap()
}

#[track_caller]
fn next_refusal(gateway: &Gateway, seen: &mut usize, reason: &str, what: &str) {
    *seen += 1;
    let record = gateway.wait_verdicts(*seen).pop().unwrap();
    assert_eq!(record["kind"], "connection", "{what}: {record}");
    assert_eq!(record["verdict"], "refused", "{what}: {record}");
    assert_eq!(record["enforced"], true, "{what}: {record}");
    assert_eq!(record["reason"], reason, "{what}: {record}");
}

#[test]
fn each_name_leads_to_its_own_peer() {
    let pki = Pki::new();
    let second = pki.server(
        "second",
        &["other.hospital.example", "third.hospital.example"],
    );
    let (cert, key) = (path(&second.cert), path(&second.key));
    let second = [
        "-servername",
        "other.hospital.example",
        "-cert2",
        &cert,
        "-key2",
        &key,
    ];
    let server = Server::openssl(
        &pki.server("svc", &[SVC]),
        &[&["-www"], &second[..]].concat(),
    );
    let gateway = launch(server.addr).start();
    let mut seen = 0;
    for (host, rule) in [
        (SVC, "svc"),
        ("other.hospital.example", "other"),
        // A dot at the end is curl's to take away, and is not in the ClientHello.
        ("OTHER.hospital.example.", "other"),
    ] {
        let done = curl(&gateway, host, &pki.root.cert);
        assert!(done.status.success(), "{host}: {done:?}");
        assert!(contains(&done.stdout, "Secure Renegotiation"), "{done:?}");
        let records = gateway.wait_verdicts(seen + 2);
        let (allowed, end) = (&records[seen], &records[seen + 1]);
        assert_eq!(allowed["verdict"], "allowed", "{allowed}");
        assert_eq!(allowed["rule"], rule, "{allowed}");
        assert_eq!(allowed["upstream"], server.addr.to_string(), "{allowed}");
        assert_eq!(end["kind"], "tunnel-end", "{end}");
        seen += 2;
    }
    // The certificate is the peer's own: nobody in between could show one of this authority.
    let done = curl(&gateway, SVC, &pki.other.cert);
    assert_eq!(done.status.code(), Some(60), "{done:?}");
    seen += 2;
    gateway.wait_verdicts(seen);
    // The server would serve this name as well.
    let done = curl(&gateway, "third.hospital.example", &pki.root.cert);
    assert!(!done.status.success(), "{done:?}");
    next_refusal(&gateway, &mut seen, "tls-sni-not-allowed", "third");
}

#[test]
fn a_hello_passes_as_it_is_however_it_comes() {
    let upstream = Recorder::no_content();
    let gateway = launch(upstream.addr).start();
    let named = [server_name(SVC)];
    let mut rows = [
        "curl",
        "curl-http1",
        "java",
        "node",
        "openssl-1.2",
        "openssl-1.3",
        "python",
    ]
    .map(|client| (client, real(client)))
    .to_vec();
    rows.extend([
        ("mixed case", hello(&[server_name("sVc.Hospital.EXAMPLE")])),
        ("many records", records(&message(&named), 8)),
        ("the largest", of_size(SVC, MAX_HELLO)),
    ]);
    for (i, (what, bytes)) in rows.iter().enumerate() {
        for one_by_one in [false, true] {
            upstream.forget();
            let mut client = Client::connect(gateway.outbound);
            if one_by_one {
                bytes.iter().for_each(|byte| client.send([*byte]));
            } else {
                client.send(bytes);
            }
            let all = || (upstream.bytes().len() >= bytes.len()).then_some(());
            eventually(what, all);
            assert_eq!(upstream.bytes(), *bytes, "{what}");
            drop(client);
            let n = 2 * i + usize::from(one_by_one) + 1;
            eventually("the end", || (upstream.closed() == n).then_some(()));
            gateway.wait_verdicts(2 * n);
        }
    }
}

#[test]
fn what_does_not_say_where_it_goes_is_refused_unseen() {
    let upstream = Recorder::no_content();
    let gateway = launch(upstream.addr).start();
    let named = |name: &str| hello(&[server_name(name)]);
    let and = |number, content: &[u8]| hello(&[server_name(SVC), (number, content.to_vec())]);
    let good = named(SVC);
    let canary = CANARY.to_ascii_lowercase();
    let mut seen = 0;
    for (what, bytes, reason) in [
        ("another name", named("evil.example"), "tls-sni-not-allowed"),
        (
            "a name with a message",
            named(&format!("{canary}.{SVC}")),
            "tls-sni-not-allowed",
        ),
        (
            "a name that ends like it",
            named(&format!("x{SVC}")),
            "tls-sni-not-allowed",
        ),
        (
            "a name above it",
            named("hospital.example"),
            "tls-sni-not-allowed",
        ),
        ("no name", hello(&[(21, CANARY.into())]), "tls-sni-missing"),
        (
            "a real client without a name",
            real("openssl-no-name"),
            "tls-sni-missing",
        ),
        ("a hidden name", and(0xfe0d, &[0; 200]), "tls-ech"),
        ("grease of a hidden name", and(0xfe0d, &[]), "tls-ech"),
        ("a hidden name of old", and(0xffce, &[0; 200]), "tls-ech"),
        (
            "a dot at the end",
            named(&format!("{SVC}.")),
            "tls-client-hello",
        ),
        (
            "a NUL at the end",
            named(&format!("{SVC}\0")),
            "tls-client-hello",
        ),
        ("an address", named("203.0.113.20"), "tls-client-hello"),
        (
            "the name twice",
            hello(&[server_name(SVC), server_name(SVC)]),
            "tls-client-hello",
        ),
        (
            "two names",
            hello(&[server_name(SVC), server_name("evil.example")]),
            "tls-client-hello",
        ),
        ("early data", and(42, &[]), "tls-client-hello"),
        (
            "data behind it",
            [&good[..], b"\x17\x03\x03\x00\x16", CANARY.as_bytes()].concat(),
            "tls-client-hello",
        ),
        (
            "a message behind it",
            records(&message(&[server_name(SVC)]).repeat(2), 1 << 14),
            "tls-client-hello",
        ),
        ("TLS 1.1", real("openssl-1.1"), "tls-client-hello"),
        (
            "garbage behind the header of a record",
            [&[22, 3, 1, 0, 22][..], CANARY.as_bytes()].concat(),
            "tls-client-hello",
        ),
        (
            "garbage as a message",
            [&[22, 3, 1, 0, 26, 1, 0, 0, 22][..], CANARY.as_bytes()].concat(),
            "tls-client-hello",
        ),
        (
            "an empty record",
            [&[22, 3, 1, 0, 0][..], &good].concat(),
            "tls-client-hello",
        ),
        (
            "records of one byte",
            records(&message(&[server_name(SVC)]), 1),
            "tls-client-hello",
        ),
        (
            "one that is too large",
            of_size(SVC, MAX_HELLO + 1),
            "tls-client-hello",
        ),
        (
            "no record of TLS",
            b"\x16\x02\x00\x00\x20".to_vec(),
            "protocol-unknown",
        ),
        (
            "SSH",
            format!("SSH-2.0-{CANARY}\r\n").into(),
            "protocol-unknown",
        ),
    ] {
        let mut client = Client::connect(gateway.outbound);
        client.send(&bytes);
        assert_eq!(client.rest(), (Vec::new(), End::Reset), "{what}");
        next_refusal(&gateway, &mut seen, reason, what);
    }
    // HTTP can be told why.
    for (host, reason) in [
        (format!("{SVC}:443"), "tls-required"),
        (SVC.to_owned(), "host-not-allowed"),
    ] {
        let mut client = Client::connect(gateway.outbound);
        let answer = client.ask(format!("GET /{CANARY} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.reason(), reason);
        seen += 1;
        assert_eq!(gateway.wait_verdicts(seen)[seen - 1]["reason"], reason);
    }
    assert_eq!(upstream.connections(), 0);
    let audit = fs::read(gateway.path("audit.jsonl")).unwrap();
    assert!(!contains(&audit, CANARY), "in the audit log");
    assert!(!contains(gateway.log().as_bytes(), CANARY), "in the log");
    // It would have seen one.
    let mut client = Client::connect(gateway.outbound);
    client.send(&good);
    eventually("the good one", || (upstream.bytes() == good).then_some(()));
}

#[test]
fn a_hello_that_does_not_end_in_time_is_refused() {
    let upstream = Recorder::no_content();
    let slow = launch(upstream.addr).args(["--detect-timeout=100ms"]);
    let gateway = slow.start();
    let mut seen = 0;
    for bytes in [real("curl"), records(&message(&[server_name(SVC)]), 40)] {
        for end in [1, 2, 3, 5, 6, 9, 60, bytes.len() - 1] {
            let mut client = Client::connect(gateway.outbound);
            client.send(&bytes[..end]);
            assert_eq!(client.rest(), (Vec::new(), End::Reset), "{end}");
            next_refusal(&gateway, &mut seen, "protocol-timeout", &end.to_string());
        }
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_tunnel_is_cut_when_its_name_is_no_longer_listed() {
    let upstream = Recorder::no_content();
    let gateway = launch(upstream.addr).start();
    let begin = |name: &str| {
        let (mut client, before) = (Client::connect(gateway.outbound), upstream.bytes().len());
        let bytes = hello(&[server_name(name)]);
        client.send(&bytes);
        let all = || (upstream.bytes().len() == before + bytes.len()).then_some(());
        eventually(name, all);
        client
    };
    let (mut cut, mut kept) = (begin(SVC), begin("other.hospital.example"));
    let started = Instant::now();
    gateway.write_policy(&POLICY.replace(SVC, "new.hospital.example"));
    assert_eq!(cut.rest(), (Vec::new(), End::Reset));
    let took = started.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    let end = eventually("its record", || {
        let mut ends = gateway.verdicts();
        ends.retain(|record| record["kind"] == "tunnel-end");
        ends.pop()
    });
    assert_eq!(
        (&end["rule"], &end["reason"]),
        (&"svc".into(), &"policy-changed".into())
    );
    // The other goes on.
    let before = upstream.bytes().len();
    kept.send("more");
    let more = || (upstream.bytes().len() == before + 4).then_some(());
    eventually("the other tunnel", more);
    let mut client = Client::connect(gateway.outbound);
    client.send(hello(&[server_name(SVC)]));
    assert_eq!(client.rest(), (Vec::new(), End::Reset));
}

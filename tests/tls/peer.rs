//! The leg to a peer: who is accepted, who is refused and on what record, and what it costs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::gateway::free_address;
use crate::common::{Client, Gateway, Launch, Recorder, Response, SUMMARY, eventually};
use crate::pki::{Pair, Pki, Spec, self_signed, with_strangers};
use crate::servers::{Nginx, Server, established, read};

const NAME: &str = "collector.example";
const ID: &str = "spiffe://pharma.example/collector";

/// A policy with these keys under `tls.peer`.
fn policy(peer: &str) -> String {
    format!(
        r#"
apiVersion: lazaret/v1
kind: Policy
metadata: {{ name: lab, producer: hospital-a, consumer: pharma-x }}
dns: {{ hosts: {{ {NAME}: [203.0.113.20] }} }}
egress:
  - name: collector
    to: {{ hosts: [{NAME}], ports: [443] }}
    action: inspect
    tls: {{ peer: {{ {peer} }} }}
    exchanges:
      - request: {{ method: POST, path: /v1/results, body: summary }}
      - request: {{ method: GET, path: /v1/task }}
        response: {{ statuses: [200], body: summary }}
contracts:
  summary: {{ schema: cohort-summary.schema.json, max_bytes: 4KiB, max_depth: 3 }}
"#
    )
}

const ROOTS: &str = "roots: root.pem";

fn launch(pki: &Pki, to: std::net::SocketAddr, peer: &str) -> Launch {
    Launch::new(&policy(peer))
        .file("root.pem", &read(&pki.root.cert))
        // Each thread has connections of its own.
        .args([format!("--map={NAME}:443={to}"), "--threads=1".into()])
}

fn post() -> String {
    format!(
        "POST /v1/results HTTP/1.1\r\nHost: {NAME}:443\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{SUMMARY}",
        SUMMARY.len()
    )
}

fn ask(gateway: &Gateway) -> Response {
    Client::connect(gateway.outbound).ask(post())
}

fn keys(pair: &Pair) -> String {
    format!(
        "{ROOTS}, client: {{ cert: {}, key: {} }}",
        pair.cert.display(),
        pair.key.display()
    )
}

fn only(records: Vec<Value>) -> Value {
    assert_eq!(records.len(), 1, "{records:#?}");
    records.into_iter().next().unwrap()
}

#[test]
fn a_good_peer_is_spoken_to_over_one_connection() {
    let pki = Pki::new();
    let server = pki.server("server", &[NAME]);
    let nginx = Nginx::start(&server, "");
    let gateway = launch(&pki, nginx.addr, ROOTS)
        .shell("export SSLKEYLOGFILE=keys.log; cd \"$(dirname \"$5\")\"")
        .start();
    let mut app = Client::connect(gateway.outbound);
    for _ in 0..50 {
        assert_eq!(app.ask(post()).status, 204);
    }
    let requests = nginx.behind.texts();
    assert_eq!(requests.len(), 50);
    assert!(requests[0].starts_with("POST /v1/results HTTP/1.1\r\nHost: collector.example\r\n"));
    assert!(requests[0].ends_with(SUMMARY));
    let seen = nginx.wait_seen(50);
    assert_eq!(seen[0].version, "TLSv1.3");
    assert_eq!(seen[0].sni, NAME);
    assert_eq!(seen[0].alpn, "h2");
    assert!(seen.iter().all(|s| s.connection == seen[0].connection));
    let record = gateway.wait_verdicts(50).remove(0);
    let tls = &record["upstream_tls"];
    assert_eq!(tls["version"], "1.3", "{record:#}");
    assert_eq!(tls["cipher"], "TLS_AES_256_GCM_SHA384");
    assert_eq!(tls["identity"], format!("dns:{NAME}"));
    let labels = [("leg", "peer"), ("version", "1.3"), ("result", "ok")];
    let handshakes = gateway.metric("lazaret_tls_handshakes_total", &labels);
    assert_eq!(handshakes, 1.0);
    assert!(!gateway.path("keys.log").exists());
}

#[test]
fn http_1_is_spoken_to_a_peer_that_has_nothing_else() {
    let pki = Pki::new();
    let server = pki.server("server", &[NAME]);
    // One request for each connection, so that each needs a handshake.
    let nginx = Nginx::http1(&server, "keepalive_requests 1;");
    let gateway = launch(&pki, nginx.addr, ROOTS).start();
    for _ in 0..4 {
        assert_eq!(ask(&gateway).status, 204);
    }
    let seen = nginx.wait_seen(4);
    assert!(seen.iter().all(|seen| seen.alpn == "http/1.1"), "{seen:?}");
    assert!(!seen[0].resumed);
    assert!(seen[1..].iter().all(|seen| seen.resumed), "{seen:?}");
}

/// What a bad peer is: how it is started, what the policy says besides the roots, and the reason.
struct Bad {
    what: &'static str,
    pair: Pair,
    peer: String,
    reason: &'static str,
}

fn bad_peers(pki: &Pki) -> Vec<Bad> {
    let certificate = |what, pair| Bad {
        what,
        pair,
        peer: ROOTS.into(),
        reason: "upstream-certificate",
    };
    let good = pki.server("good", &[NAME]);
    let revoked = pki.server("revoked", &[NAME]);
    let with_id = pki.server("with-id", &["other.example", ID]);
    let below = pki.root.intermediate("below");
    let unlisted = below.issue("unlisted", Spec::server(&[NAME]));
    pki.root.revoke("list", &[&revoked]);
    pki.root.outdated_crl("old-list");
    let other_pin = pki.server("other-pin", &[NAME]).pin();
    let asks = |what, pair: &Pair, more: &str, reason| Bad {
        what,
        pair: pair.clone(),
        peer: format!("{ROOTS}, {more}"),
        reason,
    };
    let id = format!("identities: ['{ID}']");
    let two_ids = pki.server("two-ids", &[NAME, ID, "spiffe://pharma.example/x"]);
    let forged_id = self_signed(pki.path(), "forged-id", Spec::server(&[ID]));
    let late_id = pki.root.issue("late-id", Spec::server(&[ID]).expired());
    let revoked_id = pki.server("revoked-id", &[ID]);
    pki.root.revoke("id-list", &[&revoked_id]);
    vec![
        certificate("wrong name", pki.server("wrong", &["other.example"])),
        certificate("a name in the subject only", pki.server("nameless", &[])),
        certificate(
            "wildcard of the wrong level",
            pki.server("wild", &["*.collector.example"]),
        ),
        certificate(
            "expired",
            pki.root.issue("expired", Spec::server(&[NAME]).expired()),
        ),
        certificate(
            "not yet",
            pki.root.issue("not-yet", Spec::server(&[NAME]).not_yet()),
        ),
        certificate(
            "self-signed",
            self_signed(pki.path(), "self", Spec::server(&[NAME])),
        ),
        certificate(
            "other root",
            pki.other.issue("foreign", Spec::server(&[NAME])),
        ),
        certificate(
            "an authority that may not sign",
            pki.root
                .pretender("pretender")
                .issue("pretended", Spec::server(&[NAME])),
        ),
        certificate("for clients", pki.client("for-clients", &[NAME])),
        asks("revoked", &revoked, "crls: [list.pem]", "upstream-revoked"),
        asks(
            "list out of date",
            &good,
            "crls: [old-list.pem]",
            "upstream-revoked",
        ),
        asks(
            "no list of its issuer",
            &unlisted,
            "crls: [list.pem]",
            "upstream-revoked",
        ),
        asks(
            "other key",
            &good,
            &format!("spki: ['{other_pin}']"),
            "upstream-identity",
        ),
        asks(
            "other identity",
            &good,
            "identities: ['dns:x.example']",
            "upstream-identity",
        ),
        asks("no ID", &good, &id, "upstream-identity"),
        asks(
            "other ID",
            &with_id,
            &format!("identities: ['{ID}/x']"),
            "upstream-identity",
        ),
        asks("two IDs", &two_ids, &id, "upstream-identity"),
        asks("forged ID", &forged_id, &id, "upstream-certificate"),
        asks("expired ID", &late_id, &id, "upstream-certificate"),
        asks(
            "revoked ID",
            &revoked_id,
            &format!("{id}, crls: [id-list.pem]"),
            "upstream-revoked",
        ),
    ]
}

#[test]
fn a_bad_peer_is_refused_before_it_hears_a_byte() {
    let pki = Pki::new();
    for bad in bad_peers(&pki) {
        let what = bad.what;
        let nginx = Nginx::start(&bad.pair, "");
        let mut launch = launch(&pki, nginx.addr, &bad.peer);
        for list in ["list.pem", "old-list.pem", "id-list.pem"] {
            launch = launch.file(list, &read(&pki.path().join(list)));
        }
        let gateway = launch.start();
        let answer = ask(&gateway);
        assert_eq!(
            (answer.status, &*answer.reason()),
            (502, bad.reason),
            "{what}"
        );
        let record = only(gateway.wait_verdicts(1));
        assert_eq!(record["verdict"], "refused", "{what}");
        assert_eq!(record["reason"], bad.reason, "{what}");
        let digest: String = bad.pair.spki.iter().map(|b| format!("{b:02x}")).collect();
        let shown = record["refused_peer"]["spki_sha256"].as_str().unwrap();
        assert!(shown.ends_with(&digest), "{what}: {record:#}");
        assert!(record.get("upstream_tls").is_none(), "{what}: {record:#}");
        let labels = [("leg", "peer"), ("result", bad.reason)];
        let counted = gateway.metric("lazaret_tls_handshakes_total", &labels);
        assert_eq!(counted, 1.0, "{what}");
        assert_eq!(nginx.behind.connections(), 0, "{what}");
        assert_eq!(nginx.seen(), [], "{what}");
    }
}

#[test]
fn a_peer_that_sends_many_authorities_is_refused_at_once() {
    let pki = Pki::new();
    let pair = pki.server("server", &[NAME]);
    for (strangers, status) in [(4, 204), (5, 502), (40, 502)] {
        let many = with_strangers(pki.path(), "many", &pair, strangers);
        let nginx = Nginx::start(&many, "");
        let gateway = launch(&pki, nginx.addr, ROOTS).start();
        assert_eq!(ask(&gateway).status, status, "{strangers}");
        let record = only(gateway.wait_verdicts(1));
        if status == 502 {
            assert_eq!(record["reason"], "upstream-certificate", "{record}");
        }
    }
}

#[test]
fn a_peer_that_is_what_the_policy_asks_for_is_accepted() {
    let pki = Pki::new();
    let good = pki.server("good", &[NAME]);
    let with_id = pki.server("with-id", &["other.example", ID]);
    let below = pki.root.intermediate("below");
    let chained = below.issue("chained", Spec::server(&[NAME]));
    let revoked = pki.server("revoked", &[NAME]);
    pki.root.revoke("list", &[&revoked]);
    below.revoke("list-below", &[]);
    let pin = format!("{ROOTS}, spki: ['{}']", good.pin());
    let dns = format!("{ROOTS}, identities: ['dns:{NAME}']");
    let id = format!("{ROOTS}, identities: ['{ID}']");
    let lists = format!("{ROOTS}, crls: [list.pem, list-below.pem]");
    for (what, pair, peer, identity) in [
        ("pin", &good, &pin, NAME),
        ("name", &good, &dns, NAME),
        ("ID with another name", &with_id, &id, ID),
        ("lists of a whole chain", &chained, &lists, NAME),
    ] {
        let nginx = Nginx::start(pair, "");
        let mut launch = launch(&pki, nginx.addr, peer);
        for list in ["list.pem", "list-below.pem"] {
            launch = launch.file(list, &read(&pki.path().join(list)));
        }
        let gateway = launch.start();
        assert_eq!(ask(&gateway).status, 204, "{what}");
        let record = only(gateway.wait_verdicts(1));
        let shown = record["upstream_tls"]["identity"].as_str().unwrap();
        assert!(shown.ends_with(identity), "{what}: {shown}");
    }
}

#[test]
fn what_is_weak_is_not_spoken() {
    let pki = Pki::new();
    let server = pki.server("server", &[NAME]);
    let old = format!("{ROOTS}, min: '1.2'");
    let weakest = ["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"];
    let cbc = ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"];
    for (what, peer, args) in [
        ("1.2 where 1.3 is asked for", ROOTS, &["-tls1_2"][..]),
        ("1.1", &old, &weakest),
        ("CBC", &old, &cbc),
    ] {
        let openssl = Server::openssl(&server, args);
        let gateway = launch(&pki, openssl.addr, peer).start();
        let answer = ask(&gateway);
        assert_eq!(
            (answer.status, &*answer.reason()),
            (502, "upstream-tls"),
            "{what}"
        );
        let record = only(gateway.wait_verdicts(1));
        assert_eq!(record["reason"], "upstream-tls", "{what}");
        assert!(!openssl.said().contains("POST"), "{what}");
    }
    let nginx = Nginx::start(&server, "ssl_protocols TLSv1.2;");
    let gateway = launch(&pki, nginx.addr, &old).start();
    assert_eq!(ask(&gateway).status, 204);
    let record = only(gateway.wait_verdicts(1));
    assert_eq!(record["upstream_tls"]["version"], "1.2");
}

#[test]
fn our_certificate_is_shown_and_renewed_without_a_restart() {
    let pki = Pki::new();
    let server = pki.server("server", &[NAME]);
    let root = pki.root.cert.display();
    let lines = format!("ssl_verify_client on; ssl_client_certificate {root};");
    let nginx = Nginx::start(&server, &lines);
    let serial = |pair: &Pair| format!("{:02X}", pair.serial);
    let ours = pki
        .root
        .issue("ours", Spec::client(&["spiffe://hospital.example/a"]));
    let gateway = launch(&pki, nginx.addr, &keys(&ours)).start();
    let ends = |name: &str| {
        let labels = [("use", name)];
        gateway.metric(
            "lazaret_tls_certificate_not_after_timestamp_seconds",
            &labels,
        )
    };
    assert_eq!(ask(&gateway).status, 204);
    assert_eq!(nginx.wait_seen(1)[0].client, serial(&ours));
    let first_end = ends("peer:collector");
    assert!(first_end > 0.0);

    // Key and certificate are replaced one after the other, as by hand.
    let renewed = pki.root.issue(
        "ours",
        Spec::client(&["spiffe://hospital.example/a"]).valid(-1, 60),
    );
    let before = std::time::Instant::now();
    eventually("the new certificate", || {
        assert_eq!(ask(&gateway).status, 204);
        let seen = nginx.seen();
        (seen.last().unwrap().client == serial(&renewed)).then_some(())
    });
    assert!(before.elapsed() < std::time::Duration::from_secs(1));
    assert!(ends("peer:collector") > first_end);
    // What was opened with the old one is closed, though nothing asks for it again.
    eventually("one connection", || {
        (established(nginx.addr) == 1).then_some(())
    });

    fs::write(&renewed.cert, "broken").unwrap();
    let success = || gateway.metric("lazaret_policy_last_reload_success", &[]);
    eventually("the alarm", || (success() == 0.0).then_some(()));
    assert_eq!(ask(&gateway).status, 204);
    assert_eq!(nginx.seen().last().unwrap().client, serial(&renewed));
    // A key that is not the certificate's is as bad as none.
    let stranger = pki.client("stranger", &["x.example"]);
    fs::copy(&stranger.cert, &renewed.cert).unwrap();
    assert_eq!(ask(&gateway).status, 204);
    assert_eq!(success(), 0.0);
    let mended = pki
        .root
        .issue("ours", Spec::client(&["spiffe://hospital.example/a"]));
    eventually("the end of the alarm", || (success() == 1.0).then_some(()));
    assert_eq!(ask(&gateway).status, 204);
    assert_eq!(nginx.wait_seen(1).last().unwrap().client, serial(&mended));
}

#[test]
fn a_peer_that_does_not_accept_us_says_so_after_our_handshake() {
    let pki = Pki::new();
    let server = pki.server("server", &[NAME]);
    let stranger = pki.other.issue("stranger", Spec::client(&["x.example"]));
    let root = pki.root.cert.display().to_string();
    let args = ["-Verify", "1", "-CAfile", &root, "-verify_return_error"];
    for (what, peer) in [("none", ROOTS.to_owned()), ("wrong", keys(&stranger))] {
        for version in ["-tls1_3", "-tls1_2"] {
            let args = [&args[..], &[version]].concat();
            let openssl = Server::openssl(&server, &args);
            let peer = format!("{peer}, min: '1.2'");
            let gateway = launch(&pki, openssl.addr, &peer).start();
            for _ in 0..2 {
                let answer = ask(&gateway);
                assert_eq!(answer.reason(), "upstream-tls", "{what} {version}");
            }
            assert!(!openssl.said().contains("POST"), "{what} {version}");
            let records = gateway.audit();
            let last = records.last().unwrap();
            assert_eq!(last["reason"], "upstream-tls", "{what} {version}: {last:#}");
        }
    }
}

#[test]
fn a_key_that_everybody_may_read_is_refused_at_the_start() {
    let pki = Pki::new();
    let ours = pki.client("ours", &["a.example"]);
    fs::set_permissions(&ours.key, fs::Permissions::from_mode(0o644)).unwrap();
    let unused = "127.0.0.1:9".parse().unwrap();
    let failed = launch(&pki, unused, &keys(&ours)).try_start().unwrap_err();
    assert!(!failed.status.success());
    assert!(failed.log.contains("mode 0644"), "{}", failed.log);
    let stranger = pki.client("stranger", &["b.example"]);
    fs::copy(&stranger.cert, &ours.cert).unwrap();
    fs::set_permissions(&ours.key, fs::Permissions::from_mode(0o400)).unwrap();
    let failed = launch(&pki, unused, &keys(&ours)).try_start().unwrap_err();
    assert!(failed.log.contains("is not that of"), "{}", failed.log);
}

/// Answers each connection with a body that the end of the connection delimits, and ends it with or
/// without saying so (`close_notify`).
const UNTIL_THE_END: &str = r#"
import socket, ssl, sys
host, port, cert, key = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
listener = socket.create_server((host, int(port)))
while True:
    raw, _ = listener.accept()
    try:
        conn = context.wrap_socket(raw, server_side=True)
        conn.recv(65536)
        conn.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + BODY)
        if SAYS_SO:
            conn.unwrap()
        conn.close()
    except (OSError, ssl.SSLError):
        raw.close()
"#;

#[test]
fn a_body_that_was_cut_is_no_body() {
    let pki = Pki::new();
    let server = pki.server("server", &[NAME]);
    for (says_so, expected) in [("True", 200), ("False", 502)] {
        let program = UNTIL_THE_END
            .replace("BODY", &format!("b'''{SUMMARY}'''"))
            .replace("SAYS_SO", says_so);
        let python = Server::python(&server, &program);
        let gateway = launch(&pki, python.addr, ROOTS).start();
        let get = format!("GET /v1/task HTTP/1.1\r\nHost: {NAME}:443\r\n\r\n");
        let answer = Client::connect(gateway.outbound).ask(get);
        assert_eq!(answer.status, expected, "{says_so}");
        if expected == 502 {
            assert_eq!(answer.reason(), "body-incomplete");
            let last = gateway.audit().pop().unwrap();
            assert_eq!(last["reason"], "body-incomplete", "{last:#}");
        } else {
            assert_eq!(answer.body, SUMMARY.as_bytes());
        }
    }
}

#[test]
fn nothing_outlives_the_certificate_of_the_peer() {
    let pki = Pki::new();
    // Kept connections, and sessions that are resumed for each exchange.
    for lines in ["", "keepalive_requests 1;"] {
        let addr = free_address();
        let gateway = launch(&pki, addr, ROOTS).start();
        let server = pki.root.issue("server", Spec::server(&[NAME]).ending_in(8));
        let nginx = Nginx::at(addr, &server, lines);
        for _ in 0..2 {
            assert_eq!(ask(&gateway).status, 204, "{lines}");
        }
        let answer = eventually("the end of the certificate", || {
            let answer = ask(&gateway);
            (answer.status != 204).then_some(answer)
        });
        assert_eq!(answer.reason(), "upstream-certificate", "{lines}");
        let heard = nginx.behind.connections();
        assert_eq!(ask(&gateway).reason(), "upstream-certificate", "{lines}");
        assert_eq!(nginx.behind.connections(), heard, "{lines}");
    }
}

/// What the app sends in TLS leaves in another TLS.
#[test]
fn two_handshakes_have_nothing_to_do_with_each_other() {
    let pki = Pki::new();
    let server = pki.server("server", &[NAME]);
    let nginx = Nginx::start(&server, "");
    let intercept = policy(ROOTS).replace("tls: {", "tls: { pod: intercept,");
    let shown = pki.path().join("shown.pem");
    let gateway = Launch::new(&intercept)
        .file("root.pem", &read(&pki.root.cert))
        .args([
            format!("--map={NAME}:443={}", nginx.addr),
            format!("--ca-publish={}", shown.display()),
        ])
        .start();
    let curl = |ca: &Path| {
        Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--http1.1",
                "--write-out",
                "%{http_code}",
            ])
            .args([
                "--header",
                "content-type: application/json",
                "--data",
                SUMMARY,
            ])
            .arg("--connect-to")
            .arg(format!("::{}", gateway.outbound))
            .arg("--cacert")
            .arg(ca)
            .arg(format!("https://{NAME}/v1/results"))
            .output()
            .unwrap()
    };
    let answer = curl(&shown);
    assert_eq!(answer.stdout, b"204", "{answer:?}");
    let seen = nginx.wait_seen(1).remove(0);
    // The app asked for HTTP/1.1 only.
    assert_eq!((&*seen.alpn, &*seen.sni), ("h2", NAME));
    assert!(
        !curl(&pki.root.cert).status.success(),
        "the peer's certificate is not passed on"
    );
    assert_eq!(nginx.behind.requests().len(), 1);
    let record = gateway.wait_verdicts(2).remove(0);
    assert_eq!(record["verdict"], "released", "{record:#}");
    assert_eq!(record["upstream_tls"]["identity"], format!("dns:{NAME}"));
}

#[test]
fn connections_of_a_policy_that_is_gone_are_closed() {
    let pki = Pki::new();
    let server = pki.server("server", &[NAME]);
    let nginx = Nginx::start(&server, "");
    let gateway = launch(&pki, nginx.addr, ROOTS).start();
    assert_eq!(ask(&gateway).status, 204);
    assert_eq!(established(nginx.addr), 1);
    // Nothing that concerns the peer: connections and sessions stay.
    gateway.replace_policy(&policy(ROOTS).replace("name: lab", "name: other"));
    assert_eq!(ask(&gateway).status, 204);
    let seen = nginx.wait_seen(2);
    assert_eq!(seen[0].connection, seen[1].connection);
    let other = pki.server("other", &[NAME]).pin();
    gateway.replace_policy(&policy(&format!("{ROOTS}, spki: ['{other}']")));
    eventually("no connection", || {
        (established(nginx.addr) == 0).then_some(())
    });
    // Neither a kept connection nor a session gets around the new pin.
    assert_eq!(ask(&gateway).reason(), "upstream-identity");
    assert_eq!(nginx.behind.requests().len(), 2);
}

#[test]
fn the_client_hello_is_ours() {
    let pki = Pki::new();
    let silent = Recorder::no_content();
    let gateway = launch(&pki, silent.addr, ROOTS).start();
    let mut app = Client::connect(gateway.outbound);
    app.send(post());
    let hello = eventually("a ClientHello", || {
        let bytes = silent.bytes();
        let length = |b: &[u8]| 5 + usize::from(u16::from_be_bytes([b[3], b[4]]));
        (bytes.len() > 5 && bytes.len() >= length(&bytes)).then_some(bytes)
    });
    let extension = |kind: u16| extensions(&hello).into_iter().find(|(k, _)| *k == kind);
    // X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem) first, with a share of it.
    let groups = extension(10).unwrap().1;
    assert_eq!(groups[2..4], [0x11, 0xec]);
    let shares = extension(51).unwrap().1;
    assert_eq!(shares[2..4], [0x11, 0xec]);
    let alpn = extension(16).unwrap().1;
    assert_eq!(alpn, b"\x00\x0c\x02h2\x08http/1.1");
    let versions = extension(43).unwrap().1;
    assert_eq!(versions, [2, 3, 4]);
    let sni = extension(0).unwrap().1;
    assert!(sni.ends_with(NAME.as_bytes()));
    // No early data, no certificate compression, no session.
    for kind in [42, 27, 41] {
        assert!(extension(kind).is_none(), "{kind}");
    }
}

/// The extensions of a ClientHello (RFC 8446 §4.1.2).
fn extensions(record: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut rest = &record[5 + 4 + 2 + 32..];
    let mut skip = |width: usize| {
        let length = rest[..width]
            .iter()
            .fold(0, |n, b| n << 8 | usize::from(*b));
        let (taken, left) = rest[width..].split_at(length);
        rest = left;
        taken
    };
    skip(1);
    skip(2);
    skip(1);
    let mut all = skip(2);
    let mut found = Vec::new();
    while let [a, b, c, d, left @ ..] = all {
        let (data, left) = left.split_at(usize::from(u16::from_be_bytes([*c, *d])));
        found.push((u16::from_be_bytes([*a, *b]), data.to_vec()));
        all = left;
    }
    found
}

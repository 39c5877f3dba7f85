//! The leg from the pod: real clients, what they are told, and what the other side never sees.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;

use crate::common::gateway::lazaret;
use crate::common::{
    DEADLINE, Gateway, Launch, Recorder, SUMMARY, contains, good, post, repository,
};
use crate::pki::Pki;

/// The interpreter that the system's packages are for: another one before it in the path, such as a
/// virtual environment's, does not have them.
const PYTHON: &str = "/usr/bin/python3";

const COLLECTOR: &str = "collector.example";

/// A body that the contract refuses.
const REFUSED: &str = r#"{"canary":"CANARY-4711-Mustermann"}"#;

/// Two hosts whose TLS ends at the gateway, and one whose does not; all on one address.
const POLICY: &str = r#"
apiVersion: lazaret/v1
kind: Policy
metadata: { name: lab, producer: hospital-a, consumer: pharma-x }
require_encryption: false
dns:
  hosts:
    collector.example: [203.0.113.20]
    other.example: [203.0.113.20]
    more.example: [203.0.113.20]
    plain.example: [203.0.113.20]
egress:
  - name: collector
    to: { hosts: [collector.example], ports: [443] }
    action: inspect
    tls: { pod: intercept }
    exchanges: [{ request: { method: POST, path: /v1/results/t2dm, body: summary } }]
  - name: other
    to: { hosts: [other.example], ports: [443] }
    action: inspect
    tls: { pod: intercept }
    exchanges: [{ request: { method: POST, path: /v1/results/t2dm, body: summary } }]
  - name: plain
    to: { hosts: [plain.example], ports: [443] }
    action: inspect
    exchanges: [{ request: { method: POST, path: /v1/results/t2dm, body: summary } }]
contracts:
  summary: { schema: cohort-summary.schema.json, max_bytes: 4KiB, max_depth: 3 }
"#;

/// What the collector receives of a request that is released: it is spoken to in plain text on the
/// port of `https`.
fn upstream() -> String {
    crate::common::good_upstream().replace("host: collector.example", "host: collector.example:443")
}

/// The gateway between an app and a collector in plain text.
struct Lab {
    gateway: Gateway,
    collector: Recorder,
}

fn launch(policy: &str, collector: &Recorder) -> Launch {
    let launch = Launch::new(policy);
    let publish = launch.path().join("ca.pem");
    let hosts = ["collector", "other", "plain", "more"];
    let map = hosts.map(|host| format!("--map={host}.example:443={}", collector.addr));
    launch
        .args(map)
        .args([format!("--ca-publish={}", publish.display())])
        // A JVM on a loaded machine takes long to say the first word.
        .args(["--detect-timeout=60s"])
}

impl Lab {
    #[track_caller]
    fn new() -> Self {
        let collector = Recorder::no_content();
        let gateway = launch(POLICY, &collector).start();
        Self { gateway, collector }
    }

    fn port(&self) -> String {
        self.gateway.outbound.port().to_string()
    }

    fn ca(&self) -> PathBuf {
        self.gateway.path("ca.pem")
    }

    /// curl as an app runs it, but for the address of the gateway.
    #[track_caller]
    fn curl(&self, args: &[&str]) -> Output {
        let to = format!("::{}", self.gateway.outbound);
        let more = [
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--connect-to",
            &to,
        ];
        run("curl", &[&more[..], args].concat(), &[], "")
    }

    #[track_caller]
    fn openssl(&self, args: &[&str], input: &str) -> Output {
        let to = self.gateway.outbound.to_string();
        let more = ["s_client", "-connect", &to];
        run("openssl", &[&more[..], args].concat(), &[], input)
    }

    /// The only refusal so far, of a connection without a byte for the other side.
    #[track_caller]
    fn assert_refused(&self, what: &str, n: usize, reason: &str) {
        let records = self.gateway.wait_verdicts(n);
        assert_eq!(records[n - 1]["reason"], reason, "{what}: {records:#?}");
        assert_eq!(records[n - 1]["verdict"], "refused", "{what}");
        assert_eq!(self.collector.connections(), 0, "{what}");
    }

    /// A connection of our own, whose bytes are ours to choose.
    #[track_caller]
    fn connect(&self, config: &Arc<ClientConfig>, name: &str) -> Tls {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let client = ClientConnection::new(Arc::clone(config), name).unwrap();
        let stream = TcpStream::connect(self.gateway.outbound).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut stream = StreamOwned::new(client, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        stream
    }

    fn config(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for cert in CertificateDer::pem_file_iter(self.ca()).unwrap() {
            roots.add(cert.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Whatever comes until the other side ends, in one way or another.
fn rest(stream: &mut Tls) -> Vec<u8> {
    let mut all = Vec::new();
    // A reset is an end, too; what was read before it is there.
    let _ = stream.read_to_end(&mut all);
    all
}

/// The head and the body of one answer without a body or with a length.
fn answer(stream: &mut Tls) -> String {
    let mut all = Vec::new();
    let mut byte = [0];
    while !all.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{all:?}");
        all.push(byte[0]);
    }
    String::from_utf8(all).unwrap()
}

#[track_caller]
fn run(program: &str, args: &[&str], env: &[(&str, &Path)], input: &str) -> Output {
    let mut command = Command::new(program);
    command
        .args(args)
        .env_remove("SSL_CERT_FILE")
        .env_remove("SSL_CERT_DIR")
        .env_remove("REQUESTS_CA_BUNDLE")
        .env_remove("CURL_CA_BUNDLE")
        .env_remove("NODE_EXTRA_CA_CERTS")
        .env_remove("JAVA_TOOL_OPTIONS")
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for proxy in [
        "http_proxy",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        command.env_remove(proxy);
    }
    let started = command.spawn();
    let mut child =
        started.unwrap_or_else(|error| panic!("{program}: {error}; run scripts/setup.sh"));
    // It may end without reading it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a client program says that it got.
#[track_caller]
fn got(output: &Output) -> (u64, String) {
    let value: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{} {}", text(&output.stdout), text(&output.stderr)));
    (
        value["status"].as_u64().unwrap(),
        value["body"].as_str().unwrap().to_owned(),
    )
}

/// A payload that may leave does, and one that may not is refused with a document that says why.
#[track_caller]
fn assert_judged(lab: &Lab, client: &str, ask: impl Fn(&str) -> (u64, String)) {
    assert_eq!(ask(SUMMARY), (204, String::new()), "{client}");
    assert_eq!(lab.collector.texts(), [upstream()], "{client}");
    let (status, body) = ask(REFUSED);
    assert_eq!(status, 422, "{client}: {body}");
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["reason"], "schema-mismatch", "{client}");
    assert_eq!(lab.collector.requests().len(), 1, "{client}");
    assert!(!contains(&lab.collector.bytes(), "CANARY"), "{client}");
    let records = lab.gateway.wait_verdicts(2);
    assert_eq!(records[0]["verdict"], "released");
    assert_eq!(records[1]["reason"], "schema-mismatch");
    for record in records {
        let version = record["client_tls"]["version"].as_str().unwrap();
        assert!(["1.2", "1.3"].contains(&version), "{client}: {record}");
    }
}

#[test]
fn curl_is_judged_in_every_version() {
    for http in ["--http1.1", "--http2"] {
        for max in ["1.2", "1.3"] {
            let lab = Lab::new();
            let ca = lab.ca();
            let url = "https://collector.example/v1/results/t2dm";
            assert_judged(&lab, &format!("{http} {max}"), |body| {
                let output = lab.curl(&[
                    http,
                    "--tls-max",
                    max,
                    "--cacert",
                    ca.to_str().unwrap(),
                    url,
                    "--header",
                    "content-type: application/json",
                    "--data-binary",
                    body,
                    "--write-out",
                    "\n%{http_code}",
                ]);
                let said = text(&output.stdout);
                let (body, status) = said.rsplit_once('\n').unwrap();
                (status.parse().unwrap(), body.to_owned())
            });
            let record = lab.gateway.verdicts().swap_remove(0);
            assert_eq!(record["client_tls"]["version"], max);
            // By the names of IANA, whatever the library calls them.
            let cipher = record["client_tls"]["cipher"].as_str().unwrap();
            assert!(cipher.starts_with("TLS_"), "{cipher}");
            let labels = [("leg", "pod"), ("version", max), ("result", "ok")];
            assert_eq!(
                lab.gateway.metric("lazaret_tls_handshakes_total", &labels),
                2.0
            );
        }
    }
}

#[test]
fn python_is_judged() {
    let lab = Lab::new();
    let (script, ca) = (client("client.py"), lab.ca());
    assert_judged(&lab, "requests", |body| {
        got(&run(
            PYTHON,
            &[&script, &lab.port(), body],
            &[("REQUESTS_CA_BUNDLE", &ca)],
            "",
        ))
    });
}

#[test]
fn node_is_judged() {
    let lab = Lab::new();
    let (script, ca) = (client("client.js"), lab.ca());
    assert_judged(&lab, "node", |body| {
        got(&run(
            "node",
            &[&script, &lab.port(), body],
            &[("NODE_EXTRA_CA_CERTS", &ca)],
            "",
        ))
    });
}

#[test]
fn java_is_judged_with_an_exported_trust_store() {
    let lab = Lab::new();
    let (script, ca) = (client("Client.java"), lab.ca());
    let store = lab.gateway.path("trust.p12");
    let exported = lazaret(
        [
            "ca",
            "export",
            "--format",
            "p12",
            "--from",
            ca.to_str().unwrap(),
            "--out",
            store.to_str().unwrap(),
        ],
        b"",
    );
    assert!(exported.status.success(), "{exported:?}");
    let store = format!("-Djavax.net.ssl.trustStore={}", store.display());
    assert_judged(&lab, "java", |body| {
        let password = "-Djavax.net.ssl.trustStorePassword=changeit";
        got(&run(
            "java",
            &[&store, password, &script, &lab.port(), body],
            &[],
            "",
        ))
    });
}

#[test]
fn openssl_accepts_the_certificate_by_the_letter() {
    let lab = Lab::new();
    let ca = lab.ca();
    let args = [
        "-servername",
        COLLECTOR,
        "-verify_hostname",
        COLLECTOR,
        "-x509_strict",
        "-verify_return_error",
        "-CAfile",
        ca.to_str().unwrap(),
        "-ign_eof",
    ];
    let close = post(SUMMARY).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let output = lab.openssl(&args, &close);
    let said = text(&output.stdout);
    assert!(said.contains("Verification: OK"), "{output:?}");
    assert!(said.contains("HTTP/1.1 204"), "{output:?}");
    assert_eq!(lab.collector.texts(), [upstream()]);
}

#[test]
fn a_client_that_does_not_trust_the_gateway_is_recorded_as_pinned() {
    let lab = Lab::new();
    let ca = lab.ca();
    let ca = ca.to_str().unwrap();
    let url = "https://collector.example/v1/results/t2dm";
    let pin = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let mut n = 0;
    let mut check = |what: &str, output: Output| {
        n += 1;
        assert!(!text(&output.stdout).contains("204"), "{what}: {output:?}");
        lab.assert_refused(what, n, "tls-pinned");
    };
    for max in ["1.2", "1.3"] {
        let no_ca = lab.curl(&["--tls-max", max, "--data-binary", SUMMARY, url]);
        assert_eq!(no_ca.status.code(), Some(60));
        check("curl without the authority", no_ca);
        for http in ["--http1.1", "--http2"] {
            let pinned = lab.curl(&[
                "--tls-max",
                max,
                http,
                "--cacert",
                ca,
                "--pinnedpubkey",
                pin,
                "--data-binary",
                SUMMARY,
                url,
            ]);
            assert_eq!(pinned.status.code(), Some(90));
            check("curl with a pin", pinned);
        }
        let version = if max == "1.2" { "-tls1_2" } else { "-tls1_3" };
        let args = [version, "-servername", COLLECTOR, "-verify_return_error"];
        check("openssl", lab.openssl(&args, &good()));
    }
    let port = lab.port();
    check(
        "requests",
        run(PYTHON, &[&client("client.py"), &port, SUMMARY], &[], ""),
    );
    check(
        "node",
        run("node", &[&client("client.js"), &port, SUMMARY], &[], ""),
    );
    let java = client("Client.java");
    for version in ["TLSv1.2", "TLSv1.3"] {
        let version = format!("-Djdk.tls.client.protocols={version}");
        check(
            "java",
            run("java", &[&version, &java, &port, SUMMARY], &[], ""),
        );
    }
    let labels = [("leg", "pod"), ("result", "tls-pinned")];
    assert!(lab.gateway.metric("lazaret_tls_handshakes_total", &labels) >= 6.0);
    let labels = [("reason", "tls-pinned")];
    assert_eq!(
        lab.gateway.metric("lazaret_connections_total", &labels),
        f64::from(n as u32)
    );
}

#[test]
fn another_host_than_the_certificate_is_for_is_misdirected() {
    let lab = Lab::new();
    let ca = lab.ca();
    let mut n = 0;
    // Also one that the policy intercepts, and one that it does not: domain fronting.
    for host in [
        "other.example",
        "plain.example",
        "evil.example",
        "203.0.113.20",
    ] {
        for http in ["--http1.1", "--http2"] {
            let output = lab.curl(&[
                http,
                "--cacert",
                ca.to_str().unwrap(),
                "https://collector.example/v1/results/t2dm",
                "--header",
                &format!("host: {host}"),
                "--header",
                "content-type: application/json",
                "--data-binary",
                SUMMARY,
                "--write-out",
                "\n%{http_code}",
            ]);
            n += 1;
            let said = text(&output.stdout);
            let known = ["other.example", "plain.example"].contains(&host);
            let (reason, status) = if known {
                ("host-mismatch", "421")
            } else {
                ("host-not-allowed", "403")
            };
            assert!(
                said.ends_with(status),
                "{host} {http}: {said} {}",
                text(&output.stderr)
            );
            assert!(said.contains(reason), "{host} {http}: {said}");
            lab.assert_refused(host, n, reason);
        }
    }
}

#[test]
fn plain_text_and_tls_each_only_where_the_rule_has_it() {
    let lab = Lab::new();
    let answer = crate::common::Client::connect(lab.gateway.outbound)
        .ask(post(SUMMARY).replace("collector.example", "collector.example:443"));
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (403, "tls-required")
    );
    lab.assert_refused("plain text", 1, "tls-required");
    let args = ["-servername", "plain.example"];
    lab.openssl(&args, &good());
    lab.assert_refused("TLS", 2, "protocol-tls");
    lab.openssl(&["-servername", "evil.example"], &good());
    lab.assert_refused("a name that no rule has", 3, "tls-sni-not-allowed");
    lab.openssl(&["-noservername"], &good());
    lab.assert_refused("no name", 4, "tls-sni-missing");
}

#[test]
fn old_versions_and_ciphers_are_refused() {
    let lab = Lab::new();
    let cases: [&[&str]; 4] = [
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "AES128-SHA"],
        &["-tls1_3", "-curves", "secp521r1"],
    ];
    for (n, case) in (1..).zip(cases) {
        let output = lab.openssl(&[&["-servername", COLLECTOR][..], case].concat(), &good());
        assert!(!output.status.success(), "{case:?}: {output:?}");
        // What is older than TLS 1.2 is not even answered.
        let reason = if n <= 2 {
            "tls-client-hello"
        } else {
            "tls-handshake"
        };
        lab.assert_refused(case[0], n, reason);
    }
}

#[test]
fn renegotiation_is_refused() {
    let collector = Recorder::no_content();
    let gateway = launch(POLICY, &collector).start();
    let lab = Lab { gateway, collector };
    let ca = lab.ca();
    let args = [
        "-tls1_2",
        "-servername",
        COLLECTOR,
        "-CAfile",
        ca.to_str().unwrap(),
        "-legacy_renegotiation",
    ];
    // A line with an `R` asks for it.
    let output = lab.openssl(&args, "R\n");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("RENEGOTIATING"), "{said}");
    // One handshake, and no second one.
    let accepted = said.matches("depth=0").count();
    assert_eq!(accepted, 1, "{said}");
    assert!(said.contains("no renegotiation"), "{said}");
    // It has left without a byte.
    lab.assert_refused("renegotiation", 1, "tls-pinned");
}

#[test]
fn what_is_agreed_on_is_what_must_be_spoken() {
    let lab = Lab::new();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let cases = [
        (vec!["http/1.1"], preface.clone()),
        (vec!["h2"], good().into_bytes()),
    ];
    for (n, (alpn, bytes)) in (1..).zip(cases) {
        let mut stream = lab.connect(&lab.config(&alpn), COLLECTOR);
        assert_eq!(stream.conn.alpn_protocol(), Some(alpn[0].as_bytes()));
        stream.write_all(&bytes).unwrap();
        let said = rest(&mut stream);
        assert!(!contains(&said, "204"), "{said:?}");
        lab.assert_refused(alpn[0], n, "http-malformed");
    }
    // Without ALPN it is HTTP/1.1 (RFC 9110 §4.2.2).
    let mut stream = lab.connect(&lab.config(&[]), COLLECTOR);
    stream.write_all(good().as_bytes()).unwrap();
    assert!(answer(&mut stream).starts_with("HTTP/1.1 204"));
    // Nothing in common is no handshake (RFC 7301 §3.2).
    let args = ["-servername", COLLECTOR, "-alpn", "smtp"];
    let output = lab.openssl(&args, "");
    assert!(
        text(&output.stderr).contains("alert no application protocol"),
        "{output:?}"
    );
}

#[test]
fn one_connection_carries_many_exchanges() {
    let lab = Lab::new();
    let mut stream = lab.connect(&lab.config(&["http/1.1"]), COLLECTOR);
    for _ in 0..3 {
        stream.write_all(good().as_bytes()).unwrap();
        assert!(answer(&mut stream).starts_with("HTTP/1.1 204"));
    }
    assert_eq!(lab.collector.requests().len(), 3);
    let body = lab.gateway.path("body.json");
    fs::write(&body, SUMMARY).unwrap();
    let connect = format!("--connect-to={}", lab.gateway.outbound);
    let output = run(
        "h2load",
        &[
            "-n",
            "200",
            "-c",
            "2",
            "-m",
            "20",
            &connect,
            "-d",
            body.to_str().unwrap(),
            "-H",
            "content-type: application/json",
            "https://collector.example/v1/results/t2dm",
        ],
        &[],
        "",
    );
    let said = text(&output.stdout);
    assert!(said.contains("Application protocol: h2"), "{said}");
    assert!(
        said.contains("200 succeeded, 0 failed, 0 errored"),
        "{said}"
    );
    assert_eq!(lab.collector.requests().len(), 203);
}

#[test]
fn a_thousand_connections_resume_one_session() {
    let lab = Lab::new();
    let config = lab.config(&["http/1.1"]);
    let mut resumed = 0;
    for _ in 0..1000 {
        let mut stream = lab.connect(&config, COLLECTOR);
        resumed += usize::from(stream.conn.handshake_kind() == Some(HandshakeKind::Resumed));
        stream.write_all(good().as_bytes()).unwrap();
        assert!(answer(&mut stream).starts_with("HTTP/1.1 204"));
    }
    assert_eq!(resumed, 999);
}

#[test]
fn a_session_is_resumed_under_its_own_name_only() {
    let lab = Lab::new();
    let session = lab.gateway.path("session.pem");
    let session = session.to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let save = [
            version,
            "-servername",
            COLLECTOR,
            "-sess_out",
            session,
            "-ign_eof",
        ];
        let close = good().replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let first = lab.openssl(&save, &close);
        assert!(text(&first.stdout).contains("New, TLSv1"), "{first:?}");
        for (name, kind) in [(COLLECTOR, "Reused, "), ("other.example", "New, ")] {
            let host = close.replace(COLLECTOR, name);
            let args = [
                version,
                "-servername",
                name,
                "-sess_in",
                session,
                "-ign_eof",
            ];
            let again = lab.openssl(&args, &host);
            let said = text(&again.stdout);
            assert!(said.contains(kind), "{version} {name}: {again:?}");
            assert!(said.contains("HTTP/1.1 204"), "{version} {name}: {said}");
        }
    }
    // Under a new policy, whoever resumes is judged by that one.
    let save = [
        "-tls1_3",
        "-servername",
        COLLECTOR,
        "-sess_out",
        session,
        "-ign_eof",
    ];
    let close = good().replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    lab.openssl(&save, &close);
    let before = lab.gateway.verdicts().len();
    lab.gateway
        .replace_policy(&POLICY.replace("hosts: [collector.example]", "hosts: [more.example]"));
    let args = [
        "-tls1_3",
        "-servername",
        COLLECTOR,
        "-sess_in",
        session,
        "-ign_eof",
    ];
    lab.openssl(&args, &close);
    let records = lab.gateway.wait_verdicts(before + 1);
    assert_eq!(records[before]["reason"], "tls-sni-not-allowed");
}

#[test]
fn a_host_that_is_no_longer_intercepted_loses_its_connections() {
    let lab = Lab::new();
    for alpn in ["http/1.1", "h2"] {
        let config = lab.config(&[alpn]);
        let mut silent = lab.connect(&config, COLLECTOR);
        let mut kept = lab.connect(&lab.config(&["http/1.1"]), "other.example");
        lab.gateway
            .replace_policy(&POLICY.replace("[collector.example]", "[more.example]"));
        assert_eq!(rest(&mut silent), b"", "{alpn}");
        let other = good().replace(COLLECTOR, "other.example");
        kept.write_all(other.as_bytes()).unwrap();
        assert!(answer(&mut kept).starts_with("HTTP/1.1 204"));
        lab.gateway.replace_policy(POLICY);
    }
    let mut used = lab.connect(&lab.config(&["http/1.1"]), COLLECTOR);
    used.write_all(good().as_bytes()).unwrap();
    answer(&mut used);
    // In plain text: what was encrypted must not go on.
    let plain = POLICY.replacen("    tls: { pod: intercept }\n", "", 1);
    lab.gateway.replace_policy(&plain);
    assert_eq!(rest(&mut used), b"");
}

#[test]
fn the_authority_stays_as_long_as_it_covers_the_names() {
    let lab = Lab::new();
    let published = || fs::read_to_string(lab.ca()).unwrap();
    let mode = fs::metadata(lab.ca()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);
    let first = published();
    let fewer = POLICY.replace(
        "hosts: [other.example], ports: [443]",
        "hosts: [other.example], ports: [444]",
    );
    lab.gateway.replace_policy(&fewer);
    let one = POLICY.replacen("    tls: { pod: intercept }\n", "", 1);
    lab.gateway.replace_policy(&one);
    assert_eq!(published(), first);
    lab.gateway.replace_policy(POLICY);
    assert_eq!(published(), first);
    let more = POLICY.replace("[collector.example]", "[collector.example, more.example]");
    lab.gateway.replace_policy(&more);
    assert_ne!(published(), first);
    assert!(lab.gateway.log().matches("must read it again").count() >= 2);
    for name in [COLLECTOR, "more.example"] {
        let mut stream = lab.connect(&lab.config(&["http/1.1"]), name);
        stream
            .write_all(good().replace(COLLECTOR, name).as_bytes())
            .unwrap();
        assert!(answer(&mut stream).starts_with("HTTP/1.1 204"));
    }
    let ends = lab.gateway.metric(
        "lazaret_tls_certificate_not_after_timestamp_seconds",
        &[("use", "authority")],
    );
    assert!(ends > 1.7e9, "{ends}");
}

/// Whoever may write beside the published file can spoil the file, and nothing else.
#[test]
fn an_app_that_writes_to_the_published_directory_gains_nothing() {
    let collector = Recorder::no_content();
    let launch = launch(POLICY, &collector);
    let victim = launch.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, launch.path().join("ca.pem")).unwrap();
    let lab = Lab {
        gateway: launch.start(),
        collector,
    };
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(fs::symlink_metadata(lab.ca()).unwrap().is_file());
    // It cannot keep a policy in force by hindering the publication for the next one either.
    fs::remove_file(lab.ca()).unwrap();
    fs::create_dir(lab.ca()).unwrap();
    let next = POLICY.replace("[collector.example]", "[more.example]");
    lab.gateway.replace_policy(&next);
    let args = ["-servername", COLLECTOR];
    lab.openssl(&args, &good());
    lab.assert_refused("a host that is gone", 1, "tls-sni-not-allowed");
    assert!(lab.gateway.log().contains("cannot publish the authority"));
}

#[test]
fn what_cannot_be_published_does_not_start() {
    let collector = Recorder::no_content();
    let launch = launch(POLICY, &collector);
    fs::create_dir(launch.path().join("ca.pem")).unwrap();
    let failed = launch.try_start().unwrap_err();
    assert_eq!(failed.status.code(), Some(64), "{}", failed.log);
    assert!(
        failed.log.contains("cannot publish the authority"),
        "{}",
        failed.log
    );
}

#[test]
fn an_authority_of_the_operator_is_checked_and_used() {
    let pki = Pki::new();
    let leaf = pki.server("leaf", &[COLLECTOR]);
    let key = |name: &str| pki.path().join(format!("{name}.key"));
    let start = |cert: &Path, key: &Path| {
        let collector = Recorder::no_content();
        let launch = launch(POLICY, &collector);
        let (cert, key) = (cert.display(), key.display());
        let launch = launch.args([format!("--ca-cert={cert}"), format!("--ca-key={key}")]);
        launch.try_start().map(|gateway| Lab { gateway, collector })
    };
    let refused = |cert: &Path, key: &Path, why: &str| {
        let failed = start(cert, key).map(|_| ()).unwrap_err();
        assert!(failed.log.contains(why), "{why}: {}", failed.log);
    };
    refused(&leaf.cert, &leaf.key, "is no certificate of an authority");
    refused(
        &pki.root.cert,
        &key("other"),
        "is not the one of the certificate",
    );
    refused(&pki.path().join("absent"), &key("root"), "cannot read");
    let open = pki.path().join("open.key");
    fs::copy(key("root"), &open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    refused(&pki.root.cert, &open, "may be read by everybody");

    let lab = start(&pki.root.cert, &key("root")).unwrap();
    let mut stream = lab.connect(&lab.config(&["http/1.1"]), COLLECTOR);
    stream.write_all(good().as_bytes()).unwrap();
    assert!(answer(&mut stream).starts_with("HTTP/1.1 204"));
    let shown = stream.conn.peer_certificates().unwrap().len();
    assert_eq!(shown, 1);

    let below = pki.root.intermediate("below");
    let chain = pki.path().join("chain.pem");
    let both = [&below.cert, &pki.root.cert].map(|path| fs::read_to_string(path).unwrap());
    fs::write(&chain, both.concat()).unwrap();
    let lab = start(&chain, &key("below")).unwrap();
    let stream = lab.connect(&lab.config(&["http/1.1"]), COLLECTOR);
    assert_eq!(stream.conn.peer_certificates().unwrap().len(), 2);
}

#[test]
fn exports_are_what_runtimes_read() {
    let lab = Lab::new();
    let (ca, dir) = (lab.ca(), lab.gateway.path(""));
    let ca = ca.to_str().unwrap();
    let export = |args: &[&str]| {
        let args = [&["ca", "export", "--from", ca][..], args].concat();
        lazaret(args, b"")
    };
    let out = export(&["--out", "-"]);
    assert_eq!(text(&out.stdout), fs::read_to_string(ca).unwrap());
    let bundle = dir.join("bundle.pem");
    let out = export(&["--bundle-system", "--out", bundle.to_str().unwrap()]);
    assert!(out.status.success(), "{out:?}");
    let bundled = fs::read_to_string(&bundle).unwrap();
    assert!(bundled.starts_with(&fs::read_to_string(ca).unwrap()));
    assert!(bundled.matches("BEGIN CERTIFICATE").count() > 10);
    assert_eq!(
        fs::metadata(&bundle).unwrap().permissions().mode() & 0o7777,
        0o644
    );

    let store = dir.join("trust.p12");
    let store = store.to_str().unwrap();
    let out = export(&["--format", "p12", "--bundle-system", "--out", store]);
    assert!(out.status.success(), "{out:?}");
    let listed = run(
        "keytool",
        &["-list", "-keystore", store, "-storepass", "changeit"],
        &[],
        "",
    );
    let listed = text(&listed.stdout);
    assert!(
        listed.contains("lazaret-1,") && listed.contains("trustedCertEntry"),
        "{listed}"
    );
    assert!(listed.contains("system-1,"), "{listed}");

    let cases: [(&[&str], i32, &str); 3] = [
        (
            &["--format", "p12", "--out", "-"],
            64,
            "PKCS #12 is no text",
        ),
        (
            &["--from", store, "--out", "-"],
            64,
            "holds no certificate in PEM",
        ),
        (&["--out", "/nowhere/ca.pem"], 70, "cannot write"),
    ];
    for (args, code, why) in cases {
        let args = [&["ca", "export"][..], args].concat();
        let args = if args.contains(&"--from") {
            args
        } else {
            [&args[..], &["--from", ca]].concat()
        };
        let out = lazaret(args, b"");
        assert_eq!(out.status.code(), Some(code), "{out:?}");
        assert!(text(&out.stderr).contains(why), "{out:?}");
    }
}

fn client(name: &str) -> String {
    let path = repository("tests/tls/clients").join(name);
    path.to_str().unwrap().to_owned()
}

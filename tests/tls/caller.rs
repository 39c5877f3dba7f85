//! Callers from outside, whose TLS ends at the gateway.

use std::io::Write as _;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::version::{TLS12, TLS13};
use serde_json::Value;

use crate::common::gateway::{CALLER, free_address};
use crate::common::raw::{self, End};
use crate::common::{Launch, Recorder, Reply, SUMMARY, eventually};
use crate::pki::{Pair, Pki, Spec, self_signed, with_strangers};
use crate::site::{GET, NAME, Site, policy, run, text};

/// What callers must show, in most tests.
const CLIENT: &str = "client: { roots: clients.pem, identities: [\"spiffe://pharma.example/home\", \
                      \"dns:home.pharma.example\"] }";

/// One of them.
const HOME: &str = "spiffe://pharma.example/home";

/// The caller got nothing of the app's, and the app nothing of the caller's.
#[track_caller]
fn assert_refused(site: &Site, nth: usize, what: &str, seen: &str, reason: &str) -> Value {
    assert!(!seen.contains("mean_hba1c"), "{what}: {seen}");
    assert_eq!(site.app.connections(), 0, "{what}");
    let record = site.gateway.wait_verdicts(nth).pop().unwrap();
    assert_eq!(record["reason"], reason, "{what}: {record}");
    assert_eq!(record["verdict"], "refused", "{what}");
    assert_eq!(record["direction"], "ingress", "{what}");
    record
}

#[test]
fn every_client_is_served_in_its_version_of_http() {
    let site = Site::new(r#"min: "1.2""#);
    let cases: [(&[&str], _, _, _); 4] = [
        (&["--http1.1"], "1.1", "1.3", "TLS_AES_"),
        (&["--http2"], "2", "1.3", "TLS_AES_"),
        (&["--http2", "--tls-max", "1.2"], "2", "1.2", "TLS_ECDHE_"),
        (&["--no-alpn", "--http1.1"], "1.1", "1.3", "TLS_AES_"),
    ];
    for (i, (args, http, version, cipher)) in cases.into_iter().enumerate() {
        let output = site.curl(args);
        assert_eq!(text(&output), format!("{SUMMARY}\n200 {http}"), "{args:?}");
        let record = site.gateway.wait_verdicts(i + 1).pop().unwrap();
        assert_eq!(record["client_tls"]["version"], version, "{record}");
        let agreed = record["client_tls"]["cipher"].as_str().unwrap();
        assert!(agreed.starts_with(cipher), "{record}");
        let labels = [
            ("leg", "caller"),
            ("version", version),
            ("cipher", agreed),
            ("result", "ok"),
        ];
        assert!(site.gateway.metric("lazaret_tls_handshakes_total", &labels) >= 1.0);
    }
    // Whatever the caller spoke, the app hears the same, without TLS.
    let expected = "GET /summary HTTP/1.1\r\nhost: results.hospital.example\r\n\r\n";
    let heard = site.app.texts();
    assert_eq!(heard.len(), cases.len());
    assert!(
        heard.iter().all(|text| same_but_host(text, expected)),
        "{heard:?}"
    );
    let ends = site.gateway.metric(
        "lazaret_tls_certificate_not_after_timestamp_seconds",
        &[("use", "caller:home")],
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let days = (ends - now.as_secs_f64()) / 86_400.0;
    assert!((29.0..=30.0).contains(&days), "{days}");
}

/// The host is the gateway's business.
fn same_but_host(text: &str, expected: &str) -> bool {
    let rest = |text: &str| {
        let lines = text.split("\r\n");
        let kept: Vec<_> = lines
            .filter(|line| !line.starts_with("host: "))
            .map(str::to_owned)
            .collect();
        kept
    };
    rest(text) == rest(expected)
}

#[test]
fn a_post_quantum_key_exchange_is_preferred() {
    let site = Site::new("");
    let mut caller = site.caller(&[&TLS13]);
    assert!(caller.ask(GET, SUMMARY).unwrap().ends_with(SUMMARY));
    let group = caller.connection().negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
}

#[test]
fn real_clients_get_what_they_ask_for() {
    let site = Site::new(CLIENT);
    let home = site.pki.client("home", &[HOME]);
    let [cert, key, root] = [&home.cert, &home.key, &site.pki.root.cert];
    let script = "\
import http.client, ssl, sys
cert, key, root, port, name = sys.argv[1:]
context = ssl.create_default_context(cafile=root)
context.load_cert_chain(cert, key)
class Connection(http.client.HTTPSConnection):
    def connect(self):
        http.client.HTTPConnection.connect(self)
        self.sock = context.wrap_socket(self.sock, server_hostname=name)
client = Connection('127.0.0.1', int(port), context=context)
for _ in range(3):
    client.request('GET', '/summary', headers={'Host': name})
    print(client.getresponse().read().decode())
";
    let port = site.gateway.inbound.port().to_string();
    let output = run(Command::new("python3")
        .args(["-c", script])
        .args([cert, key, root])
        .args([&port, NAME]));
    assert_eq!(text(&output), format!("{SUMMARY}\n").repeat(3));

    // It shows its certificate only when it is asked by name, so without: see the load below.
    let output = site.s_client(
        &[
            "-quiet",
            "-no_ign_eof",
            "-cert",
            cert.to_str().unwrap(),
            "-key",
            key.to_str().unwrap(),
        ],
        b"",
    );
    assert!(output.status.success(), "{}", text(&output));
    for record in site.gateway.wait_verdicts(3) {
        assert_eq!(record["client_tls"]["identity"], HOME, "{record}");
        let spki = record["client_tls"]["spki_sha256"].as_str().unwrap();
        assert_eq!(
            spki.trim_start_matches("sha256:"),
            hex(&home.spki),
            "{record}"
        );
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn many_streams_of_many_connections_are_served() {
    let site = Site::new("");
    let url = format!("https://{NAME}/summary");
    let to = format!("--connect-to={}", site.gateway.inbound);
    let output = run(Command::new("h2load").args(["-n400", "-c8", "-m10", &to, &url]));
    let seen = text(&output);
    assert!(seen.contains("400 succeeded, 0 failed"), "{seen}");
    assert!(
        seen.contains("status codes: 400 2xx, 0 3xx, 0 4xx, 0 5xx"),
        "{seen}"
    );
    assert!(seen.contains("Application protocol: h2"), "{seen}");
    assert_eq!(site.gateway.wait_verdicts(400).len(), 400);
}

#[test]
fn a_caller_shows_the_certificate_that_the_policy_asks_for_or_gets_nothing() {
    type Make = fn(&Pki) -> Option<Pair>;
    let cases: [(&str, Make); 12] = [
        ("none", |_| None),
        ("self-signed", |pki| {
            Some(self_signed(pki.path(), "x", Spec::client(&[HOME])))
        }),
        ("of another authority", |pki| {
            Some(pki.other.issue("x", Spec::client(&[HOME])))
        }),
        ("expired", |pki| {
            Some(pki.root.issue("x", Spec::client(&[HOME]).expired()))
        }),
        ("not yet valid", |pki| {
            Some(pki.root.issue("x", Spec::client(&[HOME]).not_yet()))
        }),
        ("for servers", |pki| {
            Some(pki.root.issue("x", Spec::server(&[HOME])))
        }),
        ("without a name", |pki| Some(pki.client("x", &[]))),
        ("wrong name", |pki| {
            Some(pki.client("x", &["spiffe://pharma.example/other", "pharma.example"]))
        }),
        ("name in another case", |pki| {
            Some(pki.client("x", &["spiffe://pharma.example/HOME"]))
        }),
        ("wildcard", |pki| {
            Some(pki.client("x", &["*.pharma.example"]))
        }),
        ("two SPIFFE IDs", |pki| {
            Some(pki.client("x", &["spiffe://pharma.example/other", HOME]))
        }),
        ("of one who may not sign", |pki| {
            let pretender = pki.root.pretender("pretender");
            Some(pretender.issue("x", Spec::client(&[HOME])))
        }),
    ];
    let site = Site::new(CLIENT);
    for (i, (what, make)) in cases.into_iter().enumerate() {
        let pair = make(&site.pki);
        let output = match &pair {
            Some(pair) => site.curl_as(pair),
            None => site.curl(&[]),
        };
        assert!(!output.status.success(), "{what}: {}", text(&output));
        let reason = "tls-client-certificate";
        let record = assert_refused(&site, i + 1, what, &text(&output), reason);
        // Whose it was, though nobody vouches for that.
        let shown = record["refused_peer"]["spki_sha256"].as_str();
        let shown = shown.map(|spki| spki.trim_start_matches("sha256:"));
        assert_eq!(
            shown,
            pair.map(|pair| hex(&pair.spki)).as_deref(),
            "{what}: {record}"
        );
    }
    let n = cases.len() as f64;
    let labels = [("leg", "caller"), ("result", "tls-client-certificate")];
    assert_eq!(
        site.gateway.metric("lazaret_tls_handshakes_total", &labels),
        n
    );
    let labels = [("reason", "tls-client-certificate")];
    assert_eq!(site.gateway.metric("lazaret_connections_total", &labels), n);
}

#[test]
fn a_caller_is_known_by_any_of_its_names() {
    let site = Site::new(CLIENT);
    let below = site.pki.root.intermediate("below");
    let cases = [
        (site.pki.client("a", &[HOME]), HOME),
        (
            site.pki.client("b", &["home.pharma.example"]),
            "dns:home.pharma.example",
        ),
        (
            site.pki.client("c", &["HOME.pharma.example"]),
            "dns:HOME.pharma.example",
        ),
        (below.issue("d", Spec::client(&["x.example", HOME])), HOME),
    ];
    for (i, (pair, identity)) in cases.into_iter().enumerate() {
        let output = site.curl_as(&pair);
        assert_eq!(text(&output), format!("{SUMMARY}\n200 2"), "{identity}");
        let record = site.gateway.wait_verdicts(i + 1).pop().unwrap();
        assert_eq!(record["client_tls"]["identity"], identity, "{record}");
    }
}

#[test]
fn whoever_may_be_revoked_is_refused() {
    type List = fn(&Pki) -> std::path::PathBuf;
    let cases: [(&str, List, bool); 4] = [
        ("not on the list", |pki| pki.root.revoke("list", &[]), true),
        (
            "revoked",
            |pki| pki.root.revoke("list", &[&pki.client("x", &[HOME])]),
            false,
        ),
        (
            "of another authority",
            |pki| pki.other.revoke("list", &[]),
            false,
        ),
        ("an old list", |pki| pki.root.outdated_crl("list"), false),
    ];
    for (what, list, is_good) in cases {
        let pki = Pki::new();
        pki.server("server", &[NAME]);
        let home = pki.client("home", &[HOME]);
        let list = list(&pki);
        // The certificate that the list was made with is the one that is shown.
        let shown = if what == "revoked" {
            Pair {
                cert: pki.path().join("x.pem"),
                key: pki.path().join("x.key"),
                ..home.clone()
            }
        } else {
            home
        };
        let client = format!("{} crls: [list.pem] }}", CLIENT.replace(" }", ","));
        let app = Recorder::start(|_| Reply::json(SUMMARY));
        let gateway = crate::site::launch(&pki, &policy(&pki, &client), app.addr)
            .file("list.pem", &std::fs::read_to_string(list).unwrap())
            .start();
        let site = Site { pki, gateway, app };
        let output = site.curl_as(&shown);
        if is_good {
            assert_eq!(text(&output), format!("{SUMMARY}\n200 2"), "{what}");
        } else {
            assert!(!output.status.success(), "{what}");
            assert_refused(&site, 1, what, &text(&output), "tls-client-certificate");
        }
    }
}

/// In TLS 1.3 a caller may send its request before its certificate has been judged.
#[test]
fn a_request_that_comes_with_the_certificate_is_not_answered() {
    let site = Site::new(CLIENT);
    let mut caller = site.caller(&[&TLS13]);
    let seen = caller.ask(GET, SUMMARY);
    // It believes in the handshake, and is told otherwise.
    assert!(!caller.connection().is_handshaking());
    let error = seen.expect_err("no answer").to_string();
    assert!(
        error.contains("CertificateRequired") || error.contains("reset"),
        "{error}"
    );
    assert_refused(&site, 1, "early request", "", "tls-client-certificate");
}

/// With another's certificate, which anybody may have seen, but not its key.
/// The search for a chain tries all orders of what a caller sends: it is not begun.
#[test]
fn a_caller_that_sends_many_authorities_is_refused_at_once() {
    let site = Site::new(CLIENT);
    let home = site.pki.client("home", &[HOME]);
    for (i, (strangers, is_good)) in [(4, true), (5, false), (40, false)].into_iter().enumerate() {
        let pair = with_strangers(site.pki.path(), "many", &home, strangers);
        let output = site.curl_as(&pair);
        assert_eq!(text(&output).contains("mean_hba1c"), is_good, "{strangers}");
        let record = site.gateway.wait_verdicts(i + 1).pop().unwrap();
        if !is_good {
            assert_eq!(record["reason"], "tls-client-certificate", "{record}");
            assert_eq!(record["refused_peer"]["identity"], HOME, "{record}");
        }
    }
    assert_eq!(site.app.connections(), 1);
}

#[test]
fn a_certificate_without_its_key_is_nobodys() {
    let site = Site::new(CLIENT);
    let [home, thief] = [
        site.pki.client("home", &[HOME]),
        site.pki.client("thief", &[]),
    ];
    // OpenSSL notices that they do not fit; not every library need do so.
    let mut caller = showing(&site, &home, &thief);
    let seen = caller.ask(GET, SUMMARY);
    assert!(seen.is_err(), "{seen:?}");
    assert_refused(&site, 1, "stolen", "", "tls-client-certificate");
    assert_eq!(site.verdict()["refused_peer"]["identity"], HOME);
}

/// Shows the certificate of one and signs with the key of another.
fn showing(site: &Site, cert: &Pair, key: &Pair) -> crate::site::Caller {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = vec![CertificateDer::from_pem_file(&cert.cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&key.key).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let key = rustls::sign::CertifiedKey::new(chain, key);
    let resolver = std::sync::Arc::new(rustls::sign::SingleCertAndKey::from(key));
    crate::site::Caller::showing(&site.pki.root.cert, site.gateway.inbound, resolver)
}

#[test]
fn what_is_no_tls_of_ours_is_refused_and_the_app_sees_nothing() {
    let cases: [(&str, &[&str]); 5] = [
        ("an old version", &["-tls1_2"]),
        ("another protocol", &["-alpn", "smtp"]),
        ("a weak cipher", &["-tls1_2", "-cipher", "AES128-SHA"]),
        (
            "no forward secrecy",
            &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
        ),
        ("CBC", &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"]),
    ];
    let [strict, lax] = ["", r#"min: "1.2""#].map(Site::new);
    for (i, (what, args)) in cases.into_iter().enumerate() {
        let (site, nth) = if i < 2 {
            (&strict, i + 1)
        } else {
            (&lax, i - 1)
        };
        let seen = text(&site.s_client(args, GET.as_bytes()));
        assert_refused(site, nth, what, &seen, "tls-handshake");
        assert!(seen.contains("alert"), "{what}: {seen}");
    }
}

#[test]
fn plain_text_where_tls_is_asked_for_gets_nothing_in_any_mode() {
    for (what, bytes, reason) in [
        ("HTTP/1.1", GET.as_bytes(), "tls-required"),
        (
            "HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "tls-required",
        ),
        ("something", b"\x00\x01\x02GET /summary", "protocol-unknown"),
        (
            "almost TLS",
            b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00",
            "tls-client-hello",
        ),
    ] {
        for mode in ["enforce", "observe"] {
            let mode = format!("mode: {mode}");
            let site = Site::with(CLIENT, |_, policy| policy.replace("mode: enforce", &mode));
            let mut caller = raw::Client::connect(site.gateway.inbound);
            caller.send(bytes);
            assert_eq!(caller.rest(), (Vec::new(), End::Reset), "{what} {mode}");
            assert_refused(&site, 1, what, "", reason);
        }
    }
}

/// Who may not call at all must not get what whoever may call has to show a certificate for.
#[test]
fn a_stranger_gets_no_further_than_a_caller_without_certificate_in_any_mode() {
    for mode in ["enforce", "observe"] {
        let mode = format!("mode: {mode}");
        let site = Site::with(CLIENT, |_, policy| {
            let policy = policy.replace("10.200.0.0/16", "10.201.0.0/16");
            policy.replace("mode: enforce", &mode)
        });
        let mut caller = raw::Client::connect(site.gateway.inbound);
        caller.send(GET);
        assert_eq!(caller.rest(), (Vec::new(), End::Reset), "{mode}");
        assert_refused(&site, 1, &mode, "", "source-not-allowed");
    }
}

#[test]
fn tls_from_callers_works_when_the_policy_only_observes() {
    let site = Site::with(CLIENT, |_, policy| policy.replace("enforce", "observe"));
    let home = site.pki.client("home", &[HOME]);
    assert_eq!(text(&site.curl_as(&home)), format!("{SUMMARY}\n200 2"));
    // Who calls is not for observation only.
    let output = site.curl(&[]);
    assert!(!output.status.success());
    let records = site.gateway.wait_verdicts(2);
    assert_eq!(records[0]["client_tls"]["identity"], HOME);
    assert_eq!(records[1]["reason"], "tls-client-certificate");
    assert_eq!(site.app.connections(), 1);
}

#[test]
fn a_client_hello_may_come_byte_by_byte() {
    let site = Site::new("");
    let mut caller = site.caller(&[&TLS13]);
    caller.trickle();
    assert!(caller.ask(GET, SUMMARY).unwrap().ends_with(SUMMARY));
}

#[test]
fn a_slow_handshake_ends_in_time() {
    for whole in [false, true] {
        let pki = Pki::new();
        pki.server("server", &[NAME]);
        let app = Recorder::start(|_| Reply::json(SUMMARY));
        let gateway = crate::site::launch(&pki, &policy(&pki, ""), app.addr)
            .args(["--detect-timeout=300ms"])
            .start();
        let site = Site { pki, gateway, app };
        let hello = site.caller(&[&TLS13]).hello();
        let sent = if whole {
            &hello[..]
        } else {
            &hello[..hello.len() / 2]
        };
        let mut caller = raw::Client::connect(site.gateway.inbound);
        caller.send(sent);
        // The gateway's own part of the handshake, at most.
        let (got, _) = caller.rest();
        assert_eq!(got.is_empty(), !whole, "{whole}");
        assert_refused(&site, 1, "slow", "", "protocol-timeout");
    }
}

#[test]
fn nothing_is_negotiated_anew() {
    let site = Site::new(r#"min: "1.2""#);
    // `R` on a line of its own: a new handshake in the old one.
    let output = site.s_client(&["-tls1_2"], b"R\n");
    let seen = text(&output);
    assert!(seen.contains("RENEGOTIATING"), "{seen}");
    assert!(seen.contains("no renegotiation"), "{seen}");
    assert_eq!(site.app.connections(), 0);
}

#[test]
fn no_byte_comes_before_the_handshake() {
    let site = Site::new("");
    let session = site.pki.path().join("session").display().to_string();
    let early = site.pki.path().join("early").display().to_string();
    std::fs::write(&early, GET).unwrap();
    let request = GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let quiet = ["-ign_eof", "-nocommands"];
    let first = site.s_client(
        &[&quiet[..], &["-sess_out", &session]].concat(),
        request.as_bytes(),
    );
    assert!(
        text(&first).contains("Max Early Data: 0"),
        "{}",
        text(&first)
    );
    // The client refuses to send it, having been told so.
    let args = [&quiet[..], &["-sess_in", &session, "-early_data", &early]].concat();
    let second = site.s_client(&args, request.as_bytes());
    let seen = text(&second);
    assert!(!seen.contains("Early data was accepted"), "{seen}");
    // And a client that lies to itself about that is not believed.
    assert!(site.app.texts().len() <= 2);
}

#[test]
fn a_session_is_resumed_until_the_demands_change() {
    let site = Site::new(CLIENT);
    let home = site.pki.client("home", &[HOME]);
    let (cert, key) = (
        home.cert.display().to_string(),
        home.key.display().to_string(),
    );
    let session = site.pki.path().join("session").display().to_string();
    let request = GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let ask = |more: &[&str]| {
        let shown = ["-ign_eof", "-nocommands", "-cert", &cert, "-key", &key];
        text(&site.s_client(&[&shown[..], more].concat(), request.as_bytes()))
    };
    let seen = ask(&["-sess_out", &session]);
    assert!(
        seen.contains("New, TLSv1.3") && seen.contains(SUMMARY),
        "{seen}"
    );
    // Whoever resumes is known by what it showed first.
    let seen = text(&site.s_client(
        &[
            "-ign_eof",
            "-nocommands",
            "-sess_in",
            &session,
            "-sess_out",
            &session,
        ],
        request.as_bytes(),
    ));
    assert!(
        seen.contains("Reused, TLSv1.3") && seen.contains(SUMMARY),
        "{seen}"
    );
    let records = site.gateway.wait_verdicts(2);
    assert_eq!(records[1]["client_tls"]["identity"], HOME);

    // Others are asked for now.
    let other = CLIENT
        .replace("/home", "/lab")
        .replace("dns:home", "dns:lab");
    site.gateway.replace_policy(&policy(&site.pki, &other));
    let seen = ask(&["-sess_in", &session]);
    assert!(
        !seen.contains("Reused") && !seen.contains("mean_hba1c"),
        "{seen}"
    );
    let records = site.gateway.wait_verdicts(3);
    assert_eq!(records[2]["reason"], "tls-client-certificate");
    assert_eq!(records[2]["refused_peer"]["identity"], HOME);
}

/// Resumption is no way to outlive a certificate.
#[test]
fn a_session_ends_with_the_certificate_that_it_was_granted_for() {
    let site = Site::new(CLIENT);
    let brief = site
        .pki
        .root
        .issue("brief", Spec::client(&[HOME]).ending_in(8));
    let ends = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 8;
    let (cert, key) = (
        brief.cert.display().to_string(),
        brief.key.display().to_string(),
    );
    let session = site.pki.path().join("session").display().to_string();
    let request = GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let quiet = ["-ign_eof", "-nocommands"];
    let first = ["-cert", &cert, "-key", &key, "-sess_out", &session];
    let seen = text(&site.s_client(&[&quiet[..], &first].concat(), request.as_bytes()));
    assert!(seen.contains(SUMMARY), "{seen}");
    let mut open = showing(&site, &brief, &brief);
    assert!(open.ask(GET, SUMMARY).unwrap().ends_with(SUMMARY));
    eventually("the end of the certificate", || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        (now.as_secs() > ends).then_some(())
    });
    let again = [&quiet[..], &["-sess_in", &session]].concat();
    let seen = text(&site.s_client(&again, request.as_bytes()));
    assert!(!seen.contains("mean_hba1c"), "{seen}");
    let record = site.gateway.wait_verdicts(3).pop().unwrap();
    assert_eq!(record["reason"], "tls-client-certificate", "{record}");
    assert_eq!(record["refused_peer"]["identity"], HOME);

    // Nor is a connection that stays open.
    let seen = open.ask(GET, "\"}").unwrap();
    assert!(seen.starts_with("HTTP/1.1 403"), "{seen}");
    let record = site.gateway.wait_verdicts(4).pop().unwrap();
    assert_eq!(record["reason"], "tls-client-certificate", "{record}");
    assert_eq!(record["client_tls"]["identity"], HOME);
    assert_eq!(site.app.requests().len(), 2);
}

#[test]
fn a_renewed_certificate_is_shown_at_once_and_cuts_nobody_off() {
    let site = Site::new("");
    let shown = || {
        let output = site.s_client(&["-showcerts"], b"");
        text(&output)
    };
    let mut caller = site.caller(&[&TLS13]);
    assert!(caller.ask(GET, SUMMARY).unwrap().ends_with(SUMMARY));
    let before = shown();

    // A key that does not fit yet, as in the middle of a renewal: what is there stays.
    site.pki.server("next", &[NAME]);
    let at = |file: &str| site.pki.path().join(file);
    std::fs::rename(at("next.pem"), at("server.pem")).unwrap();
    let failures = [("result", "kept")];
    eventually("the misfit", || {
        (site
            .gateway
            .metric("lazaret_policy_reloads_total", &failures)
            >= 1.0)
            .then_some(())
    });
    assert!(
        site.gateway
            .log()
            .contains("is not that of the first certificate in")
    );
    assert_eq!(certificates(&shown()), certificates(&before));

    std::fs::rename(at("next.key"), at("server.key")).unwrap();
    eventually("the new certificate", || {
        (certificates(&shown()) != certificates(&before)).then_some(())
    });
    assert!(caller.ask(GET, SUMMARY).unwrap().ends_with(SUMMARY));
    assert_eq!(site.gateway.wait_verdicts(2).len(), 2);
}

fn certificates(seen: &str) -> Vec<String> {
    let parts = seen.split("-----BEGIN CERTIFICATE-----").skip(1);
    parts
        .map(|part| part.split("-----END").next().unwrap().to_owned())
        .collect()
}

#[test]
fn whoever_the_policy_no_longer_lets_in_is_cut_off() {
    let plain = |policy: String| {
        let start = policy.find("    tls:").unwrap();
        let end = start + policy[start..].find('\n').unwrap() + 1;
        format!(
            "{}{}require_encryption: false\n",
            &policy[..start],
            &policy[end..]
        )
    };
    for (what, tls) in [
        ("more is asked for", Some(CLIENT)),
        ("an older version is enough", Some(r#"min: "1.2""#)),
        ("there is no TLS", None),
    ] {
        let site = Site::new("");
        let mut caller = site.caller(&[&TLS13]);
        assert!(caller.ask(GET, SUMMARY).unwrap().ends_with(SUMMARY));
        let next = match tls {
            Some(tls) => policy(&site.pki, tls),
            None => plain(policy(&site.pki, "")),
        };
        site.gateway.replace_policy(&next);
        let seen = caller.ask("", "never").unwrap_or_default();
        assert_eq!(seen, "", "{what}");
        let again = caller.ask(GET, SUMMARY);
        assert!(
            again.is_err() || again.as_ref().unwrap().is_empty(),
            "{what}: {again:?}"
        );
        assert_eq!(site.app.requests().len(), 1, "{what}");
    }
}

#[test]
fn what_the_app_may_not_say_is_refused_in_tls_too() {
    let app = Recorder::start(|_| Reply::json(r#"{"patient":"CANARY-4711-Mustermann"}"#));
    let site = Site::before(app, "", |_, policy| policy);
    for http in ["--http1.1", "--http2"] {
        let output = site.curl(&[http]);
        let seen = text(&output);
        assert!(seen.contains("schema-mismatch"), "{seen}");
        assert!(seen.contains("\n502 "), "{seen}");
        assert!(!seen.contains("CANARY"), "{seen}");
    }
    for record in site.gateway.wait_verdicts(2) {
        assert_eq!(record["reason"], "schema-mismatch", "{record}");
    }
}

#[test]
fn the_rule_of_a_caller_is_chosen_by_its_address_before_the_handshake() {
    let pki = Pki::new();
    pki.server("server", &[NAME]);
    let strict = policy(&pki, CLIENT);
    // The same port for another network, without a certificate.
    let start = strict.find("  - name: home").unwrap();
    let end = strict.find("contracts:").unwrap();
    let open = strict[start..end]
        .replace("name: home", "name: lab")
        .replace("10.200.0.0/16", "10.201.0.0/16")
        .replace(CLIENT, "");
    let both = format!("{}{open}{}", &strict[..end], &strict[end..]);
    for (address, is_good) in [(CALLER, false), ("10.201.0.9", true), ("10.202.0.9", false)] {
        let app = Recorder::start(|_| Reply::json(SUMMARY));
        let root = std::fs::read_to_string(&pki.root.cert).unwrap();
        let gateway = Launch::new(&both)
            .file("clients.pem", &root)
            .args([
                format!("--app=8000={}", app.addr),
                format!("--caller={address}"),
            ])
            .start();
        let mut caller = crate::site::Caller::new(&pki.root.cert, gateway.inbound, &[&TLS13]);
        let seen = caller.ask(GET, SUMMARY);
        assert_eq!(
            seen.is_ok_and(|seen| seen.ends_with(SUMMARY)),
            is_good,
            "{address}"
        );
        assert_eq!(app.connections(), usize::from(is_good), "{address}");
        let expected = match address {
            CALLER => "tls-client-certificate",
            "10.202.0.9" => "source-not-allowed",
            _ => "null",
        };
        let record = gateway.wait_verdicts(1).remove(0);
        assert_eq!(
            record["reason"].as_str().unwrap_or("null"),
            expected,
            "{record}"
        );
    }
}

#[test]
fn a_gateway_does_not_start_with_keys_that_it_cannot_use() {
    type Spoil = fn(&Pki);
    let cases: [(&str, Spoil, &str); 5] = [
        (
            "absent",
            |pki| std::fs::remove_file(pki.path().join("server.key")).unwrap(),
            "cannot read",
        ),
        (
            "open to all",
            |pki| {
                use std::os::unix::fs::PermissionsExt as _;
                let mode = std::fs::Permissions::from_mode(0o644);
                std::fs::set_permissions(pki.path().join("server.key"), mode).unwrap();
            },
            "make it 0400 or 0440",
        ),
        (
            "of another",
            |pki| {
                pki.server("x", &[NAME]);
                let at = |file: &str| pki.path().join(file);
                std::fs::rename(at("x.key"), at("server.key")).unwrap();
            },
            "is not that of the first certificate in",
        ),
        (
            "no key",
            |pki| {
                let path = pki.path().join("server.key");
                std::fs::remove_file(&path).unwrap();
                let mut file = std::os::unix::fs::OpenOptionsExt::mode(
                    std::fs::OpenOptions::new().write(true).create_new(true),
                    0o400,
                )
                .open(path)
                .unwrap();
                file.write_all(b"nothing").unwrap();
            },
            "holds no private key",
        ),
        (
            "no certificate",
            |pki| {
                std::fs::write(pki.path().join("server.pem"), "").unwrap();
            },
            "holds no certificate",
        ),
    ];
    for (what, spoil, expected) in cases {
        let pki = Pki::new();
        pki.server("server", &[NAME]);
        spoil(&pki);
        let failed = crate::site::launch(&pki, &policy(&pki, ""), free_address())
            .try_start()
            .expect_err(what);
        assert_eq!(failed.status.code(), Some(64), "{what}: {}", failed.log);
        assert!(
            failed.log.contains("ingress rule `home`"),
            "{what}: {}",
            failed.log
        );
        assert!(failed.log.contains("server."), "{what}: {}", failed.log);
        assert!(failed.log.contains(expected), "{what}: {}", failed.log);
    }
}

/// A policy is often written where its keys are not.
#[test]
fn check_warns_of_keys_that_are_not_here() {
    let pki = Pki::new();
    let launch = crate::site::launch(&pki, &policy(&pki, CLIENT), free_address());
    let file = launch.path().join("policy.yaml");
    let check = || {
        run(Command::new(env!("CARGO_BIN_EXE_lazaret"))
            .arg("check")
            .arg(&file))
    };
    let output = check();
    let seen = text(&output);
    assert!(output.status.success(), "{seen}");
    assert!(
        seen.contains("warning: ingress rule `home`: cannot read"),
        "{seen}"
    );
    assert!(seen.contains("server.pem"), "{seen}");
    pki.server("server", &[NAME]);
    let seen = text(&check());
    assert!(!seen.contains("warning"), "{seen}");
}

#[test]
fn a_caller_of_tls_1_2_is_served_only_where_it_may_be() {
    let site = Site::new(r#"min: "1.2""#);
    let mut caller = site.caller(&[&TLS12]);
    assert!(caller.ask(GET, SUMMARY).unwrap().ends_with(SUMMARY));
    assert_eq!(site.verdict()["client_tls"]["version"], "1.2");
}

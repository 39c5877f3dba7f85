//! The app behind an ingress rule that serves TLS itself, and would speak to its caller through it.
//! Whatever its certificate and its handshake say, the caller hears the gateway's alone.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;

use crate::common::gateway::free_address;
use crate::common::{CANARY, Launch, Recorder, SUMMARY, contains, eventually};
use crate::pki::{Pair, Pki, Spec, self_signed};
use crate::site::{Caller, GET, NAME, launch, policy, s_client, text};

/// A server in the pod, ended when dropped.
#[derive(Debug)]
struct App {
    child: Child,
    addr: SocketAddr,
    dir: TempDir,
}

/// A certificate that says what the app would tell its caller.
fn telling(pki: &Pki) -> Pair {
    let name = format!("{CANARY}.example");
    let uri = format!("spiffe://{}/x", CANARY.to_ascii_lowercase());
    self_signed(pki.path(), "app", Spec::server(&[&name, &uri]))
}

impl App {
    fn start(addr: SocketAddr, dir: TempDir, command: &mut Command) -> Self {
        let child = command
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the app", || TcpStream::connect(addr).ok());
        Self { child, addr, dir }
    }

    /// `openssl s_server`, which answers in HTTP/1.1.
    fn openssl(pair: &Pair, args: &[&str]) -> Self {
        let (addr, dir) = (free_address(), tempfile::tempdir().unwrap());
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{SUMMARY}",
            SUMMARY.len()
        );
        fs::write(dir.path().join("summary"), answer).unwrap();
        let mut command = Command::new("openssl");
        command
            .args(["s_server", "-quiet", "-HTTP", "-accept", &addr.to_string()])
            .arg("-cert")
            .arg(&pair.cert)
            .arg("-key")
            .arg(&pair.key)
            .args(args);
        Self::start(addr, dir, &mut command)
    }

    /// nginx, which speaks HTTP/2 and notes what it heard.
    fn nginx(pair: &Pair) -> Self {
        let (addr, dir) = (free_address(), tempfile::tempdir().unwrap());
        let conf = format!(
            "daemon off; master_process off; pid pid; error_log error;\n\
             events {{}}\n\
             http {{\n\
               log_format heard '$server_protocol $ssl_protocol $http_host';\n\
               access_log heard heard;\n\
               client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;\n\
               uwsgi_temp_path t4; scgi_temp_path t5;\n\
               server {{\n\
                 listen {addr} ssl http2;\n\
                 ssl_protocols TLSv1.3; ssl_certificate {}; ssl_certificate_key {};\n\
                 location /summary {{ default_type application/json; return 200 '{SUMMARY}'; }}\n\
               }}\n\
             }}\n",
            pair.cert.display(),
            pair.key.display(),
        );
        fs::write(dir.path().join("nginx.conf"), conf).unwrap();
        let path = dir.path().display().to_string();
        let mut command = Command::new("nginx");
        command.args(["-p", &path, "-c", "nginx.conf", "-e", "error"]);
        Self::start(addr, dir, &mut command)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pki() -> Pki {
    let pki = Pki::new();
    pki.server("server", &[NAME]);
    pki
}

/// Row 28 of the channels: the certificate and the handshake of an app that serves TLS.
#[test]
fn nothing_of_the_apps_own_tls_reaches_its_caller() {
    let pki = pki();
    let pair = telling(&pki);
    let app = App::openssl(&pair, &["-alpn", "http/1.1"]);
    let policy = policy(&pki, r#"min: "1.2", app: tls"#);
    let gateway = launch(&pki, &policy, app.addr).start();
    let own = CertificateDer::from_pem_file(pki.path().join("server.pem")).unwrap();
    let mut answers = Vec::new();
    // In TLS 1.2 a certificate is not even encrypted, so that the raw bytes show it.
    for version in [&TLS12, &TLS13] {
        let mut caller = Caller::new(&pki.root.cert, gateway.inbound, &[version]);
        let answer = caller.ask(GET, SUMMARY).unwrap();
        assert!(answer.ends_with(SUMMARY), "{answer}");
        assert!(!contains(&caller.raw(), CANARY));
        assert!(!contains(answer.as_bytes(), CANARY), "{answer}");
        let chain = caller.connection().peer_certificates().unwrap();
        assert_eq!(chain, std::slice::from_ref(&own));
        answers.push(answer);
    }
    // The capture would have shown it.
    let own_tls = s_client(app.addr, &pair.cert, &["-showcerts"], b"");
    assert!(contains(&openssl_text(&text(&own_tls)), CANARY));
    for record in gateway.wait_verdicts(2) {
        assert_eq!(record["upstream_tls"]["version"], "1.3", "{record}");
        assert_eq!(record["verdict"], "released");
    }
    let labels = [("leg", "app"), ("result", "ok")];
    assert!(gateway.metric("lazaret_tls_handshakes_total", &labels) >= 1.0);

    // Another app, another certificate, another version: the same answer.
    drop((app, gateway));
    let plain = self_signed(pki.path(), "app2", Spec::server(&["localhost"]));
    let app = App::openssl(&plain, &["-tls1_2"]);
    let gateway = launch(&pki, &policy, app.addr).start();
    for version in [&TLS12, &TLS13] {
        let mut caller = Caller::new(&pki.root.cert, gateway.inbound, &[version]);
        answers.push(caller.ask(GET, SUMMARY).unwrap());
    }
    let undated = |answer: &String| {
        let lines = answer
            .split("\r\n")
            .filter(|line| !line.starts_with("date: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(
        answers
            .iter()
            .all(|answer| undated(answer) == undated(&answers[0])),
        "{answers:?}"
    );
}

/// The first certificate in this text, as `openssl x509` tells it.
fn openssl_text(seen: &str) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = Command::new("openssl")
        .args(["x509", "-noout", "-text"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(seen.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap().stdout
}

#[test]
fn an_app_may_speak_http_2_whatever_its_caller_speaks() {
    let pki = pki();
    let app = App::nginx(&telling(&pki));
    let gateway = launch(&pki, &policy(&pki, "app: tls"), app.addr).start();
    let mut caller = Caller::new(&pki.root.cert, gateway.inbound, &[&TLS13]);
    for _ in 0..3 {
        let answer = caller.ask(GET, SUMMARY).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with(SUMMARY),
            "{answer}"
        );
        assert!(!contains(answer.as_bytes(), "nginx"), "{answer}");
    }
    let heard = eventually("what it heard", || {
        let heard = fs::read_to_string(app.dir.path().join("heard")).unwrap_or_default();
        (heard.lines().count() >= 3).then_some(heard)
    });
    assert!(
        heard
            .lines()
            .all(|line| line.starts_with("HTTP/2.0 TLSv1.3")),
        "{heard}"
    );
    // One connection carried them all.
    assert_eq!(
        gateway.metric("lazaret_tls_handshakes_total", &[("leg", "app")]),
        1.0
    );
}

#[test]
fn an_app_that_fails_at_tls_says_nothing_by_it() {
    let pki = pki();
    let policy = policy(&pki, "app: tls");
    // No TLS at all, an alert of its choice, and the bytes of a handshake that leads nowhere.
    for bytes in [
        format!("HTTP/1.1 200 OK\r\n\r\n{CANARY}").into_bytes(),
        b"\x15\x03\x03\x00\x02\x02\x47".to_vec(),
        [b"\x16\x03\x03\x00\x16", CANARY.as_bytes()].concat(),
    ] {
        let app = mute(bytes);
        let gateway = launch(&pki, &policy, app).start();
        let mut caller = Caller::new(&pki.root.cert, gateway.inbound, &[&TLS13]);
        let answer = caller.ask(GET, "\"}").unwrap();
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
        assert!(!contains(answer.as_bytes(), CANARY), "{answer}");
        assert_eq!(gateway.wait_verdicts(1)[0]["reason"], "upstream-tls");
    }
}

/// Says this to whoever connects, whatever it hears, and ends the connection.
fn mute(bytes: Vec<u8>) -> SocketAddr {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut heard = [0; 4096];
            // They may go at any time.
            let _ = stream.read(&mut heard);
            let _ = stream.write_all(&bytes);
        }
    });
    addr
}

/// A rule without `tls` carries plain HTTP, and nobody's TLS.
#[test]
fn an_app_that_serves_tls_without_the_policy_reaches_nobody() {
    let pki = pki();
    let whole = policy(&pki, "");
    let start = whole.find("    tls:").unwrap();
    let end = start + whole[start..].find('\n').unwrap() + 1;
    let plain = format!(
        "{}{}require_encryption: false\n",
        &whole[..start],
        &whole[end..]
    );

    let app = Recorder::always([b"\x16\x03\x03\x00\x16", CANARY.as_bytes()].concat());
    let gateway = Launch::new(&plain).app(app.addr).start();
    let seen = text(&s_client(gateway.inbound, &pki.root.cert, &[], b""));
    assert!(!contains(seen.as_bytes(), CANARY), "{seen}");
    assert_eq!(gateway.wait_verdicts(1)[0]["reason"], "protocol-tls");
    assert_eq!(app.connections(), 0);

    // Asked in plain text, it answers with the beginning of a handshake.
    let mut caller = crate::common::Client::connect(gateway.inbound);
    let answer = caller.ask(GET);
    assert_eq!(answer.status, 502);
    assert!(!contains(&answer.raw, CANARY));
    assert_eq!(gateway.wait_verdicts(2)[1]["reason"], "upstream-protocol");
}

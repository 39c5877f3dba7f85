//! An app behind an ingress rule with TLS, and callers of every kind.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::common::{DEADLINE, Gateway, Launch, Recorder, Reply, SUMMARY};
use crate::pki::{Pair, Pki};

/// The producer's name.
pub const NAME: &str = "results.hospital.example";

/// A request that is allowed.
pub const GET: &str = "GET /summary HTTP/1.1\r\nHost: results.hospital.example\r\n\r\n";

/// A gateway that serves TLS with the producer's certificate `server` of `pki`, before an app.
#[derive(Debug)]
pub struct Site {
    pub gateway: Gateway,
    pub app: Recorder,
    /// Dropped last: the gateway looks at its files.
    pub pki: Pki,
}

/// Bytes as they come and go.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    got: Rc<RefCell<Vec<u8>>>,
}

/// A caller in TLS, and the raw bytes that it got.
pub struct Caller {
    tls: StreamOwned<ClientConnection, Wire>,
    got: Rc<RefCell<Vec<u8>>>,
}

/// The policy with these lines of `tls` besides certificate and key. The files of others stand
/// beside it, since they are part of it.
pub fn policy(pki: &Pki, tls: &str) -> String {
    let at = |file: &str| pki.path().join(file).display().to_string();
    format!(
        r#"
apiVersion: lazaret/v1
kind: Policy
metadata: {{ name: lab, producer: hospital-a, consumer: pharma-x }}
mode: enforce
ingress:
  - name: home
    from: {{ cidrs: [10.200.0.0/16] }}
    port: 8000
    action: inspect
    tls: {{ cert: "{}", key: "{}", {tls} }}
    exchanges:
      - request: {{ method: GET, path: /summary }}
        response: {{ statuses: [200], body: summary }}
contracts:
  summary: {{ schema: cohort-summary.schema.json, max_bytes: 4KiB, max_depth: 3 }}
"#,
        at("server.pem"),
        at("server.key"),
    )
}

/// The gateway to be, under this policy.
pub fn launch(pki: &Pki, policy: &str, app: SocketAddr) -> Launch {
    let root = std::fs::read_to_string(&pki.root.cert).unwrap();
    Launch::new(policy).file("clients.pem", &root).app(app)
}

impl Site {
    /// Before an app that answers with an aggregate.
    pub fn new(tls: &str) -> Self {
        Self::with(tls, |_, policy| policy)
    }

    /// The same, with what this makes of PKI and policy.
    pub fn with(tls: &str, change: impl FnOnce(&Pki, String) -> String) -> Self {
        Self::before(Recorder::start(|_| Reply::json(SUMMARY)), tls, change)
    }

    /// Before this app.
    pub fn before(app: Recorder, tls: &str, change: impl FnOnce(&Pki, String) -> String) -> Self {
        let pki = Pki::new();
        pki.server("server", &[NAME]);
        let policy = change(&pki, policy(&pki, tls));
        Self {
            gateway: launch(&pki, &policy, app.addr).start(),
            pki,
            app,
        }
    }

    /// `curl` with these arguments, for the summary.
    pub fn curl(&self, args: &[&str]) -> Output {
        let to = format!("::{}", self.gateway.inbound);
        let root = self.pki.root.cert.display().to_string();
        let url = format!("https://{NAME}/summary");
        let format = "\n%{http_code} %{http_version}";
        let first = ["-sS", "--max-time", "20", "--cacert", &root];
        run(Command::new("curl")
            .args(first)
            .args(["-w", format, "--connect-to", &to, &url])
            .args(args))
    }

    /// `curl` with this client certificate.
    pub fn curl_as(&self, pair: &Pair) -> Output {
        let [cert, key] = [&pair.cert, &pair.key].map(|path| path.display().to_string());
        self.curl(&["--cert", &cert, "--key", &key])
    }

    /// `openssl s_client`, with this on standard input, until it ends.
    pub fn s_client(&self, args: &[&str], input: &[u8]) -> Output {
        s_client(self.gateway.inbound, &self.pki.root.cert, args, input)
    }

    /// A caller of this library, with a certificate if one is given.
    pub fn caller(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> Caller {
        Caller::new(&self.pki.root.cert, self.gateway.inbound, versions)
    }

    /// The only record with a verdict so far.
    #[track_caller]
    pub fn verdict(&self) -> Value {
        self.gateway.wait_verdicts(1).remove(0)
    }
}

/// `openssl s_client` to there, with this on standard input, until it ends.
pub fn s_client(to: SocketAddr, root: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new("timeout")
        .args(["20", "openssl", "s_client", "-connect", &to.to_string()])
        .args(["-servername", NAME, "-verify_return_error", "-CAfile"])
        .arg(root)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// What a program wrote, on both outputs.
pub fn text(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

impl Caller {
    /// Connects; the handshake begins with the first byte.
    pub fn new(
        root: &Path,
        to: SocketAddr,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        Self::with(Self::config(root, versions), to)
    }

    /// The same, with TLS 1.3 and the certificate that this has.
    pub fn showing(
        root: &Path,
        to: SocketAddr,
        shown: Arc<dyn rustls::client::ResolvesClientCert>,
    ) -> Self {
        let mut config = Self::config(root, &[&rustls::version::TLS13]);
        config.client_auth_cert_resolver = shown;
        Self::with(config, to)
    }

    fn config(root: &Path, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        (roots.add(CertificateDer::from_pem_file(root).unwrap())).unwrap();
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    fn with(config: ClientConfig, to: SocketAddr) -> Self {
        let name = ServerName::try_from(NAME).unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let got = Rc::default();
        let wire = Wire {
            stream,
            got: Rc::clone(&got),
        };
        Self {
            tls: StreamOwned::new(tls, wire),
            got,
        }
    }

    /// The bytes that it would begin with.
    pub fn hello(mut self) -> Vec<u8> {
        let mut hello = Vec::new();
        self.tls.conn.write_tls(&mut hello).unwrap();
        hello
    }

    /// Sends the ClientHello in segments of one byte.
    pub fn trickle(&mut self) {
        let mut hello = Vec::new();
        self.tls.conn.write_tls(&mut hello).unwrap();
        for byte in hello {
            self.tls.sock.stream.write_all(&[byte]).unwrap();
        }
    }

    /// Sends a request and reads what comes until there is this in it, or the end.
    pub fn ask(&mut self, request: &str, until: &str) -> std::io::Result<String> {
        self.tls.write_all(request.as_bytes())?;
        let mut all = Vec::new();
        let mut chunk = [0; 4096];
        while !String::from_utf8_lossy(&all).contains(until) {
            match self.tls.read(&mut chunk)? {
                0 => break,
                n => all.extend_from_slice(&chunk[..n]),
            }
        }
        Ok(String::from_utf8_lossy(&all).into_owned())
    }

    /// What was agreed on.
    pub fn connection(&self) -> &ClientConnection {
        &self.tls.conn
    }

    /// All bytes so far, as they came over the network.
    pub fn raw(&self) -> Vec<u8> {
        self.got.borrow().clone()
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.stream.read(buf)?;
        self.got.borrow_mut().extend_from_slice(&buf[..n]);
        Ok(n)
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.stream.write(buf)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

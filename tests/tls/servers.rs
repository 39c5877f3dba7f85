//! Real servers as peers of the gateway: nginx before a recorder, `openssl s_server`, and OpenSSL
//! by way of Python where a server must misbehave.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::common::gateway::free_address;
use crate::common::{Recorder, eventually};
use crate::pki::Pair;

/// nginx, which ends TLS and passes each request on to a recorder.
#[derive(Debug)]
pub struct Nginx {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What comes out of TLS.
    pub behind: Recorder,
    dir: TempDir,
    child: Child,
}

/// What nginx tells of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `TLSv1.3`.
    pub version: String,
    /// The name in the ClientHello.
    pub sni: String,
    /// `h2` or `http/1.1`.
    pub alpn: String,
    /// Whether the session was resumed.
    pub resumed: bool,
    /// The serial number of our certificate, in hexadecimal digits.
    pub client: String,
    /// Which of its connections it came by.
    pub connection: String,
}

/// Another program that serves TLS; ended when dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    dir: TempDir,
    child: Child,
}

impl Nginx {
    /// With this certificate, and these lines in its `server`.
    pub fn start(pair: &Pair, lines: &str) -> Self {
        Self::on(free_address(), "http2", pair, lines)
    }

    /// Without HTTP/2.
    pub fn http1(pair: &Pair, lines: &str) -> Self {
        Self::on(free_address(), "", pair, lines)
    }

    /// At this address.
    pub fn at(addr: SocketAddr, pair: &Pair, lines: &str) -> Self {
        Self::on(addr, "http2", pair, lines)
    }

    fn on(addr: SocketAddr, h2: &str, pair: &Pair, lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let behind = Recorder::no_content();
        let conf = format!(
            "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log info;
            events {{ worker_connections 256; }}
            http {{
                log_format seen '$ssl_protocol|$ssl_server_name|$ssl_alpn_protocol|\
                    $ssl_session_reused|$ssl_client_serial|$connection';
                access_log {dir}/access.log seen;
                client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir};
                uwsgi_temp_path {dir}; scgi_temp_path {dir};
                ssl_protocols TLSv1.2 TLSv1.3;
                server {{
                    listen {addr} ssl {h2};
                    ssl_certificate {cert}; ssl_certificate_key {key};
                    {lines}
                    location / {{
                        proxy_pass http://{to}; proxy_http_version 1.1;
                        proxy_set_header Host $http_host; proxy_set_header Connection '';
                    }}
                }}
            }}",
            dir = dir.path().display(),
            cert = pair.cert.display(),
            key = pair.key.display(),
            to = behind.addr,
        );
        fs::write(dir.path().join("nginx.conf"), conf).unwrap();
        let mut child = Command::new("nginx")
            .arg("-c")
            .arg(dir.path().join("nginx.conf"))
            .arg("-p")
            .arg(dir.path())
            .stdin(Stdio::null())
            .stderr(File::create(dir.path().join("stderr.log")).unwrap())
            .spawn()
            .unwrap();
        await_listening(&mut child, addr, &dir.path().join("stderr.log"));
        Self {
            addr,
            behind,
            dir,
            child,
        }
    }

    /// What it has seen of each request so far.
    pub fn seen(&self) -> Vec<Seen> {
        let log = fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        log.lines()
            .map(|line| {
                let fields: Vec<&str> = line.split('|').collect();
                Seen {
                    version: fields[0].into(),
                    sni: fields[1].into(),
                    alpn: fields[2].into(),
                    resumed: fields[3] == "r",
                    client: fields[4].into(),
                    connection: fields[5].into(),
                }
            })
            .collect()
    }

    /// Waits until it has told of this many requests.
    #[track_caller]
    pub fn wait_seen(&self, n: usize) -> Vec<Seen> {
        eventually(&format!("{n} requests at nginx"), || {
            let seen = self.seen();
            (seen.len() >= n).then_some(seen)
        })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        end(&mut self.child);
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("error.log"));
            eprintln!("--- log of nginx\n{}", log.unwrap_or_default());
        }
    }
}

impl Server {
    /// `openssl s_server` with this certificate and these arguments. What it decrypts is in
    /// [`Server::said`]; it answers nothing.
    pub fn openssl(pair: &Pair, args: &[&str]) -> Self {
        let addr = free_address();
        let mut command = Command::new("openssl");
        command
            .args(["s_server", "-accept", &addr.to_string()])
            .arg("-cert")
            .arg(&pair.cert)
            .arg("-key")
            .arg(&pair.key)
            .args(args);
        Self::run(addr, command)
    }

    /// A program in Python that is given its address, certificate and key.
    pub fn python(pair: &Pair, program: &str) -> Self {
        let addr = free_address();
        let mut command = Command::new("python3");
        command
            .args([
                "-c",
                program,
                &addr.ip().to_string(),
                &addr.port().to_string(),
            ])
            .args([&pair.cert, &pair.key]);
        Self::run(addr, command)
    }

    fn run(addr: SocketAddr, mut command: Command) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let mut child = command
            // Held open: s_server ends with its standard input.
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        await_listening(&mut child, addr, &dir.path().join("log"));
        Self { addr, dir, child }
    }

    /// What it has printed so far.
    pub fn said(&self) -> String {
        let log = fs::read(self.dir.path().join("log")).unwrap();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
        if std::thread::panicking() {
            eprintln!("--- what the server said\n{}", self.said());
        }
    }
}

/// How many connections to this address of the loopback are open.
pub fn established(to: SocketAddr) -> usize {
    let remote = format!(" 0100007F:{:04X} 01 ", to.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().filter(|line| line.contains(&remote)).count()
}

/// A file of its own directory, for what is not part of the PKI.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[track_caller]
fn await_listening(child: &mut Child, addr: SocketAddr, log: &PathBuf) {
    eventually("a server", || {
        if let Some(status) = child.try_wait().unwrap() {
            panic!("{status}: {}", fs::read_to_string(log).unwrap_or_default());
        }
        TcpStream::connect(addr).ok()
    });
}

fn end(child: &mut Child) {
    // Fails only when it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

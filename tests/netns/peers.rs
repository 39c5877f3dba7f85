//! Who the app talks with, and who listens on the wire.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;

use crate::common::{DEADLINE, Random, eventually};
use crate::lab::{HOSPITAL, Lab, attacks};
use crate::space::at;

/// What a server that speaks first says.
pub const BANNER: &[u8] = b"220 ready\r\n";

/// More than the kernel's buffers, so that much is in flight at the end.
pub const LARGE: usize = 8 << 20;

/// The same bytes for the same seed.
pub fn noise(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let words = std::iter::repeat_with(|| random.below(usize::MAX) as u32);
    words.flat_map(u32::to_ne_bytes).take(LARGE).collect()
}

/// Serves each connection on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    pub fn start(
        listener: TcpListener,
        serve: impl Fn(TcpStream) + Clone + Send + 'static,
    ) -> Self {
        let accepted = Arc::new(AtomicUsize::new(0));
        let server = Self {
            listener: listener.try_clone().unwrap(),
            accepted: Arc::clone(&accepted),
        };
        std::thread::spawn(move || {
            // Ends with an error when the listener is shut down.
            while let Ok((stream, _)) = listener.accept() {
                accepted.fetch_add(1, Ordering::Relaxed);
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                stream.set_write_timeout(Some(DEADLINE)).unwrap();
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream));
            }
        });
        server
    }

    /// Says something first, reads to the end, and only then answers: with all that it has read,
    /// backwards.
    pub fn mirror(listener: TcpListener) -> Self {
        Self::start(listener, |mut stream| {
            let mut read = Vec::new();
            let mut talk = || {
                stream.write_all(BANNER)?;
                stream.read_to_end(&mut read)?;
                read.reverse();
                stream.write_all(&read)
            };
            // The client sees a connection that fails.
            let _ = talk();
        })
    }

    /// Sends back what comes, at once.
    pub fn echo(listener: TcpListener) -> Self {
        Self::start(listener, |mut stream| {
            let mut chunk = [0; 16 * 1024];
            while let Ok(n @ 1..) = stream.read(&mut chunk) {
                if stream.write_all(&chunk[..n]).is_err() {
                    return;
                }
            }
        })
    }

    /// How many connections there were.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = socket2::SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }
}

/// HTTP/2 without TLS.
#[derive(Debug)]
pub struct H2Server {
    requests: Arc<Mutex<Vec<String>>>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl H2Server {
    /// Answers every request with this JSON.
    pub fn start(listener: TcpListener, answer: &'static str) -> Self {
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let server = Self {
            requests: Arc::clone(&requests),
            _stop: stop,
        };
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(async move {
                tokio::select! {
                    () = serve_h2(listener, requests, answer) => {}
                    _ = stopped => {}
                }
            });
        });
        server
    }

    /// Every request: all that there was in it, as text.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve_h2(listener: TcpListener, requests: Arc<Mutex<Vec<String>>>, answer: &'static str) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let requests = Arc::clone(&requests);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let requests = Arc::clone(&requests);
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let text = String::from_utf8_lossy(&body);
                    let request = format!("{} {} {:?} {text}", head.method, head.uri, head.headers);
                    requests.lock().unwrap().push(request);
                    let response = Response::builder().header("content-type", "application/json");
                    Ok::<_, hyper::Error>(response.body(Full::new(Bytes::from(answer))).unwrap())
                }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // A client that goes away is no failure here.
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// A real name server in the hospital.
#[derive(Debug)]
pub struct Dns(Child);

impl Dns {
    pub fn start(lab: &Lab, records: &[(&str, &str)]) -> Self {
        let listen = format!("--listen-address={}", HOSPITAL[0]);
        let mut words = vec!["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null"];
        words.extend([
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--user=root",
        ]);
        words.extend(["--pid-file=", "--log-facility=-", &listen]);
        let records: Vec<_> = (records.iter())
            .map(|(name, ip)| format!("--host-record={name},{ip}"))
            .collect();
        words.extend(records.iter().map(String::as_str));
        let command = lab.hospital.command_as_root(&words);
        let child = Command::new(&command[0])
            .args(&command[1..])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let dns = Self(child);
        eventually("the name server", || {
            let dialled = || TcpStream::connect(at(HOSPITAL[0], 53)).ok();
            lab.hospital.enter(None, dialled)
        });
        dns
    }

    /// The names of the policy of most tests.
    pub fn of_the_lab(lab: &Lab) -> Self {
        Self::start(
            lab,
            &[
                ("broker4.hospital.example", "10.77.0.3"),
                ("broker6.hospital.example", "fd77::3"),
                ("collector4.pharma.example", "10.77.0.1"),
                ("collector6.pharma.example", "fd77::1"),
            ],
        )
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A function of `attack.py` as a process, which talks in JSON lines; killed when dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    lines: Receiver<String>,
}

impl Peer {
    pub fn start(prefix: &[String], arguments: &[&str]) -> Self {
        let mut child = Command::new(&prefix[0])
            .args(&prefix[1..])
            .arg("/usr/bin/python3")
            .arg(attacks().join("attack.py"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut lines = out.lines().map_while(Result::ok);
            lines.try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn ready(prefix: &[String], arguments: &[&str]) -> Self {
        let peer = Self::start(prefix, arguments);
        assert_eq!(peer.next()["ready"], true, "{arguments:?}");
        peer
    }

    /// Runs it to its result.
    #[track_caller]
    pub fn run(prefix: &[String], arguments: &[&str]) -> Value {
        Self::start(prefix, arguments).next()
    }

    #[track_caller]
    pub fn next(&self) -> Value {
        let line = self
            .lines
            .recv_timeout(2 * DEADLINE)
            .expect("a line in time");
        serde_json::from_str(&line).unwrap()
    }

    /// Whether it has said nothing more so far.
    pub fn is_silent(&self) -> bool {
        self.lines.try_recv().is_err()
    }

    pub fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `http://` and the address.
pub fn url(ip: &str, port: u16, path: &str) -> String {
    format!(
        "http://{}{path}",
        SocketAddr::new(ip.parse().unwrap(), port)
    )
}

//! A peer of the gateway that keeps the exact bytes it receives and answers with bytes as they are.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::eventually;

/// What a recorder says to a request.
#[derive(Clone, Debug)]
pub struct Reply {
    bytes: Vec<u8>,
    then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Keep,
    Close,
    Hold,
}

/// The peer.
#[derive(Debug)]
pub struct Recorder {
    /// Where it listens.
    pub addr: SocketAddr,
    listener: TcpListener,
    log: Arc<Mutex<Vec<Connection>>>,
    ended: Arc<AtomicBool>,
}

/// What a recorder answers next.
#[derive(Clone, Debug)]
pub struct Script(Arc<Mutex<Reply>>);

#[derive(Clone, Debug, Default)]
struct Connection {
    bytes: Vec<u8>,
    /// Where each request ends in `bytes`.
    ends: Vec<usize>,
    closed: bool,
}

impl Reply {
    /// These bytes; the connection stays open.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self {
            bytes: bytes.as_ref().to_vec(),
            then: Then::Keep,
        }
    }

    /// A 200 with this JSON.
    pub fn json(body: &str) -> Self {
        Self::raw(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// Nothing, and the connection stays open.
    pub fn silence() -> Self {
        Self {
            bytes: Vec::new(),
            then: Then::Hold,
        }
    }

    /// Ends the connection behind it.
    pub fn then_close(mut self) -> Self {
        self.then = Then::Close;
        self
    }

    /// Reads nothing more behind it, and does not end the connection either.
    pub fn then_hold(mut self) -> Self {
        self.then = Then::Hold;
        self
    }
}

impl Recorder {
    /// Answers each whole request with what `answer` makes of its bytes.
    pub fn start(answer: impl Fn(&[u8]) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    /// The same on a listener from elsewhere, such as another network namespace.
    pub fn on(
        listener: TcpListener,
        answer: impl Fn(&[u8]) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let recorder = Self {
            addr: listener.local_addr().unwrap(),
            listener: listener.try_clone().unwrap(),
            log: Arc::default(),
            ended: Arc::default(),
        };
        let (log, ended) = (Arc::clone(&recorder.log), Arc::clone(&recorder.ended));
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        recorder
    }

    /// Answers every request with a 204.
    pub fn no_content() -> Self {
        Self::always("HTTP/1.1 204 No Content\r\n\r\n")
    }

    /// The same on a listener from elsewhere.
    pub fn no_content_on(listener: TcpListener) -> Self {
        let reply = Reply::raw("HTTP/1.1 204 No Content\r\n\r\n");
        Self::on(listener, move |_| reply.clone())
    }

    /// Answers every request with these bytes.
    pub fn always(bytes: impl AsRef<[u8]>) -> Self {
        let reply = Reply::raw(bytes);
        Self::start(move |_| reply.clone())
    }

    /// Answers every request with what was last put into the script.
    pub fn scripted() -> (Self, Script) {
        Self::scripted_on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// The same on a listener from elsewhere.
    pub fn scripted_on(listener: TcpListener) -> (Self, Script) {
        let script = Script(Arc::new(Mutex::new(Reply::silence())));
        let told = script.clone();
        let answer = move |_: &[u8]| told.0.lock().unwrap().clone();
        (Self::on(listener, answer), script)
    }

    /// Everything received so far, of all connections.
    pub fn bytes(&self) -> Vec<u8> {
        let log = self.log.lock().unwrap();
        log.iter().flat_map(|c| c.bytes.clone()).collect()
    }

    /// Every whole request so far.
    pub fn requests(&self) -> Vec<Vec<u8>> {
        let log = self.log.lock().unwrap();
        log.iter().flat_map(Connection::requests).collect()
    }

    /// The requests as text.
    pub fn texts(&self) -> Vec<String> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        self.requests().into_iter().map(text).collect()
    }

    /// Waits for this many requests.
    #[track_caller]
    pub fn wait_requests(&self, n: usize) -> Vec<Vec<u8>> {
        eventually(&format!("{n} requests"), || {
            let found = self.requests();
            (found.len() >= n).then_some(found)
        })
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// How many of them have ended.
    pub fn closed(&self) -> usize {
        self.log.lock().unwrap().iter().filter(|c| c.closed).count()
    }

    /// Forgets what was received; the connections must be idle.
    pub fn forget(&self) {
        for connection in self.log.lock().unwrap().iter_mut() {
            connection.bytes.clear();
            connection.ends.clear();
        }
    }
}

impl Script {
    /// From now on.
    pub fn say(&self, reply: Reply) {
        *self.0.lock().unwrap() = reply;
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts, in whatever network namespace. It may have ended.
        let _ = socket2::SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }
}

impl Connection {
    fn requests(&self) -> Vec<Vec<u8>> {
        let mut start = 0;
        let mut all = Vec::new();
        for end in &self.ends {
            all.push(self.bytes[start..*end].to_vec());
            start = *end;
        }
        all
    }
}

fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<Connection>>,
    answer: &(dyn Fn(&[u8]) -> Reply + Send + Sync),
) {
    let i = {
        let mut log = log.lock().unwrap();
        log.push(Connection::default());
        log.len() - 1
    };
    let mut pending = Vec::new();
    let mut hold = false;
    let mut chunk = [0; 16 * 1024];
    'reading: while let Ok(n @ 1..) = stream.read(&mut chunk) {
        log.lock().unwrap()[i].bytes.extend_from_slice(&chunk[..n]);
        pending.extend_from_slice(&chunk[..n]);
        while let Some(end) = request_end(&pending)
            && !hold
        {
            let request: Vec<u8> = pending.drain(..end).collect();
            {
                let connection = &mut log.lock().unwrap()[i];
                let end = connection.bytes.len() - pending.len();
                connection.ends.push(end);
            }
            let reply = answer(&request);
            if stream.write_all(&reply.bytes).is_err() {
                break 'reading;
            }
            match reply.then {
                Then::Keep => {}
                Then::Close => break 'reading,
                Then::Hold => hold = true,
            }
        }
    }
    log.lock().unwrap()[i].closed = true;
}

/// Where the first request ends, if it is whole.
fn request_end(bytes: &[u8]) -> Option<usize> {
    let head = find(bytes, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    if text.contains("\r\ntransfer-encoding: chunked\r\n") {
        return find(&bytes[head..], b"0\r\n\r\n").map(|at| head + at + 5);
    }
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse::<usize>().unwrap());
    (bytes.len() >= head + length).then_some(head + length)
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|w| w == needle)
}

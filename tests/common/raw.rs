//! A client that sends bytes as they are and reads what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::DEADLINE;

/// One connection.
#[derive(Debug)]
pub struct Client {
    /// `None`: reset before the client knew that it was connected.
    stream: Option<TcpStream>,
    /// Reset while it was sending.
    reset: bool,
    /// Read, but not yet given out.
    buffer: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// What stands behind it.
    pub phrase: String,
    /// The fields, with lower-case names, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// All bytes, with the interim answers before it.
    pub raw: Vec<u8>,
    /// The status codes of interim answers before it.
    pub interim: Vec<u16>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Closed,
    /// By a reset.
    Reset,
}

/// Sends bytes and reads all that comes until the other side ends the connection.
#[track_caller]
pub fn exchange(to: SocketAddr, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut client = Client::connect(to);
    client.send(bytes);
    client.rest().0
}

impl Client {
    /// Connects.
    #[track_caller]
    pub fn connect(to: SocketAddr) -> Self {
        Self::try_connect(to).expect("someone listens")
    }

    /// Connects, if someone listens.
    pub fn try_connect(to: SocketAddr) -> Option<Self> {
        let stream = match TcpStream::connect_timeout(&to, DEADLINE) {
            Ok(stream) => Some(stream),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(_) => return None,
        };
        if let Some(stream) = &stream {
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.set_write_timeout(Some(DEADLINE)).unwrap();
            stream.set_nodelay(true).unwrap();
        }
        Some(Self {
            stream,
            reset: false,
            buffer: Vec::new(),
        })
    }

    /// The socket.
    #[track_caller]
    pub fn stream(&self) -> &TcpStream {
        self.stream
            .as_ref()
            .expect("a connection that is not reset")
    }

    /// Sends bytes. That the other side has gone is seen when reading.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        match stream.write_all(bytes.as_ref()) {
            // The kernel tells of it once; what came before can still be read.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => self.reset = true,
            _ => {}
        }
    }

    /// Says that nothing more comes.
    pub fn finish(&mut self) {
        if let Some(stream) = &self.stream {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    /// Sends a request and reads the answer.
    #[track_caller]
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        self.response()
    }

    /// Reads the next answer.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.try_response().expect("an answer")
    }

    /// Reads the next answer, unless the connection ends before.
    #[track_caller]
    pub fn try_response(&mut self) -> Option<Response> {
        self.answer_to("GET")
    }

    /// Reads the next answer, whose first bytes have been read already.
    #[track_caller]
    pub fn response_from(&mut self, first: &str) -> Response {
        self.buffer.splice(0..0, first.bytes());
        self.response()
    }

    /// Reads the next answer, knowing that it answers this method.
    #[track_caller]
    pub fn answer_to(&mut self, method: &str) -> Option<Response> {
        let mut raw = Vec::new();
        let mut interim = Vec::new();
        loop {
            let head = self.until(b"\r\n\r\n")?;
            raw.extend_from_slice(&head);
            let mut response = parse_head(&head);
            if response.status < 200 && response.status != 101 {
                interim.push(response.status);
                continue;
            }
            let no_body = method == "HEAD" || matches!(response.status, 101 | 204 | 304);
            if !no_body {
                response.body = self.body(&response, &mut raw)?;
            }
            response.raw = raw;
            response.interim = interim;
            return Some(response);
        }
    }

    /// Reads to the end of the connection; fails if it does not end.
    #[track_caller]
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        let mut all = std::mem::take(&mut self.buffer);
        let end = loop {
            match self.fill(&mut all) {
                Ok(0) => break End::Closed,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break End::Reset,
                Err(error) => panic!(
                    "the connection does not end: {error}; so far: {}",
                    String::from_utf8_lossy(&all)
                ),
            }
        };
        (all, end)
    }

    /// Reads this many bytes.
    #[track_caller]
    pub fn exactly(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < n {
            self.more()?;
        }
        Some(self.buffer.drain(..n).collect())
    }

    #[track_caller]
    fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            let at = self.buffer.windows(end.len()).position(|w| w == end);
            if let Some(at) = at {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            self.more()?;
        }
    }

    #[track_caller]
    fn body(&mut self, head: &Response, raw: &mut Vec<u8>) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        if head.header("transfer-encoding") == Some("chunked") {
            loop {
                let line = self.until(b"\r\n")?;
                raw.extend_from_slice(&line);
                let size = std::str::from_utf8(&line).unwrap().trim();
                let size = usize::from_str_radix(size, 16).unwrap();
                let chunk = self.exactly(size + 2)?;
                raw.extend_from_slice(&chunk);
                body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    return Some(body);
                }
            }
        }
        match head.header("content-length") {
            Some(length) => body = self.exactly(length.parse().unwrap())?,
            None => body = self.rest().0,
        }
        raw.extend_from_slice(&body);
        Some(body)
    }

    #[track_caller]
    fn more(&mut self) -> Option<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = self.fill(&mut buffer);
        self.buffer = buffer;
        match read {
            Ok(0) => None,
            Ok(_) => Some(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("nothing comes: {error}"),
        }
    }

    fn fill(&mut self, into: &mut Vec<u8>) -> std::io::Result<usize> {
        let stream = self.stream.as_mut().ok_or(ErrorKind::ConnectionReset)?;
        let mut chunk = [0; 16 * 1024];
        let n = stream.read(&mut chunk)?;
        if n == 0 && self.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        into.extend_from_slice(&chunk[..n]);
        Ok(n)
    }
}

impl Response {
    /// All answers in these bytes.
    pub fn all(bytes: &[u8]) -> Vec<Self> {
        let (ours, mut theirs) = loopback();
        theirs.write_all(bytes).unwrap();
        drop(theirs);
        let mut client = Client {
            stream: Some(ours),
            reset: false,
            buffer: Vec::new(),
        };
        std::iter::from_fn(|| client.try_response()).collect()
    }

    /// The field, if it is there once.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "twice: {name}");
        value
    }

    /// The names of all fields, in order.
    pub fn names(&self) -> Vec<&str> {
        self.headers.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&self.raw));
        })
    }

    /// The reason code of a refusal.
    #[track_caller]
    pub fn reason(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        problem["reason"].as_str().unwrap().to_owned()
    }

    /// All bytes without the value of `Date`, which is the only thing that may differ.
    pub fn undated(&self) -> String {
        let text = String::from_utf8(self.raw.clone()).unwrap();
        match self.header("date") {
            Some(date) => text.replacen(date, "DATE", 1),
            None => text,
        }
    }
}

fn parse_head(head: &[u8]) -> Response {
    let head = std::str::from_utf8(head).unwrap();
    let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
    let mut first = lines.next().unwrap().splitn(3, ' ');
    let version = first.next().unwrap();
    assert!(version.starts_with("HTTP/1."), "{head}");
    Response {
        status: first.next().unwrap().parse().unwrap(),
        phrase: first.next().unwrap_or_default().to_owned(),
        headers: lines
            .map(|line| {
                let (name, value) = line.split_once(": ").unwrap();
                (name.to_ascii_lowercase(), value.to_owned())
            })
            .collect(),
        body: Vec::new(),
        raw: Vec::new(),
        interim: Vec::new(),
    }
}

fn loopback() -> (TcpStream, TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, theirs)
}

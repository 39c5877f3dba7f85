//! Whoever receives outside: the collector, and the stranger. It writes down every byte before it
//! looks at it.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::orders::Taken;

/// What has come and has not been told yet.
#[derive(Debug)]
pub(super) struct Recorder(UnboundedReceiver<Vec<u8>>);

impl Recorder {
    /// Listens, and says where.
    pub(super) async fn start(
        tcp: &[SocketAddr],
        udp: &[SocketAddr],
    ) -> io::Result<(Self, Vec<SocketAddr>)> {
        let (tell, told) = unbounded_channel();
        let mut addresses = Vec::new();
        for at in tcp {
            let listener = TcpListener::bind(at).await?;
            addresses.push(listener.local_addr()?);
            tokio::spawn(accept(listener, tell.clone()));
        }
        for at in udp {
            let socket = UdpSocket::bind(at).await?;
            addresses.push(socket.local_addr()?);
            tokio::spawn(datagrams(socket, tell.clone()));
        }
        Ok((Self(told), addresses))
    }

    /// What has come since last time.
    pub(super) fn take(&mut self) -> Taken {
        let mut all = Vec::new();
        while let Ok(bytes) = self.0.try_recv() {
            all.extend(bytes);
        }
        Taken {
            bytes: all.len(),
            text: String::from_utf8_lossy(&all).into_owned(),
        }
    }
}

async fn accept(listener: TcpListener, tell: UnboundedSender<Vec<u8>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(receive(stream, tell.clone()));
    }
}

/// Answers once a whole request has come. What fails here is seen by the sender.
async fn receive(mut stream: TcpStream, tell: UnboundedSender<Vec<u8>>) -> io::Result<()> {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                            content-length: 13\r\nconnection: close\r\n\r\n{\"stored\":1}\n";
    let mut request = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        if tell.send(buffer[..n].to_vec()).is_err() {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..n]);
        if is_whole(&request) {
            stream.write_all(ANSWER).await?;
            return stream.shutdown().await;
        }
    }
}

async fn datagrams(socket: UdpSocket, tell: UnboundedSender<Vec<u8>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok((n, _)) = socket.recv_from(&mut buffer).await {
        // An empty datagram tells something too.
        let seen = if n == 0 {
            b"\0".to_vec()
        } else {
            buffer[..n].to_vec()
        };
        if tell.send(seen).is_err() {
            return;
        }
    }
}

/// The gateway states the length of every judged body, so nothing else need be understood.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, _)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().skip(1).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("content-length");
        is_it.then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    request.len() >= head.len() + 4 + length.unwrap_or(0)
}

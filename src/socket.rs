//! The only file that sets or reads socket options.

use std::io;
use std::net::SocketAddr;

use nix::libc::{MSG_MORE, MSG_NOSIGNAL};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::addr::{OrigDst, UpstreamAddr};

/// Connections that the kernel holds for us until we accept them.
const BACKLOG: i32 = 4096;

/// How long a silent peer stays undetected, at most.
const KEEPALIVE: std::time::Duration = std::time::Duration::from_secs(60);

/// A listening socket that shares its port with the other threads; the kernel spreads connections
/// over them. IPv6 sockets take IPv6 only, so that an address has one form.
///
/// # Errors
/// What the kernel says: the address is taken, or not ours.
pub fn listener(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // What is accepted inherits it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    // Inherited as well, if set after `listen`: the acknowledgement of a request goes with its
    // answer, which saves one of nine segments. See `acknowledge`.
    socket.set_tcp_quickack(false)?;
    Ok(socket.into())
}

/// A socket that holds an address without listening, so that a second process of our own user
/// cannot share the port and take part of the traffic.
///
/// # Errors
/// The address is taken, or not ours.
pub fn probe_free(addr: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())
}

/// Hands a listener to the runtime of this thread.
///
/// # Errors
/// The runtime cannot register it.
pub fn into_tokio(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    TcpListener::from_std(listener)
}

/// Notices a peer that is gone without a word. For tunnels, which may be silent for long; an
/// exchange has its time limits.
///
/// # Errors
/// The connection has gone already.
pub fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

/// Acknowledges what has come, now and while the peer sends (tcp(7), `TCP_QUICKACK`): one that waits
/// for that before it sends more (RFC 896) would be held up by 40 ms.
pub fn acknowledge(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_tcp_quickack(true) {
        tracing::debug!(%error, "gone before it began");
    }
}

/// Whether the address is one of this network namespace: only such can be bound.
pub fn is_local(ip: std::net::IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}

/// Makes closing the connection reset it.
///
/// # Errors
/// The connection has gone already.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO))
}

/// Where a redirected connection was meant to go (`SO_ORIGINAL_DST`). For a connection that was
/// made straight to us this is `own`, the local address of the connection; the caller must look
/// for that.
///
/// # Errors
/// The kernel knows no such connection: it must be refused.
pub fn original_dst(stream: &TcpStream, own: SocketAddr) -> io::Result<OrigDst> {
    let socket = SockRef::from(stream);
    let dst = match own {
        SocketAddr::V4(_) => socket.original_dst_v4()?,
        SocketAddr::V6(_) => socket.original_dst_v6()?,
    };
    dst.as_socket()
        .map(OrigDst::new)
        .ok_or_else(|| io::Error::other("the original destination is no IP address"))
}

/// Sends, and says that more follows: the kernel waits for a full segment or the end.
///
/// # Errors
/// What the kernel says; [`io::ErrorKind::WouldBlock`] when it takes nothing now.
pub fn send_more_follows(stream: &TcpStream, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
    stream.try_io(Interest::WRITABLE, || {
        SockRef::from(stream).send_vectored_with_flags(bufs, MSG_MORE | MSG_NOSIGNAL)
    })
}

/// Connects to a destination.
///
/// # Errors
/// What the kernel says.
pub async fn connect(to: UpstreamAddr) -> io::Result<TcpStream> {
    let addr = to.get();
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_nodelay(true)?;
    socket.connect(addr).await
}

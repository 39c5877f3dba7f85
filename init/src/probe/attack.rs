//! The attacks themselves, each with a deadline.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::Outcome;
use crate::capture::Capture;

/// What an attack came to, and what was seen.
pub(super) type Finding = (Outcome, String);

type Attack = fn(&Capture, Family) -> io::Result<Finding>;

const ATTACKS: [(&str, Attack); 3] = [("tcp", tcp), ("udp", udp), ("icmp", icmp)];

/// Makes all attacks of one family.
pub(super) fn all(capture: &Capture, family: Family) -> Vec<(&'static str, Finding)> {
    let finding = |attack: Attack| match route(family) {
        Ok(Route::None(detail)) => (Outcome::NoRoute, detail),
        Ok(Route::Some) => attack(capture, family).unwrap_or_else(unproven),
        Err(error) => unproven(error),
    };
    ATTACKS
        .map(|(name, attack)| (name, finding(attack)))
        .to_vec()
}

/// How long anything may take before it counts as not captured.
const DEADLINE: Duration = Duration::from_secs(2);

/// More than the gateway's longest refusal.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// An address family.
#[derive(Clone, Copy)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    const fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        }
    }

    const fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    const fn nowhere(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
            Self::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
        }
    }
}

enum Route {
    Some,
    None(String),
}

/// Asks this namespace's own routes, by a UDP connect, which sends nothing. The errors of an attack
/// would not do: a router outside can make them too, and then something has left.
fn route(family: Family) -> io::Result<Route> {
    let connected = UdpSocket::bind((family.unspecified(), 0))
        .and_then(|socket| socket.connect((family.nowhere(), DISCARD_PORT)));
    match connected {
        Ok(()) => Ok(Route::Some),
        Err(error) => match error.kind() {
            ErrorKind::NetworkUnreachable
            | ErrorKind::HostUnreachable
            | ErrorKind::AddrNotAvailable => Ok(Route::None(error.to_string())),
            // The family may be switched off in the kernel, which std has no kind for.
            _ if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => {
                Ok(Route::None(error.to_string()))
            }
            _ => Err(error),
        },
    }
}

/// Stands in for the gateway, or asks it if it runs already.
fn tcp(capture: &Capture, family: Family) -> io::Result<Finding> {
    let Some(to) = captured_address(capture, family) else {
        let detail = "the policy sends every port of the test address past the gateway";
        return Ok((Outcome::NotEffective, detail.to_owned()));
    };
    let port = capture.ports.outbound;
    match TcpListener::bind((family.loopback(), port)) {
        Ok(listener) => stand_in(&listener, to),
        Err(error) if error.kind() == ErrorKind::AddrInUse => ask_gateway(to),
        Err(error) => {
            let detail = format!("cannot listen on {}: {error}", family.loopback());
            Ok((Outcome::NotEffective, detail))
        }
    }
}

fn stand_in(listener: &TcpListener, to: SocketAddr) -> io::Result<Finding> {
    let started = Instant::now();
    let mut outer = TcpStream::connect_timeout(&to, DEADLINE)?;
    let token = random_token()?;
    // Bounds accept() too.
    SockRef::from(listener).set_read_timeout(Some(DEADLINE))?;
    let mut inner = loop {
        let (inner, peer) = listener.accept()?;
        if peer == outer.local_addr()? {
            break inner;
        }
        if started.elapsed() > DEADLINE {
            return Err(ErrorKind::TimedOut.into());
        }
    };
    outer.write_all(&token)?;
    inner.set_read_timeout(Some(DEADLINE))?;
    let mut received = [0; TOKEN_BYTES];
    inner.read_exact(&mut received)?;
    if received != token {
        let detail = "something else arrived than was sent".to_owned();
        return Ok((Outcome::NotEffective, detail));
    }
    let meant = original_destination(&inner)?;
    if meant != Some(to) {
        let detail = format!("went to {to}, but the kernel reports {meant:?}");
        return Ok((Outcome::NotEffective, detail));
    }
    Ok((
        Outcome::Effective,
        format!("a connection to {to} arrived on the gateway's port"),
    ))
}

fn ask_gateway(to: SocketAddr) -> io::Result<Finding> {
    let mut stream = TcpStream::connect_timeout(&to, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let host = match to.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    // In one piece: a gateway may answer the first that it gets.
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(match refusal_reason(&answer) {
        Some(reason) => (
            Outcome::Effective,
            format!("a request to {to} was refused by the running gateway: {reason}"),
        ),
        None => (
            Outcome::NotEffective,
            format!("a request to {to} was not answered with the gateway's refusal"),
        ),
    })
}

/// The reason in a refusal of the gateway; nothing if the answer is anything else.
fn refusal_reason(answer: &str) -> Option<String> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let is_problem = head.lines().skip(1).any(|line| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        name.eq_ignore_ascii_case("content-type")
            && value.trim().starts_with("application/problem+json")
    });
    // A chunked body has its sizes around the document.
    let document = body.get(body.find('{')?..=body.rfind('}')?)?;
    let problem: Value = serde_json::from_str(document).ok()?;
    let reason = problem.get("reason")?.as_str()?;
    is_problem.then(|| reason.to_owned())
}

fn udp(_: &Capture, family: Family) -> io::Result<Finding> {
    let socket = UdpSocket::bind((family.unspecified(), 0))?;
    let to = SocketAddr::new(family.nowhere(), DISCARD_PORT);
    Ok(not_sent(socket.send_to(&random_token()?, to), "a datagram"))
}

/// Whichever of the two kinds of socket this process may open.
fn icmp(_: &Capture, family: Family) -> io::Result<Finding> {
    let (domain, protocol, echo_request) = match family {
        Family::V4 => (Domain::IPV4, Protocol::ICMPV4, 8),
        Family::V6 => (Domain::IPV6, Protocol::ICMPV6, 128),
    };
    let to = SocketAddr::new(family.nowhere(), 0).into();
    let message = [echo_request, 0, 0, 0, 0, 1, 0, 1];
    for kind in [Type::RAW, Type::DGRAM] {
        let socket = match Socket::new(domain, kind, Some(protocol)) {
            Ok(socket) => socket,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => continue,
            Err(error) => return Err(error),
        };
        let sent = socket.send_to(&message, &to);
        // An IPv6 ping socket reports success whatever became of the packet.
        if sent.is_ok() && kind == Type::DGRAM && matches!(family, Family::V6) {
            let detail = "an IPv6 ping socket does not tell, and a raw one is not permitted";
            return Ok((Outcome::Untested, detail.to_owned()));
        }
        return Ok(not_sent(sent, "an echo request"));
    }
    let detail = "this process may open neither a raw socket nor a ping socket";
    Ok((Outcome::Untested, detail.to_owned()))
}

fn not_sent(result: io::Result<usize>, what: &str) -> Finding {
    match result {
        Ok(_) => (Outcome::NotEffective, format!("{what} was sent")),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            (Outcome::Effective, format!("{what} was refused"))
        }
        Err(error) => unproven(error),
    }
}

/// An attack that failed for another reason than the rules proves nothing.
fn unproven(error: io::Error) -> Finding {
    let detail = match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "nothing arrived in time".to_owned(),
        _ => error.to_string(),
    };
    (Outcome::NotEffective, detail)
}

/// A port of the test address that the policy does not open directly.
fn captured_address(capture: &Capture, family: Family) -> Option<SocketAddr> {
    let ip = family.nowhere();
    let is_open = |port: u16| {
        let direct = |(net, open): &(ipnet::IpNet, u16)| *open == port && net.contains(&ip);
        capture.direct.iter().any(direct) || capture.resolvers.contains(&(ip, port).into())
    };
    (80..=u16::MAX)
        .find(|port| !is_open(*port))
        .map(|port| SocketAddr::new(ip, port))
}

fn original_destination(stream: &TcpStream) -> io::Result<Option<SocketAddr>> {
    let socket = SockRef::from(stream);
    let address = match stream.local_addr()? {
        SocketAddr::V4(_) => socket.original_dst_v4()?,
        SocketAddr::V6(_) => socket.original_dst_v6()?,
    };
    Ok(address.as_socket())
}

fn random_token() -> io::Result<[u8; TOKEN_BYTES]> {
    let mut token = [0; TOKEN_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut token)?;
    Ok(token)
}

const TOKEN_BYTES: usize = 16;

const DISCARD_PORT: u16 = 9;

#[cfg(test)]
mod tests {
    use super::refusal_reason;

    #[test]
    fn only_a_problem_document_with_a_reason_is_a_refusal() {
        let answer =
            |head: &str, body: &str| format!("HTTP/1.1 403 Forbidden\r\n{head}\r\n\r\n{body}");
        let problem = "Content-Type: application/problem+json";
        let body = r#"{"reason":"destination-not-allowed"}"#;
        for (case, answer, expected) in [
            ("plain", answer(problem, body), true),
            (
                "chunked",
                answer(problem, &format!("24\r\n{body}\r\n0\r\n\r\n")),
                true,
            ),
            (
                "other type",
                answer("content-type: application/json", body),
                false,
            ),
            ("no type", answer("x: y", body), false),
            ("no reason", answer(problem, "{}"), false),
            ("braces the wrong way round", answer(problem, "}{"), false),
            ("no body", answer(problem, ""), false),
            ("nothing", String::new(), false),
        ] {
            assert_eq!(refusal_reason(&answer).is_some(), expected, "{case}");
        }
    }
}

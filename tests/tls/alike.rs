//! However the app greets, the peer is greeted in one way: a ClientHello is a message, too, and its
//! writer would choose what the consumer reads.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::common::{DEADLINE, Launch, repository};
use crate::pki::Pki;
use crate::servers::read;

const POLICY: &str = r#"
apiVersion: lazaret/v1
kind: Policy
metadata: { name: lab, producer: hospital-a, consumer: pharma-x }
dns: { hosts: { report.pharma.example: [203.0.113.20] } }
egress:
  - name: report
    to: { hosts: [report.pharma.example], ports: [443] }
    action: inspect
    tls: { pod: intercept, peer: { roots: root.pem } }
    exchanges:
      - request: { method: GET, path: /v1/task }
"#;

/// How many clients greet.
const CLIENTS: usize = 200;

/// Reads the first record of each connection, and then leads it on or ends it.
struct Tap {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Tap {
    fn start(on: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let tap = Self {
            addr: listener.local_addr().unwrap(),
            seen: Arc::clone(&seen),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || serve(stream.unwrap(), on, &seen));
            }
        });
        tap
    }

    fn seen(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(mut client: TcpStream, on: Option<SocketAddr>, seen: &Mutex<Vec<Vec<u8>>>) {
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut record = vec![0; 5];
    client.read_exact(&mut record).unwrap();
    let length = u16::from_be_bytes([record[3], record[4]]);
    record.resize(5 + usize::from(length), 0);
    client.read_exact(&mut record[5..]).unwrap();
    seen.lock().unwrap().push(record.clone());
    let Some(on) = on else { return };
    let mut server = TcpStream::connect(on).unwrap();
    server.write_all(&record).unwrap();
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let there = std::thread::spawn(move || carry(&mut from, &mut to));
    carry(&mut server, &mut client);
    there.join().unwrap();
}

fn carry(from: &mut TcpStream, to: &mut TcpStream) {
    // However it ends, the other side hears of it.
    let _ = std::io::copy(from, to);
    let _ = to.shutdown(Shutdown::Write);
}

/// A ClientHello without what is random in each: the client's random, the session, the keys of key
/// shares, tickets, and the order of extensions, which rustls shuffles.
fn without_random(record: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &record[5..];
    let mut take = |n: usize| {
        let (taken, after) = rest.split_at(n);
        rest = after;
        taken.to_vec()
    };
    let mut fixed = take(6);
    // The length of the message, which is that of its parts.
    fixed[1..4].fill(0);
    take(32);
    let session = take(1);
    take(session[0].into());
    fixed.extend(session);
    let suites = take(2);
    fixed.extend(take(usize::from(u16::from_be_bytes([
        suites[0], suites[1],
    ]))));
    let methods = take(1);
    fixed.extend(take(methods[0].into()));
    take(2);
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (number, length) = (&rest[..2], u16::from_be_bytes([rest[2], rest[3]]));
        let (content, after) = rest[4..].split_at(length.into());
        let content = match u16::from_be_bytes([number[0], number[1]]) {
            51 => groups(content),
            35 | 41 => content.len().to_be_bytes().to_vec(),
            _ => content.to_vec(),
        };
        parts.push([number, &content].concat());
        rest = after;
    }
    parts.sort();
    parts.insert(0, fixed);
    parts
}

/// For which groups there is a key, and how long it is.
fn groups(shares: &[u8]) -> Vec<u8> {
    let mut rest = &shares[2..];
    let mut groups = Vec::new();
    while !rest.is_empty() {
        groups.extend(&rest[..4]);
        rest = &rest[4 + usize::from(u16::from_be_bytes([rest[2], rest[3]]))..];
    }
    groups
}

fn kinds(records: &[Vec<u8>]) -> BTreeSet<Vec<Vec<u8>>> {
    records
        .iter()
        .map(|record| without_random(record))
        .collect()
}

#[test]
fn the_peer_is_greeted_in_one_way_however_the_app_greets() {
    let (pki, peer) = (Pki::new(), Tap::start(None));
    let gateway = Launch::new(POLICY)
        .file("root.pem", &read(&pki.root.cert))
        .args([format!("--map=report.pharma.example:443={}", peer.addr)])
        .start();
    let app = Tap::start(Some(gateway.outbound));
    let done = Command::new("python3")
        .arg(repository("tests/tls/clients.py"))
        .args([app.addr.port().to_string(), CLIENTS.to_string()])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let (greeted, sent) = (app.seen(), peer.seen());
    assert_eq!(greeted.len(), CLIENTS);
    assert!(sent.len() >= CLIENTS, "{}", sent.len());
    let differing = kinds(&greeted).len();
    assert!(
        differing >= CLIENTS * 9 / 10,
        "the app's differ in {differing} ways only"
    );
    let ways = kinds(&sent);
    assert_eq!(ways.len(), 1, "{ways:02x?}");
    // Neither is the size of its random parts anybody's choice.
    let sizes: BTreeSet<usize> = sent.iter().map(Vec::len).collect();
    assert_eq!(sizes.len(), 1, "{sizes:?}");
}

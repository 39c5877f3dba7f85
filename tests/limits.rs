//! Bounds and the end: too many connections, too slow ones, no file descriptors, and shutting down
//! without cutting off what was allowed.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which fail by panicking"
)]

mod common;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use common::{
    Client, Gateway, Launch, POLICY, Recorder, Reply, Signal, contains, eventually, good,
    good_upstream, post,
};

/// A collector that answers when it is told to.
fn held_collector() -> (Recorder, Sender<()>) {
    let (go, wait): (_, Receiver<()>) = channel();
    let wait = Mutex::new(wait);
    let collector = Recorder::start(move |_| {
        // The test may have ended.
        let _ = wait.lock().unwrap().recv();
        Reply::raw("HTTP/1.1 204 No Content\r\n\r\n")
    });
    (collector, go)
}

/// A line of `/proc/PID/status`, in KiB.
fn memory_kib(gateway: &Gateway, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

fn open_connections(gateway: &Gateway) -> f64 {
    gateway.metric("lazaret_connections_open", &[])
}

#[test]
fn connections_over_the_limit_are_refused() {
    let collector = Recorder::no_content();
    let gateway = Launch::new(POLICY)
        .collector(collector.addr)
        .args(["--max-connections=10"])
        .start();
    let mut clients: Vec<_> = (0..10).map(|_| Client::connect(gateway.outbound)).collect();
    for client in &mut clients {
        assert_eq!(client.ask(good()).status, 204);
    }
    for i in 0..5 {
        let mut over = Client::connect(gateway.outbound);
        over.send(good());
        assert_eq!(over.rest().0, b"");
        let records = gateway.wait_verdicts(10 + i + 1);
        assert_eq!(records.last().unwrap()["reason"], "connection-limit");
        assert_eq!(records.last().unwrap()["kind"], "connection");
    }
    let labels = [("reason", "connection-limit")];
    assert_eq!(gateway.metric("lazaret_connections_total", &labels), 5.0);
    // Those that are open are not disturbed, and a place that is free again can be taken.
    for client in &mut clients {
        assert_eq!(client.ask(good()).status, 204);
    }
    clients.pop();
    eventually("a free place", || {
        (open_connections(&gateway) == 9.0).then_some(())
    });
    assert_eq!(Client::connect(gateway.outbound).ask(good()).status, 204);
    assert_eq!(collector.requests().len(), 21);
}

#[test]
fn idle_connections_cost_little() {
    const N: u64 = 2000;
    raise_file_limit();
    let collector = Recorder::no_content();
    let gateway = Launch::new(POLICY)
        .collector(collector.addr)
        .args(["--detect-timeout=10m", "--head-timeout=10m"])
        .start();
    // What an exchange needs once.
    assert_eq!(Client::connect(gateway.outbound).ask(good()).status, 204);
    let before = memory_kib(&gateway, "VmRSS");
    let mut silent: Vec<_> = (0..N).map(|_| Client::connect(gateway.outbound)).collect();
    eventually("all of them", || {
        (open_connections(&gateway) >= N as f64).then_some(())
    });
    let with_silent = memory_kib(&gateway, "VmRSS");
    for client in &mut silent {
        assert_eq!(client.ask(good()).status, 204);
    }
    let with_idle = memory_kib(&gateway, "VmRSS");
    let silent_bytes = with_silent.saturating_sub(before) * 1024 / N;
    let idle_bytes = with_idle.saturating_sub(before) * 1024 / N;
    println!("bytes per connection: {silent_bytes} silent, {idle_bytes} idle after an exchange");
    assert!(silent_bytes < 8 << 10, "{silent_bytes}");
    assert!(idle_bytes < 32 << 10, "{idle_bytes}");
    drop(silent);
    eventually("the end of all", || {
        (open_connections(&gateway) == 0.0).then_some(())
    });
    assert_eq!(Client::connect(gateway.outbound).ask(good()).status, 204);
}

#[test]
fn running_out_of_file_descriptors_is_survived() {
    let collector = Recorder::no_content();
    let mut gateway = Launch::new(POLICY)
        .collector(collector.addr)
        .args(["--threads=1"])
        .shell("ulimit -n 64")
        .start();
    let mut clients: Vec<_> = (0..200)
        .map(|_| Client::connect(gateway.outbound))
        .collect();
    for client in &mut clients {
        client.send(good());
    }
    eventually("exhaustion", || {
        gateway.log().contains("cannot accept").then_some(())
    });
    assert!(gateway.is_running());
    drop(clients);
    // Those that the kernel holds are taken and seen to have gone.
    eventually("room", || {
        let mut client = Client::connect(gateway.outbound);
        client.send(good());
        client.try_response().filter(|answer| answer.status == 204)
    });
    assert!(gateway.metric("lazaret_accept_errors_total", &[("direction", "egress")]) >= 1.0);
    assert!(
        collector
            .texts()
            .iter()
            .all(|request| *request == good_upstream())
    );
    gateway.stop();
}

#[test]
fn slow_clients_are_cut_and_hold_up_nobody() {
    let collector = Recorder::no_content();
    let gateway = Launch::new(POLICY)
        .collector(collector.addr)
        .args([
            "--detect-timeout=1s",
            "--head-timeout=1s",
            "--body-timeout=1s",
        ])
        .start();
    let whole = good();
    let mut slow: Vec<_> = (0..300)
        .map(|i| {
            let mut client = Client::connect(gateway.outbound);
            client.send(&whole[..[0, 3, 40, whole.len() - 1][i % 4]]);
            client
        })
        .collect();
    for _ in 0..50 {
        assert_eq!(Client::connect(gateway.outbound).ask(good()).status, 204);
    }
    for client in &mut slow {
        let (bytes, _) = client.rest();
        assert!(bytes.is_empty() || contains(&bytes, "body-timeout"));
    }
    let records = gateway.wait_verdicts(350);
    let of = |reason: &str| records.iter().filter(|r| r["reason"] == reason).count();
    assert_eq!(of("protocol-timeout"), 150);
    assert_eq!(of("head-timeout"), 75);
    assert_eq!(of("body-timeout"), 75);
    assert_eq!(collector.requests().len(), 50);
}

#[test]
fn no_body_is_larger_than_the_settings_say() {
    let collector = Recorder::no_content();
    let gateway = Launch::new(POLICY)
        .collector(collector.addr)
        .args(["--max-body-bytes=1000"])
        .start();
    let put = |n: usize| {
        format!(
            "PUT /v1/wide HTTP/1.1\r\nHost: collector.example\r\nContent-Type: application/json\r\n\
             Content-Length: {n}\r\n\r\n{}1",
            " ".repeat(n - 1)
        )
    };
    let mut client = Client::connect(gateway.outbound);
    assert_eq!(client.ask(put(1000)).status, 204);
    assert_eq!(client.ask(put(1001)).reason(), "body-too-large");
}

#[test]
fn draining_finishes_what_is_under_way_and_takes_nothing_new() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (collector, go) = held_collector();
        let mut gateway = Gateway::before(collector.addr);
        let mut idle = Client::connect(gateway.outbound);
        let mut half = Client::connect(gateway.outbound);
        let whole = good().replacen("Host", "Expect: 100-continue\r\nHost", 1);
        // An exchange that waits for its answer, a request that is half sent, and an idle client.
        let mut waiting = Client::connect(gateway.outbound);
        waiting.send(good());
        collector.wait_requests(1);
        half.send(&whole[..whole.len() - 5]);
        // So the gateway has begun to read its body.
        assert_eq!(half.exactly(25).unwrap(), b"HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(idle.ask(post("{}")).status, 422);
        gateway.signal(signal);
        eventually("draining", || {
            gateway.probe("/readyz").filter(|r| r.status == 503)
        });
        assert_eq!(gateway.probe("/readyz").unwrap().body, b"draining\n");
        assert_eq!(idle.rest().0, b"");
        eventually("no listener", || {
            let Some(mut client) = Client::try_connect(gateway.outbound) else {
                return Some(());
            };
            client.send(good());
            assert_eq!(client.rest().0, b"");
            None
        });
        assert!(gateway.is_running());
        half.send(&whole[whole.len() - 5..]);
        go.send(()).unwrap();
        go.send(()).unwrap();
        let answer = waiting.response();
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(half.response().status, 204);
        let status = gateway.wait_exit();
        assert_eq!(status.code(), Some(0), "{signal}");
        assert_eq!(collector.requests().len(), 2);
        let last = gateway.audit().pop().unwrap();
        assert_eq!(last["kind"], "stop");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (collector, _go) = held_collector();
    let mut gateway = Gateway::before(collector.addr);
    let mut waiting = Client::connect(gateway.outbound);
    waiting.send(good());
    collector.wait_requests(1);
    gateway.signal(Signal::SIGTERM);
    eventually("draining", || {
        gateway.probe("/readyz").filter(|r| r.status == 503)
    });
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert_eq!(waiting.rest().0, b"");
    assert_eq!(gateway.audit().pop().unwrap()["kind"], "stop");
}

#[test]
fn the_drain_time_is_a_bound() {
    let (collector, _go) = held_collector();
    let mut gateway = Launch::new(POLICY)
        .collector(collector.addr)
        .args(["--drain-timeout=300ms"])
        .start();
    let mut waiting = Client::connect(gateway.outbound);
    waiting.send(good());
    collector.wait_requests(1);
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert_eq!(waiting.rest().0, b"");
    assert!(
        gateway.log().contains("drain time is up"),
        "{}",
        gateway.log()
    );
}

#[test]
fn a_tunnel_is_cut_when_the_drain_time_is_up() {
    let policy = r#"
apiVersion: lazaret/v1
kind: Policy
metadata: { name: lab, producer: hospital-a, consumer: pharma-x }
require_encryption: false
ingress:
  - { name: shell, from: { cidrs: [10.200.0.0/16] }, port: 8000, action: tunnel }
"#;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut gateway = Launch::new(policy)
        .app(listener.local_addr().unwrap())
        .args(["--drain-timeout=1500ms"])
        .start();
    let mut client = Client::connect(gateway.inbound);
    let (mut server, _) = listener.accept().unwrap();
    gateway.signal(Signal::SIGTERM);
    // Open until then.
    std::io::Write::write_all(&mut server, b"late").unwrap();
    assert_eq!(client.exactly(4).unwrap(), b"late");
    assert_eq!(client.rest().0, b"");
    assert_eq!(gateway.wait_exit().code(), Some(0));
    let records = gateway.wait_verdicts(2);
    assert_eq!(records[1]["kind"], "tunnel-end");
    assert_eq!(records[1]["reason"], "draining");
}

#[test]
fn an_idle_tunnel_is_cut() {
    let policy = r#"
apiVersion: lazaret/v1
kind: Policy
metadata: { name: lab, producer: hospital-a, consumer: pharma-x }
require_encryption: false
ingress:
  - { name: shell, from: { cidrs: [10.200.0.0/16] }, port: 8000, action: tunnel }
"#;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Launch::new(policy)
        .app(listener.local_addr().unwrap())
        .args(["--tunnel-idle=300ms"])
        .start();
    let mut client = Client::connect(gateway.inbound);
    let _server = listener.accept().unwrap();
    assert_eq!(client.rest().0, b"");
    assert_eq!(gateway.wait_verdicts(2)[1]["kind"], "tunnel-end");
}

#[test]
fn a_port_that_is_taken_keeps_the_gateway_from_starting() {
    let gateway = Gateway::start(POLICY, [""; 0]);
    let policy = gateway.path("policy.yaml");
    let addr = |address: std::net::SocketAddr| address.to_string();
    for flags in [
        [addr(gateway.outbound), "127.0.0.1:0".into()],
        ["127.0.0.1:0".into(), addr(gateway.admin)],
    ] {
        let output = common::gateway::lazaret(
            [
                "run",
                "--standalone",
                "--policy",
                policy.to_str().unwrap(),
                "--outbound",
                &flags[0],
                "--admin",
                &flags[1],
            ],
            b"",
        );
        assert_eq!(output.status.code(), Some(70));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("cannot listen on"), "{said}");
    }
}

#[test]
fn many_clients_at_once_are_served() {
    let collector = Recorder::no_content();
    let gateway = Arc::new(Gateway::before(collector.addr));
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert_eq!(Client::connect(gateway.outbound).ask(good()).status, 204);
                }
            });
        }
    });
    assert_eq!(collector.texts(), vec![good_upstream(); 500]);
}

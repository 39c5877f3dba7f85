//! The gateway is killed, stopped, impersonated, started again, and proven by `lazaret-init`.

use std::io::ErrorKind;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::common::gateway::lazaret;
use crate::common::{Gateway, Launch, Recorder, Reply, SUMMARY, eventually};
use crate::lab::{HOME, HOSPITAL, Lab, NOWHERE, POD, POLICY};
use crate::peers::Peer;
use crate::space::{APP, at, run, said};

/// Long enough to tell an answer that is late from none.
const PATIENCE: Duration = Duration::from_secs(2);

fn get(ip: &str, port: u16, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", at(ip, port))
}

#[test]
fn a_killed_gateway_leaves_the_pod_closed_until_it_is_back() {
    let Some(lab) = Lab::new() else { return };
    let home = Recorder::on(lab.home.listen(8081), |_| Reply::json("{}"));
    let broker = Recorder::on(lab.hospital.listen(9002), |_| Reply::json("{}"));
    let app = Recorder::on(lab.pod.listen(8000), |_| Reply::json(SUMMARY));
    let gateway = lab.start(POLICY);
    // Open in every way while it is killed.
    let mut open = Vec::new();
    for family in [0, 1] {
        for (mut client, request) in [
            (
                lab.dial(HOME[family], 8081),
                get(HOME[family], 8081, "/v1/task"),
            ),
            (lab.dial(HOSPITAL[family], 9002), get("127.0.0.1", 1, "/")),
            (
                lab.home.dial(POD[family], 8000),
                get(POD[family], 8000, "/summary"),
            ),
        ] {
            assert_eq!(client.ask(&request).status, 200);
            open.push((client, request));
        }
    }
    let directory = gateway.kill();
    for (mut client, request) in open {
        client.send(&request);
        assert!(client.try_response().is_none());
    }
    let peers = [&home, &broker, &app];
    eventually("the end of all connections", || {
        let ended = |peer: &Recorder| peer.closed() == peer.connections();
        peers.iter().all(|peer| ended(peer)).then_some(())
    });
    let before = peers.map(Recorder::connections);

    let sniffer = lab.sniff();
    let destinations = [(HOME, 8081), (HOSPITAL, 9002), (NOWHERE, 80)];
    for (site, port) in destinations {
        for ip in site {
            let refused = lab.pod.try_dial(ip, port, PATIENCE);
            assert_eq!(refused, Some(ErrorKind::ConnectionRefused), "{ip} {port}");
        }
    }
    // The app takes the gateway's place, and talks with itself.
    let squatters = ["127.0.0.1", "::1"].map(|ip| {
        let words = ["greet", ip, "15001", "CANARY"];
        Peer::ready(&lab.pod.command(APP, &[]), &words)
    });
    for (site, port) in destinations {
        for ip in site {
            let mut client = lab.dial(ip, port);
            client.send("CANARY");
            assert_eq!(
                client.exactly(6).as_deref(),
                Some(&b"CANARY"[..]),
                "{ip} {port}"
            );
        }
    }
    lab.assert_silent(&sniffer);

    for ip in POD {
        let refused = lab.home.try_dial(ip, 8000, PATIENCE);
        assert_eq!(refused, Some(ErrorKind::ConnectionRefused), "{ip}");
    }
    let more = ["0.0.0.0", "::"].map(|ip| {
        let words = ["greet", ip, "15006", "CANARY"];
        Peer::ready(&lab.pod.command(APP, &[]), &words)
    });
    let sniffer = lab.sniff();
    for ip in POD {
        let ignored = lab.home.try_dial(ip, 8000, PATIENCE);
        assert_eq!(ignored, Some(ErrorKind::TimedOut), "{ip}");
    }
    assert!(more.iter().all(Peer::is_silent));
    lab.assert_silent(&sniffer);
    assert_eq!(peers.map(Recorder::connections), before);

    // While its place is taken it does not start, rather than with half of its ports.
    let failed = lab.launch(POLICY).try_start().unwrap_err();
    assert!(
        failed.log.contains("Address already in use"),
        "{}",
        failed.log
    );
    drop((squatters, more));
    let gateway = lab.in_pod(Launch::again(directory), &[]).start();
    for family in [0, 1] {
        let task = get(HOME[family], 8081, "/v1/task");
        assert_eq!(lab.dial(HOME[family], 8081).ask(task).status, 200);
        let call = get(POD[family], 8000, "/summary");
        assert_eq!(lab.home.dial(POD[family], 8000).ask(call).status, 200);
    }
    let directory = gateway.stop();
    let log = directory.path().join("audit.jsonl");
    let verified = lazaret(["audit", "verify", log.to_str().unwrap()], b"");
    let text = said(&verified);
    assert!(
        text.starts_with("ok: ") && text.contains(" 8 released, 0 refused"),
        "{text}"
    );
    let text = std::fs::read_to_string(log).unwrap();
    assert_eq!(text.matches("\"kind\":\"start\"").count(), 2);
}

#[test]
fn a_stopped_gateway_holds_everything_back() {
    let Some(lab) = Lab::new() else { return };
    let home = Recorder::on(lab.home.listen(8081), |_| Reply::json("{}"));
    let app = Recorder::on(lab.pod.listen(8000), |_| Reply::json(SUMMARY));
    let gateway = lab.start(POLICY);
    gateway.signal(Signal::SIGSTOP);
    let sniffer = lab.sniff();
    let mut waiting = HOME.map(|ip| {
        // The kernel accepts for it.
        let mut client = lab.dial(ip, 8081);
        client.send(get(ip, 8081, "/v1/task"));
        client
    });
    lab.assert_silent(&sniffer);
    let mut calls = POD.map(|ip| {
        let mut client = lab.home.dial(ip, 8000);
        client.send(get(ip, 8000, "/summary"));
        client
    });
    assert_eq!((home.connections(), app.connections()), (0, 0));
    gateway.signal(Signal::SIGCONT);
    for client in waiting.iter_mut().chain(&mut calls) {
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn the_init_container_proves_the_capture_beside_a_running_gateway() {
    let Some(lab) = Lab::new() else { return };
    let gateway: Gateway = lab.start(POLICY);
    let policy = gateway.path("policy.yaml");
    let directory = policy.parent().unwrap();
    let text = said(&lab.init("probe", directory, &[]));
    let asked = "refused by the running gateway: host-not-allowed";
    assert_eq!(text.matches(asked).count(), 2, "{text}");
    assert!(text.contains("the capture is effective"), "{text}");
    // A second `apply` changes nothing for the gateway.
    lab.apply(directory, &[]);

    let flushed = run(&lab.pod.command_as_root(&["nft", "flush", "ruleset"]));
    assert!(flushed.status.success());
    let probe = lab.init("probe", directory, &[]);
    assert_eq!(probe.status.code(), Some(95), "{probe:?}");
}

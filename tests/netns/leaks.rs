//! Everything that a hostile app may send while the gateway runs and works, with a capture of all
//! that the pod sends. That each attack gets out without rules is proven by `lazaret-init`'s tests.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use serde_json::Value;

use crate::common::{Recorder, Reply, contains, eventually};
use crate::lab::{HOME, HOSPITAL, Lab, POLICY};
use crate::peers::{Peer, Server};
use crate::space::{APP, APP_WITH_NET_RAW, User, at};

/// Makes all attacks of `attack.py`, which aim at home, and says how each ended.
fn attack(lab: &Lab, user: User, which: &str) -> Vec<(String, String)> {
    let attacker = Peer::start(&lab.pod.command(user, &[]), &["attack", which]);
    let mut results = Vec::new();
    loop {
        let line = attacker.next();
        if line["done"] == true {
            return results;
        }
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        results.push((text("name"), text("outcome")));
    }
}

#[test]
fn nothing_leaves_but_what_the_policy_allows() {
    for (user, which) in [(APP, "plain"), (APP_WITH_NET_RAW, "raw")] {
        let Some(lab) = Lab::new() else { return };
        let home = Server::echo(lab.home.listen(8080));
        let data = Server::echo(lab.hospital.listen(9001));
        let gateway = lab.start(POLICY);
        let sniffer = lab.sniff();
        let attacks = attack(&lab, user, which);
        assert!(attacks.len() > 10);
        lab.assert_silent(&sniffer);
        for (name, outcome) in &attacks {
            // Told so, where the kernel tells; what matters is the capture.
            if ["udp", "ping4", "raw"]
                .iter()
                .any(|kind| name.starts_with(kind))
            {
                assert_eq!(outcome, "EPERM", "{name}");
            }
        }
        // Whatever was TCP has met the gateway.
        let refused = eventually("the connections", || {
            let refused = gateway.verdicts();
            (refused.len() >= 4).then_some(refused)
        });
        for record in refused {
            assert_eq!(record["reason"], "destination-not-allowed", "{record}");
            assert_eq!(record["verdict"], "refused");
        }
        assert_eq!(home.accepted(), 0);
        for file in ["audit.jsonl", "stderr.log"] {
            assert!(
                !contains(&std::fs::read(gateway.path(file)).unwrap(), "CANARY"),
                "{file}"
            );
        }

        // The capture would have shown it.
        let sniffer = lab.sniff();
        for to in HOSPITAL {
            let mut client = lab.dial(to, 9001);
            client.send("CANARY-direct");
            assert!(client.exactly(13).is_some());
        }
        let frames = lab.frames(&sniffer);
        assert_eq!(
            frames
                .iter()
                .filter(|f| contains(f, "CANARY-direct"))
                .count(),
            2
        );
        assert_eq!(data.accepted(), 2);
    }
}

#[test]
fn a_connection_older_than_the_rules_carries_nothing_more() {
    let Some(lab) = Lab::new() else { return };
    let launch = lab.launch(POLICY);
    let homes = HOME.map(|ip| Peer::ready(&lab.home.command(APP, &[]), &["sink", ip, "8081"]));
    let mut flows = HOME.map(|ip| {
        let old = ["old-flow", ip, "8081"];
        Peer::ready(&lab.pod.command(APP, &[]), &old)
    });
    // Even to where the policy lets inspected requests go.
    lab.apply(launch.path(), &[]);
    let gateway = launch.start();
    let sniffer = lab.sniff();
    for flow in &mut flows {
        flow.tell("send");
        assert_eq!(flow.next()["sent"], true);
        flow.tell("close");
        assert_eq!(flow.next()["closed"], true);
    }
    for home in homes {
        let result = home.next();
        assert_eq!(
            (&result["received"], &result["ended"]),
            (&0.into(), &"timeout".into())
        );
    }
    lab.assert_silent(&sniffer);
    assert_eq!(gateway.verdicts(), [Value::Null; 0]);
}

/// The app is there first, and tries all the time.
#[test]
fn nothing_leaves_before_the_gateway_is_ready() {
    let Some(lab) = Lab::new() else { return };
    let home = Recorder::on(lab.home.listen(8081), |_| Reply::json("{}"));
    let launch = lab.launch(POLICY);
    lab.apply(launch.path(), &[]);
    let sniffer = lab.sniff();
    let (sender, refused) = channel();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let tries = scope.spawn(|| {
            lab.app(|| {
                let mut tried = 0;
                while !ended.load(Ordering::Relaxed) {
                    tried += 1;
                    match TcpStream::connect(at(HOME[tried % 2], 8081)) {
                        Ok(mut stream) => {
                            let request = "GET /v1/task?CANARY HTTP/1.1\r\nHost: x\r\n\r\n";
                            // It may be refused at any moment.
                            let _ = stream.write_all(request.as_bytes());
                        }
                        Err(_) => sender.send(()).unwrap(),
                    }
                }
            });
        });
        for _ in 0..100 {
            refused.recv().unwrap();
        }
        let frames = lab.frames(&sniffer);
        let gateway = launch.start();
        let task = |family: usize| {
            let address = at(HOME[family], 8081);
            let request = format!("GET /v1/task HTTP/1.1\r\nHost: {address}\r\n\r\n");
            lab.dial(HOME[family], 8081).ask(request).status
        };
        let answers = [task(0), task(1)];
        ended.store(true, Ordering::Relaxed);
        tries.join().unwrap();
        assert!(frames.is_empty(), "{frames:02x?}");
        assert_eq!(answers, [200; 2]);
        drop(gateway);
    });
    assert_eq!(home.requests().len(), 2);
    assert!(!contains(&home.bytes(), "CANARY"));
}

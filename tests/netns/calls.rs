//! Calls to the gateway itself, which is nobody's relay and tells nobody what goes on.

use std::io::ErrorKind;
use std::time::Duration;

use crate::common::raw::End;
use crate::common::{Gateway, Recorder, Reply, SUMMARY, eventually};
use crate::lab::{HOME, HOSPITAL, Lab, POD, POLICY};
use crate::peers::Server;
use crate::space::{APP, at};

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// By the kernel's rules, at once.
    Refused,
    /// By the kernel's rules, without an answer.
    Ignored,
    /// By the gateway.
    Reset,
}

/// Long enough to tell an answer that is late from none; what takes longer is taken for none,
/// which hides no answer that a caller could make use of.
const PATIENCE: Duration = Duration::from_secs(2);

/// A request that a relay would carry on, and an admin port would answer.
const CALL: &str = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:15020\r\n\r\n";

fn call(lab: &Lab, from_home: bool, ip: &str, port: u16) -> Outcome {
    let space = if from_home { &lab.home } else { &lab.pod };
    let dialled = || std::net::TcpStream::connect_timeout(&at(ip, port), PATIENCE);
    match space.enter(Some(APP), dialled) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Outcome::Refused,
        Err(error) if error.kind() == ErrorKind::TimedOut => Outcome::Ignored,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Outcome::Reset,
        Err(error) => panic!("{ip} {port}: {error}"),
        Ok(connected) => {
            drop(connected);
            let mut client = space.dial(ip, port);
            client.send(CALL);
            assert_eq!(client.rest(), (Vec::new(), End::Reset), "{ip} {port}");
            Outcome::Reset
        }
    }
}

#[test]
fn nobody_calls_the_gateway_itself() {
    use Outcome::{Ignored, Refused, Reset};
    let Some(lab) = Lab::new() else { return };
    let gateway = lab.start(POLICY);
    for family in [0, 1] {
        let loopback: &[_] = [&["127.0.0.1", "127.9.9.9"][..], &["::1"]][family];
        let pod = POD[family];
        for (port, from_home) in [(15001, Reset), (15006, Ignored), (15020, Reset)] {
            // Its input chain lets in at this port only what was meant for another.
            assert_eq!(call(&lab, true, pod, port), from_home, "home {pod} {port}");
            for ip in loopback.iter().chain([&pod]) {
                assert_eq!(call(&lab, false, ip, port), Refused, "app {ip} {port}");
            }
        }
    }
    let reasons: Vec<_> = (gateway.verdicts().into_iter())
        .map(|r| (r["direction"].clone(), r["reason"].clone()))
        .collect();
    let expected = ("ingress".into(), "gateway-address".into());
    assert!(!reasons.is_empty());
    assert!(reasons.iter().all(|seen| *seen == expected), "{reasons:?}");
    // It goes on.
    assert_eq!(lab.metric(&gateway, "lazaret_audit_healthy", &[]), 1.0);
}

/// The policy lists the gateway's own ports, by mistake or by malice.
#[test]
fn a_policy_that_lists_the_gateways_ports_opens_nothing() {
    let Some(lab) = Lab::new() else { return };
    let policy = POLICY
        .replace("ports: [9002]", "ports: [9002, 15001, 15006, 15020]")
        .replace("port: 7002", "port: 15020")
        .replace(
            "10.77.0.3, \"fd77::3\"",
            "10.77.0.3, \"fd77::3\", 10.77.0.2, \"fd77::2\", 127.0.0.1, \"::1\"",
        );
    assert_ne!(policy, POLICY);
    let launch = lab.launch(&policy);
    let applied = lab.init("apply", launch.path(), &[]);
    assert!(applied.status.success(), "{applied:?}");
    let _gateway = launch.start();
    for family in [0, 1] {
        let (loopback, pod) = (["127.0.0.1", "::1"][family], POD[family]);
        for port in [15001, 15006, 15020] {
            for ip in [loopback, pod] {
                assert_eq!(
                    call(&lab, false, ip, port),
                    Outcome::Refused,
                    "app {ip} {port}"
                );
            }
        }
        assert_eq!(call(&lab, true, pod, 15020), Outcome::Reset, "home {pod}");
    }
}

#[test]
fn the_platform_reaches_the_admin_port_and_nothing_else() {
    let Some(lab) = Lab::new() else { return };
    let launch = lab.launch(POLICY);
    lab.apply(
        launch.path(),
        &["--admin-from", HOME[0], "--admin-from", HOME[1]],
    );
    let _gateway = launch.start();
    for pod in POD {
        let get = |path: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            lab.home.dial(pod, 15020).ask(request)
        };
        eventually("readiness", || (get("/readyz").status == 200).then_some(()));
        assert_eq!((get("/livez").status, get("/metrics").status), (200, 200));
        let mut refused = lab.hospital.dial(pod, 15020);
        refused.send(CALL);
        assert_eq!(refused.rest(), (Vec::new(), End::Reset));
        assert_eq!(call(&lab, true, pod, 15001), Outcome::Reset);
    }
}

#[test]
fn what_stays_in_the_pod_is_the_apps_own() {
    let Some(lab) = Lab::new() else { return };
    let app = Recorder::on(lab.pod.listen(8000), |_| Reply::json(SUMMARY));
    let other = Server::echo(lab.pod.listen(5432));
    let gateway: Gateway = lab.start(POLICY);
    let before = gateway.audit().len();
    for ip in ["127.0.0.1", "::1", POD[0], POD[1]] {
        // Its own forms: nothing is rewritten, or refused.
        let request = "GET /anything HTTP/1.1\r\nhost: any\r\n\r\n";
        assert_eq!(lab.dial(ip, 8000).ask(request).body, SUMMARY.as_bytes());
        assert_eq!(app.texts(), [request]);
        app.forget();
        let mut client = lab.dial(ip, 5432);
        client.send("ping");
        assert_eq!(client.exactly(4).as_deref(), Some(&b"ping"[..]));
    }
    assert_eq!(other.accepted(), 4);
    assert_eq!(gateway.audit().len(), before);
}

/// A caller may make the pod its next hop, for any destination; the gateway's own connections pass
/// every rule, so it must not carry that on.
#[test]
fn the_pod_is_nobodys_router() {
    let Some(lab) = Lab::new() else { return };
    let target = Server::echo(lab.hospital.listen(7002));
    let gateway = lab.start(POLICY);
    for (family, [pod, hospital]) in [(4, [POD[0], HOSPITAL[0]]), (6, [POD[1], HOSPITAL[1]])] {
        let length = if family == 4 { 32 } else { 128 };
        lab.home
            .ip(&format!("route add {hospital}/{length} via {pod}"));
        let patience = Duration::from_secs(2);
        // The port is one that the policy opens, on another machine.
        let refused = lab.home.try_dial(hospital, 7002, patience);
        assert!(refused.is_some(), "{hospital}");
    }
    assert_eq!(target.accepted(), 0);
    assert_eq!(gateway.verdicts(), Vec::<serde_json::Value>::new());
}

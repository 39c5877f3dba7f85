//! What the policy does not allow: the client learns why if it speaks HTTP, and is cut off if it
//! does not; the other side learns nothing, not even that there was somebody.

use std::io::ErrorKind;
use std::net::{SocketAddrV6, TcpStream};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use serde_json::Value;

use crate::common::hello::hello;
use crate::common::raw::End;
use crate::common::{CANARY, Client, Gateway, Recorder, Reply, contains, eventually, post};
use crate::lab::{HOME, HOSPITAL, Lab, NOWHERE, POD, POLICY};
use crate::peers::{Dns, Server, url};
use crate::space::{APP, Space, at, run, said};

/// A request for this host.
fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nX: {CANARY}\r\n\r\n")
}

/// Waits for the next refusal and says its reason.
#[track_caller]
fn next_reason(gateway: &Gateway, seen: &mut usize) -> String {
    *seen += 1;
    let record = gateway.wait_verdicts(*seen).pop().unwrap();
    assert_eq!(record["verdict"], "refused", "{record}");
    assert_eq!(record["enforced"], true);
    record["reason"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_says_nothing(gateway: &Gateway) {
    let audit = std::fs::read(gateway.path("audit.jsonl")).unwrap();
    assert!(!contains(&audit, "CANARY"));
    assert!(!gateway.log().contains("CANARY"));
}

#[test]
fn requests_that_lead_elsewhere_are_told_why() {
    let Some(lab) = Lab::new() else { return };
    let _dns = Dns::of_the_lab(&lab);
    let others = [80, 8080, 9001].map(|port| Server::echo(lab.hospital.listen(port)));
    let homes = [80, 8080].map(|port| Server::echo(lab.home.listen(port)));
    let listed = Recorder::on(lab.home.listen(8081), |_| Reply::json("{}"));
    let gateway = lab.start(POLICY);
    let mut seen = 0;
    for family in [0, 1] {
        let (home, hospital) = (HOME[family], HOSPITAL[family]);
        let bracketed = |ip: &str| at(ip, 80).to_string().replace(":80", "");
        let address = at(home, 8081).to_string();
        let collector = "collector4.pharma.example";
        for (what, to, request, reason) in [
            (
                "nothing is listed there",
                at(home, 8080),
                get(&at(home, 8080).to_string(), "/"),
                "destination-not-allowed",
            ),
            (
                "nobody is there either",
                at(NOWHERE[family], 8080),
                get("x.example:8080", "/"),
                "destination-not-allowed",
            ),
            (
                "the address of a name is not the name",
                at(home, 80),
                get(&bracketed(home), "/v1/task"),
                "host-not-allowed",
            ),
            (
                "another name",
                at(home, 80),
                get("evil.example", "/v1/task"),
                "host-not-allowed",
            ),
            (
                "the listed name on a port without rules",
                at(hospital, 8080),
                get(&format!("{collector}:8080"), "/v1/task"),
                "destination-not-allowed",
            ),
            (
                "the listed name on another port than the connection's",
                at(home, 8081),
                get(collector, "/v1/task"),
                "host-mismatch",
            ),
            (
                "a listed address, but not the connection's",
                at(hospital, 8080),
                get(&address, "/v1/task"),
                "host-mismatch",
            ),
            (
                "an address that is not the connection's",
                at(home, 8081),
                get(&at(hospital, 8081).to_string(), "/v1/task"),
                "host-mismatch",
            ),
            (
                "a tunnel's name at an address that is not the name's",
                at(home, 9003),
                get("broker4.hospital.example:9003", "/"),
                "destination-not-allowed",
            ),
            (
                "a port beside that of a tunnel",
                at(hospital, 9004),
                get(&at(hospital, 9004).to_string(), "/"),
                "destination-not-allowed",
            ),
            (
                "another path",
                at(home, 8081),
                get(&address, "/v1/tasks"),
                "path-not-allowed",
            ),
            (
                "a body that does not fit",
                at(home, 8081),
                post(&format!("\"{CANARY}\"")).replace("collector.example", &address),
                "schema-mismatch",
            ),
        ] {
            let mut client = lab.app(|| Client::connect(to));
            let answer = client.ask(&request);
            assert_eq!(answer.reason(), reason, "{what}: {to}");
            assert_eq!(next_reason(&gateway, &mut seen), reason, "{what}: {to}");
        }
    }
    assert_eq!(others.map(|server| server.accepted()), [0; 3]);
    assert_eq!(homes.map(|server| server.accepted()), [0; 2]);
    assert_eq!(listed.connections(), 0);
    assert_says_nothing(&gateway);
}

#[test]
fn what_is_not_http_is_cut_off() {
    let Some(lab) = Lab::new() else { return };
    let unlisted = Server::echo(lab.home.listen(8080));
    let listed = Recorder::on(lab.home.listen(8081), |_| Reply::json("{}"));
    let app = Recorder::on(lab.pod.listen(8000), |_| Reply::json("{}"));
    let closed = Server::echo(lab.pod.listen(9999));
    let gateway = lab.start(POLICY);
    let mut seen = 0;
    let ssh = format!("SSH-2.0-{CANARY}\r\n");
    let hello = &hello(&[(21, CANARY.into())])[..];
    for family in [0, 1] {
        let (pod, home) = (POD[family], HOME[family]);
        for (from, to, bytes, reason) in [
            (
                &lab.pod,
                at(home, 8080),
                ssh.as_bytes(),
                "destination-not-allowed",
            ),
            (&lab.pod, at(home, 8080), hello, "destination-not-allowed"),
            (&lab.pod, at(home, 8081), ssh.as_bytes(), "protocol-unknown"),
            (&lab.pod, at(home, 8081), hello, "protocol-tls"),
            (&lab.home, at(pod, 8000), ssh.as_bytes(), "protocol-unknown"),
            (&lab.home, at(pod, 8000), hello, "protocol-tls"),
            (&lab.home, at(pod, 9999), ssh.as_bytes(), "port-not-allowed"),
            (
                &lab.hospital,
                at(pod, 8000),
                ssh.as_bytes(),
                "source-not-allowed",
            ),
            // Whoever calls from outside is not told why.
            (
                &lab.home,
                at(pod, 9999),
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                "port-not-allowed",
            ),
            (
                &lab.hospital,
                at(pod, 8000),
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                "source-not-allowed",
            ),
        ] {
            let mut client = from.dial(&to.ip().to_string(), to.port());
            client.send(bytes);
            assert_eq!(client.rest(), (Vec::new(), End::Reset), "{reason} {to}");
            assert_eq!(next_reason(&gateway, &mut seen), reason, "{to}");
        }
    }
    assert_eq!((unlisted.accepted(), closed.accepted()), (0, 0));
    assert_eq!((listed.connections(), app.connections()), (0, 0));
    assert_says_nothing(&gateway);
}

#[test]
fn real_tls_clients_are_refused() {
    let Some(lab) = Lab::new() else { return };
    let listed = Recorder::on(lab.home.listen(8081), |_| Reply::json("{}"));
    let app = Recorder::on(lab.pod.listen(8000), |_| Reply::json("{}"));
    let gateway = lab.start(POLICY);
    let mut seen = 0;
    for family in [0, 1] {
        for (client, ip, port) in [
            (&lab.pod, HOME[family], 8081),
            (&lab.home, POD[family], 8000),
        ] {
            let curl = url(ip, port, "/v1/task").replace("http:", "https:");
            let address = at(ip, port).to_string();
            for words in [
                ["curl", "-sk", &curl, "--max-time", "60"],
                ["openssl", "s_client", "-brief", "-connect", &address],
            ] {
                let done = client.tool(&words);
                assert!(!done.status.success(), "{done:?}");
                assert_eq!(
                    next_reason(&gateway, &mut seen),
                    "protocol-tls",
                    "{words:?}"
                );
            }
        }
    }
    assert_eq!((listed.connections(), app.connections()), (0, 0));
}

/// Every interface has such an address, and no policy can list one.
#[test]
fn link_local_addresses_lead_nowhere() {
    let Some(lab) = Lab::new() else { return };
    let home = Server::echo(lab.home.listen(8081));
    let app = Server::echo(lab.pod.listen(8000));
    let gateway = lab.start(POLICY);
    let mut seen = 0;
    let to = |space: &Space, port| {
        let command = space.command_as_root(&["ip", "-6", "-o", "addr", "show", "scope", "link"]);
        let text = said(&run(&command));
        let (_, address) = text.split_once("inet6 ").unwrap();
        let (ip, _) = address.split_once('/').unwrap();
        SocketAddrV6::new(ip.parse().unwrap(), port, 0, 0)
    };
    let scoped = |mut to: SocketAddrV6| {
        to.set_scope_id(if_nametoindex("eth0").unwrap());
        to.into()
    };
    // The kernel binds such a connection to its device, and so it does not reach the gateway.
    let sniffer = lab.sniff();
    let to_home = to(&lab.home, 8081);
    let dialled = lab.app(|| TcpStream::connect_timeout(&scoped(to_home), Duration::from_secs(2)));
    assert_eq!(dialled.unwrap_err().kind(), ErrorKind::TimedOut);
    lab.assert_silent(&sniffer);
    for (port, reason) in [(8000, "source-not-allowed"), (15001, "gateway-address")] {
        let to_pod = to(&lab.pod, port);
        let mut client = (lab.home).enter(Some(APP), || Client::connect(scoped(to_pod)));
        client.send(get("x", "/summary"));
        assert_eq!(client.rest(), (Vec::new(), End::Reset));
        assert_eq!(next_reason(&gateway, &mut seen), reason);
    }
    assert_eq!((home.accepted(), app.accepted()), (0, 0));
}

/// The names in this test lead where only a resolver that lies, or one that answers for a hostile
/// domain, would send the gateway.
#[test]
fn no_name_leads_into_the_pod_or_to_the_node() {
    let Some(lab) = Lab::new() else { return };
    let traps = [
        ("loopback.example", "127.0.0.1"),
        ("loopback6.example", "::1"),
        ("metadata.example", "169.254.169.254"),
        ("linklocal6.example", "fe80::1"),
        ("unspecified.example", "0.0.0.0"),
        ("unspecified6.example", "::"),
        ("broadcast.example", "255.255.255.255"),
        ("multicast.example", "224.0.0.1"),
        ("mapped.example", "::ffff:127.0.0.1"),
        // Not special, but not in the networks of the rule either.
        ("elsewhere.example", "10.77.0.3"),
    ];
    let _dns = Dns::start(&lab, &traps);
    let names: Vec<_> = traps.iter().map(|(name, _)| *name).collect();
    let policy = |cidrs: &str, names: &[&str], more: &str| {
        format!(
            "apiVersion: lazaret/v1\nkind: Policy\n\
             metadata: {{ name: lab, producer: hospital-a, consumer: pharma-x }}\n\
             require_encryption: false\ndns: {{ resolvers: [10.77.0.3] }}\negress:\n  - name: names\n    \
             to: {{ hosts: [{}], ports: [8083]{cidrs} }}\n    action: inspect\n    exchanges:\n    \
             - request: {{ method: GET, path: /v1/task }}\n{more}",
            names.join(", ")
        )
    };
    let inside = ["127.0.0.1", "::1"].map(|ip| Server::echo(lab.pod.listen_at(ip, 8083)));
    let hospital = Server::echo(lab.hospital.listen(8083));
    let bounded = policy(", cidrs: [10.77.0.1]", &names[9..], "");
    for (policy, names) in [
        (policy("", &names[..9], ""), &names[..9]),
        (bounded, &names[9..]),
    ] {
        let gateway = lab.start(&policy);
        let mut seen = 0;
        for name in names {
            let mut client = lab.dial(NOWHERE[0], 8083);
            let answer = client.ask(get(&format!("{name}:8083"), "/v1/task"));
            assert_eq!(answer.reason(), "upstream-address-not-allowed", "{name}");
            assert_eq!(
                next_reason(&gateway, &mut seen),
                "upstream-address-not-allowed"
            );
        }
    }
    assert_eq!(inside.map(|server| server.accepted()), [0; 2]);
    assert_eq!(hospital.accepted(), 0);
}

#[test]
fn a_tunnel_to_nobody_is_no_empty_answer() {
    let Some(lab) = Lab::new() else { return };
    let gateway = lab.start(POLICY);
    let mut seen = 0;
    for (client, ip, port) in [
        (&lab.pod, HOSPITAL[0], 9002),
        (&lab.pod, HOSPITAL[1], 9002),
        (&lab.home, POD[0], 7002),
        (&lab.home, POD[1], 7002),
    ] {
        assert_eq!(
            client.dial(ip, port).rest(),
            (Vec::new(), End::Reset),
            "{ip}"
        );
        assert_eq!(next_reason(&gateway, &mut seen), "upstream-unreachable");
    }
}

/// A name that cannot be resolved leads nowhere, however the app helps.
#[test]
fn without_an_answer_there_is_no_way() {
    let Some(lab) = Lab::new() else { return };
    let home = Recorder::on(lab.home.listen(80), |_| Reply::json("{}"));
    let broker = Server::echo(lab.hospital.listen(9003));
    // No name server; but the app knows where to go.
    let gateway = lab.start(POLICY);
    let answer = lab
        .dial(HOME[0], 80)
        .ask(get("collector4.pharma.example", "/v1/task"));
    assert_eq!(answer.reason(), "upstream-unresolved");
    let mut client = lab.dial(HOSPITAL[0], 9003);
    client.send("\0");
    assert_eq!(client.rest(), (Vec::new(), End::Reset));
    let reasons = eventually("both refusals", || {
        let reason = |r: Value| r["reason"].as_str().unwrap().to_owned();
        let found: Vec<_> = gateway.verdicts().into_iter().map(reason).collect();
        (found.len() == 2).then_some(found)
    });
    assert_eq!(reasons, ["upstream-unresolved", "destination-not-allowed"]);
    assert_eq!((home.connections(), broker.accepted()), (0, 0));
}

/// A caller in league with the app must not read anything from why its answer is refused.
#[test]
fn callers_are_told_one_reason_for_whatever_the_app_answers() {
    let Some(lab) = Lab::new() else { return };
    let (app, says) = Recorder::scripted_on(lab.pod.listen(8000));
    let gateway = lab.start(POLICY);
    let mut seen = 0;
    let mut told = Vec::new();
    let json = |status: &str, head: &str, body: &str| {
        Reply::raw(format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{head}content-length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    let small = r#"{"cohort":"T2DM","region":"Liguria","rows":[{"age_band":"40-49","mean_hba1c":6.91,"n":3,"sex":"F"}]}"#;
    for (answer, reason) in [
        (json("200 OK", "", CANARY), "json-syntax"),
        (json("200 OK", "", small), "sdc-min-count"),
        (json("200 OK", "", r#"{"a":1,"a":1}"#), "json-duplicate-key"),
        (json("418 Teapot", "", small), "status-not-allowed"),
        (
            json("200 OK", "content-encoding: gzip\r\n", small),
            "content-encoding",
        ),
        (Reply::raw("HTTP/1.1 200\rOK\n\n"), "upstream-protocol"),
    ] {
        says.say(answer.then_close());
        let to = at(POD[0], 8000);
        let answer = lab
            .home
            .dial(POD[0], 8000)
            .ask(get(&to.to_string(), "/summary"));
        assert_eq!(next_reason(&gateway, &mut seen), reason);
        told.push(answer.undated());
    }
    assert!(told[0].contains("response-refused"), "{}", told[0]);
    assert!(told.iter().all(|answer| *answer == told[0]), "{told:#?}");
    drop(app);
    assert_says_nothing(&gateway);
}

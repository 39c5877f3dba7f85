//! A policy is replaced while the gateway works: nothing allowed is lost, nothing revoked goes on,
//! and what is no policy changes nothing. And `observe`, which is a policy's way to change nothing.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which fail by panicking"
)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::{
    CANARY, Client, Gateway, Launch, POLICY, Recorder, Reply, SUMMARY, Signal, contains,
    eventually, good, good_upstream, post,
};

const TUNNEL: &str = r#"
apiVersion: lazaret/v1
kind: Policy
metadata: { name: lab, producer: hospital-a, consumer: pharma-x }
require_encryption: false
ingress:
  - { name: shell, from: { cidrs: [10.200.0.0/16] }, port: 8000, action: tunnel }
"#;

fn named(name: &str) -> String {
    POLICY.replace("name: lab", &format!("name: {name}"))
}

/// The policy without its way out.
fn revoked() -> String {
    POLICY
        .replace("hosts: [collector.example]", "hosts: [other.example]")
        .replace(
            "collector.example: [203.0.113.20]",
            "other.example: [203.0.113.20]",
        )
}

fn observing() -> String {
    POLICY.replace("mode: enforce", "mode: observe")
}

#[test]
fn replacing_the_policy_under_load_loses_nothing() {
    let collector = Recorder::no_content();
    let gateway = Gateway::before(collector.addr);
    let ended = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::connect(gateway.outbound);
                while !ended.load(Ordering::Relaxed) {
                    assert_eq!(client.ask(good()).status, 204);
                    assert_eq!(client.ask(post("{}")).status, 422);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for i in 0..10 {
            let before = asked.load(Ordering::Relaxed);
            gateway.replace_policy(&named(&format!("lab-{i}")));
            eventually("load", || {
                (asked.load(Ordering::Relaxed) > before + 4).then_some(())
            });
        }
        ended.store(true, Ordering::Relaxed);
    });
    let asked = asked.into_inner();
    assert_eq!(collector.texts(), vec![good_upstream(); asked]);
    let audit = gateway.audit();
    let of = |name: &str, value: &str| audit.iter().filter(|r| r[name] == value).count();
    assert_eq!(of("verdict", "released"), asked);
    assert_eq!(of("verdict", "refused"), asked);
    assert_eq!(of("kind", "policy"), 10);
    // Each verdict names the policy that it was made by, and all of them were in force.
    let mut policies: Vec<_> = audit.iter().filter_map(|r| r["policy"].as_str()).collect();
    policies.sort_unstable();
    policies.dedup();
    assert_eq!(policies.len(), 11);
    assert_eq!(
        gateway.metric("lazaret_policy_info", &[("name", "lab-9")]),
        1.0
    );
    assert_eq!(
        gateway.metric("lazaret_policy_info", &[("name", "lab-8")]),
        0.0
    );
}

#[test]
fn what_is_no_policy_changes_nothing() {
    let collector = Recorder::no_content();
    let gateway = Gateway::before(collector.addr);
    let kept = |n: f64| {
        eventually("the report", || {
            let count = gateway.metric("lazaret_policy_reloads_total", &[("result", "kept")]);
            (count == n).then_some(())
        });
    };
    let bad = [
        "nonsense: true\n".to_owned(),
        String::new(),
        POLICY.replace("body: summary", "body: sumary"),
        POLICY.replace("strict", "x") + "unknown: 1\n",
    ];
    for (i, bad) in bad.iter().enumerate() {
        gateway.write_policy(bad);
        kept((i + 1) as f64);
        assert_eq!(Client::connect(gateway.outbound).ask(good()).status, 204);
        assert_eq!(
            Client::connect(gateway.outbound).ask(post("{}")).status,
            422
        );
        assert_eq!(
            gateway.metric("lazaret_policy_last_reload_success", &[]),
            0.0
        );
    }
    assert!(gateway.log().contains("policy not replaced"));
    std::fs::remove_file(gateway.path("policy.yaml")).unwrap();
    kept((bad.len() + 1) as f64);
    assert_eq!(Client::connect(gateway.outbound).ask(good()).status, 204);

    gateway.replace_policy(&revoked());
    let answer = Client::connect(gateway.outbound).ask(good());
    assert_eq!(answer.reason(), "host-not-allowed");
}

#[test]
fn the_policy_in_force_written_again_ends_the_alarm() {
    let gateway = Gateway::start(POLICY, [""; 0]);
    let success = || gateway.metric("lazaret_policy_last_reload_success", &[]);
    gateway.write_policy("nonsense: true\n");
    eventually("the alarm", || (success() == 0.0).then_some(()));
    gateway.write_policy(POLICY);
    eventually("the end of the alarm", || (success() == 1.0).then_some(()));
}

#[test]
fn a_revoked_rule_refuses_the_next_request_on_a_kept_connection() {
    let peer = Recorder::start(|request| match request.starts_with(b"GET") {
        true => Reply::json(SUMMARY),
        false => Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"),
    });
    let gateway = Launch::new(POLICY)
        .collector(peer.addr)
        .app(peer.addr)
        .start();
    let mut pod = Client::connect(gateway.outbound);
    let mut caller = Client::connect(gateway.inbound);
    let summary = "GET /summary HTTP/1.1\r\nHost: pod\r\n\r\n";
    assert_eq!(pod.ask(good()).status, 204);
    assert_eq!(caller.ask(summary).status, 200);
    let before = peer.bytes();
    gateway.replace_policy(&revoked().replace("port: 8000", "port: 8001"));
    let answer = pod.ask(good());
    assert_eq!(answer.reason(), "host-not-allowed");
    // Whoever may not even connect is cut.
    assert_eq!(caller.rest().0, b"");
    let mut caller = Client::connect(gateway.inbound);
    caller.send(summary);
    assert_eq!(caller.rest().0, b"");
    assert_eq!(peer.bytes(), before);
    // And back.
    gateway.replace_policy(POLICY);
    assert_eq!(pod.ask(good()).status, 204);
    assert_eq!(Client::connect(gateway.inbound).ask(summary).status, 200);
}

#[test]
fn a_schema_beside_the_policy_is_part_of_it() {
    let collector = Recorder::no_content();
    let gateway = Gateway::before(collector.addr);
    let put = "PUT /v1/wide HTTP/1.1\r\nHost: collector.example\r\nContent-Type: application/json\r\n\
               Content-Length: 3\r\n\r\n[1]";
    let mut client = Client::connect(gateway.outbound);
    assert_eq!(client.ask(put).status, 204);
    std::fs::write(gateway.path("wide.schema.json"), r#"{"type":"boolean"}"#).unwrap();
    eventually("the new schema", || {
        let n = gateway.metric("lazaret_policy_reloads_total", &[("result", "replaced")]);
        (n == 1.0).then_some(())
    });
    assert_eq!(client.ask(put).reason(), "schema-mismatch");
}

#[test]
fn a_config_map_swapped_by_symlink_is_followed() {
    let collector = Recorder::no_content();
    let launch = Launch::new(POLICY).collector(collector.addr);
    let dir = launch.path().to_owned();
    let link = |name: &str, policy: &str| {
        let version = dir.join(name);
        std::fs::create_dir(&version).unwrap();
        for file in [
            "wide.schema.json",
            "cohort-summary.schema.json",
            "common.schema.json",
        ] {
            std::fs::copy(dir.join(file), version.join(file)).unwrap();
        }
        std::fs::write(version.join("policy.yaml"), policy).unwrap();
        std::os::unix::fs::symlink(name, dir.join("..next")).unwrap();
        std::fs::rename(dir.join("..next"), dir.join("..data")).unwrap();
    };
    link("..1", POLICY);
    for file in [
        "policy.yaml",
        "wide.schema.json",
        "cohort-summary.schema.json",
        "common.schema.json",
    ] {
        std::os::unix::fs::symlink(format!("..data/{file}"), dir.join("..file")).unwrap();
        std::fs::rename(dir.join("..file"), dir.join(file)).unwrap();
    }
    let gateway = launch.start();
    let mut client = Client::connect(gateway.outbound);
    assert_eq!(client.ask(good()).status, 204);
    link("..2", &revoked());
    eventually("the new policy", || {
        let n = gateway.metric("lazaret_policy_reloads_total", &[("result", "replaced")]);
        (n == 1.0).then_some(())
    });
    assert_eq!(client.ask(good()).reason(), "host-not-allowed");
}

#[test]
fn sighup_looks_at_once() {
    let collector = Recorder::no_content();
    let gateway = Launch::new(POLICY)
        .collector(collector.addr)
        .args(["--policy-poll=1h"])
        .start();
    gateway.write_policy(&revoked());
    assert_eq!(Client::connect(gateway.outbound).ask(good()).status, 204);
    gateway.signal(Signal::SIGHUP);
    eventually("the new policy", || {
        let n = gateway.metric("lazaret_policy_reloads_total", &[("result", "replaced")]);
        (n == 1.0).then_some(())
    });
    assert_eq!(
        Client::connect(gateway.outbound).ask(good()).reason(),
        "host-not-allowed"
    );
}

#[test]
fn a_revoked_rule_cuts_its_tunnel() {
    // Where the server speaks first: a tunnel never waits for the client.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Launch::new(TUNNEL)
        .app(listener.local_addr().unwrap())
        .start();
    let mut client = Client::connect(gateway.inbound);
    let (mut server, _) = listener.accept().unwrap();
    std::io::Write::write_all(&mut server, b"220 hello\r\n").unwrap();
    assert_eq!(client.exactly(11).unwrap(), b"220 hello\r\n");
    client.send("\0\x01binary");
    let mut read = [0; 8];
    std::io::Read::read_exact(&mut server, &mut read).unwrap();
    assert_eq!(&read, b"\0\x01binary");
    // A policy that still has it leaves it alone.
    gateway.replace_policy(&TUNNEL.replace("name: lab", "name: lab-2"));
    client.send("more");
    std::io::Read::read_exact(&mut server, &mut read[..4]).unwrap();
    gateway.replace_policy(&TUNNEL.replace("port: 8000", "port: 8001"));
    assert_eq!(client.rest().0, b"");
    assert_eq!(std::io::Read::read(&mut server, &mut read).unwrap_or(0), 0);
    let records = gateway.wait_verdicts(2);
    assert_eq!(records[0]["kind"], "connection");
    assert_eq!(records[0]["verdict"], "allowed");
    assert_eq!(records[0]["rule"], "shell");
    assert_eq!(records[1]["kind"], "tunnel-end");
    assert_eq!(records[1]["reason"], "policy-changed");
    assert_eq!(records[1]["bytes_in"], 12);
    assert_eq!(records[1]["bytes_out"], 11);
    let sent = [("rule", "shell"), ("sender", "client")];
    assert_eq!(gateway.metric("lazaret_tunnel_bytes_total", &sent), 12.0);
}

#[test]
fn observe_lets_pass_as_it_was_sent_and_says_what_would_have_been_refused() {
    let collector = Recorder::no_content();
    let gateway = Launch::new(&observing()).collector(collector.addr).start();
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(100_000));
    let rows: [(&str, String, &str, &str); 6] = [
        (
            "schema-mismatch",
            format!(
                "POST /v1/results/t2dm?run=5 HTTP/1.1\r\nHost: collector.example\r\nContent-Type: \
                 application/json\r\nX-Secret: {CANARY}\r\nCookie: a=b\r\nContent-Length: 9\r\n\r\n{{ \"a\":1 }}"
            ),
            "POST /v1/results/t2dm?run=5 HTTP/1.1",
            "{ \"a\":1 }",
        ),
        (
            "path-not-allowed",
            "DELETE /Patients/7?x=%41#f HTTP/1.1\r\nHost: collector.example\r\nX-Secret: a\r\n\r\n".into(),
            "DELETE /Patients/7?x=%41 HTTP/1.1",
            "",
        ),
        (
            "body-too-large",
            post(&large),
            "POST /v1/results/t2dm HTTP/1.1",
            &large,
        ),
        (
            "media-type",
            post(SUMMARY).replace("application/json", "text/csv"),
            "POST /v1/results/t2dm HTTP/1.1",
            SUMMARY,
        ),
        (
            "header-not-allowed",
            "GET /v1/task HTTP/1.1\r\nHost: collector.example\r\nRange: bytes=0-1\r\n\r\n".into(),
            "GET /v1/task HTTP/1.1",
            "",
        ),
        (
            "upgrade-not-allowed",
            "GET /v1/task HTTP/1.1\r\nHost: collector.example\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".into(),
            "GET /v1/task HTTP/1.1",
            "",
        ),
    ];
    for (i, (reason, request, line, body)) in rows.iter().enumerate() {
        collector.forget();
        let answer = Client::connect(gateway.outbound).ask(request);
        assert_eq!(answer.status, 204, "{reason}");
        let sent = String::from_utf8(collector.requests().pop().unwrap()).unwrap();
        let (head, sent_body) = sent.split_once("\r\n\r\n").unwrap();
        assert_eq!(head.lines().next().unwrap(), *line, "{reason}");
        assert_eq!(sent_body, *body, "{reason}");
        // Every field that is not about the connection.
        let fields = |head: &str| {
            let mut fields: Vec<String> = head
                .lines()
                .skip(1)
                .filter(|field| !field.is_empty())
                .map(|field| {
                    let (name, value) = field.split_once(": ").unwrap();
                    format!("{}: {value}", name.to_lowercase())
                })
                .filter(|field| !field.starts_with("upgrade:") && !field.starts_with("connection:"))
                .collect();
            fields.sort();
            fields
        };
        let asked = request.split("\r\n\r\n").next().unwrap();
        assert_eq!(fields(head), fields(asked), "{reason}");
        let records = gateway.wait_verdicts(i + 1);
        assert_eq!(records[i]["verdict"], "refused", "{reason}");
        assert_eq!(records[i]["reason"], *reason);
        assert_eq!(records[i]["enforced"], false, "{reason}");
    }
    // What is allowed is written anew in this mode too.
    collector.forget();
    let answer = Client::connect(gateway.outbound).ask(good());
    assert_eq!(answer.status, 204);
    assert_eq!(collector.texts().pop().unwrap(), good_upstream());
    let record = gateway.wait_verdicts(7).remove(6);
    assert_eq!(record["verdict"], "released");
    assert_eq!(record["enforced"], false);
}

#[test]
fn observe_passes_nothing_on_that_concerns_one_connection_alone() {
    let collector = Recorder::no_content();
    let gateway = Launch::new(&observing()).collector(collector.addr).start();
    let answer = Client::connect(gateway.outbound).ask(
        "GET /other HTTP/1.1\r\nHost: collector.example\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=5\r\nTE: trailers\r\nProxy-Authorization: x\r\nProxy-Connection: y\r\n\
         Trailer: z\r\nX-End: 2\r\n\r\n",
    );
    assert_eq!(answer.status, 204);
    let expected = "GET /other HTTP/1.1\r\nhost: collector.example\r\nx-end: 2\r\n\r\n";
    assert_eq!(collector.texts(), [expected]);
}

#[test]
fn observe_opens_no_way_that_is_not_in_the_policy() {
    let collector = Recorder::no_content();
    let gateway = Launch::new(&observing()).collector(collector.addr).start();
    // A name that no rule has is resolved for nobody; CONNECT would end all observation.
    for request in [
        "GET /v1/task HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
        "CONNECT collector.example:80 HTTP/1.1\r\nHost: collector.example:80\r\n\r\n",
    ] {
        let answer = Client::connect(gateway.outbound).ask(request);
        assert!(answer.status >= 400, "{request}");
    }
    assert!(!contains(&collector.bytes(), "evil"));
    assert!(!contains(&collector.bytes(), "CONNECT"));
}

#[test]
fn observe_lets_answers_of_the_app_pass_too() {
    let (app, script) = Recorder::scripted();
    let gateway = Launch::new(&observing()).app(app.addr).start();
    let body = format!("<p>{CANARY}</p>");
    script.say(Reply::raw(format!(
        "HTTP/1.1 500 Broken\r\nContent-Type: text/html\r\nX-Debug: 1\r\nKeep-Alive: x\r\n\
         Connection: x-hop\r\nX-Hop: 1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )));
    let summary = "GET /summary HTTP/1.1\r\nHost: pod\r\n\r\n";
    let answer = Client::connect(gateway.inbound).ask(summary);
    assert_eq!(answer.status, 500);
    assert_eq!(answer.body, body.as_bytes());
    assert_eq!(answer.header("x-debug"), Some("1"));
    assert_eq!(answer.header("keep-alive"), None);
    assert_eq!(answer.header("x-hop"), None);
    let record = gateway.wait_verdicts(1).remove(0);
    assert_eq!(record["verdict"], "refused");
    assert_eq!(record["enforced"], false);
    assert_eq!(record["reason"], "status-not-allowed");

    script.say(Reply::json("{\"a\": 1}"));
    let answer = Client::connect(gateway.inbound).ask(summary);
    assert_eq!((answer.status, &answer.body[..]), (200, &b"{\"a\": 1}"[..]));
    let record = gateway.wait_verdicts(2).remove(1);
    assert_eq!(record["reason"], "schema-mismatch");
    assert_eq!(record["enforced"], false);
    // What comes in is held to the policy in every mode.
    let answer =
        Client::connect(gateway.inbound).ask("GET /patients HTTP/1.1\r\nHost: pod\r\n\r\n");
    assert_eq!(answer.reason(), "path-not-allowed");
    assert_eq!(app.requests().len(), 2);
}

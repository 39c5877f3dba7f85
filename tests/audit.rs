//! The audit log of the real binary: one record for each verdict, written before anything leaves, a
//! chain that shows what was done to it, and no value of a payload anywhere.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which fail by panicking"
)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use common::gateway::{lazaret, records};
use common::{
    CANARY, Client, Gateway, Launch, POLICY, Recorder, Reply, SUMMARY, contains, good, post,
};
use serde_json::Value;

fn verify(args: &[&str], file: &Path) -> std::process::Output {
    let mut all = vec!["audit", "verify"];
    all.extend(args);
    all.push(file.to_str().unwrap());
    lazaret(all, b"")
}

#[track_caller]
fn verified(file: &Path) -> Value {
    let output = verify(&["--output=json"], file);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["ok"], true);
    report["report"].clone()
}

/// A log with a few verdicts, of a gateway that has ended.
fn finished_log() -> (tempfile::TempDir, Vec<String>) {
    let collector = Recorder::no_content();
    let gateway = Gateway::before(collector.addr);
    let mut client = Client::connect(gateway.outbound);
    for i in 0..6 {
        let request = if i % 2 == 0 { good() } else { post("{}") };
        client.ask(request);
    }
    drop(client);
    let dir = gateway.stop();
    let text = fs::read_to_string(dir.path().join("audit.jsonl")).unwrap();
    (dir, text.lines().map(str::to_owned).collect())
}

#[test]
fn every_verdict_has_exactly_one_record() {
    let peer = Recorder::start(|request| {
        if request.starts_with(b"GET") {
            Reply::json(if request.starts_with(b"GET /summary?run=1") {
                "{}"
            } else {
                SUMMARY
            })
        } else {
            Reply::raw("HTTP/1.1 204 No Content\r\n\r\n")
        }
    });
    let gateway = Launch::new(POLICY)
        .collector(peer.addr)
        .app(peer.addr)
        .start();
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: pod\r\n\r\n");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut pod = Client::connect(gateway.outbound);
                let mut caller = Client::connect(gateway.inbound);
                for _ in 0..50 {
                    assert_eq!(pod.ask(good()).status, 204);
                    assert_eq!(pod.ask(post("{}")).status, 422);
                    assert_eq!(caller.ask(get("/summary")).status, 200);
                    assert_eq!(caller.ask(get("/summary?run=1")).status, 502);
                    assert_eq!(caller.ask(get("/patients")).status, 403);
                }
            });
        }
    });
    let audit = gateway.audit();
    let count = |members: &[(&str, &str)]| {
        let fits = |r: &&Value| members.iter().all(|(name, value)| r[*name] == *value);
        audit.iter().filter(fits).count()
    };
    assert_eq!(count(&[("kind", "exchange")]), 1000);
    assert_eq!(
        count(&[("direction", "egress"), ("verdict", "released")]),
        200
    );
    assert_eq!(
        count(&[("direction", "egress"), ("verdict", "refused")]),
        200
    );
    assert_eq!(
        count(&[("direction", "ingress"), ("verdict", "released")]),
        200
    );
    assert_eq!(
        count(&[("direction", "ingress"), ("reason", "schema-mismatch")]),
        200
    );
    assert_eq!(
        count(&[("direction", "ingress"), ("reason", "path-not-allowed")]),
        200
    );
    for verdict in ["released", "refused"] {
        let counted = gateway.metric("lazaret_exchanges_total", &[("verdict", verdict)]);
        assert_eq!(counted as usize, count(&[("verdict", verdict)]));
    }
    // The digest is of what left.
    let digest = {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(SUMMARY.as_bytes());
        digest
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<String>()
    };
    let released = audit.iter().filter(|r| r["verdict"] == "released");
    assert!(released.clone().all(|r| r["body_sha256"] == *digest));
    assert!(released.clone().all(|r| r["bytes_out"] == SUMMARY.len()));
    let sequence = audit.last().unwrap()["seq"].as_f64().unwrap();
    assert_eq!(gateway.metric("lazaret_audit_sequence", &[]), sequence);
    let dir = gateway.stop();
    let report = verified(&dir.path().join("audit.jsonl"));
    assert_eq!(report["released"], 400);
    assert_eq!(report["refused"], 600);
    // Start and stop.
    assert_eq!(report["records"], 1002);
}

#[test]
fn a_record_is_there_before_the_first_byte_leaves() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let launch = Launch::new(POLICY).collector(listener.local_addr().unwrap());
    let audit = launch.path().join("audit.jsonl");
    let gateway = launch.args(["--audit-durability=flush"]).start();
    let collector = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for n in 1..=100 {
            let mut first = [0];
            stream.read_exact(&mut first).unwrap();
            let released = records(&fs::read(&audit).unwrap());
            let released = released.iter().filter(|r| r["verdict"] == "released");
            assert_eq!(released.count(), n);
            let mut rest = vec![0; common::good_upstream().len() - 1];
            stream.read_exact(&mut rest).unwrap();
            stream
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .unwrap();
        }
    });
    let mut client = Client::connect(gateway.outbound);
    for _ in 0..100 {
        assert_eq!(client.ask(good()).status, 204);
    }
    collector.join().unwrap();
}

#[test]
fn a_record_is_there_before_the_first_byte_of_an_answer_leaves() {
    let app = Recorder::start(|_| Reply::json(SUMMARY));
    let gateway = Launch::new(POLICY).app(app.addr).start();
    let mut caller = Client::connect(gateway.inbound);
    for n in 1..=100 {
        caller.send("GET /summary HTTP/1.1\r\nHost: pod\r\n\r\n");
        caller.exactly(1).unwrap();
        let released = gateway.audit();
        assert_eq!(
            released
                .iter()
                .filter(|r| r["verdict"] == "released")
                .count(),
            n
        );
        let rest = caller.response_from("H");
        assert_eq!(rest.status, 200);
    }
}

#[test]
fn tampering_is_found() {
    let (dir, lines) = finished_log();
    let file = dir.path().join("audit.jsonl");
    let report = verified(&file);
    assert_eq!(report["records"], lines.len());
    let head = report["head"].as_str().unwrap().to_owned();
    let middle = lines.len() / 2;
    let tampered = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        lines.join("\n") + "\n"
    };
    let cases: Vec<(&str, String)> = vec![
        (
            "edited",
            tampered(&|l| {
                l[middle] = l[middle]
                    .replace("released", "refused")
                    .replace("schema-mismatch", "json-syntax")
            }),
        ),
        (
            "a digit",
            tampered(&|l| l[middle] = l[middle].replacen("\"seq\":5", "\"seq\":6", 1)),
        ),
        ("dropped", tampered(&|l| drop(l.remove(middle)))),
        (
            "the first dropped, and numbered anew",
            tampered(&|l| {
                l.remove(0);
                l[0] = l[0].replacen("\"seq\":2", "\"seq\":1", 1);
            }),
        ),
        ("swapped", tampered(&|l| l.swap(middle, middle + 1))),
        (
            "doubled",
            tampered(&|l| l.insert(middle, l[middle].clone())),
        ),
        (
            "a line of another kind",
            tampered(&|l| l.insert(middle, "{}".into())),
        ),
        ("a space", tampered(&|l| l[middle].push(' '))),
        ("no JSON", tampered(&|l| l[middle] = "x".into())),
        ("torn", {
            let text = tampered(&|_| ());
            text[..text.len() - 10].to_owned()
        }),
        ("empty", String::new()),
    ];
    for (what, text) in cases {
        fs::write(&file, text).unwrap();
        let output = verify(&["--output=json"], &file);
        assert_eq!(output.status.code(), Some(3), "{what}");
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["ok"], false, "{what}");
        assert!(!said["error"].as_str().unwrap().is_empty(), "{what}");
        let output = verify(&[], &file);
        assert_eq!(output.status.code(), Some(3), "{what}");
        assert!(!output.stderr.is_empty(), "{what}");
    }
    // A cut end is only found by whoever knows what was there.
    fs::write(&file, tampered(&|l| l.truncate(middle))).unwrap();
    verified(&file);
    let expect = format!("--expect-head={head}");
    assert_eq!(verify(&[&expect], &file).status.code(), Some(3));
    fs::write(&file, tampered(&|_| ())).unwrap();
    assert_eq!(verify(&[&expect], &file).status.code(), Some(0));
    assert_eq!(
        verify(&[], &dir.path().join("nowhere")).status.code(),
        Some(64)
    );
    assert_eq!(
        verify(&["--expect-head=xyz"], &file).status.code(),
        Some(64)
    );
}

#[test]
fn a_chain_runs_on_over_restarts_crashes_and_rotation() {
    let collector = Recorder::no_content();
    let launch = |dir: Option<&Path>| {
        let launch = Launch::new(POLICY)
            .collector(collector.addr)
            .args(["--audit-max-bytes=4000", "--audit-durability=fsync"]);
        let own = launch.path().join("audit.jsonl").display().to_string();
        let file = dir.map_or(own, |dir| dir.join("audit.jsonl").display().to_string());
        launch.no_audit_file().args([format!("--audit={file}")])
    };
    let shared = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let gateway = launch(Some(shared.path())).start();
        let mut client = Client::connect(gateway.outbound);
        for _ in 0..20 {
            assert_eq!(client.ask(good()).status, 204);
        }
        if round % 2 == 0 {
            gateway.stop();
        } else {
            // Dropped: killed.
            drop(gateway);
        }
    }
    let files = fs::read_dir(shared.path()).unwrap().count();
    assert!(files > 5, "{files}");
    let report = verified(&shared.path().join("audit.jsonl"));
    assert_eq!(report["released"], 80);
    assert_eq!(report["first_seq"], 1);
}

#[test]
fn two_gateways_do_not_write_one_log() {
    let first = Gateway::start(POLICY, [""; 0]);
    let file = first.path("audit.jsonl");
    let second = Launch::new(POLICY)
        .no_audit_file()
        .args([format!("--audit={}", file.display())])
        .try_start();
    let failed = second.expect_err("the log is taken");
    assert_eq!(failed.status.code(), Some(70));
    assert!(failed.log.contains("another process"), "{}", failed.log);
}

#[test]
fn a_log_that_cannot_be_written_keeps_the_gateway_from_starting() {
    for (audit, says) in [
        ("/dev/full", "not a regular file"),
        ("/", "audit log"),
        ("/nonexistent/audit.jsonl", "audit log"),
    ] {
        let failed = Launch::new(POLICY)
            .no_audit_file()
            .args([format!("--audit={audit}")])
            .try_start()
            .expect_err(audit);
        assert_eq!(failed.status.code(), Some(70), "{audit}");
        assert!(failed.log.contains(says), "{audit}: {}", failed.log);
    }
    let failed = Launch::new(POLICY)
        .no_audit_file()
        .args(["--audit=-"])
        .shell("exec >/dev/full")
        .try_start()
        .expect_err("a full standard output");
    assert_eq!(failed.status.code(), Some(70));
    // An edited log is not continued.
    let (dir, lines) = finished_log();
    let file = dir.path().join("audit.jsonl");
    fs::write(&file, lines.join("\n").replace("refused", "granted") + "\n").unwrap();
    let last = lines.len() - 1;
    let mut edited = lines;
    edited[last] = edited[last].replacen("stop", "step", 1);
    fs::write(&file, edited.join("\n") + "\n").unwrap();
    let failed = Launch::new(POLICY)
        .no_audit_file()
        .args([format!("--audit={}", file.display())])
        .try_start()
        .expect_err("an edited log");
    assert_eq!(failed.status.code(), Some(70));
    assert!(failed.log.contains("cannot be continued"), "{}", failed.log);
}

#[test]
fn without_a_record_nothing_is_released() {
    let collector = Recorder::no_content();
    let app = Recorder::start(|_| Reply::json(SUMMARY));
    // No file of the gateway may grow beyond 8 KiB; writing fails instead of killing it.
    let gateway = Launch::new(POLICY)
        .collector(collector.addr)
        .app(app.addr)
        .args(["--log=off"])
        .shell("trap '' XFSZ && ulimit -f 16")
        .start();
    let mut pod = Client::connect(gateway.outbound);
    let mut released = 0;
    let refused = loop {
        let answer = pod.ask(good());
        match answer.status {
            204 => released += 1,
            _ => break answer,
        }
    };
    assert!(released > 5, "{released}");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.reason(), "audit-unavailable");
    assert_eq!(collector.requests().len(), released);
    // Refusals and answers of the app alike, as long as it lasts.
    for _ in 0..3 {
        let before = app.requests().len();
        assert_eq!(pod.ask(good()).reason(), "audit-unavailable");
        assert_eq!(pod.ask(post("{}")).reason(), "audit-unavailable");
        let summary = "GET /summary HTTP/1.1\r\nHost: pod\r\n\r\n";
        let answer = Client::connect(gateway.inbound).ask(summary);
        assert_eq!(answer.status, 503);
        assert_eq!(answer.reason(), "audit-unavailable");
        assert!(!contains(&answer.raw, "Liguria"));
        assert_eq!(app.requests().len(), before + 1);
    }
    assert_eq!(collector.requests().len(), released);
    assert_eq!(
        collector.bytes().len(),
        released * common::good_upstream().len()
    );
    let labels = [("verdict", "refused"), ("reason", "audit-unavailable")];
    assert_eq!(gateway.metric("lazaret_exchanges_total", &labels), 10.0);
    assert!(gateway.metric("lazaret_audit_failures_total", &[]) >= 10.0);
    assert_eq!(gateway.metric("lazaret_audit_healthy", &[]), 0.0);
    let ready = gateway.probe("/readyz").unwrap();
    assert_eq!(ready.status, 503);
    assert_eq!(gateway.probe("/livez").unwrap().status, 200);
    // What is in the log is whole.
    let report = verified(&gateway.path("audit.jsonl"));
    assert_eq!(report["released"], released);
}

#[test]
fn no_value_of_a_message_is_in_any_log() {
    let (app, script) = Recorder::scripted();
    let collector = Recorder::always(format!(
        "HTTP/1.1 200 {CANARY}\r\nX: {CANARY}\r\nContent-Length: {}\r\n\r\n{CANARY}",
        CANARY.len()
    ));
    let gateway = Launch::new(POLICY)
        .collector(collector.addr)
        .app(app.addr)
        .args(["--log=trace", "--log-format=json"])
        .start();
    let c = CANARY;
    let long = format!("{c}.example");
    let head = |line: &str, fields: &str| {
        format!("{line} HTTP/1.1\r\nHost: collector.example\r\n{fields}\r\n")
    };
    let json = |body: String| post(&body);
    let requests = vec![
        good().replacen(
            "Host",
            &format!("X-Patient: {c}\r\nCookie: {c}\r\n{c}: x\r\nHost"),
            1,
        ),
        json(SUMMARY.replace("Liguria", c)),
        json(SUMMARY.replacen("cohort", c, 1)),
        json(SUMMARY.replacen("sex", c, 1)),
        json(format!("{{\"{c}\":{{\"{c}\":[\"{c}\"]}}}}")),
        json(format!("{{\"{c}\":1,\"{c}\":2}}")),
        json(format!("{{\"{c}\":9007199254740993}}")),
        json(format!("{{\"{c}\":\"\\ud800\"}}")),
        json(format!("{SUMMARY}{c}")),
        json(c.to_owned()),
        head(&format!("GET /{c}"), ""),
        head(&format!("POST /v1/results/{c}"), ""),
        head(&format!("POST /v1/results/t2dm?{c}=1"), ""),
        head(&format!("POST /v1/results/t2dm?run={c}"), ""),
        head("POST /v1/results/t2dm", &format!("X-Study-Phase: {c}\r\n")),
        head(
            "POST /v1/results/t2dm",
            &format!("Content-Type: {c}\r\nContent-Length: 0\r\n"),
        ),
        head(
            "POST /v1/results/t2dm",
            &format!("Content-Type: application/json\r\nContent-Encoding: {c}\r\n"),
        ),
        head(&format!("{c} /v1/task"), ""),
        head("GET /v1/task", &format!("Upgrade: {c}\r\n")),
        head("GET /v1/task", &format!("Expect: {c}\r\n")),
        head("GET /v1/task", &format!("Host: {c}\r\n")),
        head("GET /v1/task", &format!("If-Match: {c}\r\n")),
        head("GET /v1/task", &format!("Transfer-Encoding: {c}\r\n")),
        head("GET /v1/task", &format!("Content-Length: {c}\r\n")),
        head("GET /v1/task", &format!("{c} : x\r\n")),
        head(&format!("GET http://{long}/"), ""),
        format!("GET / HTTP/1.1\r\nHost: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: u:{c}@a\r\n\r\n"),
        format!("CONNECT {long}:443 HTTP/1.1\r\nHost: {long}:443\r\n\r\n"),
        format!("GET / {c}\r\n\r\n"),
        format!("\0{c}"),
        format!("\x16\x03\x01{c}"),
        format!("{c}{c}"),
    ];
    let n = requests.len();
    for request in requests {
        let mut client = Client::connect(gateway.outbound);
        client.send(request);
        // Not all are answered, but all have a verdict.
        client.try_response();
    }
    // Over HTTP/2, where there is another parser.
    let curl = std::process::Command::new("curl")
        .args([
            "-s",
            "--http2-prior-knowledge",
            "--noproxy",
            "*",
            "--max-time",
            "20",
            "-o",
            "/dev/null",
        ])
        .args(["--connect-to", &format!("::{}", gateway.outbound)])
        .args(["-H", &format!("x-patient: {c}"), "-b", c, "-A", c, "-d", c])
        .arg(format!("http://collector.example/{c}?{c}={c}"))
        .status();
    assert!(curl.unwrap().success());
    for reply in [
        format!(
            "HTTP/1.1 200 {c}\r\n{c}: {c}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{SUMMARY}",
            SUMMARY.len()
        ),
        format!("HTTP/1.1 200 OK\r\nContent-Type: {c}\r\nContent-Length: 2\r\n\r\n{{}}"),
        format!("HTTP/1.1 200 OK\r\nCache-Control: {c}\r\nContent-Length: 2\r\n\r\n{{}}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: {c}\r\n\r\n{{}}"),
        format!("HTTP/1.1 {c}\r\n\r\n"),
        format!("{c}\r\n\r\n"),
        format!("HTTP/1.1 101 {c}\r\nUpgrade: {c}\r\n\r\n{c}"),
    ] {
        script.say(Reply::raw(reply).then_close());
        let summary = "GET /summary HTTP/1.1\r\nHost: pod\r\n\r\n";
        Client::connect(gateway.inbound).ask(summary);
    }
    // One for each request of the pod, of curl, and of a caller.
    gateway.wait_verdicts(n + 1 + 7);
    for file in ["audit.jsonl", "stderr.log", "stdout.log"] {
        let bytes = fs::read(gateway.path(file)).unwrap();
        let at = bytes
            .windows(6)
            .position(|w| w.eq_ignore_ascii_case(b"CANARY"));
        let around = at.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(300)..at + 30]));
        assert_eq!(around, None, "{file}");
    }
    assert!(!contains(gateway.metrics().as_bytes(), "CANARY"));
}

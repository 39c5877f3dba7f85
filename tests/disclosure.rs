//! Disclosure rules and the ledger through the running gateway, in both directions: what is not an
//! aggregate, and what would tell one person apart from an earlier release, leaves no byte behind.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "helpers of tests, which fail by panicking, and modules that test programs share"
)]

mod common;
#[path = "common/postgres.rs"]
mod postgres;

use common::{Client, Gateway, Launch, Recorder, Reply, Response, contains, repository};
use postgres::Server;
use serde_json::{Value, json};

const POLICY: &str = r#"
apiVersion: lazaret/v1
kind: Policy
metadata: { name: lab, producer: hospital-a, consumer: pharma-x }
require_encryption: false
dns: { hosts: { collector.example: [203.0.113.20] } }
egress:
  - name: collector
    to: { hosts: [collector.example], ports: [80] }
    action: inspect
    exchanges:
      - request: { method: POST, path: /weekly, body: weekly }
      - request: { method: POST, path: /costs, body: costs }
ingress:
  - name: home
    from: { cidrs: [10.200.0.0/16] }
    port: 8000
    action: inspect
    exchanges:
      - request: { method: GET, path: /weekly }
        response:
          statuses: [200, 404]
          headers: { etag: { type: string, pattern: "^[a-z]{4}$", maxLength: 4 } }
          body: weekly
      - request: { method: GET, path: /costs }
        response: { statuses: [200], body: costs }
contracts:
  weekly: { schema: weekly.schema.json, max_bytes: 4KiB }
  costs: { schema: costs.schema.json, max_bytes: 4KiB }
"#;

fn weekly_schema() -> String {
    let cases = json!({
        "type": ["integer", "string"], "minimum": 0, "maximum": 99_999, "maxLength": 3,
        "sdcMinCount": {"min": 10, "zero": "allow"},
        "sdcSuppressed": [{"marker": "<10", "lo": 1, "hi": 9}]
    });
    let row = json!({
        "type": "object", "additionalProperties": false, "required": ["region", "cases"],
        "properties": {"region": {"enum": ["north", "south"]}, "cases": cases}
    });
    json!({
        "$schema": "urn:lazaret:meta:sdc:1",
        "type": "object", "additionalProperties": false, "required": ["week", "rows"],
        "properties": {
            "week": {"enum": ["2026-W40", "2026-W41"]},
            "rows": {
                "type": "array", "minItems": 1, "maxItems": 2, "items": row,
                "sdcRows": {"max": 2, "key": ["/region"], "sorted": true}
            }
        },
        "sdcCapacity": {"maxBits": 64},
        "sdcRelease": {
            "cell": ["/week", "/rows/*/region"], "value": "/rows/*/cases", "horizon": "P400D",
            "window": "P7D", "maxReleases": 4, "differencing": {"min": 10}, "repeat": "identical"
        }
    })
    .to_string()
}

fn costs_schema() -> String {
    let euros = json!({"type": "number", "minimum": 0, "maximum": 9_999_999, "sdcPrecision": {"decimals": 0}});
    json!({
        "$schema": "urn:lazaret:meta:sdc:1",
        "type": "object", "additionalProperties": false,
        "required": ["n", "sum", "evidence"],
        "properties": {
            "n": {"type": "integer", "minimum": 0, "maximum": 9999, "sdcMinCount": {"min": 10, "zero": "deny"}},
            "sum": euros,
            "evidence": {
                "type": "object", "additionalProperties": false, "required": ["top1", "top2"],
                "properties": {"top1": euros, "top2": euros}
            }
        },
        "sdcContributors": {"n": "/n", "min": 10, "stats": ["/sum"]},
        "sdcDominance": {"n": "/n", "total": "/sum", "top": ["/evidence/top1", "/evidence/top2"],
            "nk": {"n": 2, "k": 0.9}, "p": 0.1},
        "sdcCapacity": {"maxBits": 64}
    })
    .to_string()
}

fn launch(policy: &str) -> Launch {
    let launch = Launch::new(policy)
        .file("weekly.schema.json", &weekly_schema())
        .file("costs.schema.json", &costs_schema());
    let ledger = launch.path().join("ledger");
    launch.args(["--ledger".to_owned(), ledger.display().to_string()])
}

/// As [`launch`], with a member of the rule about releases.
fn launch_with(name: &str, value: Value) -> Launch {
    let mut schema: Value = serde_json::from_str(&weekly_schema()).unwrap();
    schema["sdcRelease"][name] = value;
    launch(POLICY).file("weekly.schema.json", &schema.to_string())
}

fn weekly(north: Value, south: Value) -> String {
    json!({"week": "2026-W40", "rows": [
        {"region": "north", "cases": north}, {"region": "south", "cases": south}]})
    .to_string()
}

fn post(gateway: &Gateway, path: &str, body: &str) -> Response {
    Client::connect(gateway.outbound).ask(format!(
        "POST {path} HTTP/1.1\r\nHost: collector.example\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ))
}

fn get(gateway: &Gateway, path: &str) -> Response {
    Client::connect(gateway.inbound).ask(format!(
        "GET {path} HTTP/1.1\r\nHost: 10.0.0.1:8000\r\nConnection: close\r\n\r\n"
    ))
}

/// The status, and the reason of a refusal.
fn told(answer: &Response) -> (u16, String) {
    let reason = match answer.status {
        400.. => answer.reason(),
        _ => String::new(),
    };
    (answer.status, reason)
}

#[test]
fn a_request_is_held_against_earlier_releases() {
    let collector = Recorder::no_content();
    let gateway = launch(POLICY).collector(collector.addr).start();
    let first = weekly(json!(120), json!("<10"));
    let steps = [
        (first.clone(), None),
        // Three people more: who they are can be told from the two figures.
        (weekly(json!(123), json!("<10")), Some("sdc-differencing")),
        // What was hidden would be shown.
        (weekly(json!(120), json!(12)), Some("sdc-differencing")),
        (weekly(json!(4), json!("<10")), Some("sdc-min-count")),
        (weekly(json!(135), json!("<10")), None),
        // Word for word what was released before.
        (first.clone(), None),
        (weekly(json!(150), json!("<10")), None),
        (
            weekly(json!(170), json!("<10")),
            Some("sdc-budget-releases"),
        ),
    ];
    let mut released = 0;
    for (body, reason) in &steps {
        let answer = post(&gateway, "/weekly", body);
        match reason {
            None => {
                assert_eq!(answer.status, 204, "{body}");
                released += 1;
            }
            Some(reason) => {
                assert_eq!(answer.reason(), *reason, "{body}");
                let status = if reason.contains("budget") { 429 } else { 422 };
                assert_eq!(answer.status, status, "{body}");
            }
        }
        // Not a byte of what is refused: not even a connection more than the pool has.
        let got = collector.wait_requests(released);
        assert_eq!(got.len(), released, "{body}");
    }
    let verdicts = gateway.wait_verdicts(steps.len());
    let refused = verdicts.iter().filter(|r| r["verdict"] == "refused");
    assert_eq!(refused.count(), steps.len() - released);
    assert!(
        !contains(gateway.log().as_bytes(), "123"),
        "no figure is logged"
    );
    // The memory outlives the process, whatever way it ends.
    let dir = gateway.kill();
    let ledger = dir.path().join("ledger").display().to_string();
    let again = Launch::again(dir)
        .args(["--ledger", &ledger])
        .collector(collector.addr)
        .start();
    let answer = post(&again, "/weekly", &first);
    assert_eq!(answer.reason(), "sdc-budget-releases");
}

#[test]
fn an_answer_is_held_against_earlier_releases() {
    let (app, says) = Recorder::scripted();
    let gateway = launch(POLICY).app(app.addr).start();
    let ask = |body: &str| {
        says.say(Reply::json(body).then_close());
        get(&gateway, "/weekly")
    };
    assert_eq!(ask(&weekly(json!(120), json!(50))).status, 200);
    let refused = ask(&weekly(json!(119), json!(50)));
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (502, "sdc-differencing")
    );
    assert!(!contains(&refused.body, "119"), "nothing of it is told");
    assert!(!contains(&refused.body, "rows"), "nor where it stands");
    assert_eq!(ask(&weekly(json!(130), json!(50))).status, 200);
}

/// A pod that was told of every attempt could ask for the figures of other pods by trying.
#[test]
fn whoever_probes_the_memory_is_not_answered_any_more() {
    let collector = Recorder::no_content();
    let gateway = launch_with("maxDenied", json!(3))
        .collector(collector.addr)
        .start();
    let ask =
        |gateway: &Gateway, n: u64| told(&post(gateway, "/weekly", &weekly(json!(n), json!(50))));
    // What the contract alone refuses tells nothing of the memory, and is not counted.
    for n in 1..6 {
        assert_eq!(ask(&gateway, n), (422, "sdc-min-count".into()));
    }
    assert_eq!(ask(&gateway, 120).0, 204);
    for n in 121..124 {
        assert_eq!(ask(&gateway, n), (422, "sdc-differencing".into()), "{n}");
    }
    let unseen = (429, "sdc-budget-denied".to_owned());
    // Near, released before, and good: they all look the same now.
    for n in [124, 120, 500] {
        assert_eq!(ask(&gateway, n), unseen, "{n}");
    }
    assert_eq!(ask(&gateway, 3), (422, "sdc-min-count".into()));
    let last = &gateway.wait_verdicts(13)[11];
    assert_eq!(
        (&last["reason"], &last["verdict"]),
        (&json!(unseen.1), &json!("refused"))
    );
    assert_eq!(last["violations"][0]["reason"], "sdc-budget-denied");
    let labels = [("reason", "sdc-budget-denied"), ("verdict", "refused")];
    assert_eq!(gateway.metric("lazaret_exchanges_total", &labels), 3.0);
    assert_eq!(collector.wait_requests(1).len(), 1);
    // What needs no memory goes on.
    let costs = r#"{"n":120,"sum":840000,"evidence":{"top1":45000,"top2":35000}}"#;
    assert_eq!(post(&gateway, "/costs", costs).status, 204);
    // A new process has not forgotten.
    let dir = gateway.kill();
    let ledger = dir.path().join("ledger").display().to_string();
    let again = Launch::again(dir)
        .args(["--ledger", &ledger])
        .collector(collector.addr)
        .start();
    assert_eq!(ask(&again, 500), unseen);
    assert_eq!(collector.wait_requests(2).len(), 2);
}

/// An application that has its answers refused or not as it likes tells its caller a bit with each.
#[test]
fn refused_answers_have_a_limit() {
    let (app, says) = Recorder::scripted();
    let gateway = launch_with("maxDenied", json!(2)).app(app.addr).start();
    let ask = |n: u64| {
        says.say(Reply::json(&weekly(json!(n), json!(50))).then_close());
        let answer = get(&gateway, "/weekly");
        assert!(answer.status == 200 || !contains(&answer.body, "rows"));
        told(&answer)
    };
    assert_eq!(ask(120).0, 200);
    assert_eq!(ask(121), (502, "sdc-differencing".into()));
    assert_eq!(ask(122), (502, "sdc-differencing".into()));
    for n in [120, 123, 500] {
        assert_eq!(ask(n), (502, "sdc-budget-denied".into()), "{n}");
    }
    let labels = [("direction", "ingress"), ("reason", "sdc-budget-denied")];
    assert_eq!(gateway.metric("lazaret_exchanges_total", &labels), 3.0);
}

/// Needs libfaketime, which `scripts/setup.sh test` installs: nobody sets the machine's clock.
#[test]
fn a_clock_that_jumps_ahead_opens_no_window() {
    let library = ["x86_64", "aarch64"]
        .map(|cpu| format!("/usr/lib/{cpu}-linux-gnu/faketime/libfaketimeMT.so.1"))
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
        .expect("libfaketime is not installed; run scripts/setup.sh test");
    let dir = tempfile::tempdir().unwrap();
    let offset = dir.path().join("offset");
    let set = |by: &str| {
        // Never half of it.
        let next = dir.path().join("next");
        std::fs::write(&next, by).unwrap();
        std::fs::rename(&next, &offset).unwrap();
    };
    set("+0d");
    let collector = Recorder::no_content();
    let gateway = launch(POLICY)
        .prefix([
            "env",
            &format!("LD_PRELOAD={library}"),
            &format!("FAKETIME_TIMESTAMP_FILE={}", offset.display()),
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
        ])
        .collector(collector.addr)
        .start();
    let ask = |n: u64| told(&post(&gateway, "/weekly", &weekly(json!(n), json!(50))));
    assert_eq!(ask(120).0, 204);
    assert_eq!(ask(121), (422, "sdc-differencing".into()));
    // Past the horizon nothing would be against it.
    set("+500d");
    for n in [121, 120] {
        assert_eq!(ask(n), (503, "ledger-clock".into()));
    }
    let last = gateway.wait_verdicts(4).pop().unwrap();
    assert_eq!(last["reason"], "ledger-clock");
    assert!(
        last["ts"].as_str() > Some("2027"),
        "the clock was set: {last}"
    );
    assert_eq!(gateway.metric("lazaret_ledger_failures_total", &[]), 2.0);
    // Back in time it goes on, and has forgotten nothing.
    set("+0d");
    assert_eq!(ask(121), (422, "sdc-differencing".into()));
    assert_eq!(ask(120).0, 204);
    set("-500d");
    assert_eq!(ask(121), (422, "sdc-differencing".into()));
    assert_eq!(collector.wait_requests(2).len(), 2);
}

#[test]
fn evidence_is_judged_and_stays() {
    let collector = Recorder::no_content();
    let (app, says) = Recorder::scripted();
    let gateway = launch(POLICY)
        .collector(collector.addr)
        .app(app.addr)
        .start();
    let costs = |top1: u32, top2: u32| {
        json!({"n": 120, "sum": 840_000, "evidence": {"top1": top1, "top2": top2}}).to_string()
    };
    let (broad, dominated) = (costs(45_000, 35_000), costs(700_000, 80_000));
    assert_eq!(
        post(&gateway, "/costs", &dominated).reason(),
        "sdc-dominance"
    );
    assert_eq!(post(&gateway, "/costs", &broad).status, 204);
    let sent = collector.wait_requests(1);
    assert!(sent[0].ends_with(br#"{"n":120,"sum":840000}"#));

    says.say(Reply::json(&broad).then_close());
    let answer = get(&gateway, "/costs");
    assert_eq!(answer.body, br#"{"n":120,"sum":840000}"#);
    says.say(Reply::json(&dominated).then_close());
    assert_eq!(get(&gateway, "/costs").reason(), "sdc-dominance");
}

#[test]
fn without_a_memory_nothing_that_needs_one_is_in_force() {
    let failed = Launch::new(POLICY)
        .file("weekly.schema.json", &weekly_schema())
        .file("costs.schema.json", &costs_schema())
        .try_start()
        .unwrap_err();
    assert!(
        failed.log.contains("`weekly` has `sdcRelease`"),
        "{}",
        failed.log
    );
    assert!(failed.log.contains("--ledger"), "{}", failed.log);
}

#[test]
fn what_only_observes_is_told_and_passes() {
    let collector = Recorder::no_content();
    let observing = POLICY.replace("kind: Policy", "kind: Policy\nmode: observe");
    let gateway = launch(&observing).collector(collector.addr).start();
    for n in [120, 123] {
        let answer = post(&gateway, "/weekly", &weekly(json!(n), json!(50)));
        assert_eq!(answer.status, 204);
    }
    let verdicts = gateway.wait_verdicts(2);
    assert_eq!(verdicts[1]["reason"], "sdc-differencing");
    assert_eq!(verdicts[1]["enforced"], false);
    assert_eq!(collector.wait_requests(2).len(), 2);
}

/// Every example payload that breaks a rule, in both directions, with not a byte behind the gateway.
#[test]
fn every_example_payload_that_fails_leaves_nothing() {
    let contracts = [
        "cohort-summary",
        "fhir-measurereport-summary",
        "glm-result",
        "kaplan-meier",
    ];
    let mut policy = POLICY[..POLICY.find("      - request").unwrap()].to_owned();
    for name in contracts {
        policy += &format!("      - request: {{ method: POST, path: /{name}, body: {name} }}\n");
    }
    policy += "ingress:\n  - name: home\n    from: { cidrs: [10.200.0.0/16] }\n    port: 8000\n    \
               action: inspect\n    exchanges:\n";
    for name in contracts {
        policy += &format!(
            "      - request: {{ method: GET, path: /{name} }}\n        response: {{ statuses: \
             [200], body: {name} }}\n"
        );
    }
    policy += "contracts:\n";
    let mut launch = Launch::new("");
    for name in contracts.iter().chain(&["common"]) {
        let schema = repository(&format!("schemas/{name}.schema.json"));
        let schema = std::fs::read_to_string(schema).unwrap();
        launch = launch.file(&format!("{name}.schema.json"), &schema);
    }
    for name in contracts {
        policy += &format!("  {name}: {{ schema: {name}.schema.json, max_bytes: 64KiB }}\n");
    }
    let ledger = launch.path().join("ledger").display().to_string();
    let collector = Recorder::no_content();
    let (app, says) = Recorder::scripted();
    let gateway = launch
        .file("policy.yaml", &policy)
        .args(["--ledger", &ledger])
        .collector(collector.addr)
        .app(app.addr)
        .start();

    let expected = repository("tests/payloads/expected.json");
    let expected: Value = serde_json::from_slice(&std::fs::read(expected).unwrap()).unwrap();
    for (key, reasons) in expected.as_object().unwrap() {
        let listed = match reasons {
            Value::Array(all) => all.clone(),
            one => vec![one.clone()],
        };
        let listed: Vec<&str> = listed.iter().map(|r| r.as_str().unwrap()).collect();
        let body = std::fs::read(repository(&format!("tests/payloads/{key}"))).unwrap();
        let path = format!("/{}", key.split('/').next().unwrap());
        let head = format!(
            "content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: collector.example\r\nConnection: close\r\n{head}\r\n"
        );
        let request = [request.as_bytes(), &body].concat();
        let answer = Client::connect(gateway.outbound).ask(request);
        assert!(listed.contains(&&*answer.reason()), "{key}: {listed:?}");

        let response = [format!("HTTP/1.1 200 OK\r\n{head}\r\n").as_bytes(), &body].concat();
        says.say(Reply::raw(response).then_close());
        let answer = get(&gateway, &path);
        assert_eq!(answer.status, 502, "{key}");
        assert!(listed.contains(&&*answer.reason()), "{key}: {listed:?}");
    }
    assert!(collector.bytes().is_empty());
    let released = [("verdict", "released")];
    assert_eq!(gateway.metric("lazaret_exchanges_total", &released), 0.0);
}

/// Replicas share one memory; without it nothing that needs it leaves, and it is back when the
/// server is.
#[test]
fn a_ledger_that_is_gone_refuses() {
    let collector = Recorder::no_content();
    let mut server = Server::start(false);
    let url = server.database("shared");
    let replica = || {
        let launch = Launch::new(POLICY)
            .file("weekly.schema.json", &weekly_schema())
            .file("costs.schema.json", &costs_schema());
        launch
            .args(["--ledger", &url])
            .collector(collector.addr)
            .start()
    };
    let (one, other) = (replica(), replica());
    assert_eq!(
        post(&one, "/weekly", &weekly(json!(120), json!(50))).status,
        204
    );
    let answer = post(&other, "/weekly", &weekly(json!(121), json!(50)));
    assert_eq!(answer.reason(), "sdc-differencing");
    server.stop();
    let answer = post(&one, "/weekly", &weekly(json!(140), json!(50)));
    assert_eq!(
        (answer.status, &*answer.reason()),
        (503, "ledger-unavailable")
    );
    assert_eq!(one.metric("lazaret_ledger_failures_total", &[]), 1.0);
    assert_eq!(collector.wait_requests(1).len(), 1);
    // What needs no memory goes on.
    let costs = r#"{"n":120,"sum":840000,"evidence":{"top1":45000,"top2":35000}}"#;
    assert_eq!(post(&one, "/costs", costs).status, 204);
    server.run();
    common::eventually("the server answers", || {
        let answer = post(&one, "/weekly", &weekly(json!(140), json!(50)));
        (answer.status == 204).then_some(())
    });
}

/// Else an application could say with the headers of a thousand errors what one answer may not.
#[test]
fn what_the_ledger_does_not_see_has_no_headers() {
    let (app, says) = Recorder::scripted();
    let gateway = launch(POLICY).app(app.addr).start();
    let body = weekly(json!(120), json!(50));
    let answer = |status: &str, body: &str| {
        let length = body.len();
        let head = "content-type: application/json\r\netag: abcd";
        Reply::raw(format!(
            "HTTP/1.1 {status}\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .then_close()
    };
    for (status, body, etag) in [
        ("200 OK", &*body, Some("abcd")),
        ("404 Not Found", "", None),
        ("404 Not Found", &*body, None),
    ] {
        says.say(answer(status, body));
        let got = get(&gateway, "/weekly");
        assert_eq!(got.status.to_string(), status[..3]);
        assert_eq!(got.header("etag"), etag, "{status}");
    }
}

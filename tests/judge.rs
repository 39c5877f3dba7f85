//! `lazaret judge` on many payloads and with a memory, and `lazaret explain`, by the real binary.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which fail by panicking"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::SystemTime;

use common::gateway::lazaret;
use lazaret::ledger::embedded::Embedded;
use lazaret::ledger::{Reservation, reserve};
use lazaret_policy::Reason;
use lazaret_policy::compile::load_schema;
use serde_json::{Value, json};
use tempfile::TempDir;

const MAX_BYTES: usize = 200;

/// A contract with a memory, and a policy that has it.
const SCHEMA: &str = r#"{
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "week": {"type": "integer", "minimum": 1, "maximum": 53, "sdcMeta": "a week of the year"},
        "n": {"type": "integer", "minimum": 0, "maximum": 1000, "sdcMinCount": {"min": 10, "zero": "deny"}}
    },
    "required": ["week", "n"],
    "additionalProperties": false,
    "sdcCapacity": {"maxBits": 20},
    "sdcRelease": {"cell": ["/week"], "value": "/n", "differencing": {"min": 10}}
}"#;

const POLICY: &str = r"
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
contracts:
  weekly: { schema: weekly.schema.json, max_bytes: 200 }
";

struct Lab {
    dir: TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("weekly.schema.json"), SCHEMA).unwrap();
        std::fs::write(dir.path().join("policy.yaml"), POLICY).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// By the contract of the policy.
    fn judge(&self, args: &[&str], input: &[u8]) -> Output {
        let policy = self.path("policy.yaml");
        let by = ["judge", "--policy", &policy, "--contract", "weekly"];
        lazaret([&by[..], args].concat(), input)
    }

    /// By the bare schema.
    fn bare(&self, args: &[&str], input: &[u8]) -> Output {
        let schema = self.path("weekly.schema.json");
        lazaret([&["judge", "--schema", &schema][..], args].concat(), input)
    }

    /// A ledger that remembers one release.
    fn ledger(&self, consumer: &str, payload: &Value) -> PathBuf {
        let path = self.dir.path().join("releases.ledger");
        let schema = self.dir.path().join("weekly.schema.json");
        let (contract, _) = load_schema(&schema, MAX_BYTES, 8).unwrap();
        let cleared = contract.clear(payload.to_string().as_bytes()).unwrap();
        // The family is the name of the contract in the policy.
        let mut rule = (**contract.release.as_ref().unwrap()).clone();
        rule.family = "weekly".into();
        let reservation = Reservation {
            consumer: consumer.into(),
            rule: Arc::new(rule),
            facts: *cleared.facts.unwrap(),
            now: SystemTime::now(),
        };
        let mut ledger = Embedded::open(&path).unwrap();
        let ticket = reserve(&mut ledger, &[reservation]).unwrap().pop().unwrap();
        assert_eq!(ticket.unwrap().seq, 1);
        path
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn objects(output: &Output) -> Vec<Value> {
    let lines = text(&output.stdout).lines();
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn week(week: u64, n: u64) -> String {
    json!({"week": week, "n": n}).to_string()
}

const NO_MEMORY: &str = "lazaret: earlier releases are not looked at; `--ledger` does, see \
                         `lazaret judge --help`\n";

#[test]
fn several_files_have_one_summary() {
    let lab = Lab::new();
    let good = lab.write("good.json", &week(1, 50));
    let small = lab.write("small.json", r#"{"week": 60, "n": 3}"#);
    let broken = lab.write("broken.json", "{");
    let output = lab.judge(&[&good, &small, "-", &broken], week(2, 60).as_bytes());
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        text(&output.stdout),
        format!(
            "{small}: refused\n  \
               /n: sdc-min-count [sdcMinCount]: a whole number that is not below 10\n  \
               /week: schema-mismatch [maximum]: at most 53\n\
             {broken}: refused\n  \
               (all of it): json-syntax: The body is not well-formed JSON (RFC 8259).\n\
             released                2\n\
             refused                 2\n  \
               json-syntax           1\n  \
               schema-mismatch       1\n  \
               sdc-min-count         1\n"
        )
    );
    // No progress where no one sees it.
    assert_eq!(text(&output.stderr), NO_MEMORY);
    let output = lab.judge(&[&good, "-"], week(2, 60).as_bytes());
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "released       2\nrefused        0\n");
}

#[test]
fn several_files_are_objects_for_scripts() {
    let lab = Lab::new();
    let good = lab.write("good.json", &week(1, 50));
    let small = lab.write("small.json", &week(1, 3));
    let absent = lab.path("absent.json");
    let output = lab.judge(&["--output=json", &good, &small, &absent], b"");
    assert_eq!(output.status.code(), Some(64));
    let found = objects(&output);
    assert_eq!(
        found[..2],
        [
            json!({"name": good, "verdict": "released", "contract": "weekly",
                   "bytes": 17, "canonical_bytes": 17, "violations": []}),
            json!({"name": small, "verdict": "refused", "contract": "weekly",
                   "bytes": 16, "canonical_bytes": null, "violations": [
                       {"reason": "sdc-min-count", "pointer": "/n", "keyword": "sdcMinCount",
                        "message": "a whole number that is not below 10"}]}),
        ]
    );
    assert_eq!(found[2]["name"], json!(absent));
    assert!(found[2]["error"].is_string());
    assert_eq!(
        found[3..],
        [
            json!({"summary": {"released": 1, "refused": 1, "unreadable": 1,
                            "reasons": {"sdc-min-count": 1}}})
        ]
    );
}

#[test]
fn what_cannot_be_read_does_not_keep_the_rest_from_being_judged() {
    let lab = Lab::new();
    let small = lab.write("small.json", &week(1, 3));
    std::fs::create_dir(lab.dir.path().join("folder")).unwrap();
    let (folder, absent) = (lab.path("folder"), lab.path("absent.json"));
    for extra in [&[][..], &["--ndjson"]] {
        let output = lab.judge(&[extra, &[&folder, &absent, &small]].concat(), b"");
        assert_eq!(output.status.code(), Some(64));
        let said = text(&output.stderr);
        let hint = format!("{folder}: it is a directory; name its files, such as {folder}/*.json");
        assert!(said.contains(&hint), "{said}");
        assert!(said.contains(&absent), "{said}");
        let said = text(&output.stdout);
        assert!(said.contains("/n: sdc-min-count"), "{said}");
        assert!(said.ends_with("unreadable            2\n"), "{said}");
    }
    // Alone, too.
    let output = lab.judge(&[&folder], b"");
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).contains("it is a directory"));
    let output = lab.judge(&["-", "-"], b"");
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("give `-` once"));
}

#[test]
fn each_line_is_a_payload() {
    let lab = Lab::new();
    let long = "x".repeat(3 << 20);
    let exact = format!("{}{}", week(3, 30), " ".repeat(MAX_BYTES - 17));
    let lines = format!("{}\n{long}\n\n{exact}\r\n{exact}\n{{}}", week(1, 50),);
    let file = lab.write("weeks.ndjson", &week(2, 5));
    let output = lab.judge(&["--ndjson", "--output=json", "-", &file], lines.as_bytes());
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let mut found = objects(&output);
    assert_eq!(
        found.pop().unwrap()["summary"],
        json!({"released": 2, "refused": 5, "unreadable": 0,
               "reasons": {"body-too-large": 2, "json-syntax": 1, "schema-mismatch": 1,
                           "sdc-min-count": 1}})
    );
    let found: Vec<_> = (found.iter())
        .map(|o| {
            let reason = o["violations"][0]["reason"].as_str().unwrap_or("released");
            (
                o["name"].as_str().unwrap(),
                reason,
                o["bytes"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("-:1", "released", 17),
            ("-:2", "body-too-large", 201),
            ("-:3", "json-syntax", 0),
            ("-:4", "body-too-large", 201),
            ("-:5", "released", 200),
            ("-:6", "schema-mismatch", 2),
            (&*format!("{file}:1"), "sdc-min-count", 16),
        ]
    );
}

#[test]
fn an_endless_line_is_refused_in_bounded_memory() {
    let lab = Lab::new();
    // Far more than the process may have.
    let (policy, mebibytes) = (lab.path("policy.yaml"), 300);
    let script = format!(
        "(head -c {mebibytes}M /dev/zero; echo; echo '{}') | (ulimit -v 262144; exec \"$0\" judge \
         --policy '{policy}' --contract weekly --ndjson -)",
        week(1, 50)
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_lazaret")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        "-:1: refused\n  (all of it): body-too-large: at most 200 bytes\n\
         released               1\n\
         refused                1\n  \
           body-too-large       1\n"
    );
}

#[test]
fn what_would_leave_is_emitted_line_by_line() {
    let lab = Lab::new();
    let lines = "{\"week\" : 1, \"n\":5e1}\n{\"week\":1,\"n\":5}\n{\"n\":60,\"week\":2}\n";
    for extra in [&[][..], &["--output=json"]] {
        let args = [&["--ndjson", "--emit", "-"], extra].concat();
        let output = lab.judge(&args, lines.as_bytes());
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(
            text(&output.stdout),
            "{\"n\":50,\"week\":1}\n{\"n\":60,\"week\":2}\n"
        );
        let said = text(&output.stderr);
        assert!(said.contains("-:2"), "{said}");
        assert!(said.contains("released"), "{said}");
    }
}

#[test]
fn names_do_not_steer_the_terminal() {
    let lab = Lab::new();
    let small = lab.write("a\u{1b}[2J\n.json", r#"{"\u001b[2J": 1}"#);
    let output = lab.judge(&[&small, &small], b"");
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stdout);
    assert!(!said.contains('\u{1b}'), "{said}");
    assert!(said.contains("a\\u{1b}[2J\\n.json: refused"), "{said}");
}

#[test]
fn payloads_of_a_run_are_held_against_each_other() {
    let lab = Lab::new();
    let lines = [
        (week(1, 50), "released"),
        (week(1, 53), "sdc-differencing"),
        (week(2, 53), "released"),
        (week(1, 60), "released"),
        // What was refused is not remembered.
        (week(1, 50), "released"),
        (week(1, 3), "sdc-min-count"),
        (week(1, 65), "sdc-differencing"),
    ];
    let input: Vec<&str> = lines.iter().map(|(line, _)| line.as_str()).collect();
    let args = ["--ndjson", "--output=json", "--ledger=memory", "-"];
    for output in [
        lab.judge(&args, input.join("\n").as_bytes()),
        lab.bare(&args, input.join("\n").as_bytes()),
    ] {
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(text(&output.stderr), "");
        let found = objects(&output);
        let found: Vec<&str> = (found[..lines.len()].iter())
            .map(|o| o["violations"][0]["reason"].as_str().unwrap_or("released"))
            .collect();
        let expected: Vec<&str> = lines.iter().map(|(_, expected)| *expected).collect();
        assert_eq!(found, expected);
    }
    // Nothing is kept from one run to the next.
    for n in [50, 53] {
        let output = lab.judge(&["--ledger=memory", "-"], week(1, n).as_bytes());
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(text(&output.stdout), "released\n");
    }
    // Without it each stands for itself, and that is said.
    let output = lab.judge(&["--ndjson", "-"], input[..2].join("\n").as_bytes());
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), NO_MEMORY);
}

#[test]
fn a_ledger_is_read_and_never_written() {
    let lab = Lab::new();
    let path = lab.ledger("pharma-x", &json!({"week": 1, "n": 50}));
    let before = std::fs::read(&path).unwrap();
    let at = format!("--ledger={}", path.display());
    let near = week(1, 53);
    let output = lab.judge(&[&at, "--output=json", "-"], near.as_bytes());
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(
        objects(&output)[0]["violations"],
        json!([{"reason": "sdc-differencing", "pointer": "/n", "keyword": "sdcRelease",
                "message": "a figure that was released in the last 34560000 seconds stays as it \
                            was, or changes by at least 10"}])
    );
    // Payloads of this run do not count for each other.
    let lines = format!("{}\n{}\n{near}", week(2, 50), week(2, 53));
    let output = lab.judge(&[&at, "--ndjson", "-"], lines.as_bytes());
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stdout);
    assert!(said.starts_with("-:3: refused\n"), "{said}");
    assert!(said.contains("released                 2\n"), "{said}");
    // Another consumer has another past.
    // The name of a bare schema's file is the family.
    let schema = lab.write("weekly.json", SCHEMA);
    for (consumer, code) in [("pharma-x", 3), ("pharma-y", 0), ("consumer", 0)] {
        let named = format!("--consumer={consumer}");
        let mut args = vec!["judge", "--schema", &schema, &at];
        if consumer != "consumer" {
            args.push(&named);
        }
        let output = lazaret([&args[..], &["-"]].concat(), near.as_bytes());
        assert_eq!(output.status.code(), Some(code), "{consumer}");
    }
    assert!(std::fs::read(&path).unwrap() == before, "it was written");
}

#[test]
fn a_ledger_that_cannot_be_read_judges_nothing() {
    let lab = Lab::new();
    let absent = lab.path("absent.ledger");
    let broken = lab.write("broken.ledger", "no ledger");
    for (at, code, says) in [
        (&*absent, 64, "No such file"),
        (&broken, 70, "corrupt"),
        ("mysql://x", 64, "a ledger is a file"),
    ] {
        let output = lab.judge(&["--ledger", at, "-"], week(1, 50).as_bytes());
        assert_eq!(output.status.code(), Some(code), "{at}");
        assert_eq!(text(&output.stdout), "", "{at}");
        let said = text(&output.stderr);
        assert!(said.contains(says), "{at}: {said}");
    }
    assert!(!Path::new(&absent).exists());
    // In use by a gateway.
    let path = lab.ledger("pharma-x", &json!({"week": 1, "n": 50}));
    let _open = Embedded::open(&path).unwrap();
    let at = path.display().to_string();
    let output = lab.judge(&["--ledger", &at, "-"], week(1, 50).as_bytes());
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("another process"));
}

#[test]
fn a_contract_without_a_rule_of_releases_asks_no_ledger() {
    let lab = Lab::new();
    let schema = lab.write("plain.schema.json", r#"{"const": 1}"#);
    let args = ["judge", "--schema", &schema, "--ledger=memory", "-"];
    let output = lazaret(args, b"1");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("no `sdcRelease`"));
}

#[test]
fn a_broken_rule_of_releases_is_shown_at_its_place() {
    let lab = Lab::new();
    let broken = SCHEMA.replace("differencing", "diferencing");
    lab.write("weekly.schema.json", &broken);
    let policy = lab.path("policy.yaml");
    let output = lazaret(["check", "--output=json", &policy], b"");
    assert_eq!(output.status.code(), Some(64));
    let found = &objects(&output)[0]["diagnostics"];
    let found = found.as_array().unwrap();
    let fault = found.iter().find(|f| f["pointer"] == "/sdcRelease");
    let fault = fault.unwrap_or_else(|| panic!("{found:?}"));
    assert!(fault["message"].as_str().unwrap().contains("diferencing"));
    assert!(fault["line"].as_u64().unwrap() > 1);
    assert_eq!(lab.bare(&["-"], b"").status.code(), Some(64));
}

#[test]
fn every_reason_is_explained() {
    let all = lazaret(["explain"], b"");
    assert_eq!(all.status.code(), Some(0));
    assert_eq!(text(&all.stdout).lines().count(), Reason::ALL.len());
    let list = lazaret(["explain", "--output=json"], b"");
    let list: Vec<Value> = serde_json::from_slice(&list.stdout).unwrap();
    for (reason, listed) in Reason::ALL.iter().zip(&list) {
        assert_eq!(listed["code"], reason.code());
        assert_eq!(listed["title"], reason.text());
        assert_eq!(listed["example"], reason.example());
        assert_eq!(listed["fix"], reason.fix());
        assert_eq!(listed["status"], reason.status());
        assert_eq!(listed["response_status"], reason.response_status());
    }
    for reason in ["sdc-differencing", "json-syntax", "audit-unavailable"] {
        let output = lazaret(["explain", reason], b"");
        assert_eq!(output.status.code(), Some(0));
        let said = text(&output.stdout);
        let reason = Reason::from_code(reason).unwrap();
        assert!(
            said.starts_with(&format!("{reason}\n  {}\n", reason.text())),
            "{said}"
        );
        assert!(
            said.contains(&format!("  {} to who sent", reason.status())),
            "{said}"
        );
        for part in [reason.example(), reason.fix()] {
            assert!(said.contains(&format!("\n  {part}\n")), "{said}");
        }
        let same = lazaret(["judge", "--explain", reason.code()], b"");
        assert_eq!(same.status.code(), Some(0));
        assert_eq!(text(&same.stdout), said);
    }
    let one = lazaret(["judge", "--explain=sdc-cell", "--output=json"], b"");
    assert_eq!(objects(&one)[0]["status"], 422);
}

#[test]
fn an_unknown_reason_ends_with_64_and_a_suggestion() {
    for (args, says) in [
        (
            &["explain", "sdc-diferencing"][..],
            "did you mean `sdc-differencing`",
        ),
        (
            &["judge", "--explain", "sdc.minCount"],
            "did you mean `sdc-min-count`",
        ),
        (&["explain", "xyzzy"], "lists all"),
        (
            &["judge", "--explain", "sdc-cell", "--schema=x"],
            "cannot be used with",
        ),
        (
            &["judge", "--explain", "sdc-cell", "body.json"],
            "cannot be used with",
        ),
    ] {
        let output = lazaret(args, b"");
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        assert_eq!(text(&output.stdout), "");
        let said = text(&output.stderr);
        assert!(said.contains(says), "{args:?}: {said}");
    }
}

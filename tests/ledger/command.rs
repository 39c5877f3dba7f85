//! `lazaret ledger` as a script uses it.

use std::fs;
use std::process::Output;

use lazaret::ledger::{LedgerHandle, Location};
use lazaret_policy::Reason;
use serde_json::Value;

use super::common::gateway::lazaret;
use super::postgres::Server;
use super::{count, differencing, fresh, reason, reserve};

fn run(args: &[&str], ledger: &str) -> Output {
    let mut all = vec!["ledger"];
    all.extend(args);
    let ledger = format!("--ledger={ledger}");
    all.push(&ledger);
    lazaret(all, b"")
}

#[track_caller]
fn json(output: &Output, code: i32) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn used(ledger: &str) {
    let location: Location = ledger.parse().unwrap();
    let ledger = LedgerHandle::open(&location).unwrap();
    for week in 0..3 {
        let ticket = reserve(&ledger, &differencing(), &count(week, 100), week).unwrap();
        if week > 0 {
            ledger.commit(ticket);
        }
    }
}

fn every_command(ledger: &str) {
    used(ledger);
    let shown = json(&run(&["show", "--output=json"], ledger), 0);
    let report = &shown["report"];
    assert_eq!(
        (&report["entries"], &report["open"]),
        (&3.into(), &1.into())
    );
    let family = &report["families"][0];
    assert_eq!(family["consumer"], "pharma-x");
    assert_eq!(
        (&family["releases"], &family["bits"]),
        (&3.into(), &300.into())
    );
    let head = report["head"].as_str().unwrap().to_owned();
    let text = run(&["show"], ledger);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("pharma-x weekly: 3 releases"), "{text}");
    assert!(text.contains("2023-11-14T22:13:22Z"), "{text}");

    let expect = format!("--expect-head={head}");
    let verified = json(&run(&["verify", "--output=json", &expect], ledger), 0);
    assert_eq!(verified["report"]["head"], head.as_str());
    let zeros = format!("--expect-head={}", "0".repeat(64));
    assert_eq!(
        json(&run(&["verify", "--output=json", &zeros], ledger), 3)["ok"],
        false
    );

    // What is exported is verified as an audit log is.
    let export = run(&["export"], ledger);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ledger.jsonl");
    fs::write(&file, &export.stdout).unwrap();
    let file = file.to_str().unwrap();
    let audit = lazaret(vec!["audit", "verify", "--output=json", &expect, file], b"");
    assert_eq!(json(&audit, 0)["report"]["records"], 3);

    for reason in ["--reason=", "--reason= ", "--reason=a\nb"] {
        let refused = run(&["reset", "--output=json", reason], ledger);
        assert_eq!(refused.status.code(), Some(64), "{reason}");
    }
    assert_eq!(run(&["reset"], ledger).status.code(), Some(64));
    let reset = json(
        &run(&["reset", "--output=json", "--reason=a new study"], ledger),
        0,
    );
    assert_eq!(reset["seq"], 4);
    let export = run(&["export"], ledger);
    let line: Value = serde_json::from_slice(&export.stdout).unwrap();
    assert_eq!((&line["kind"], &line["seq"]), (&"reset".into(), &4.into()));
    assert_eq!(
        (&line["reason"], &line["entries"]),
        (&"a new study".into(), &3.into())
    );
    assert_eq!(line["prev"], head.as_str());
    assert!(
        line["who"]
            .as_str()
            .unwrap()
            .contains(&nix::unistd::getuid().to_string())
    );
    json(&run(&["verify", "--output=json"], ledger), 0);

    let handle = LedgerHandle::open(&ledger.parse().unwrap()).unwrap();
    assert_eq!(reason(&handle, &differencing(), &count(1, 101), 5), None);
    let near = reason(&handle, &differencing(), &count(1, 102), 5);
    assert_eq!(near, Some(Reason::SdcDifferencing));
}

#[test]
fn every_command_works_on_both() {
    let (_dir, location) = fresh();
    every_command(&location.to_string());
    let server = Server::start(false);
    every_command(&server.database("command"));
}

#[test]
fn what_cannot_be_used_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nowhere");
    let nowhere = path.to_str().unwrap();
    for command in [
        &["show"][..],
        &["verify"],
        &["export"],
        &["reset", "--reason=x"],
    ] {
        let output = run(command, nowhere);
        assert_eq!(output.status.code(), Some(64));
        assert!(String::from_utf8_lossy(&output.stderr).contains("no ledger"));
        assert!(!path.exists());
        let output = run(command, "postgres://x:s3cret@127.0.0.1:1/x");
        assert_eq!(output.status.code(), Some(70));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("server cannot be used") && !said.contains("s3cret"),
            "{said}"
        );
    }
    let (_dir, location) = fresh();
    let open = LedgerHandle::open(&location).unwrap();
    let output = run(&["show"], &location.to_string());
    assert_eq!(output.status.code(), Some(70));
    assert!(String::from_utf8_lossy(&output.stderr).contains("another process"));
    drop(open);
    let help = lazaret(vec!["ledger", "show", "--help"], b"");
    assert!(String::from_utf8_lossy(&help.stdout).contains("LAZARET_LEDGER"));
}

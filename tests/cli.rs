//! The command line: exit codes, output formats and generated files. Scripts rely on them.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which fail by panicking"
)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use common::gateway::lazaret;
use common::{CANARY, POLICY, SUMMARY, WIDE_SCHEMA, contains, repository};
use serde_json::{Value, json};

fn run(args: &[&str]) -> Output {
    lazaret(args, b"")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn json_of(output: &Output) -> Value {
    let said = text(&output.stdout);
    assert_eq!(said.lines().count(), 1, "{said}");
    serde_json::from_str(said).unwrap()
}

fn example(name: &str) -> String {
    repository("config").join(name).display().to_string()
}

/// The policy of the tests in a directory of its own.
fn policy_dir(policy: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("policy.yaml"), policy).unwrap();
    std::fs::write(dir.path().join("wide.schema.json"), WIDE_SCHEMA).unwrap();
    for schema in ["cohort-summary.schema.json", "common.schema.json"] {
        std::fs::copy(repository("schemas").join(schema), dir.path().join(schema)).unwrap();
    }
    let path = dir.path().join("policy.yaml").display().to_string();
    (dir, path)
}

#[test]
fn bad_usage_ends_with_64_and_says_what_would_be_right() {
    let policy = example("t2dm-study.yaml");
    let rows: Vec<(Vec<&str>, &str)> = vec![
        (vec![], "Usage"),
        (vec!["nonsense"], "unrecognized subcommand"),
        (vec!["check"], "required"),
        (vec!["check", "--nonsense", "x"], "unexpected argument"),
        (vec!["check", &policy, "--output=xml"], "invalid value"),
        (
            vec!["check", "/nonexistent/policy.yaml"],
            "/nonexistent/policy.yaml",
        ),
        (vec!["judge"], "required"),
        (vec!["judge", "-"], "required"),
        (vec!["judge", "--policy", &policy, "-"], "--contract"),
        (
            vec!["judge", "--policy", &policy, "--contract", "nonsense", "-"],
            "cohort-summary",
        ),
        (
            vec![
                "judge",
                "--policy",
                &policy,
                "--contract",
                "cohort-summary",
                "/nonexistent",
            ],
            "/nonexistent",
        ),
        (
            vec!["judge", "--policy", &policy, "--schema", "x", "-"],
            "cannot be used with",
        ),
        (
            vec!["judge", "--schema", "/nonexistent", "-"],
            "/nonexistent",
        ),
        (vec!["audit"], "Usage"),
        (vec!["audit", "verify"], "required"),
        (vec!["generate"], "Usage"),
        (vec!["generate", "completions", "cobol"], "invalid value"),
        (vec!["run"], "--policy"),
        (
            vec!["run", "--policy", &policy, "--outbound=nowhere"],
            "--outbound",
        ),
        (
            vec!["run", "--policy", &policy, "--map=a.example:80=127.0.0.1:1"],
            "--standalone",
        ),
        (
            vec![
                "run",
                "--policy",
                &policy,
                "--standalone",
                "--map=a.example=127.0.0.1:1",
            ],
            "HOST:PORT",
        ),
        (
            vec!["run", "--policy", &policy, "--standalone", "--app=nowhere"],
            "--app",
        ),
        (
            vec!["run", "--policy", &policy, "--max-head-bytes=1"],
            "8192",
        ),
        (
            vec!["run", "--policy", &policy, "--head-timeout=soon"],
            "--head-timeout",
        ),
        (
            vec!["run", "--policy", &policy, "--log=lazaret=nonsense"],
            "--log",
        ),
        (
            vec!["run", "--policy", "/nonexistent.yaml"],
            "/nonexistent.yaml",
        ),
    ];
    for (args, says) in rows {
        let output = run(&args);
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
        let said = text(&output.stderr);
        assert!(said.contains(says), "{args:?}: {said}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["help", "run"],
        &["run", "--help"],
        &["judge", "-h"],
        &["audit", "verify", "--help"],
        &["generate", "completions", "--help"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty(), "{args:?}");
        assert_eq!(text(&output.stderr), "", "{args:?}");
    }
    let version = run(&["--version"]);
    assert_eq!(
        text(&version.stdout),
        format!("lazaret {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_example_policies_are_without_a_fault() {
    for name in [
        "t2dm-study.yaml",
        "survival-registry.yaml",
        "federated-glm.yaml",
    ] {
        let output = run(&["check", &example(name)]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{name}: {}",
            text(&output.stderr)
        );
        // The gateway's own keys are where the gateway is.
        let stderr = text(&output.stderr);
        let warnings = stderr
            .lines()
            .filter(|line| !line.starts_with("    help: "));
        let mut others = warnings.filter(|line| !line.contains(": cannot read "));
        assert_eq!(others.next(), None, "{name}");
        let said = text(&output.stdout);
        let stem = Path::new(name).file_stem().unwrap().to_str().unwrap();
        assert!(said.starts_with(&format!("{stem}: ok: ")), "{said}");
        let output = run(&["check", "--output=json", &example(name)]);
        let report = json_of(&output);
        assert_eq!(report["ok"], true);
        for finding in report["diagnostics"].as_array().unwrap() {
            assert!(
                finding["message"]
                    .as_str()
                    .unwrap()
                    .contains(": cannot read "),
                "{finding}"
            );
        }
        let digest = report["digest"].as_str().unwrap();
        assert_eq!(digest.len(), 64);
        assert!(said.ends_with(&format!("sha256 {digest}\n")), "{said}");
    }
}

#[test]
fn check_shows_every_fault_at_once_with_its_place() {
    let faulty = POLICY
        .replace("mode: enforce", "mode: sometimes")
        .replace("[10.200.0.0/16]", "[10.200.0.300]")
        .replace("body: wide", "body: wider")
        .replace("cohort-summary.schema.json", "missing.schema.json");
    let (_dir, path) = policy_dir(&faulty);
    let output = run(&["check", &path]);
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    for fault in ["mode", "10.200.0.300", "wider", "missing.schema.json"] {
        assert!(said.contains(fault), "{fault}: {said}");
    }
    assert!(said.contains(&format!("{path}:26:49: error: ")), "{said}");
    assert!(said.contains("errors: the policy does not load"), "{said}");
    let output = run(&["check", "--output=json", &path]);
    assert_eq!(output.status.code(), Some(64));
    let report = json_of(&output);
    assert_eq!(report["ok"], false);
    assert_eq!(report["digest"], Value::Null);
    let faults = report["diagnostics"].as_array().unwrap();
    assert!(faults.len() >= 4);
    for fault in faults {
        assert!(
            fault["severity"].is_string() && fault["message"].is_string(),
            "{fault}"
        );
        assert!(
            fault["file"].is_string() && fault["pointer"].is_string(),
            "{fault}"
        );
        assert!(
            fault["line"].is_u64() && fault["column"].is_u64(),
            "{fault}"
        );
    }
    // A warning does not keep it from loading.
    let (_dir, path) = policy_dir(POLICY);
    let output = run(&["check", "--output=json", &path]);
    assert_eq!(output.status.code(), Some(0));
    let report = json_of(&output);
    assert_eq!(report["diagnostics"][0]["severity"], "warning");
}

#[test]
fn judge_says_what_the_gateway_would_say() {
    let policy = example("t2dm-study.yaml");
    let judge = |extra: &[&str], body: &str| {
        let by = ["judge", "--policy", &policy, "--contract", "cohort-summary"];
        lazaret([&by[..], extra, &["-"]].concat(), body.as_bytes())
    };
    let output = judge(&[], SUMMARY);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "released\n");
    let spelled = SUMMARY.replace(':', " :\n").replace("6.91", "0.691e1");
    let output = judge(&["--output=json"], &spelled);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        json_of(&output),
        json!({
            "verdict": "released",
            "contract": "cohort-summary",
            "bytes": spelled.len(),
            "canonical_bytes": SUMMARY.len(),
            "violations": [],
        })
    );
    // With --emit the bytes that would leave, and they alone, are on standard output.
    for extra in [&["--emit"][..], &["--emit", "--output=json"]] {
        let output = judge(extra, &spelled);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(text(&output.stdout), SUMMARY);
        assert!(text(&output.stderr).contains("released"));
    }
    let bad = SUMMARY.replace("132", "3").replace("Liguria", CANARY);
    let output = judge(&["--output=json"], &bad);
    assert_eq!(output.status.code(), Some(3));
    let report = json_of(&output);
    assert_eq!(report["verdict"], "refused");
    assert_eq!(report["canonical_bytes"], Value::Null);
    let mut violations: Vec<_> = report["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| {
            (
                v["pointer"].to_string(),
                v["keyword"].to_string(),
                v["reason"].to_string(),
            )
        })
        .collect();
    violations.sort();
    let violation = |parts: [&str; 3]| {
        let [pointer, keyword, reason] = parts.map(|text| format!("\"{text}\""));
        (pointer, keyword, reason)
    };
    let expected = [
        ["/region", "enum", "schema-mismatch"],
        ["/rows/0/mean_hba1c", "sdcContributors", "sdc-contributors"],
        ["/rows/0/n", "sdcMinCount", "sdc-min-count"],
    ];
    assert_eq!(violations, expected.map(violation));
    let output = judge(&[], &bad);
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stdout);
    assert!(said.starts_with("refused\n"), "{said}");
    assert!(
        said.contains(
            "  /rows/0/n: sdc-min-count [sdcMinCount]: a whole number that is not below 10\n"
        ),
        "{said}"
    );
    assert!(!contains(&output.stdout, CANARY));
    // A refused body is not emitted.
    let output = judge(&["--emit"], &bad);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).starts_with("refused\n"));
    // What is not the schema's has no keyword.
    let output = judge(&["--output=json"], "{");
    assert_eq!(json_of(&output)["violations"][0]["reason"], "json-syntax");
    assert_eq!(json_of(&output)["violations"][0]["keyword"], Value::Null);
    let output = judge(&["--output=json"], &" ".repeat(5000));
    assert_eq!(
        json_of(&output)["violations"][0]["reason"],
        "body-too-large"
    );
    let output = judge(&["--output=json", "--content-type=text/plain"], SUMMARY);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(json_of(&output)["violations"][0]["reason"], "media-type");
    let output = judge(&["--content-type=application/json; charset=UTF-8"], SUMMARY);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn judge_takes_a_bare_schema() {
    let schema = repository("schemas/cohort-summary.schema.json")
        .display()
        .to_string();
    let output = lazaret(["judge", "--schema", &schema, "-"], SUMMARY.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = lazaret(["judge", "--schema", &schema, "-"], b"{}");
    assert_eq!(output.status.code(), Some(3));
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.json");
    std::fs::write(&bad, r#"{"type": "nonsense"}"#).unwrap();
    let output = lazaret(["judge", "--schema", bad.to_str().unwrap(), "-"], b"{}");
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("bad.json"));
}

#[test]
fn every_example_payload_is_judged_as_expected() {
    let payloads = repository("tests/payloads");
    let expected = std::fs::read(payloads.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let expected = expected.as_object().unwrap();
    let contract = |folder: &str| match folder {
        "cohort-summary" => ("t2dm-study.yaml", "cohort-summary"),
        "kaplan-meier" => ("survival-registry.yaml", "survival-curve"),
        "fhir-measurereport-summary" => ("survival-registry.yaml", "measure-report"),
        "glm-result" => ("federated-glm.yaml", "glm-result"),
        other => panic!("which contract is for {other}?"),
    };
    let (mut passed, mut refused) = (0, 0);
    for folder in std::fs::read_dir(&payloads).unwrap() {
        let folder = folder.unwrap();
        if !folder.file_type().unwrap().is_dir() {
            continue;
        }
        let name = folder.file_name().into_string().unwrap();
        let (policy, contract) = contract(&name);
        let schema = repository(&format!("schemas/{name}.schema.json"));
        let schema = schema.display().to_string();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap();
            let key = format!("{name}/{}", file.file_name().into_string().unwrap());
            let path = file.path().display().to_string();
            // By the schema alone: the limits of a contract may come first.
            let output = run(&["judge", "--schema", &schema, "--output=json", &path]);
            let report = json_of(&output);
            match expected.get(&key) {
                Some(reasons) => {
                    assert!(key.contains("/fail-"), "{key}");
                    assert_eq!(output.status.code(), Some(3), "{key}");
                    let violations = report["violations"].as_array().unwrap().iter();
                    let found: BTreeSet<_> = violations.map(|v| v["reason"].to_string()).collect();
                    let listed: BTreeSet<_> = match reasons {
                        Value::Array(reasons) => reasons.iter().map(Value::to_string).collect(),
                        reason => BTreeSet::from([reason.to_string()]),
                    };
                    assert_eq!(found, listed, "{key}");
                    refused += 1;
                }
                None => {
                    assert!(key.contains("/pass-"), "{key}");
                    assert_eq!(output.status.code(), Some(0), "{key}: {report}");
                    let policy = example(policy);
                    let by = ["judge", "--policy", &policy, "--contract", contract, &path];
                    assert_eq!(run(&by).status.code(), Some(0), "{key}");
                    passed += 1;
                }
            }
        }
    }
    assert_eq!(refused, expected.len());
    assert!(passed >= 10, "{passed}");
}

#[test]
fn what_is_generated_is_whole() {
    for (shell, sign) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef lazaret"),
        ("fish", "complete -c lazaret"),
    ] {
        let output = run(&["generate", "completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = text(&output.stdout);
        assert!(script.contains(sign), "{shell}");
        for word in ["check", "judge", "verify", "max-connections"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let output = run(&["generate", "man"]);
    assert_eq!(output.status.code(), Some(0));
    let page = text(&output.stdout);
    assert!(page.contains(".TH lazaret 1"), "{page}");
    assert!(page.contains("lazaret\\-judge"), "{page}");
    let output = run(&["generate", "policy-schema"]);
    assert_eq!(output.status.code(), Some(0));
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["type"], "object");
    assert!(schema["properties"]["egress"].is_object());
    let output = run(&["generate", "reasons"]);
    assert_eq!(output.status.code(), Some(0));
    let page = std::fs::read(repository("docs/reasons.md")).unwrap();
    assert!(output.stdout == page, "docs/reasons.md is not current");
}

const COVERED: &str = r#"{"$schema": "urn:lazaret:meta:sdc:1", "type": "object", "required": ["n"],
  "additionalProperties": false, "sdcCapacity": {"maxBits": 14}, "properties": {"n": {"type": "integer",
    "maximum": 9999, "sdcMinCount": {"min": 10, "zero": "deny"}}}}"#;

/// A schema in a directory of its own, beside a site policy that asks for 20 people.
fn schema_dir(schema: &str) -> (tempfile::TempDir, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (schema_path, site) = (at("c.json"), at("site.yaml"));
    std::fs::write(&schema_path, schema).unwrap();
    std::fs::write(
        &site,
        "apiVersion: lazaret/v1\nkind: Site\nk_floor: 20\nk: 20\n",
    )
    .unwrap();
    (dir, schema_path, site)
}

#[test]
fn lint_says_what_is_wrong_with_a_contract_and_where() {
    let (_dir, path, _) = schema_dir(COVERED);
    let output = run(&["lint", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("0 errors, 0 warnings\n"));

    let (_dir, path, _) = schema_dir(&COVERED.replace("MinCount", "MinCuont"));
    let output = run(&["lint", &path]);
    assert_eq!(output.status.code(), Some(64));
    let said = text(&output.stderr);
    assert!(
        said.contains(&format!("{path}:3:22: error [sdc-unknown-keyword]: ")),
        "{said}"
    );
    assert!(said.contains("did you mean `sdcMinCount`?"), "{said}");
    let report = json_of(&run(&["lint", "--output=json", &path]));
    assert_eq!(report["ok"], false);
    let codes = report["diagnostics"].as_array().unwrap().iter();
    assert!(
        codes.into_iter().any(|d| d["code"] == "sdc-uncovered"),
        "{report}"
    );
}

#[test]
fn lint_warns_of_a_plain_schema_and_refuses_it_when_strict() {
    let plain = COVERED.replace(
        "urn:lazaret:meta:sdc:1",
        "https://json-schema.org/draft/2020-12/schema",
    );
    let plain = plain.replace(
        "\"sdcMinCount\": {\"min\": 10, \"zero\": \"deny\"}",
        "\"minimum\": 0",
    );
    let (_dir, path, _) = schema_dir(&plain);
    let output = run(&["lint", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("warning [sdc-uncovered]"));
    assert_eq!(run(&["lint", "--strict", &path]).status.code(), Some(64));
}

#[test]
fn a_site_policy_holds_for_check_judge_and_lint() {
    let (dir, path, site) = schema_dir(COVERED);
    let body = dir.path().join("body.json").display().to_string();
    std::fs::write(&body, r#"{"n":12}"#).unwrap();
    assert_eq!(
        run(&["judge", "--schema", &path, &body]).status.code(),
        Some(0)
    );
    for arguments in [
        vec!["judge", "--site", &site, "--schema", &path, &body],
        vec!["lint", "--site", &site, &path],
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains("the site asks for 20"), "{said}");
    }
    let (policy, site) = (dir.path().join("policy.yaml"), dir.path().join("site.yaml"));
    let rules =
        "apiVersion: lazaret/v1\nkind: Policy\nmetadata: {name: p, producer: a, consumer: b}\n";
    std::fs::write(&policy, rules).unwrap();
    let policy = policy.display().to_string();
    let site_path = site.display().to_string();
    std::fs::write(&site, "apiVersion: lazaret/v1\nkind: Site\n").unwrap();
    let digest = |arguments: &[&str]| {
        let report = json_of(&run(arguments));
        assert_eq!(report["ok"], true, "{report}");
        report["digest"].as_str().unwrap().to_owned()
    };
    let alone = digest(&["check", "--output=json", &policy]);
    let with_site = digest(&["check", "--output=json", "--site", &site_path, &policy]);
    assert_ne!(alone, with_site);
    for broken in ["kind: Site\n", "[]"] {
        std::fs::write(&site, broken).unwrap();
        let output = run(&["check", "--site", &site_path, &policy]);
        assert_eq!(output.status.code(), Some(64), "{broken}");
        assert!(
            text(&output.stderr).contains(&site_path),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn schemas_for_editors_are_generated() {
    for (what, id) in [
        ("site-schema", "urn:lazaret:site:v1"),
        ("contract-schema", "urn:lazaret:meta:sdc:1"),
    ] {
        let output = run(&["generate", what]);
        assert_eq!(output.status.code(), Some(0));
        let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(schema["$id"], id);
    }
}

#[test]
fn bash_can_read_its_completions() {
    let script = run(&["generate", "completions", "bash"]).stdout;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("lazaret.bash"), script).unwrap();
    let output = std::process::Command::new("bash")
        .arg("-c")
        .arg("source ./lazaret.bash && COMP_WORDS=(lazaret ch) COMP_CWORD=1 && _lazaret lazaret ch lazaret && echo ${COMPREPLY[@]}")
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), "check\n", "{}", text(&output.stderr));
}

#[test]
fn settings_are_taken_from_the_environment_too() {
    let (_dir, path) = policy_dir(POLICY);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_lazaret"))
        .arg("run")
        .env("LAZARET_POLICY", &path)
        .env("LAZARET_MAX_CONNECTIONS", "many")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("--max-connections"));
    // A bare schema does not clash with a policy that is only in the environment.
    let schema = repository("schemas/cohort-summary.schema.json");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_lazaret"))
        .args(["judge", "--schema"])
        .args([schema.as_os_str(), "/dev/null".as_ref()])
        .env("LAZARET_POLICY", &path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let output = std::process::Command::new("sh")
        .arg("-c")
        .arg("\"$0\" generate completions zsh | head -c 10 >/dev/null; \"$0\" generate man >/dev/full; echo $?")
        .arg(env!("CARGO_BIN_EXE_lazaret"))
        .output()
        .unwrap();
    assert_eq!(text(&output.stderr), "");
    assert!(!text(&output.stdout).is_empty());
}

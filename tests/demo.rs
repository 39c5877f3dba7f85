//! `lazaret demo` as a user runs it: it must show what the policy says, fail if it does not, and
//! leave nothing behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const LAZARET: &str = env!("CARGO_BIN_EXE_lazaret");

/// Reason of each step; none: released.
const STEPS: [Option<&str>; 14] = [
    None,
    None,
    None,
    Some("header-invalid"),
    Some("query-not-allowed"),
    Some("parameter-invalid"),
    Some("schema-mismatch"),
    Some("schema-mismatch"),
    Some("json-duplicate-key"),
    Some("content-encoding"),
    Some("sdc-min-count"),
    Some("host-not-allowed"),
    Some("schema-mismatch"),
    Some("path-not-allowed"),
];

#[test]
fn shows_what_the_policy_says() {
    let output = demo(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for line in [
        "Lazaret demo, standalone",
        "   2  out  the aggregate, to the collector          released",
        "   9  out  the aggregate, a key twice               refused   json-duplicate-key",
        "  13  in   the app answers a caller with records    refused   schema-mismatch",
        "  POST /v1/results/t2dm?run=1 HTTP/1.1",
        "  +2  lazaret_exchanges_total{contract=\"cohort-summary\",direction=\"egress\",reason=\"\",\
         rule=\"results-collector\",verdict=\"released\"}",
        "11 refused",
        "Add --keep",
        "All 14 attempts ended as the policy says.",
    ] {
        assert!(text.contains(line), "{line:?} is missing in:\n{text}");
    }
    assert!(!text.contains('\x1b'), "colours in a pipe");
    let wide = text
        .lines()
        .find(|line| line.chars().count() > 100 && !line.contains("lazaret_"));
    assert_eq!(wide, None);
}

#[test]
fn tells_scripts_the_same() {
    assert_steps(&demo(&["--output", "json"]), "standalone", &STEPS);
}

#[test]
fn stays_up_to_go_on_by_hand_until_interrupted() {
    let mut kept = Kept::start(&[]);
    let caller = kept.line("  curl -i http://");
    let address = caller
        .trim_start_matches("  curl -i http://")
        .trim_end_matches("/summary");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET /summary HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(r#""cohort":"T2DM""#), "{answer}");

    let tail = kept.line("  tail -f ");
    let audit = tail.split(' ').find(|word| word.ends_with(".jsonl"));
    let directory = Path::new(audit.unwrap()).ancestors().nth(2).unwrap();
    assert!(directory.exists());
    kept.interrupt();
    assert!(!directory.exists(), "{} is left", directory.display());
    assert!(TcpStream::connect(address).is_err(), "the gateway is left");
}

#[test]
fn shows_the_same_through_real_capture() {
    if !can_capture() {
        return;
    }
    let mut steps = STEPS.to_vec();
    // Outside, no reason of the application's answer is told.
    let response = steps
        .iter()
        .rposition(|step| *step == Some("schema-mismatch"));
    steps[response.unwrap()] = Some("response-refused");
    steps.extend([Some("destination-not-allowed"), Some("kernel")]);
    let output = demo(&["--transparent", "--output", "json"]);
    assert_steps(&output, "transparent", &steps);

    let mut kept = Kept::start(&["--transparent"]);
    let prefix = format!("lazaret-demo-{}-", kept.0.id());
    assert_eq!(namespaces(&prefix), 3);
    kept.line("All 16 attempts ended as the policy says.");
    kept.interrupt();
    assert_eq!(namespaces(&prefix), 0);
}

fn demo(arguments: &[&str]) -> Output {
    command(arguments)
        .stderr(Stdio::inherit())
        .output()
        .expect("the demo runs")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(LAZARET);
    // A setting of the user's must not get into the demo's gateway.
    command
        .arg("demo")
        .args(arguments)
        .env("LAZARET_ADMIN", "x");
    command
}

fn assert_steps(output: &Output, mode: &str, expected: &[Option<&str>]) {
    let told: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert!(output.status.success(), "{told:#}");
    assert_eq!(told["ok"], true);
    assert_eq!(told["mode"], mode);
    let steps = told["steps"].as_array().expect("steps");
    let seen: Vec<Option<&str>> = steps.iter().map(|step| step["reason"].as_str()).collect();
    assert_eq!(seen, expected);
    for step in steps {
        let released = step["reason"].is_null();
        assert_eq!(step["verdict"] == "released", released, "{step}");
        assert_eq!(step["received_bytes"] != 0, released, "{step}");
    }
}

/// A demo that stays up.
struct Kept(Child, BufReader<std::process::ChildStdout>);

impl Kept {
    fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments)
            .arg("--keep")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        // All of the report comes at once: its first line means that everything is up.
        let mut first = String::new();
        lines.read_line(&mut first).expect("a line");
        assert!(first.starts_with("Lazaret demo"), "{first}");
        Self(child, lines)
    }

    /// The next line that begins like this.
    fn line(&mut self, start: &str) -> String {
        let lines = self.1.by_ref().lines().map_while(Result::ok);
        lines
            .into_iter()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("no line {start:?}"))
    }

    fn interrupt(&mut self) {
        let pid = i32::try_from(self.0.id()).expect("a pid");
        kill(Pid::from_raw(pid), Signal::SIGINT).expect("it runs");
        let ended = self.0.wait().expect("it ends");
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // After a failed assertion; otherwise it has ended. SIGTERM, so that it can clean up.
        if let (Ok(None), Ok(pid)) = (self.0.try_wait(), i32::try_from(self.0.id())) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            let _ = self.0.wait();
        }
    }
}

/// Namespaces need root, and the capture rules need `lazaret-init`, which is a binary of another
/// package: `make test` builds both.
fn can_capture() -> bool {
    let init = Path::new(LAZARET).with_file_name("lazaret-init");
    let why = if !nix::unistd::geteuid().is_root() {
        "not root".to_owned()
    } else if !init.exists() {
        format!("{} is missing", init.display())
    } else {
        return true;
    };
    assert!(
        std::env::var_os("CI").is_none(),
        "in CI this must run: {why}"
    );
    eprintln!("not tested: {why}");
    false
}

fn namespaces(prefix: &str) -> usize {
    let listed = Command::new("ip").args(["netns", "list"]).output();
    let listed = listed.expect("ip runs").stdout;
    String::from_utf8_lossy(&listed)
        .lines()
        .filter(|line| line.starts_with(prefix))
        .count()
}

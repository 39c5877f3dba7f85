//! Processes of their own: this test program, started again with what it is to do in a variable.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use lazaret::ledger::{LedgerHandle, Location};
use lazaret_policy::release::ReleaseRule;
use serde_json::{Value, json};

use super::{count, differencing, reserve, rule};

const TASK: &str = "LAZARET_TEST_TASK";
const LEDGER: &str = "LAZARET_TEST_LEDGER";

/// A process that does a task on a ledger.
pub struct Process {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Process {
    /// Starts one; `before` is a command of the shell, such as a limit.
    pub fn start(task: &str, ledger: &str, before: &str) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new("bash")
            .arg("-c")
            .arg(format!(
                "{before} exec \"$0\" --exact child::task --nocapture"
            ))
            .arg(program)
            .env(TASK, task)
            .env(LEDGER, ledger)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The next thing it says.
    pub fn says(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "it has ended");
            // The harness speaks too, and does not always end its line.
            if let Some((_, said)) = line.split_once("said: ") {
                return said.trim_end().to_owned();
            }
        }
    }

    /// Lets it go on.
    pub fn go(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Kills it: no destructor runs.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub fn end(mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        self.child.wait().unwrap()
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the pipe to the test that started this"
)]
fn say(what: impl std::fmt::Display) {
    println!("said: {what}");
}

fn listen() {
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// The unit that the processes race for.
pub fn last_unit(round: u32) -> Arc<ReleaseRule> {
    rule(
        json!({"cell": ["/week"], "window": "P7D", "maxReleases": 1, "maxBytes": 1000,
                "family": format!("round {round}")}),
    )
}

/// Rounds of a race.
pub const ROUNDS: u32 = 20;

/// Not a test by itself: what a [`Process`] does.
#[test]
fn task() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let location: Location = std::env::var(LEDGER).unwrap().parse().unwrap();
    let ledger = match LedgerHandle::open(&location) {
        Ok(ledger) => ledger,
        Err(error) => return say(error),
    };
    match task.as_str() {
        "open" => {
            say("open");
            listen();
        }
        "reserve" => {
            let ticket = reserve(&ledger, &differencing(), &count(40, 120), 0).unwrap();
            say(ticket.seq);
            listen();
        }
        "race" => {
            for round in 0..ROUNDS {
                let rule = last_unit(round);
                say("ready");
                listen();
                match reserve(&ledger, &rule, &json!({"week": 1}), 0) {
                    Ok(_) => say("won"),
                    Err(error) => say(error.reason()),
                }
            }
        }
        "fill" => {
            let rule = differencing_of_many();
            let (mut n, mut failures) = (0, 0);
            // After a failure the file is opened anew, and there may be a little room again.
            while failures < 3 {
                match reserve(&ledger, &rule, &large(n), 0) {
                    Ok(_) => n += 1,
                    Err(error) => {
                        failures += 1;
                        say(error);
                        say(ledger.healthy());
                    }
                }
                assert!(n < 100_000);
            }
            say(n);
        }
        other => panic!("no task {other}"),
    }
}

/// A contract of many figures, to fill a disk with.
pub fn differencing_of_many() -> Arc<ReleaseRule> {
    let schema = json!({
        "properties": {"week": {"enum": [1, 2]}, "rows": {"items": {"properties": {"r": {"enum": [1]}, "n": {}}}}},
        "sdcRelease": {"cell": ["/week", "/rows/*/r"], "value": "/rows/*/n",
                       "differencing": {"min": 8}}
    });
    Arc::new(ReleaseRule::of_contract(&schema, "many").unwrap().unwrap())
}

/// A payload with many figures.
pub fn large(week: u64) -> Value {
    let rows: Vec<_> = (0..200).map(|r| json!({"r": r, "n": 100 * week})).collect();
    json!({"week": week, "rows": rows})
}

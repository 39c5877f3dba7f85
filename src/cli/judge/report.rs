//! What is said of payloads: one of them in full, of several those that are refused, and a summary.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};

use lazaret_policy::judge::Violation;
use lazaret_policy::{Contract, Reason};
use serde_json::{Value, json};

use super::JudgeArgs;
use super::by::Judged;
use super::progress::Progress;
use crate::cli::{Output, complain, print};

/// Says what was found, where it was asked for.
pub(super) struct Report<'r> {
    /// What was found so far.
    pub(super) tally: Tally,
    output: Output,
    emit: bool,
    batch: bool,
    contract: String,
    progress: &'r Progress,
}

/// Counts payloads.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// What would leave.
    pub(super) released: u64,
    /// What would not.
    pub(super) refused: u64,
    /// What could not be read: files, not payloads.
    pub(super) unreadable: u64,
    /// Payloads with this reason among theirs.
    reasons: BTreeMap<Reason, u64>,
}

impl<'r> Report<'r> {
    pub(super) fn new(
        args: &JudgeArgs,
        contract: &Contract,
        batch: bool,
        progress: &'r Progress,
    ) -> Self {
        Self {
            tally: Tally::default(),
            output: args.output,
            emit: args.emit,
            batch,
            contract: contract.name.to_string(),
            progress,
        }
    }

    /// Reports a payload.
    ///
    /// # Errors
    /// What would leave could not be written.
    pub(super) fn judged(&mut self, name: &str, len: usize, judged: &Judged) -> io::Result<()> {
        self.tally.add(judged);
        match (self.output, self.batch) {
            (Output::Json, batch) => {
                let mut line = self.object(len, judged);
                if batch {
                    line["name"] = name.into();
                }
                self.say(&format!("{line}\n"));
            }
            (Output::Text, false) => self.say(&text(judged)),
            (Output::Text, true) if judged.is_err() => {
                self.say(&format!("{}: {}", visible(name), text(judged)));
            }
            (Output::Text, true) => {}
        }
        match judged {
            Ok(bytes) if self.emit => self.progress.aside(|| emit(bytes, self.batch)),
            _ => Ok(()),
        }
    }

    /// Reports what could not be read.
    pub(super) fn unreadable(&mut self, name: &str, error: &str) {
        self.tally.unreadable += 1;
        let why = format!("lazaret: {}: {error}", visible(name));
        self.progress.aside(|| complain(&why));
        if self.batch && self.output == Output::Json {
            self.say(&format!("{}\n", json!({"name": name, "error": error})));
        }
    }

    /// Says what all of them came to.
    pub(super) fn summary(&self) {
        match self.output {
            Output::Json => self.say(&format!("{}\n", json!({"summary": self.tally.json()}))),
            Output::Text => {
                let mut text = self.tally.text();
                if let Some(reason) = self.tally.reasons.keys().next()
                    && self.is_terminal()
                {
                    text += &format!("`lazaret explain {reason}` says more\n");
                }
                self.say(&text);
            }
        }
    }

    fn object(&self, len: usize, judged: &Judged) -> Value {
        let none = Vec::new();
        json!({
            "verdict": verdict(judged),
            "contract": self.contract,
            "bytes": len,
            "canonical_bytes": judged.as_ref().ok().map(Vec::len),
            "violations": judged.as_ref().err().unwrap_or(&none),
        })
    }

    /// Standard output is for the bytes that would leave, if they are asked for.
    fn say(&self, text: &str) {
        self.progress.aside(|| {
            if self.emit {
                complain(text.trim_end());
            } else {
                print(text);
            }
        });
    }

    fn is_terminal(&self) -> bool {
        if self.emit {
            io::stderr().is_terminal()
        } else {
            io::stdout().is_terminal()
        }
    }
}

impl Tally {
    fn add(&mut self, judged: &Judged) {
        let Err(violations) = judged else {
            self.released += 1;
            return;
        };
        self.refused += 1;
        let reasons: BTreeSet<Reason> = violations.iter().map(|v| v.reason).collect();
        for reason in reasons {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    fn json(&self) -> Value {
        let reasons = self.reasons.iter();
        let reasons: BTreeMap<_, _> = reasons.map(|(r, count)| (r.code(), count)).collect();
        json!({
            "released": self.released,
            "refused": self.refused,
            "unreadable": self.unreadable,
            "reasons": reasons,
        })
    }

    fn text(&self) -> String {
        let mut rows = vec![("released".to_owned(), self.released)];
        rows.push(("refused".to_owned(), self.refused));
        let reasons = self.reasons.iter();
        rows.extend(reasons.map(|(reason, count)| (format!("  {reason}"), *count)));
        if self.unreadable > 0 {
            rows.push(("unreadable".to_owned(), self.unreadable));
        }
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let rows = rows.iter();
        rows.map(|(name, count)| format!("{name:width$} {count:>7}\n"))
            .collect()
    }
}

fn verdict(judged: &Judged) -> &'static str {
    if judged.is_ok() {
        "released"
    } else {
        "refused"
    }
}

fn text(judged: &Judged) -> String {
    let mut text = format!("{}\n", verdict(judged));
    for violation in judged.as_ref().err().into_iter().flatten() {
        text += &line(violation);
    }
    text
}

fn line(violation: &Violation) -> String {
    let pointer = if violation.pointer.is_empty() {
        "(all of it)".to_owned()
    } else {
        visible(&violation.pointer)
    };
    let keyword = violation.keyword.as_deref();
    let keyword = keyword.map(|k| format!(" [{k}]")).unwrap_or_default();
    let (reason, message) = (violation.reason, &violation.message);
    format!("  {pointer}: {reason}{keyword}: {message}\n")
}

/// Names of files and members are not ours: none may move the cursor or break a line.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn emit(bytes: &[u8], line: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    if line {
        out.write_all(b"\n")?;
    }
    out.flush()
}

//! What has happened, for people.

use std::fmt::Write as _;

use lazaret_policy::Direction;

use super::app::HOSPITAL;
use super::attempt::COLLECTOR;
use super::namespaces::{APP_ID, Place};
use super::outcome::{Outcome, Verdict};
use super::play::Told;
use super::stage::Stage;

/// Lines of text are broken here, in characters; the columns of the table are made for it.
const WIDTH: usize = 100;

/// The whole report.
pub(super) fn text(told: &Told, stage: &Stage, keep: bool, colours: bool) -> String {
    let mut out = Page {
        text: String::new(),
        colours,
    };
    intro(&mut out, told, stage);
    table(&mut out, told);
    received(&mut out, told);
    measured(&mut out, told);
    out.head("Go on by hand");
    if keep {
        by_hand(&mut out, stage);
    } else {
        out.line("  Add --keep (make demo KEEP=1): everything then stays up until Ctrl-C, and the");
        out.line("  commands to try it are printed here.");
    }
    verdict(&mut out, told);
    out.text
}

fn intro(out: &mut Page, told: &Told, stage: &Stage) {
    out.head(&format!("Lazaret demo, {}", told.mode));
    match (&stage.namespaces, stage.at.proxy) {
        (Some(namespaces), _) => {
            let pod = namespaces.name(Place::Pod);
            out.line(&format!(
                "  pod        network namespace {pod}: all of its traffic is captured"
            ));
        }
        (None, Some(proxy)) => out.line(&format!(
            "  pod        the app takes the gateway as its http_proxy, {proxy}; nothing forces it to"
        )),
        (None, None) => {}
    }
    let app = stage.at.app;
    out.line(&format!(
        "  hospital   480 made-up patients at {HOSPITAL}, which the app may read"
    ));
    out.line("  app        fetches the patients, makes an aggregate, and tries to get more out");
    out.line(&format!("  caller     asks the app, at {app}"));
    out.line(&format!(
        "  collector  {}, writes down every byte it gets",
        COLLECTOR.0
    ));
    out.line("  policy     config/demo.yaml, as it stands in the repository");
    if let Some(capture) = &stage.capture {
        out.head("What lazaret-init proved in the pod before anything ran");
        for line in capture.lines() {
            out.line(&format!("  {line}"));
        }
    }
}

fn table(out: &mut Page, told: &Told) {
    out.head("What was tried (out: a request of the app leaves; in: an answer to a caller leaves)");
    out.line(&format!(
        "  {:>2}  {:3}  {:40} {:9} {:23} {}",
        "#", "way", "tried", "verdict", "reason", "other side got"
    ));
    for outcome in &told.steps {
        row(out, outcome);
    }
}

fn row(out: &mut Page, outcome: &Outcome) {
    let way = match outcome.direction {
        Direction::Egress => "out",
        Direction::Ingress => "in",
    };
    let verdict = format!("{:9}", outcome.verdict.as_str());
    let verdict = match outcome.verdict {
        Verdict::Released => out.paint("32", &verdict),
        Verdict::Refused => out.paint("31", &verdict),
    };
    let got = match (outcome.direction, outcome.verdict, outcome.status) {
        (Direction::Ingress, Verdict::Refused, Some(status)) => format!("{status}, the code"),
        _ => format!("{} bytes", outcome.received_bytes),
    };
    let (step, tried) = (outcome.step, outcome.tried);
    let reason = outcome.reason.as_deref().unwrap_or_default();
    out.line(&format!(
        "  {step:>2}  {way:3}  {tried:40} {verdict} {reason:23} {got}"
    ));
    for line in wrapped(&outcome.why, WIDTH - 11) {
        let line = out.paint("2", &line);
        out.line(&format!("           {line}"));
    }
    for mismatch in &outcome.mismatches {
        let mismatch = out.paint("1;31", &format!("MISMATCH: {mismatch}"));
        out.line(&format!("           {mismatch}"));
    }
}

fn received(out: &mut Page, told: &Told) {
    out.head("What the collector got of the aggregate, byte for byte");
    for line in told.received.lines() {
        for part in chunks(line, WIDTH - 2) {
            out.line(&format!("  {part}"));
        }
    }
}

fn measured(out: &mut Page, told: &Told) {
    out.head("What the metrics say of it");
    for change in &told.metrics {
        out.line(&format!("  +{}  {}", change.by, change.metric));
    }
    if let Some(audit) = &told.audit {
        out.head("What the audit log says of it (lazaret audit verify)");
        out.line(&format!(
            "  ok: {} records ({} to {}), {} released, {} refused",
            audit.records, audit.first_seq, audit.last_seq, audit.released, audit.refused
        ));
        out.line(&format!("  head {}", audit.head));
    }
}

fn by_hand(out: &mut Page, stage: &Stage) {
    let program = std::env::current_exe().map_or_else(
        |_| "lazaret".to_owned(),
        |program| program.display().to_string(),
    );
    let files = &stage.files;
    let (aggregate, records) = (files.aggregate(), files.records());
    let (policy, audit) = (files.policy(), files.audit());
    let (policy, audit) = (policy.display(), audit.display());
    let (app, admin) = (stage.at.app, stage.at.admin);
    let (pod, home, hospital, way) = match (&stage.namespaces, stage.at.proxy) {
        (Some(namespaces), _) => {
            let inside = |place| format!("ip netns exec {} ", namespaces.name(place));
            let as_app = format!("setpriv --reuid {APP_ID} --regid {APP_ID} --clear-groups ");
            (
                inside(Place::Pod) + &as_app,
                inside(Place::Home),
                inside(Place::Hospital),
                format!("--resolve {}:80:{}", COLLECTOR.0, COLLECTOR.1),
            )
        }
        (None, proxy) => {
            let way = proxy.map_or_else(String::new, |proxy| format!("-x http://{proxy}"));
            (String::new(), String::new(), String::new(), way)
        }
    };
    let send = |body: &std::path::Path| {
        format!(
            "  {pod}curl -i {way} -H 'content-type: application/json' --data-binary @{} \
             http://{}/v1/results/t2dm",
            body.display(),
            COLLECTOR.0
        )
    };
    out.line("  Everything stays up until Ctrl-C. As the app, the aggregate and then the records:");
    out.line(&send(&aggregate));
    out.line(&send(&records));
    out.line("  As a caller, and as the platform:");
    out.line(&format!("  {home}curl -i http://{app}/summary"));
    out.line(&format!(
        "  {hospital}curl -s http://{admin}/metrics | grep ^lazaret"
    ));
    if stage.namespaces.is_some() {
        let pod = pod.split("setpriv").next().unwrap_or_default();
        out.line("  The capture rules:");
        out.line(&format!("  {pod}nft list table inet lazaret"));
    }
    out.line("  Without any gateway, what it would say; a change of the policy; the audit log:");
    out.line(&format!(
        "  {program} judge --policy {policy} --contract cohort-summary {}",
        records.display()
    ));
    out.line(&format!(
        "  {program} check {policy}   # after an edit; the gateway loads it by itself"
    ));
    out.line(&format!("  {program} audit verify {audit}"));
    out.line(&format!("  tail -f {audit} {}", files.log().display()));
}

fn verdict(out: &mut Page, told: &Told) {
    let wrong = told
        .steps
        .iter()
        .filter(|step| !step.mismatches.is_empty())
        .count()
        + told.mismatches.len();
    out.line("");
    for mismatch in &told.mismatches {
        let mismatch = out.paint("1;31", &format!("MISMATCH: {mismatch}"));
        out.line(&mismatch);
    }
    let line = if told.ok {
        let all = told.steps.len();
        out.paint(
            "1;32",
            &format!("All {all} attempts ended as the policy says."),
        )
    } else {
        let what = format!("{wrong} MISMATCHES: this is not what the policy says.");
        out.paint("1;31", &what)
    };
    out.line(&line);
}

/// Text with or without colours.
struct Page {
    text: String,
    colours: bool,
}

impl Page {
    fn head(&mut self, text: &str) {
        let painted = self.paint("1", text);
        if !self.text.is_empty() {
            self.line("");
        }
        self.line(&painted);
    }

    fn line(&mut self, text: &str) {
        // Writing into a String does not fail.
        let _ = writeln!(self.text, "{}", text.trim_end());
    }

    /// `code`: of ECMA-48 SGR.
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Breaks text between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Breaks text anywhere.
fn chunks(text: &str, width: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars
        .chunks(width)
        .map(|chunk| chunk.iter().collect())
        .collect()
}

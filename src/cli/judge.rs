//! `lazaret judge`: what the gateway would say to payloads, and why, on a laptop.
//!
//! One payload has a report of its own form, which scripts rely on. Several, or the lines of a
//! file, are judged one after the other in bounded memory, with one summary. Nothing is written
//! but the reports: a ledger is only read, or made in memory and forgotten.

mod by;
mod input;
mod memory;
mod progress;
mod report;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

use super::{EX_REFUSED, EX_SOFTWARE, EX_USAGE, Output, complain, explain};
use by::By;
use input::Item;
use memory::Remembered;
use progress::Progress;
use report::{Report, Tally};

/// Arguments of `lazaret judge`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("by").required(true).args(["policy", "schema", "explain"]))]
pub(super) struct JudgeArgs {
    /// The policy that has the contract
    // Not from LAZARET_POLICY: where that is set, a bare schema could not be judged by.
    #[arg(long, value_name = "FILE", requires = "contract")]
    policy: Option<PathBuf>,

    /// The contract in the policy
    #[arg(long, value_name = "NAME", requires = "policy")]
    contract: Option<String>,

    /// A bare schema instead of a policy and a contract
    #[arg(long, value_name = "FILE", conflicts_with_all = ["policy", "contract"])]
    schema: Option<PathBuf>,

    /// The site policy that the contract must hold to
    #[arg(long, env = "LAZARET_SITE", value_name = "FILE")]
    site: Option<PathBuf>,

    /// Explain a reason instead of judging, as `lazaret explain` does
    #[arg(long, value_name = "REASON", conflicts_with_all = ["bodies", "ndjson", "emit", "ledger"])]
    explain: Option<String>,

    /// The media type that the payload is sent as, by default the one of the contract
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,

    /// Take each line of each BODY as one payload. An empty line is one too, and is refused
    #[arg(long)]
    ndjson: bool,

    /// Hold payloads against earlier releases too. `memory`: against those of this run that would
    /// be released, from none on; nothing is kept. FILE or URL: against what that ledger remembers,
    /// which is read and never written, so that payloads of this run do not count for each other.
    /// A file must not be open in a gateway; one that is named `memory` is `./memory`. With a bare
    /// schema, releases are looked for under the name of its file, without the extension
    // Not from LAZARET_LEDGER: what a ledger says is asked for, never a surprise.
    #[arg(long, value_name = "memory|FILE|URL")]
    ledger: Option<Remembered>,

    /// Who receives what is judged by a bare schema [default: consumer]
    #[arg(
        long,
        value_name = "NAME",
        requires = "ledger",
        conflicts_with = "policy"
    )]
    consumer: Option<String>,

    /// Write the bytes that would leave to standard output, and the verdict to standard error. Of
    /// several payloads, one per line
    #[arg(long)]
    emit: bool,

    /// For people or for scripts
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    /// The payloads, or `-` for standard input
    #[arg(value_name = "BODY", required_unless_present = "explain")]
    bodies: Vec<PathBuf>,
}

/// Why nothing is judged, or no more: the exit code and a sentence.
type Failed = (u8, String);

pub(super) fn judge(args: &JudgeArgs) -> u8 {
    if let Some(code) = &args.explain {
        return explain::one(code, args.output);
    }
    match run(args) {
        Ok(code) => code,
        Err((code, why)) => {
            complain(&why);
            code
        }
    }
}

fn run(args: &JudgeArgs) -> Result<u8, Failed> {
    let stdins = args.bodies.iter().filter(|path| is_stdin(path)).count();
    if stdins > 1 {
        let why = "lazaret: standard input can be read once: give `-` once";
        return Err((EX_USAGE, why.into()));
    }
    let mut by = By::new(args)?;
    let batch = args.ndjson || args.bodies.len() > 1;
    let progress = Progress::new(&args.bodies, args.ndjson, batch);
    let mut report = Report::new(args, by.contract(), batch, &progress);
    let max_bytes = by.contract().max_bytes;
    let stopped = input::each(&args.bodies, args.ndjson, max_bytes, &mut |item| {
        let done = one(&mut by, &mut report, &item);
        progress.advance(&item, &report.tally);
        done.map_or_else(ControlFlow::Break, ControlFlow::Continue)
    });
    progress.end();
    if let ControlFlow::Break(failed) = stopped {
        return Err(failed);
    }
    if batch {
        report.summary();
    }
    Ok(exit(&report.tally))
}

fn one(by: &mut By, report: &mut Report<'_>, item: &Item<'_>) -> Result<(), Failed> {
    match item {
        Item::Unreadable { name, error, .. } => {
            report.unreadable(name, error);
            Ok(())
        }
        Item::Payload { name, body, .. } => {
            let judged = by.judge(body).map_err(|error| {
                let why = format!("lazaret: {name}: not judged, nor what follows: {error}");
                (EX_SOFTWARE, why)
            })?;
            let written = report.judged(name, body.len(), &judged);
            written.map_err(|error| (EX_SOFTWARE, format!("lazaret: standard output: {error}")))
        }
    }
}

/// Bad usage is worse than a refusal: what could not be read may be anything.
fn exit(tally: &Tally) -> u8 {
    match (tally.unreadable, tally.refused) {
        (1.., _) => EX_USAGE,
        (0, 1..) => EX_REFUSED,
        (0, 0) => 0,
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

//! `lazaret ledger`.

use std::io::Write;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use nix::unistd::{User, getuid};
use serde_json::json;

use super::{EX_REFUSED, EX_SOFTWARE, EX_USAGE, Output, complain, print, print_json};
use crate::audit::Digest;
use crate::ledger::verify::{Report, show};
use crate::ledger::{self, Ledger, LedgerError, Location, lines, reset, verify};

/// The longest reason of a reset, in bytes: it is one line of a record.
const MAX_REASON: usize = 1024;

/// Work on the ledger of releases.
#[derive(Debug, Subcommand)]
pub(super) enum LedgerCommand {
    /// Show what is remembered, by consumer and family of contracts
    Show(ReadArgs),
    /// Verify the chain of entries, and that the indices hold what the entries say
    Verify(VerifyArgs),
    /// Print all entries, oldest first, one JSON object per line
    Export(Where),
    /// Forget all releases: later ones are not held against them. The ledger records who did it
    /// and why
    Reset(ResetArgs),
}

/// Which ledger.
#[derive(Args, Debug)]
pub(super) struct Where {
    /// The ledger: a file that no gateway has open, or postgres://…
    #[arg(
        long,
        env = "LAZARET_LEDGER",
        value_name = "FILE|URL",
        hide_env_values = true
    )]
    ledger: Location,
}

/// Arguments of `lazaret ledger show`.
#[derive(Args, Debug)]
pub(super) struct ReadArgs {
    #[command(flatten)]
    at: Where,

    /// For people or for scripts
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Arguments of `lazaret ledger verify`.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    read: ReadArgs,

    /// A hash that must be in the chain, noted earlier where whoever writes the ledger cannot
    /// reach: finds a cut-off end, and a ledger that was put in its place
    #[arg(long, value_name = "HASH")]
    expect_head: Option<Digest>,
}

/// Arguments of `lazaret ledger reset`.
#[derive(Args, Debug)]
pub(super) struct ResetArgs {
    #[command(flatten)]
    read: ReadArgs,

    /// Why; it is recorded
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(super) fn run(command: LedgerCommand) -> u8 {
    let (output, done) = match command {
        LedgerCommand::Show(args) => (args.output, run_show(&args)),
        LedgerCommand::Verify(args) => (args.read.output, run_verify(&args)),
        LedgerCommand::Export(at) => (Output::Text, run_export(&at)),
        LedgerCommand::Reset(args) => (args.read.output, run_reset(&args)),
    };
    let Err((code, why)) = done else {
        return 0;
    };
    match output {
        Output::Json => print_json(&json!({"ok": false, "error": why})),
        Output::Text => complain(&why),
    }
    code
}

type Failed = (u8, String);

fn run_show(args: &ReadArgs) -> Result<(), Failed> {
    let report = show(&mut *open(&args.at)?).map_err(failed)?;
    print_report(args.output, &report, "");
    Ok(())
}

fn run_verify(args: &VerifyArgs) -> Result<(), Failed> {
    let mut ledger = open(&args.read.at)?;
    let report = verify(&mut *ledger, args.expect_head).map_err(failed)?;
    print_report(args.read.output, &report, "ok: ");
    Ok(())
}

fn run_export(at: &Where) -> Result<(), Failed> {
    let mut ledger = open(at)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut tx = ledger.begin_read().map_err(failed)?;
    let written = lines(&mut *tx, &mut |_, line| {
        let written = out.write_all(line);
        written.map_err(|error| LedgerError::Store(format!("standard output: {error}")))
    });
    written.map_err(failed)?;
    let flushed = out.flush();
    flushed.map_err(|error| (EX_SOFTWARE, format!("standard output: {error}")))
}

fn run_reset(args: &ResetArgs) -> Result<(), Failed> {
    let reason = args.reason.trim();
    if reason.is_empty() || reason.len() > MAX_REASON || reason.chars().any(char::is_control) {
        let why = format!("a reset needs a reason of one line, up to {MAX_REASON} bytes");
        return Err((EX_USAGE, why));
    }
    let mut ledger = open(&args.read.at)?;
    let state = reset(&mut *ledger, reason, &user(), SystemTime::now()).map_err(failed)?;
    match args.read.output {
        Output::Json => print_json(&json!({
            "ok": true, "seq": state.head.seq, "head": state.head.hash,
        })),
        Output::Text => print(&format!(
            "reset: everything up to entry {} is forgotten\nhead {}\n",
            state.anchor.seq, state.head.hash
        )),
    }
    Ok(())
}

/// Opens a ledger that is there: none of the commands makes one.
fn open(at: &Where) -> Result<Box<dyn Ledger>, Failed> {
    if let Location::File(path) = &at.ledger
        && !path.exists()
    {
        return Err((EX_USAGE, format!("there is no ledger {}", path.display())));
    }
    ledger::open(&at.ledger).map_err(failed)
}

fn failed(error: LedgerError) -> Failed {
    let code = match &error {
        LedgerError::Corrupt(_) | LedgerError::NotPrivate { .. } => EX_REFUSED,
        _ => EX_SOFTWARE,
    };
    (code, error.to_string())
}

/// Who runs this, by the operating system and not by a variable that anyone can set.
fn user() -> String {
    let uid = getuid();
    match User::from_uid(uid) {
        Ok(Some(user)) => format!("{} ({uid})", user.name),
        _ => uid.to_string(),
    }
}

fn print_report(output: Output, report: &Report, ok: &str) {
    if output == Output::Json {
        print_json(&json!({"ok": true, "report": report}));
        return;
    }
    let mut text = format!(
        "{ok}{} entries ({} to {}), {} of them not known to be sent\n",
        report.entries, report.first_seq, report.last_seq, report.open
    );
    for family in &report.families {
        let at = humantime::format_rfc3339_seconds(family.last_time());
        text += &format!(
            "{} {}: {} releases, {} bytes, {} bits, epsilon {}, last {at}\n",
            family.consumer,
            family.family,
            family.releases,
            family.bytes,
            family.bits,
            family.epsilon,
        );
    }
    if let Some(head) = &report.head {
        text += &format!("head {head}\n");
    }
    print(&text);
}

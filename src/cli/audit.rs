//! `lazaret audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{EX_REFUSED, EX_USAGE, Output, complain, print, print_json};
use crate::audit::{Digest, VerifyError, verify};

/// Work on audit logs.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Verify the chain of records: finds what was edited, dropped, inserted or reordered
    Verify(VerifyArgs),
}

/// Arguments of `lazaret audit verify`.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// The log; given one file, the rotated ones beside it are verified with it
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// A hash that must be in the chain, noted earlier where the log's writer cannot reach: finds
    /// a cut-off end
    #[arg(long, value_name = "HASH")]
    expect_head: Option<Digest>,

    /// For people or for scripts
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(command: AuditCommand) -> u8 {
    let AuditCommand::Verify(args) = command;
    match verify(&args.files, args.expect_head) {
        Ok(report) => {
            match args.output {
                Output::Json => print_json(&json!({"ok": true, "report": report})),
                Output::Text => print(&format!(
                    "ok: {} records ({} to {}), {} released, {} refused\nhead {}\n",
                    report.records,
                    report.first_seq,
                    report.last_seq,
                    report.released,
                    report.refused,
                    report.head,
                )),
            }
            0
        }
        Err(error) => {
            let code = match &error {
                VerifyError::Read { .. } => EX_USAGE,
                _ => EX_REFUSED,
            };
            match args.output {
                Output::Json => print_json(&json!({"ok": false, "error": error.to_string()})),
                Output::Text => complain(&error.to_string()),
            }
            code
        }
    }
}

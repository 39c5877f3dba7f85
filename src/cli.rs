//! The command line. Its output formats and exit codes are stable: scripts rely on them.

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

mod audit;
mod ca;
mod check;
mod explain;
mod generate;
mod judge;
mod ledger;
mod lint;
mod run;

/// Bad usage, a bad policy or a bad contract (`EX_USAGE` of sysexits.h).
pub const EX_USAGE: u8 = 64;

/// A payload or a chain of records was refused.
pub const EX_REFUSED: u8 = 3;

/// Something that should work did not (`EX_SOFTWARE` of sysexits.h).
pub const EX_SOFTWARE: u8 = 70;

/// Lets out of a pod only what the data producer's policy allows.
#[derive(Debug, Parser)]
#[command(
    name = "lazaret",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit codes: 0 done or released, 3 refused, 64 bad usage or bad policy, \
                        70 failure."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Run(Box<run::RunArgs>),
    /// Check a policy and its schemas: every error at once
    Check(check::CheckArgs),
    /// Check the disclosure rules of contracts: those of a policy, or a bare schema
    Lint(lint::LintArgs),
    /// Judge payloads by a contract, as the gateway would
    Judge(Box<judge::JudgeArgs>),
    /// Explain why something is refused: a reason by its code, or all of them
    Explain(explain::ExplainArgs),
    /// Work on audit logs
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Work on the ledger of releases
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// What an app must trust where its TLS ends at the gateway
    #[command(subcommand)]
    Ca(ca::CaCommand),
    /// Show the gateway at work: a hospital, an app, a consumer, and what gets out
    Demo(crate::demo::DemoArgs),
    /// Print what is generated from the source: schema, completions, man page
    #[command(subcommand)]
    Generate(generate::GenerateCommand),
}

/// For people or for scripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// JSON.
    Json,
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> ExitCode {
        let code = match self.command {
            Command::Run(args) => run::run(*args),
            Command::Check(args) => check::check(&args),
            Command::Lint(args) => lint::lint(&args),
            Command::Judge(args) => judge::judge(&args),
            Command::Explain(args) => explain::explain(&args),
            Command::Audit(command) => audit::run(command),
            Command::Ledger(command) => ledger::run(command),
            Command::Ca(command) => ca::run(command),
            Command::Demo(args) => crate::demo::run(&args),
            Command::Generate(command) => generate::run(&command, Cli::command()),
        };
        ExitCode::from(code)
    }
}

/// Writes to standard output. A reader that has gone away (`| head`) is no failure of ours.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a line to standard error.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Writes a value as one line of JSON to standard output.
pub(crate) fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string(value) {
        Ok(json) => print(&format!("{json}\n")),
        Err(error) => complain(&format!("lazaret: cannot write JSON: {error}")),
    }
}

//! The command line of the init container.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use lazaret_init::apply::{Nft, NftError};
use lazaret_init::args::{Cli, Command, Output, Settings};
use lazaret_init::capture::{Capture, CaptureError};
use lazaret_init::probe::{self, Report};
use lazaret_init::ruleset;
use serde_json::{Value, json};

/// `EX_USAGE`: bad usage, or a bad policy.
const EXIT_USAGE: u8 = 64;
/// `EX_SOFTWARE`: any other failure.
const EXIT_FAILURE: u8 = 70;
/// The capture is not effective; what other tools of this kind exit with.
const EXIT_NOT_EFFECTIVE: u8 = 95;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help_or_error) => {
            // Nothing is left to report to if this cannot be printed.
            let _ = help_or_error.print();
            return ExitCode::from(if help_or_error.use_stderr() {
                EXIT_USAGE
            } else {
                0
            });
        }
    };
    match run(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr().lock(), "lazaret-init: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Show { settings } => {
            let ruleset = ruleset::text(&capture(settings)?);
            print(settings, &ruleset, &json!({ "ruleset": ruleset }))
        }
        Command::Apply { settings, dry_run } => {
            let capture = capture(settings)?;
            let ruleset = ruleset::text(&capture);
            let nft = Nft::new(settings.nft.clone());
            if *dry_run {
                nft.check(&ruleset)?;
                return print(settings, &ruleset, &json!({ "ruleset": ruleset }));
            }
            nft.load(&ruleset)?;
            // What was loaded stays even if it cannot be proven: closed is better than open.
            judge(settings, &probe::run(&capture, &ruleset, &nft))
        }
        Command::Probe { settings } => {
            let capture = capture(settings)?;
            let ruleset = ruleset::text(&capture);
            let nft = Nft::new(settings.nft.clone());
            judge(settings, &probe::run(&capture, &ruleset, &nft))
        }
        Command::Remove { settings, dry_run } => {
            let removal = ruleset::removal();
            if *dry_run {
                return print(settings, &removal, &json!({ "ruleset": removal }));
            }
            Nft::new(settings.nft.clone()).load(&removal)?;
            print(settings, "removed\n", &json!({ "removed": true }))
        }
    }
}

fn capture(settings: &Settings) -> Result<Capture, Failure> {
    let (capture, warnings) = Capture::load(settings).map_err(Failure::Capture)?;
    if !warnings.is_empty() {
        writeln!(io::stderr().lock(), "{warnings}").map_err(Failure::Print)?;
    }
    Ok(capture)
}

fn judge(settings: &Settings, report: &Report) -> Result<(), Failure> {
    print(settings, &format!("{report}\n"), &report.to_json())?;
    if report.is_effective() {
        Ok(())
    } else {
        Err(Failure::NotEffective)
    }
}

fn print(settings: &Settings, text: &str, json: &Value) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let printed = match settings.output {
        Output::Text => out.write_all(text.as_bytes()),
        Output::Json => writeln!(out, "{json}"),
    };
    printed.and_then(|()| out.flush()).map_err(Failure::Print)
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nlazaret-init: "))]
    Capture(Vec<CaptureError>),
    #[error(transparent)]
    Nft(#[from] NftError),
    #[error("the capture is not effective")]
    NotEffective,
    #[error("cannot print the result: {0}")]
    Print(io::Error),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Capture(errors) if errors.iter().any(CaptureError::is_usage) => EXIT_USAGE,
            Self::Nft(error) if error.is_refusal() => EXIT_NOT_EFFECTIVE,
            Self::NotEffective => EXIT_NOT_EFFECTIVE,
            Self::Capture(_) | Self::Nft(_) | Self::Print(_) => EXIT_FAILURE,
        }
    }
}

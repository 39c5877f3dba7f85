//! `lazaret run`.

use std::io::IsTerminal;

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::{EX_SOFTWARE, EX_USAGE, complain};
use crate::app::{self, AppError};
use crate::settings::{LogFormat, Settings};

/// Arguments of `lazaret run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(args: RunArgs) -> u8 {
    let settings = args.settings;
    let filter = match EnvFilter::try_new(&settings.log) {
        Ok(filter) => filter,
        Err(error) => {
            complain(&format!("lazaret: --log `{}`: {error}", settings.log));
            return EX_USAGE;
        }
    };
    // Standard output may carry the audit records, so the log goes to standard error.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    match app::run(settings) {
        Ok(()) => 0,
        Err(AppError::Policy(errors)) => {
            complain(&errors.to_string());
            EX_USAGE
        }
        Err(error) => {
            complain(&format!("lazaret: {error}"));
            EX_SOFTWARE
        }
    }
}

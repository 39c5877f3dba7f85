//! The `lazaret` command.

use std::process::ExitCode;

use clap::Parser;
use lazaret::cli::Cli;

/// Fewer resident bytes under load than the allocator of the C library, and faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(error) => {
            // A usage error ends with 64 like every other one, not with clap's 2.
            let code = if error.use_stderr() {
                lazaret::cli::EX_USAGE
            } else {
                0
            };
            // Standard error may be closed; the code says it all the same.
            let _ = error.print();
            ExitCode::from(code)
        }
    }
}

//! The demonstration.

use clap::Args;

/// Arguments of `lazaret demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {}

/// Runs it.
pub fn run(_args: &DemoArgs) -> u8 {
    crate::cli::complain("soon");
    70
}

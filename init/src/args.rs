//! The command line. These types only say what flags there are; whether they fit together, and
//! with the policy, is decided in [`crate::capture`].

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

/// Installs and proves the capture rules of Lazaret in this network namespace.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0 done; 64 bad usage or policy; 95 the capture is not effective; \
                  70 any other failure."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load the rules in one transaction, then prove that they capture.
    Apply {
        /// What the rules are made of.
        #[command(flatten)]
        settings: Settings,
        /// Have nft check the rules and print them, but change nothing.
        #[arg(long, env = "LAZARET_DRY_RUN")]
        dry_run: bool,
    },
    /// Print the rules; change nothing.
    Show {
        /// What the rules are made of.
        #[command(flatten)]
        settings: Settings,
    },
    /// Prove that the rules capture; change nothing.
    Probe {
        /// What the rules are made of.
        #[command(flatten)]
        settings: Settings,
    },
    /// Take all rules away. Done already: no error.
    Remove {
        /// Only `--nft` and `--output` matter here; the others may be given so that one list of
        /// arguments serves every command.
        #[command(flatten)]
        settings: Settings,
        /// Print what nft would be given, but change nothing.
        #[arg(long, env = "LAZARET_DRY_RUN")]
        dry_run: bool,
    },
}

/// What the rules are made of, as it was written.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// The policy file.
    #[arg(long, env = "LAZARET_POLICY", value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// The user that the gateway runs as from its start; no other process may have it.
    #[arg(long, env = "LAZARET_UID", value_parser = clap::value_parser!(u32).range(1..MAX_ID))]
    pub uid: Option<u32>,
    /// The group that the gateway runs as; only user and group together are let through.
    #[arg(long, env = "LAZARET_GID", value_parser = clap::value_parser!(u32).range(1..MAX_ID))]
    pub gid: Option<u32>,
    /// How connections get to the gateway.
    #[arg(long, env = "LAZARET_MODE", value_enum, default_value_t)]
    pub mode: Mode,
    /// The gateway's port, on loopback, for connections that the pod opens.
    #[arg(long, env = "LAZARET_OUTBOUND_PORT", value_name = "PORT", default_value_t = 15001, value_parser = clap::value_parser!(u16).range(1..))]
    pub outbound_port: u16,
    /// The gateway's port for connections that others open to the pod.
    #[arg(long, env = "LAZARET_INBOUND_PORT", value_name = "PORT", default_value_t = 15006, value_parser = clap::value_parser!(u16).range(1..))]
    pub inbound_port: u16,
    /// The gateway's port for health and metrics.
    #[arg(long, env = "LAZARET_ADMIN_PORT", value_name = "PORT", default_value_t = 15020, value_parser = clap::value_parser!(u16).range(1..))]
    pub admin_port: u16,
    /// A network that may reach the admin port; may be repeated. None given: nobody outside.
    #[arg(long, env = "LAZARET_ADMIN_FROM", value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    pub admin_from: Vec<IpNet>,
    /// The nft program.
    #[arg(long, env = "LAZARET_NFT", value_name = "PATH", default_value = "nft")]
    pub nft: PathBuf,
    /// How results are printed.
    #[arg(long, env = "LAZARET_OUTPUT", value_enum, default_value_t)]
    pub output: Output,
}

/// How connections get to the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The destination is rewritten to the gateway's port; the gateway needs no capability.
    #[default]
    Redirect,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}

/// One above the largest id: the kernel keeps 2^32-1 for "no such id".
const MAX_ID: i64 = u32::MAX as i64;

fn network(text: &str) -> Result<IpNet, String> {
    let alone = || text.parse().map(|ip: std::net::IpAddr| IpNet::from(ip));
    text.parse()
        .or_else(|_| alone())
        .map_err(|_| "expected a network such as 10.0.0.0/8, or one address".to_owned())
}

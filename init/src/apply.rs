//! Runs nft. The only file that changes the system, and it does so in one transaction or not at
//! all.

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The nft program.
#[derive(Clone, Debug)]
pub struct Nft {
    program: PathBuf,
}

/// Why nft did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// It did not run.
    #[error("cannot run {}: {source}", program.display())]
    Run {
        /// Its path.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The kernel does not let this process change rules.
    #[error("not permitted to change the rules of this network namespace (CAP_NET_ADMIN): {0}")]
    NotPermitted(String),
    /// nft or the kernel does not take the rules.
    #[error(
        "{} refused ({status}); nothing was changed. The kernel needs nf_tables with inet and \
         netdev tables, the egress hook (CONFIG_NETFILTER_EGRESS, since 5.16), \
         CONFIG_NFT_FIB_INET, CONFIG_NFT_REJECT_INET and CONFIG_IP_ROUTE_CLASSID. It said: {stderr}",
        program.display()
    )]
    Refused {
        /// Its path.
        program: PathBuf,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said.
        stderr: String,
    },
}

impl NftError {
    /// Whether the rules cannot be had in this kernel, so that no capture can be effective.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

impl Nft {
    /// Nothing is run yet.
    pub const fn new(program: PathBuf) -> Self {
        Self { program }
    }

    /// Loads a ruleset, all of it or nothing.
    ///
    /// # Errors
    /// Nothing was changed then.
    pub fn load(&self, ruleset: &str) -> Result<(), NftError> {
        self.run(&["-f", "-"], ruleset).map(drop)
    }

    /// Has the kernel look at a ruleset without loading it.
    ///
    /// # Errors
    /// What [`Nft::load`] would fail with.
    pub fn check(&self, ruleset: &str) -> Result<(), NftError> {
        self.run(&["-c", "-f", "-"], ruleset).map(drop)
    }

    /// The live text of a table, such as `inet lazaret`.
    ///
    /// # Errors
    /// Also if there is no such table.
    pub fn list(&self, table: &str) -> Result<String, NftError> {
        let arguments: Vec<&str> = ["-s", "list", "table"]
            .into_iter()
            .chain(table.split(' '))
            .collect();
        let output = self.run(&arguments, "")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<Output, NftError> {
        let failed = |source| NftError::Run {
            program: self.program.clone(),
            source,
        };
        let mut child = Command::new(&self.program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let fed = match child.stdin.take() {
            Some(mut stdin) => stdin.write_all(input.as_bytes()),
            None => Ok(()),
        };
        let output = child.wait_with_output().map_err(failed)?;
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if !output.status.success() {
            return Err(if stderr.contains("Operation not permitted") {
                NftError::NotPermitted(stderr)
            } else {
                NftError::Refused {
                    program: self.program.clone(),
                    status: output.status,
                    stderr,
                }
            });
        }
        match fed {
            // A program that succeeds without reading its input is judged by the probe.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(failed(error)),
            _ => Ok(output),
        }
    }
}

//! What can keep the demonstration from being given.

use std::io;
use std::time::Duration;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    #[error("--transparent needs root, since it makes network namespaces; try it under sudo")]
    NotRoot,
    #[error("--transparent needs the program `{program}`: {remedy}")]
    NoProgram {
        program: &'static str,
        remedy: &'static str,
    },
    #[error("{what}: {source}")]
    Io {
        what: &'static str,
        source: io::Error,
    },
    #[error("`{command}` failed: {stderr}")]
    Command { command: String, stderr: String },
    #[error("the gateway did not become ready in {} s; its log:\n{log}", .timeout.as_secs())]
    NotReady { timeout: Duration, log: String },
    #[error("the {role} failed: {why}")]
    Role { role: &'static str, why: String },
    #[error("the policy of the demonstration does not load:\n{0}")]
    Policy(lazaret_policy::Diagnostics),
    #[error("interrupted")]
    Interrupted,
}

impl DemoError {
    /// For `map_err`: an error of the system, and what it was about.
    pub(super) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// Whether the user can mend it, rather than something having failed.
    pub(super) const fn is_usage(&self) -> bool {
        matches!(self, Self::NotRoot | Self::NoProgram { .. })
    }
}

//! `lazaret check`.

use std::path::PathBuf;

use clap::Args;
use lazaret_policy::{Diagnostic, Diagnostics, Policy, Severity, load_with_site};
use serde_json::json;

use super::{EX_USAGE, Output, complain, print, print_json};
use crate::tls::Contexts;

/// Arguments of `lazaret check`.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// The policy file
    file: PathBuf,

    /// The site policy that it must hold to
    #[arg(long, env = "LAZARET_SITE", value_name = "FILE")]
    site: Option<PathBuf>,

    /// For people or for scripts
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn check(args: &CheckArgs) -> u8 {
    let (policy, findings) = match load_with_site(&args.file, args.site.as_deref()) {
        Ok((policy, mut findings)) => {
            keys(&policy, args, &mut findings);
            (Some(policy), findings)
        }
        Err(errors) => (None, errors),
    };
    let code = if policy.is_some() { 0 } else { EX_USAGE };
    match args.output {
        Output::Json => print_json(&json!({
            "ok": policy.is_some(),
            "digest": policy.as_ref().map(|policy| &*policy.digest),
            "diagnostics": findings,
        })),
        Output::Text => {
            if !findings.is_empty() {
                complain(&findings.to_string());
            }
            match policy {
                Some(policy) => print(&summary(&policy, &findings)),
                None => complain(&count(&findings)),
            }
        }
    }
    code
}

/// What the policy only names and the gateway must have. Whoever writes a policy seldom has the keys.
fn keys(policy: &Policy, args: &CheckArgs, findings: &mut Diagnostics) {
    for message in Contexts::unusable(policy) {
        findings.push(Diagnostic {
            severity: Severity::Warning,
            code: None,
            file: args.file.clone(),
            line: 0,
            column: 0,
            pointer: String::new(),
            message,
            help: Some("the gateway will not start without it; elsewhere it may be absent".into()),
        });
    }
}

fn summary(policy: &Policy, warnings: &Diagnostics) -> String {
    let warned = match warnings.len() {
        0 => String::new(),
        1 => ", 1 warning".into(),
        n => format!(", {n} warnings"),
    };
    format!(
        "{}: ok: {} egress and {} ingress rules, {} contracts, {}{warned}\nsha256 {}\n",
        policy.name,
        policy.egress.len(),
        policy.ingress.len(),
        policy.contracts.len(),
        policy.mode.as_str(),
        policy.digest,
    )
}

fn count(findings: &Diagnostics) -> String {
    let errors = findings
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .count();
    match errors {
        1 => "1 error: the policy does not load".into(),
        n => format!("{n} errors: the policy does not load"),
    }
}

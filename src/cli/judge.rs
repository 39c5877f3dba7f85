//! `lazaret judge`: what the gateway would say to a payload, and why, on a laptop.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{ArgGroup, Args};
use lazaret_policy::compile::load_schema;
use lazaret_policy::judge::{BodyHead, Cleared, Violation};
use lazaret_policy::{Contract, Diagnostics, load};
use serde_json::json;

use super::{EX_REFUSED, EX_SOFTWARE, EX_USAGE, Output, complain, print, print_json};

/// Arguments of `lazaret judge`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("by").required(true).args(["policy", "schema"]))]
pub(super) struct JudgeArgs {
    /// The policy that has the contract
    // Not from LAZARET_POLICY: where that is set, a bare schema could not be judged by.
    #[arg(long, value_name = "FILE", requires = "contract")]
    policy: Option<PathBuf>,

    /// The contract in the policy
    #[arg(long, value_name = "NAME", requires = "policy")]
    contract: Option<String>,

    /// A bare schema instead of a policy and a contract
    #[arg(long, value_name = "FILE", conflicts_with_all = ["policy", "contract"])]
    schema: Option<PathBuf>,

    /// The media type that the payload is sent as, by default the one of the contract
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,

    /// Write the bytes that would leave to standard output, and the verdict to standard error
    #[arg(long)]
    emit: bool,

    /// For people or for scripts
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    /// The payload, or `-` for standard input
    #[arg(value_name = "BODY")]
    body: PathBuf,
}

/// With a bare schema there are no limits but the gateway's own default.
const SCHEMA_MAX_BYTES: usize = 16 << 20;
const SCHEMA_MAX_DEPTH: u16 = 128;

pub(super) fn judge(args: &JudgeArgs) -> u8 {
    let contract = match contract(args) {
        Ok(contract) => contract,
        Err(errors) => {
            complain(&errors);
            return EX_USAGE;
        }
    };
    let body = match read(&args.body, contract.max_bytes) {
        Ok(body) => body,
        Err(error) => {
            complain(&format!("lazaret: {}: {error}", args.body.display()));
            return EX_USAGE;
        }
    };
    let head = BodyHead {
        content_type: Some(args.content_type.as_deref().unwrap_or(&contract.media_type)),
        content_encoding: None,
    };
    let judged = contract.judge(head, &body);
    report(args, &contract, body.len(), &judged);
    match judged {
        Ok(canonical) => {
            if args.emit && std::io::stdout().lock().write_all(&canonical.bytes).is_err() {
                return EX_SOFTWARE;
            }
            0
        }
        Err(_) => EX_REFUSED,
    }
}

fn contract(args: &JudgeArgs) -> Result<Arc<Contract>, String> {
    if let Some(schema) = &args.schema {
        let loaded = load_schema(schema, SCHEMA_MAX_BYTES, SCHEMA_MAX_DEPTH);
        let (contract, warnings) = loaded.map_err(|errors| errors.to_string())?;
        warn(&warnings);
        return Ok(Arc::new(contract));
    }
    let (Some(policy), Some(name)) = (&args.policy, &args.contract) else {
        return Err("lazaret: give --policy and --contract, or --schema".into());
    };
    let (policy, warnings) = load(policy).map_err(|errors| errors.to_string())?;
    warn(&warnings);
    policy.contracts.get(name.as_str()).cloned().ok_or_else(|| {
        let known: Vec<&str> = policy.contracts.keys().map(|key| &**key).collect();
        format!(
            "lazaret: the policy has no contract `{name}`; its contracts are: {}",
            known.join(", ")
        )
    })
}

fn warn(warnings: &Diagnostics) {
    if !warnings.is_empty() {
        complain(&warnings.to_string());
    }
}

fn read(path: &Path, max_bytes: usize) -> std::io::Result<Vec<u8>> {
    // One byte more than allowed is enough to know that it is too large.
    let limit = max_bytes as u64 + 1;
    let mut body = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut body)?;
    } else {
        std::fs::File::open(path)?
            .take(limit)
            .read_to_end(&mut body)?;
    }
    Ok(body)
}

fn report(
    args: &JudgeArgs,
    contract: &Contract,
    len: usize,
    judged: &Result<Cleared, Vec<Violation>>,
) {
    let none = Vec::new();
    let (verdict, violations) = match judged {
        Ok(_) => ("released", &none),
        Err(violations) => ("refused", violations),
    };
    let text = match args.output {
        Output::Json => {
            let report = json!({
                "verdict": verdict,
                "contract": &*contract.name,
                "bytes": len,
                "canonical_bytes": judged.as_ref().ok().map(|c| c.bytes.len()),
                "violations": violations,
            });
            if !args.emit {
                return print_json(&report);
            }
            format!("{report}\n")
        }
        Output::Text => {
            let mut text = format!("{verdict}\n");
            for v in violations {
                let pointer = if v.pointer.is_empty() {
                    "(all of it)"
                } else {
                    &v.pointer
                };
                let keyword = v
                    .keyword
                    .as_deref()
                    .map(|k| format!(" [{k}]"))
                    .unwrap_or_default();
                text += &format!("  {pointer}: {}{keyword}: {}\n", v.reason, v.message);
            }
            text
        }
    };
    if args.emit {
        complain(text.trim_end());
    } else {
        print(&text);
    }
}

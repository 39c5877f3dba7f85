//! `lazaret lint`: whether contracts keep what their disclosure rules promise.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use lazaret_policy::capacity;
use lazaret_policy::compile::{load_schema_on, load_site};
use lazaret_policy::lint::Terms;
use lazaret_policy::source::Document;
use lazaret_policy::{Contract, Diagnostics, Policy, Severity, Site, load_with_site};
use serde_json::json;

use super::{EX_USAGE, Output, complain, print, print_json};

/// Arguments of `lazaret lint`.
#[derive(Args, Debug)]
pub(super) struct LintArgs {
    /// A policy, or a bare schema
    file: PathBuf,

    /// The site policy that it must hold to
    #[arg(long, env = "LAZARET_SITE", value_name = "FILE")]
    site: Option<PathBuf>,

    /// For a bare schema: open places and numbers without a rule are errors, as with
    /// `strict_schemas`
    #[arg(long)]
    strict: bool,

    /// Draw where the bits of a contract are, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// The contract to draw, if the policy has several
    #[arg(long, value_name = "NAME", requires = "svg")]
    contract: Option<String>,

    /// For people or for scripts
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What was linted and loads.
struct Sound {
    contracts: Vec<Arc<Contract>>,
    /// There if it was a policy.
    policy: Option<Policy>,
}

/// A bare schema is linted as a contract with the limits that one has when it gives none.
const SCHEMA_MAX_BYTES: usize = 64 << 10;
const SCHEMA_MAX_DEPTH: u16 = 32;

pub(super) fn lint(args: &LintArgs) -> u8 {
    let (sound, findings) = match load(args) {
        Ok(Ok((sound, warnings))) => (Some(sound), warnings),
        Ok(Err(errors)) => (None, errors),
        Err(error) => {
            complain(&error);
            return EX_USAGE;
        }
    };
    match args.output {
        Output::Json => print_json(&json!({
            "ok": sound.is_some(),
            "diagnostics": findings,
            "contracts": sound.iter().flat_map(|s| &s.contracts).map(|contract| {
                (contract.name.to_string(), capacity::json(&contract.capacity()))
            }).collect::<serde_json::Map<_, _>>(),
            "policy": sound.as_ref().and_then(|s| s.policy.as_ref()).map(|policy| {
                capacity::policy_json(&capacity::policy(policy))
            }),
        })),
        Output::Text => {
            if !findings.is_empty() {
                complain(&findings.to_string());
            }
            print(&summary(&findings));
            if let Some(sound) = &sound {
                print(&tables(sound));
            }
        }
    }
    match (sound, &args.svg) {
        (None, _) => EX_USAGE,
        (Some(_), None) => 0,
        (Some(sound), Some(path)) => match draw(&sound, args.contract.as_deref(), path) {
            Ok(()) => 0,
            Err(error) => {
                complain(&format!("lazaret: {error}"));
                EX_USAGE
            }
        },
    }
}

/// What each contract can carry and where, and what each exchange can.
fn tables(sound: &Sound) -> String {
    let mut text = String::new();
    for contract in &sound.contracts {
        let table = capacity::table(&contract.capacity());
        text += &format!("\n{}\n{table}", contract.name);
    }
    if let Some(policy) = &sound.policy {
        let table = capacity::policy_table(&capacity::policy(policy));
        text += &format!("\npolicy {}\n{table}", policy.name);
    }
    text
}

fn draw(sound: &Sound, name: Option<&str>, path: &Path) -> Result<(), String> {
    let names = || {
        let names = sound.contracts.iter().map(|contract| &*contract.name);
        names.collect::<Vec<_>>().join(", ")
    };
    let contract = match (name, &sound.contracts[..]) {
        (None, [only]) => only,
        (None, _) => return Err(format!("say which --contract to draw: {}", names())),
        (Some(name), contracts) => (contracts.iter())
            .find(|contract| *contract.name == *name)
            .ok_or_else(|| format!("there is no contract `{name}`, but: {}", names()))?,
    };
    let picture = capacity::svg(
        &contract.name,
        &contract.capacity(),
        contract.allowed_bits(),
    );
    std::fs::write(path, picture).map_err(|error| format!("{}: {error}", path.display()))
}

type Loaded = Result<(Sound, Diagnostics), Diagnostics>;

fn load(args: &LintArgs) -> Result<Loaded, String> {
    if is_policy(&args.file) {
        let loaded = load_with_site(&args.file, args.site.as_deref());
        return Ok(loaded.map(|(policy, warnings)| {
            let contracts = policy.contracts.values().cloned().collect();
            let policy = Some(policy);
            (Sound { contracts, policy }, warnings)
        }));
    }
    let site = site(args.site.as_deref())?;
    let terms = Terms {
        strict: args.strict,
        every: true,
        site: &site,
        max_bytes: SCHEMA_MAX_BYTES,
    };
    let loaded = load_schema_on(&args.file, &terms, SCHEMA_MAX_DEPTH);
    Ok(loaded.map(|(contract, warnings)| {
        let contracts = vec![Arc::new(contract)];
        let policy = None;
        (Sound { contracts, policy }, warnings)
    }))
}

/// Whether a file is a policy; what cannot be read is reported as a schema.
fn is_policy(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let document = Document::parse(&text);
    document.is_ok_and(|document| {
        let has = |key: &str| document.value.get(key).is_some();
        has("apiVersion") || has("kind")
    })
}

/// The site policy in this file; without one, the usual one.
pub(super) fn site(path: Option<&Path>) -> Result<Site, String> {
    path.map_or_else(
        || Ok(Site::default()),
        |path| load_site(path).map_err(|errors| errors.to_string()),
    )
}

fn summary(findings: &Diagnostics) -> String {
    let errors = findings.iter().filter(|f| f.severity == Severity::Error);
    let errors = errors.count();
    let plural = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    format!(
        "{}, {}\n",
        plural(errors, "error"),
        plural(findings.len() - errors, "warning")
    )
}

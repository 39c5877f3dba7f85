//! What payloads are judged by: a contract, and perhaps a memory.

use std::sync::Arc;

use lazaret_policy::compile::load_schema_on;
use lazaret_policy::judge::{BodyHead, Violation};
use lazaret_policy::lint::Terms;
use lazaret_policy::{Contract, Diagnostics, load_with_site};

use super::memory::Memory;
use super::{Failed, JudgeArgs};
use crate::cli::lint::site;
use crate::cli::{EX_USAGE, Output, complain};
use crate::ledger::LedgerError;

/// With a bare schema there are no limits but the gateway's own default.
const SCHEMA_MAX_BYTES: usize = 16 << 20;
const SCHEMA_MAX_DEPTH: u16 = 128;

/// Who receives what is judged by a bare schema.
const DEFAULT_CONSUMER: &str = "consumer";

/// What payloads are judged by.
pub(super) struct By {
    contract: Arc<Contract>,
    consumer: Arc<str>,
    content_type: String,
    memory: Option<Memory>,
}

/// The canonical bytes, or everything that is wrong.
pub(super) type Judged = Result<Vec<u8>, Vec<Violation>>;

impl By {
    pub(super) fn new(args: &JudgeArgs) -> Result<Self, Failed> {
        let (contract, consumer) = contract(args).map_err(|errors| (EX_USAGE, errors))?;
        let content_type = args.content_type.as_deref();
        let memory = args.ledger.as_ref().map(Memory::open).transpose()?;
        if args.output == Output::Text {
            note(&contract, memory.is_some());
        }
        Ok(Self {
            content_type: content_type.unwrap_or(&contract.media_type).to_owned(),
            contract,
            consumer,
            memory,
        })
    }

    pub(super) fn contract(&self) -> &Arc<Contract> {
        &self.contract
    }

    /// What the gateway would say.
    ///
    /// # Errors
    /// The ledger failed.
    pub(super) fn judge(&mut self, body: &[u8]) -> Result<Judged, LedgerError> {
        let head = BodyHead {
            content_type: Some(&self.content_type),
            content_encoding: None,
        };
        let cleared = match self.contract.judge(head, body) {
            Ok(cleared) => cleared,
            Err(violations) => return Ok(Err(violations)),
        };
        let (Some(memory), Some(rule), Some(facts)) =
            (&mut self.memory, &self.contract.release, cleared.facts)
        else {
            return Ok(Ok(cleared.bytes));
        };
        let answer = memory.ask(&self.consumer, rule, *facts)?;
        Ok(answer.map(|()| cleared.bytes))
    }
}

fn contract(args: &JudgeArgs) -> Result<(Arc<Contract>, Arc<str>), String> {
    if let Some(schema) = &args.schema {
        let site = site(args.site.as_deref())?;
        let terms = Terms {
            strict: false,
            every: args.site.is_some(),
            site: &site,
            max_bytes: SCHEMA_MAX_BYTES,
        };
        let loaded = load_schema_on(schema, &terms, SCHEMA_MAX_DEPTH);
        let (contract, warnings) = loaded.map_err(|errors| errors.to_string())?;
        warn(&warnings);
        let consumer = args.consumer.as_deref().unwrap_or(DEFAULT_CONSUMER);
        return Ok((Arc::new(contract), consumer.into()));
    }
    let (Some(policy), Some(name)) = (&args.policy, &args.contract) else {
        return Err("lazaret: give --policy and --contract, or --schema".into());
    };
    let loaded = load_with_site(policy, args.site.as_deref());
    let (policy, warnings) = loaded.map_err(|errors| errors.to_string())?;
    warn(&warnings);
    let contract = policy.contracts.get(name.as_str()).cloned();
    let contract = contract.ok_or_else(|| {
        let known: Vec<&str> = policy.contracts.keys().map(|key| &**key).collect();
        format!(
            "lazaret: the policy has no contract `{name}`; its contracts are: {}",
            known.join(", ")
        )
    })?;
    Ok((contract, policy.consumer))
}

fn warn(warnings: &Diagnostics) {
    if !warnings.is_empty() {
        complain(&warnings.to_string());
    }
}

/// The gateway would ask the ledger where the contract says so, and nowhere else.
fn note(contract: &Contract, remembers: bool) {
    match (&contract.release, remembers) {
        (Some(_), false) => complain(
            "lazaret: earlier releases are not looked at; `--ledger` does, see `lazaret judge \
             --help`",
        ),
        (None, true) => complain(
            "lazaret: the contract has no `sdcRelease`: no ledger is asked about its payloads",
        ),
        _ => {}
    }
}

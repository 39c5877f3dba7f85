//! From written contracts to typed ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;

use super::schemas::SchemaParts;
use super::{Bundle, Report, Schemas, beside, is_local, text};
use crate::Contract;
use crate::capacity;
use crate::diagnostic::{Diagnostic, Severity};
use crate::file::{ContractFile, PolicyFile, SizeFile};
use crate::judge::sdc::evidence_pointers;
use crate::lint::{Terms, floor};
use crate::release::ReleaseRule;
use crate::source::join;

/// No contract lets more than this out in one message, in bytes: a payload is held in memory
/// until it is judged.
const MAX_CONTRACT_BYTES: u64 = 64 * 1024 * 1024;

/// A rule about releases that no one would keep.
const STRAY_RELEASE: &str = "`sdcRelease` is written in a place where it is not read: write it at \
                             the root of the contract's own file";

/// Every contract by name; `None` for one that is broken and has been reported.
pub(super) type Contracts = BTreeMap<String, Option<Arc<Contract>>>;

pub(super) fn contracts(file: &PolicyFile, bundle: &Bundle, report: &mut Report) -> Contracts {
    let schemas = Schemas::new(&bundle.files, &bundle.lists);
    let site = bundle.site(report);
    let terms = Terms {
        strict: file.strict_schemas.sound() == Some(&true),
        every: false,
        site: &site,
        max_bytes: usize::MAX,
    };
    let inbound = inbound_only(file);
    let mut contracts = Contracts::new();
    for (key, written) in file.contracts.sound().into_iter().flatten() {
        let pointer = join("/contracts", key);
        text::name(key, &pointer, report);
        // A site policy is about all that leaves.
        let terms = Terms {
            every: bundle.site.is_some() && !inbound.contains(key),
            ..terms
        };
        let contract = written
            .sound()
            .and_then(|written| contract(key, written, &pointer, bundle, &schemas, &terms, report));
        contracts.insert(key.clone(), contract.map(Arc::new));
    }
    contracts
}

/// The contracts of bodies that only come into the pod.
fn inbound_only(file: &PolicyFile) -> BTreeSet<String> {
    let (mut into, mut out) = (BTreeSet::new(), BTreeSet::new());
    let egress = (file.egress.items()).filter_map(|(_, rule)| Some((true, &rule?.exchanges)));
    let ingress = (file.ingress.items()).filter_map(|(_, rule)| Some((false, &rule?.exchanges)));
    for (leaves, exchanges) in egress.chain(ingress) {
        for exchange in exchanges.items().filter_map(|(_, exchange)| exchange) {
            let request = exchange
                .request
                .sound()
                .and_then(|r| r.body.sound()?.as_ref());
            let response = exchange.response.sound().and_then(Option::as_ref);
            let response = response.and_then(|r| r.body.sound()?.as_ref());
            let (sent, received) = if leaves {
                (request, response)
            } else {
                (response, request)
            };
            out.extend(sent.cloned());
            into.extend(received.cloned());
        }
    }
    into.difference(&out).cloned().collect()
}

fn contract(
    key: &str,
    written: &ContractFile,
    pointer: &str,
    bundle: &Bundle,
    schemas: &Schemas,
    terms: &Terms<'_>,
    report: &mut Report,
) -> Option<Contract> {
    let media_type = (written.media_type.sound())
        .and_then(|text| media_type(text, &format!("{pointer}/media_type"), report));
    let max_bytes = (written.max_bytes.sound())
        .and_then(|text| size(text, &format!("{pointer}/max_bytes"), report));
    let schema = written.schema.sound()?;
    if !is_local(schema) {
        report.error(
            &format!("{pointer}/schema"),
            "the schema must be a file beside the policy".into(),
            Some("write its path relative to the policy file".into()),
        );
        return None;
    }
    let terms = Terms {
        max_bytes: max_bytes.unwrap_or(usize::MAX),
        ..*terms
    };
    let parts = schemas.contract(&beside(&bundle.path, schema), report, &terms);
    if parts.is_none() {
        let message = format!("the schema `{schema}` is not usable");
        report.error(&format!("{pointer}/schema"), message, None);
    }
    let parts = parts?;
    if let Some(max_bytes) = max_bytes.filter(|_| parts.disclosure) {
        let pointer = format!("{pointer}/max_bytes");
        floor::body(max_bytes, terms.site, &pointer, report);
    }
    let limits = Limits {
        media_type: media_type?,
        max_bytes: max_bytes?,
        max_depth: *written.max_depth.sound()?,
        horizon: terms.site.horizon,
    };
    let path = beside(&bundle.path, schema);
    assemble(key, limits, parts, schemas, &path, report)
}

/// What a contract says beside its schema.
pub(super) struct Limits {
    pub(super) media_type: String,
    pub(super) max_bytes: usize,
    pub(super) max_depth: u16,
    /// How long releases are remembered, unless the contract says otherwise.
    pub(super) horizon: Duration,
}

/// Makes the contract of a schema that is compiled, or reports why its rule about releases is none.
pub(super) fn assemble(
    name: &str,
    limits: Limits,
    parts: SchemaParts,
    schemas: &Schemas,
    path: &Path,
    report: &mut Report,
) -> Option<Contract> {
    let rule = ReleaseRule::of_contract(&parts.flat, name).and_then(|rule| match rule {
        None if parts.releases => Err(STRAY_RELEASE.into()),
        rule => Ok(rule),
    });
    let release = match rule {
        Ok(rule) => rule.map(|mut rule| {
            rule.bits = capacity::count(&parts.flat, Some(limits.max_bytes)).bits();
            if parts.flat.pointer("/sdcRelease/horizon").is_none() {
                rule.remember_for(limits.horizon.as_secs());
            }
            Arc::new(rule)
        }),
        Err(why) => {
            let (file, place, pointer) = schemas.place(path, "/sdcRelease", report);
            report.push(Diagnostic {
                severity: Severity::Error,
                code: Some("sdc-value"),
                file,
                line: place.line,
                column: place.column,
                pointer,
                message: why,
                help: Some("see `sdcRelease` in docs/disclosure.md".into()),
            });
            return None;
        }
    };
    Some(Contract {
        name: name.into(),
        media_type: limits.media_type.into(),
        max_bytes: limits.max_bytes,
        max_depth: limits.max_depth,
        release,
        evidence: evidence_pointers(&parts.flat),
        validator: parts.validator,
        known_names: parts.known_names,
        shape: parts.shape,
        flat: parts.flat,
        disclosure: parts.disclosure,
    })
}

fn media_type(text: &str, pointer: &str, report: &mut Report) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    // RFC 6838 §4.2 names; RFC 6839 §3.1 for the suffix.
    let is_token = |t: &str| {
        !t.is_empty()
            && t.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let ok = lower.split_once('/').is_some_and(|(kind, subtype)| {
        is_token(kind) && is_token(subtype) && (subtype == "json" || subtype.ends_with("+json"))
    });
    if !ok {
        report.error(
            pointer,
            format!("`{text}` cannot be judged"),
            Some("`application/json`, or a type that ends in `+json`".into()),
        );
    }
    ok.then_some(lower)
}

pub(super) fn size(written: &SizeFile, pointer: &str, report: &mut Report) -> Option<usize> {
    let bytes = match written {
        SizeFile::Bytes(bytes) => Some(*bytes),
        SizeFile::Text(text) => ByteSize::from_str(text).ok().map(|size| size.as_u64()),
    };
    match bytes {
        Some(bytes @ 1..=MAX_CONTRACT_BYTES) => usize::try_from(bytes).ok(),
        _ => {
            let help = format!(
                "from 1 byte to {}",
                ByteSize(MAX_CONTRACT_BYTES).display().iec()
            );
            report.error(pointer, "not a usable size".into(), Some(help));
            None
        }
    }
}

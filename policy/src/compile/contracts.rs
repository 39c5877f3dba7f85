//! From written contracts to typed ones.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use bytesize::ByteSize;

use super::{Bundle, Report, Schemas, beside, is_local, text};
use crate::Contract;
use crate::file::{ContractFile, PolicyFile, SizeFile};
use crate::source::join;

/// No contract lets more than this out in one message, in bytes: a payload is held in memory
/// until it is judged.
const MAX_CONTRACT_BYTES: u64 = 64 * 1024 * 1024;

/// Every contract by name; `None` for one that is broken and has been reported.
pub(super) type Contracts = BTreeMap<String, Option<Arc<Contract>>>;

pub(super) fn contracts(file: &PolicyFile, bundle: &Bundle, report: &mut Report) -> Contracts {
    let schemas = Schemas::new(&bundle.files);
    let strict = file.strict_schemas.sound() == Some(&true);
    let mut contracts = Contracts::new();
    for (key, written) in file.contracts.sound().into_iter().flatten() {
        let pointer = join("/contracts", key);
        text::name(key, &pointer, report);
        let contract = written
            .sound()
            .and_then(|written| contract(key, written, &pointer, bundle, &schemas, strict, report));
        contracts.insert(key.clone(), contract.map(Arc::new));
    }
    contracts
}

fn contract(
    key: &str,
    written: &ContractFile,
    pointer: &str,
    bundle: &Bundle,
    schemas: &Schemas,
    strict: bool,
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
    let parts = schemas.contract(&beside(&bundle.path, schema), report, strict);
    if parts.is_none() {
        let message = format!("the schema `{schema}` is not usable");
        report.error(&format!("{pointer}/schema"), message, None);
    }
    let parts = parts?;
    Some(Contract {
        name: key.into(),
        media_type: media_type?.into(),
        max_bytes: max_bytes?,
        max_depth: *written.max_depth.sound()?,
        validator: parts.validator,
        known_names: parts.known_names,
        shape: parts.shape,
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

fn size(written: &SizeFile, pointer: &str, report: &mut Report) -> Option<usize> {
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

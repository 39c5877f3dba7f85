//! What a contract can carry, against what it says and what the site allows.

use serde_json::Value;

use super::{Finding, Lint};
use crate::capacity::count;
use crate::compile::flatten::Flat;

/// How many bits a schema can carry in one message, rounded up. The one place that asks for it.
fn bits(flat: &Value, max_bytes: usize) -> Option<u64> {
    count(flat, Some(max_bytes)).bits()
}

pub(super) fn check(lint: &mut Lint<'_>, flat: &Flat) {
    let ceiling = lint.terms.site.max_bits;
    let written = flat.value.pointer("/sdcCapacity/maxBits");
    let Some(written) = written else {
        let message = "the contract does not say how much it can carry";
        let help = format!("`\"sdcCapacity\": {{\"maxBits\": …}}` at the root, at most {ceiling}");
        let finding = Finding::error("sdc-no-capacity", message, help);
        let severity = lint.terms.severity();
        lint.at_flat(flat, "", finding.with(severity));
        return against(lint, flat, ceiling, "");
    };
    // Above the ceiling it is reported as looser than the site.
    let allowed = written.as_u64().unwrap_or(0).min(ceiling);
    against(lint, flat, allowed, "/sdcCapacity/maxBits");
}

fn against(lint: &mut Lint<'_>, flat: &Flat, allowed: u64, pointer: &str) {
    let bits = bits(&flat.value, lint.terms.max_bytes);
    if bits.is_some_and(|bits| bits <= allowed) {
        return;
    }
    let carried = bits.map_or("any number of".into(), |bits| bits.to_string());
    let message = format!("the contract can carry {carried} bits in a message, not {allowed}");
    let help = "fewer or narrower places: `lazaret lint` lists what each of them carries";
    lint.at_flat(flat, pointer, Finding::error("sdc-capacity", message, help));
}

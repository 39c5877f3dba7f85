//! Rules only where they assert: `{"not": {"sdcMinCount": …}}` lets through what the rule forbids.

use super::places::Place;
use super::{Finding, Lint};
use crate::compile::flatten::Flat;
use crate::source::join;

/// Rules about the contract as a whole. They are read at its root alone: a part of a root `allOf`
/// holds for all of a payload, too, but nothing would look for them there.
const ROOT_ONLY: &[&str] = &["sdcCapacity", "sdcRelease"];

pub(super) fn check(lint: &mut Lint<'_>, flat: &Flat, places: &[Place<'_>]) {
    for place in places {
        for keyword in place.schema.keys().filter(|k| k.starts_with("sdc")) {
            let at = join(&place.pointer, keyword);
            if let Some(silent) = place.silent {
                let message = format!("`{keyword}` holds back nothing under `{silent}`");
                let help = "move it to a schema that every payload must fit";
                lint.at_flat(flat, &at, Finding::error("sdc-position", message, help));
            } else if ROOT_ONLY.contains(&keyword.as_str()) && !place.pointer.is_empty() {
                let message = format!("`{keyword}` is about the contract as a whole");
                let help = "write it at the root of the contract's own file, and not in an `allOf` or \
                            behind a `$ref` there: it is read nowhere else";
                lint.at_flat(flat, &at, Finding::error("sdc-position", message, help));
            }
        }
    }
}

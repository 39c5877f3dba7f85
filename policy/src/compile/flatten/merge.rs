//! A reference and the keywords beside it as one schema.
//!
//! From 2019-09 on both hold. They can stand in one object only where no keyword sees, in the
//! other's keywords, something that it did not see before.

use serde_json::{Map, Value, json};

use super::Origins;

/// Keywords that read each other: together they mean something else than apart.
const TOGETHER: &[&[&str]] = &[
    &["additionalProperties", "patternProperties", "properties"],
    &["items", "prefixItems"],
    &["contains", "maxContains", "minContains"],
    &["else", "if", "then"],
    &["sdcMinCount", "sdcPrecision", "sdcRound", "sdcSuppressed"],
];

/// Keywords that see what the schemas beside them have looked at.
const UNEVALUATED: &[&str] = &["unevaluatedItems", "unevaluatedProperties"];

/// Keywords that look at members or items, and so count for [`UNEVALUATED`].
const EVALUATING: &[&str] = &[
    "additionalProperties",
    "allOf",
    "anyOf",
    "contains",
    "dependencies",
    "dependentSchemas",
    "else",
    "if",
    "items",
    "oneOf",
    "patternProperties",
    "prefixItems",
    "properties",
    "then",
];

/// Brings together the keywords beside a reference and what it leads to.
pub(super) fn merge(
    own: (Map<String, Value>, Origins),
    target: Value,
    from: Origins,
) -> (Value, Origins) {
    let (mut own, mut origins) = own;
    match target {
        Value::Bool(true) => {}
        Value::Bool(false) if own.is_empty() => return (Value::Bool(false), origins),
        Value::Object(target) if may_merge(&own, &target) => {
            own.extend(target);
            origins.adopt(from);
        }
        target => {
            let all = own.entry("allOf").or_insert_with(|| json!([]));
            if let Value::Array(parts) = all {
                origins.entry("allOf").add(&parts.len().to_string(), from);
                parts.push(target);
            }
        }
    }
    (Value::Object(own), origins)
}

fn may_merge(own: &Map<String, Value>, target: &Map<String, Value>) -> bool {
    let same = |keyword: &String| {
        own.get(keyword)
            .is_none_or(|v| target.get(keyword) == Some(v))
    };
    let apart = TOGETHER.iter().all(|group| {
        let has = |schema: &Map<String, Value>| group.iter().any(|k| schema.contains_key(*k));
        let equal = || group.iter().all(|k| own.get(*k) == target.get(*k));
        !has(own) || !has(target) || equal()
    });
    // A target looks at what it evaluates itself, never at what is evaluated beside its reference.
    let has = |schema: &Map<String, Value>, keywords: &[&str]| {
        keywords.iter().any(|k| schema.contains_key(*k))
    };
    let blind = has(target, UNEVALUATED) && has(own, EVALUATING);
    apart && !blind && target.keys().all(same)
}

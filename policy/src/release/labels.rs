//! The labels of `cell`. A sender who could write what they like into a label, or the figure itself,
//! would make a new figure of each release, and nothing would be held against anything.

use serde_json::{Map, Value};

use super::parse::below;
use crate::judge::sdc::Pointer;
use crate::judge::sdc::pointer::Token;

/// Keywords of figures.
const FIGURE: [&str; 4] = ["sdcMinCount", "sdcPrecision", "sdcRound", "sdcSuppressed"];

/// Whether a label is closed, so that a contract says all that it may be.
///
/// # Errors
/// That it is not, as a sentence for the contract's author.
pub(super) fn check(schema: &Map<String, Value>, label: &Pointer) -> Result<(), String> {
    if below(schema, label.tokens()).is_some_and(closed) {
        return Ok(());
    }
    Err(format!(
        "the label `{label}` of `cell` is not closed: it is a text with `enum`, `const`, `pattern` \
         or `sdcCodelist`, a number with `enum` or `const`, or a whole number from `minimum` to \
         `maximum` with `sdcMeta` or `multipleOf`, and no figure"
    ))
}

fn closed(schema: &Map<String, Value>) -> bool {
    let has = |keyword: &&str| schema.contains_key(*keyword);
    if FIGURE.iter().any(has) {
        return false;
    }
    if ["enum", "const"].iter().any(has) {
        return true;
    }
    let is_closed = |kind: &Value| match kind.as_str() {
        Some("string") => ["pattern", "sdcCodelist"].iter().any(has),
        // Such as a week or a step of a grid.
        Some("integer") => {
            ["minimum", "maximum"].iter().all(has) && ["sdcMeta", "multipleOf"].iter().any(has)
        }
        _ => false,
    };
    match schema.get("type") {
        Some(Value::Array(kinds)) => !kinds.is_empty() && kinds.iter().all(is_closed),
        Some(kind) => is_closed(kind),
        None => false,
    }
}

/// Whether one pointer leads to what the other does, or into it.
pub(super) fn overlap(one: &Pointer, other: &Pointer) -> bool {
    let mut tokens = one.tokens().iter().zip(other.tokens());
    tokens.all(|(a, b)| a == b || *a == Token::Every || *b == Token::Every)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::release::ReleaseRule;

    #[test]
    fn a_label_is_closed() {
        for (schema, expected) in [
            (json!({"enum": ["a"]}), true),
            (json!({"const": 1}), true),
            (json!({"type": "number", "enum": [1, 2]}), true),
            (json!({"type": "string", "pattern": "^a$"}), true),
            (
                json!({"type": "string", "sdcCodelist": {"list": "a"}}),
                true,
            ),
            (
                json!({"type": "integer", "minimum": 1, "maximum": 53, "sdcMeta": "a week"}),
                true,
            ),
            (
                json!({"type": "integer", "minimum": 0, "maximum": 90, "multipleOf": 30}),
                true,
            ),
            (
                json!({"type": "integer", "minimum": 0, "multipleOf": 30}),
                false,
            ),
            (
                json!({"type": "integer", "minimum": 0, "maximum": 90}),
                false,
            ),
            (
                json!({"type": "number", "minimum": 0, "maximum": 90, "multipleOf": 1}),
                false,
            ),
            (
                json!({"enum": [10, 20], "sdcMinCount": {"min": 10, "zero": "deny"}}),
                false,
            ),
            (
                json!({"type": "integer", "minimum": 0, "maximum": 9, "multipleOf": 1,
                    "sdcMinCount": {"min": 10, "zero": "deny"}}),
                false,
            ),
            (json!({"type": "string"}), false),
            (json!({"type": "string", "maxLength": 9}), false),
            (json!({"pattern": "^a$"}), false),
            (
                json!({"type": ["string", "number"], "pattern": "^a$"}),
                false,
            ),
            (json!({"type": "null"}), false),
            (json!({"type": "object"}), false),
            (json!({"type": []}), false),
            (json!({}), false),
            (json!(true), false),
        ] {
            let contract = json!({
                "properties": {"l": schema}, "sdcRelease": {"cell": ["/l"]}
            });
            let read = ReleaseRule::of_contract(&contract, "c");
            assert_eq!(read.is_ok(), expected, "{schema}: {read:?}");
        }
        let nowhere = json!({"sdcRelease": {"cell": ["/l"]}});
        assert!(ReleaseRule::of_contract(&nowhere, "c").is_err());
    }

    #[test]
    fn no_label_is_a_figure() {
        let label = json!({"enum": ["a", "b"]});
        let inner = json!({"enum": ["a"], "properties": {"b": label}});
        let contract = |cell: &[&str]| {
            json!({
                "properties": {"week": label, "n": label, "mean": inner, "by": inner,
                               "rows": {"items": {"properties": {"r": label, "n": label}},
                                        "enum": [[]]}},
                "sdcRelease": {"cell": cell, "value": "/rows/*/n", "stats": ["/mean"]}
            })
        };
        let read = |cell: &[&str]| ReleaseRule::of_contract(&contract(cell), "c");
        assert!(read(&["/week", "/rows/*/r"]).is_ok());
        assert!(read(&["/week", "/by/b", "/rows/*/r"]).is_ok());
        for figure in [
            "/rows/*/n",
            "/rows/0/n",
            "/rows",
            "/mean",
            "/mean/b",
            "/mean?",
        ] {
            let error = read(&["/week", "/rows/*/r", figure]).unwrap_err();
            assert!(error.contains("overlap"), "{figure}: {error}");
        }
    }
}

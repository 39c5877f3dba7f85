//! Evidence: what a rule must see and nobody else may.
//!
//! It stands in the member [`EVIDENCE`] of the object to which `sdcDominance` applies. It is judged
//! with the payload and taken out of it before release.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Pointer;
use super::pointer::Token;
use crate::source::join;

/// The member that is judged and never released.
pub(crate) const EVIDENCE: &str = "evidence";

/// Where evidence stands in payloads of a contract without references: all places that
/// [`strip`] must clear before a payload is released.
///
/// A rule stands where any part of the schema places it, whether that part is asserted or not:
/// better to take out too much.
pub(crate) fn evidence_pointers(schema: &Value) -> Vec<Pointer> {
    let mut places = BTreeSet::new();
    let mut todo = vec![(String::new(), schema)];
    while let Some((place, schema)) = todo.pop() {
        let Value::Object(keywords) = schema else {
            continue;
        };
        for (keyword, value) in keywords {
            below(&place, keyword, value, &mut todo);
        }
        if keywords.contains_key("sdcDominance") {
            places.insert(join(&place, EVIDENCE));
        }
    }
    let pointers = places
        .into_iter()
        .map(|place| Pointer::parse(&Value::from(place)));
    let pointers: Result<_, _> = pointers.collect();
    pointers.expect("a text of `/` and names is a pointer")
}

/// The schemas of a keyword, with the places for which they stand.
fn below<'s>(place: &str, keyword: &str, value: &'s Value, todo: &mut Vec<(String, &'s Value)>) {
    let here = || place.to_owned();
    let every = || format!("{place}/*");
    match (keyword, value) {
        ("properties", Value::Object(members)) => {
            todo.extend(
                members
                    .iter()
                    .map(|(name, schema)| (join(place, name), schema)),
            );
        }
        ("dependentSchemas" | "dependencies", Value::Object(members)) => {
            todo.extend(members.values().map(|schema| (here(), schema)));
        }
        ("patternProperties", Value::Object(members)) => {
            todo.extend(members.values().map(|schema| (every(), schema)));
        }
        ("prefixItems" | "items", Value::Array(items)) => {
            todo.extend(
                items
                    .iter()
                    .enumerate()
                    .map(|(i, schema)| (join(place, i), schema)),
            );
        }
        ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => {
            todo.extend(parts.iter().map(|schema| (here(), schema)));
        }
        ("if" | "then" | "else" | "not", schema) => todo.push((here(), schema)),
        (
            "items"
            | "additionalProperties"
            | "unevaluatedItems"
            | "unevaluatedProperties"
            | "contains",
            schema,
        ) => todo.push((every(), schema)),
        _ => {}
    }
}

/// Takes what these pointers name out of a value.
pub(crate) fn strip(value: &mut Value, pointers: &[Pointer]) {
    for pointer in pointers {
        remove(value, pointer.tokens());
    }
}

fn remove(value: &mut Value, tokens: &[Token]) {
    match (tokens, value) {
        ([Token::Name(last)], Value::Object(members)) => {
            members.remove(last);
        }
        ([Token::Name(name), rest @ ..], Value::Object(members)) => {
            if let Some(member) = members.get_mut(name) {
                remove(member, rest);
            }
        }
        ([Token::Name(name), rest @ ..], Value::Array(items)) => {
            let item = name.parse().ok().and_then(|i: usize| items.get_mut(i));
            if let Some(item) = item {
                remove(item, rest);
            }
        }
        ([Token::Every, rest @ ..], Value::Object(members)) => {
            members.values_mut().for_each(|member| remove(member, rest));
        }
        ([Token::Every, rest @ ..], Value::Array(items)) => {
            items.iter_mut().for_each(|item| remove(item, rest));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn evidence_is_found_wherever_the_rule_stands() {
        let rule = json!({"sdcDominance": {}});
        let schema = json!({
            "allOf": [rule],
            "properties": {
                "a/b": {"prefixItems": [{}, rule], "items": {"items": rule}},
                "map": {"additionalProperties": rule},
                "named": {"patternProperties": {"^x": {"properties": {"deep": rule}}}},
                "either": {"oneOf": [{"properties": {"l": rule}}, {"anyOf": [rule]}]},
                "when": {"if": {"properties": {"i": rule}}, "then": rule, "else": {"properties": {"e": rule}}},
                "rest": {"unevaluatedItems": rule, "contains": {"not": {"properties": {"n": rule}}}},
                "hung": {"dependentSchemas": {"d": rule}},
                "plain": {"properties": {"evidence": {"type": "string"}}},
                "sdcDominance": {"type": "string"},
                "examples": {"default": {"sdcDominance": 1}},
            },
        });
        let pointers = evidence_pointers(&schema);
        let texts: Vec<_> = pointers.iter().map(Pointer::to_string).collect();
        let expected = [
            "/a~1b/*/*/evidence",
            "/a~1b/1/evidence",
            "/either/evidence",
            "/either/l/evidence",
            "/evidence",
            "/hung/evidence",
            "/map/*/evidence",
            "/named/*/deep/evidence",
            "/rest/*/evidence",
            "/rest/*/n/evidence",
            "/when/e/evidence",
            "/when/evidence",
            "/when/i/evidence",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn only_evidence_is_taken_out() {
        let pointers: Vec<_> = [
            "/evidence",
            "/rows/*/evidence",
            "/pair/1/evidence",
            "/map/*/evidence",
        ]
        .into_iter()
        .map(|text| Pointer::parse(&json!(text)).unwrap())
        .collect();
        let mut value = json!({
            "evidence": {"top1": 9},
            "rows": [{"n": 1, "evidence": [9]}, 7, {"m": {"evidence": 1}}],
            "pair": [{"evidence": 1}, {"evidence": 9}],
            "map": {"x": {"evidence": null, "n": 2}, "y": [{"evidence": 1}]},
        });
        strip(&mut value, &pointers);
        let left = json!({
            "rows": [{"n": 1}, 7, {"m": {"evidence": 1}}],
            "pair": [{"evidence": 1}, {}],
            "map": {"x": {"n": 2}, "y": [{"evidence": 1}]},
        });
        assert_eq!(value, left);
        let mut other = json!([{"evidence": 1}, 7]);
        strip(&mut other, &pointers);
        assert_eq!(other, json!([{"evidence": 1}, 7]));
    }
}

//! The counts of a contract whose `sdcRelease` names no `value`: each is a figure, known by its place.
//!
//! None may be left out, and a place must stay that of one figure: below a list, whose items may
//! move, or in an alternative it is not.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::cells::Value as Guarded;
use crate::compile::any_key;
use crate::judge::sdc::{CellRule, Pointer};
use crate::source::join;

const COUNT: &str = "sdcMinCount";

/// Every count of a schema.
///
/// # Errors
/// That one has no fixed place, as a sentence for the contract's author.
pub(super) fn of(root: &Map<String, Value>) -> Result<Vec<Guarded>, String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut todo = vec![(root, String::new())];
    while let Some((schema, at)) = todo.pop() {
        if schema.contains_key(COUNT) {
            found.insert(at.clone());
        }
        for (keyword, value) in schema {
            match (keyword.as_str(), value) {
                ("properties", Value::Object(members)) => {
                    let members = members.iter().map(|(name, s)| (s, join(&at, name)));
                    todo.extend(members.filter_map(|(s, at)| Some((s.as_object()?, at))));
                }
                ("prefixItems", Value::Array(items)) => {
                    let items = items.iter().enumerate().map(|(i, s)| (s, join(&at, i)));
                    todo.extend(items.filter_map(|(s, at)| Some((s.as_object()?, at))));
                }
                ("allOf", Value::Array(parts)) => {
                    let parts = parts.iter().filter_map(Value::as_object);
                    todo.extend(parts.map(|s| (s, at.clone())));
                }
                (keyword, value) if any_key(value, &|key| key == COUNT) => {
                    return Err(format!(
                        "a count below `{keyword}` has no place of its own by which it could be \
                         held against earlier ones: name the counts with `value`, and the labels \
                         that tell them apart with `cell`"
                    ));
                }
                _ => {}
            }
        }
    }
    found.into_iter().map(|at| guarded(root, at)).collect()
}

fn guarded(root: &Map<String, Value>, at: String) -> Result<Guarded, String> {
    let mut pointer = Pointer::parse(&Value::String(at))?;
    pointer.optional = true;
    Ok(Guarded {
        // By its place, since its markers may stand in another schema than its rule.
        rule: CellRule::at(root, &pointer)?,
        pointer,
        by_place: true,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn places(schema: &Value) -> Result<Vec<String>, String> {
        let found = of(schema.as_object().unwrap())?;
        let mut places: Vec<_> = found.iter().map(|v| v.pointer.to_string()).collect();
        places.sort();
        Ok(places)
    }

    #[test]
    fn every_count_is_found_or_the_contract_refused() {
        let n = json!({"type": "integer", "sdcMinCount": {"min": 10, "zero": "allow"}});
        let object = json!({"properties": {"n": n, "label": {"enum": ["a"]}}});
        let schema = json!({
            "properties": {"a": n, "by": object, "list": {"prefixItems": [{}, n]},
                           "rows": {"items": {"properties": {"x": {}}}}},
            "allOf": [{"properties": {"b": {"allOf": [true, n, n]}}}]
        });
        assert_eq!(places(&schema).unwrap(), ["/a", "/b", "/by/n", "/list/1"]);
        for keyword in [
            "additionalProperties",
            "items",
            "unevaluatedItems",
            "unevaluatedProperties",
            "if",
            "then",
            "else",
            "contains",
            "not",
            "propertyNames",
        ] {
            for below in [&n, &object] {
                let error = places(&json!({"properties": {"a": n}, keyword: below})).unwrap_err();
                assert!(error.contains("`value`"), "{keyword}: {error}");
            }
        }
        for keyword in ["patternProperties", "dependentSchemas", "dependencies"] {
            assert!(
                places(&json!({ keyword: {"a": object} })).is_err(),
                "{keyword}"
            );
        }
        for keyword in ["anyOf", "oneOf", "items"] {
            let schema = json!({"properties": {"a": { keyword: [{}, n] }}});
            assert!(places(&schema).is_err(), "{keyword}");
        }
    }
}

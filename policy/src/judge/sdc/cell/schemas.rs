//! The schemas of what a pointer names, so that a rule about several members finds the keywords that
//! stand at them. References must have been replaced by what they refer to.

use serde_json::{Map, Value};

use crate::judge::sdc::pointer::Token;

/// The schema of what a pointer names; the first, should several hold there together.
pub(crate) fn schema_at<'s>(
    schema: &'s Map<String, Value>,
    tokens: &[Token],
) -> Option<&'s Map<String, Value>> {
    schemas_at(schema, tokens).first().copied()
}

/// All schemas that hold together for what a pointer names, from the schema at which it begins on;
/// none if `*` leads to members whose schemas differ.
///
/// Alternatives (`anyOf`, `oneOf`, `if`) are not followed: what holds in one of them only is not
/// known to hold.
pub(crate) fn schemas_at<'s>(
    schema: &'s Map<String, Value>,
    tokens: &[Token],
) -> Vec<&'s Map<String, Value>> {
    let mut here = Vec::new();
    spread(schema, &mut here);
    for token in tokens {
        let mut below = Vec::new();
        for schema in here {
            let child = match token {
                Token::Name(name) => named(schema, name),
                Token::Every => every(schema),
            };
            if let Some(Value::Object(child)) = child {
                spread(child, &mut below);
            }
        }
        here = below;
    }
    here
}

/// A schema and those that hold with it.
fn spread<'s>(schema: &'s Map<String, Value>, all: &mut Vec<&'s Map<String, Value>>) {
    all.push(schema);
    let parts = schema.get("allOf").and_then(Value::as_array);
    for part in parts.into_iter().flatten().filter_map(Value::as_object) {
        spread(part, all);
    }
}

fn named<'s>(schema: &'s Map<String, Value>, name: &str) -> Option<&'s Value> {
    if let Some(member) = schema.get("properties").and_then(|all| all.get(name)) {
        return Some(member);
    }
    if let Some(index) = name.parse::<usize>().ok().filter(|_| has_items(schema)) {
        let first = schema.get("prefixItems").and_then(|all| all.get(index));
        return first.or_else(|| schema.get("items"));
    }
    let others = schema.get("additionalProperties");
    others.filter(|_| !schema.contains_key("patternProperties"))
}

fn has_items(schema: &Map<String, Value>) -> bool {
    schema.contains_key("prefixItems") || schema.contains_key("items")
}

fn every(schema: &Map<String, Value>) -> Option<&Value> {
    let first = (schema.get("prefixItems").and_then(Value::as_array)).into_iter();
    let listed = (schema.get("properties").and_then(Value::as_object)).into_iter();
    let patterns = (schema.get("patternProperties").and_then(Value::as_object)).into_iter();
    let rest = ["items", "additionalProperties"].into_iter();
    let mut all = (first.flatten())
        .chain(listed.chain(patterns).flat_map(Map::values))
        .chain(rest.filter_map(|name| schema.get(name)))
        .filter(|member| member.is_object());
    let one = all.next()?;
    all.all(|other| other == one).then_some(one)
}

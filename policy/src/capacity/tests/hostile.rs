use std::time::{Duration, Instant};

use super::*;

/// Far more than any of these takes, and far less than the ones that got away.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn ends_soon_whatever_the_contract() {
    let nested = |wrap: &dyn Fn(Value) -> Value, times: usize| {
        (0..times).fold(json!({"type": "boolean"}), |schema, _| wrap(schema))
    };
    let alternatives: Vec<Value> = (0..40)
        .map(|i| json!({"anyOf": [{"minimum": i}, {"maximum": i}, {"multipleOf": i + 1}]}))
        .collect();
    let patterns: Vec<Value> = (0..300)
        .map(|i| json!({"type": "string", "pattern": format!("(a|b)*a(a|b){{{}}}", 20 + i), "maxLength": 1000}))
        .collect();
    let names: serde_json::Map<String, Value> = (0..5000)
        .map(|i| {
            (
                format!("n{i}"),
                json!({"type": "integer", "minimum": 0, "maximum": i}),
            )
        })
        .collect();
    let keys: Vec<String> = (0..20_000).map(|i| i.to_string()).collect();
    for (name, schema) in [
        (
            "arrays in arrays",
            nested(
                &|s| json!({"type": "array", "items": s, "maxItems": 1000}),
                60,
            ),
        ),
        (
            "too many arrays in arrays",
            nested(
                &|s| json!({"type": "array", "items": s, "maxItems": 2}),
                200,
            ),
        ),
        ("allOf in allOf", nested(&|s| json!({"allOf": [s]}), 200)),
        ("anyOf in anyOf", nested(&|s| json!({"anyOf": [s]}), 200)),
        ("not in not", nested(&|s| json!({"not": s}), 200)),
        (
            "if in if",
            nested(&|s| json!({"if": s, "unevaluatedProperties": false}), 200),
        ),
        (
            "objects in objects",
            nested(
                &|s| json!({"type": "object", "properties": {"a": s}, "additionalProperties": false}),
                200,
            ),
        ),
        (
            "alternatives in alternatives",
            nested(&|s| json!({"anyOf": [s, s.clone(), {"const": 1}]}), 12),
        ),
        (
            "alternatives at every level",
            nested(
                &|s| json!({"type": "array", "maxItems": 3, "anyOf": [{"items": s}, {"items": s.clone()}]}),
                12,
            ),
        ),
        (
            "alternatives beside alternatives",
            json!({"type": "integer", "minimum": 0, "maximum": 9, "allOf": alternatives}),
        ),
        (
            "many items",
            json!({"type": "array", "maxItems": 1_000_000_000, "items": {"type": "number"}}),
        ),
        (
            "too many items",
            json!({"type": "array", "maxItems": u64::MAX, "items": {"type": "number"}}),
        ),
        (
            "many unique items",
            json!({"type": "array", "uniqueItems": true, "maxItems": 1_000_000_000, "items": {"type": "integer"}}),
        ),
        (
            "many rows",
            json!({"type": "array", "maxItems": 1_000_000_000, "items": {"type": "integer"}, "sdcRows": {"max": 9_000, "key": [""], "sorted": true}}),
        ),
        (
            "many items that must be there",
            json!({"type": "array", "minItems": 1_000_000_000, "maxItems": 1_000_000_001, "items": {"type": "integer"}}),
        ),
        (
            "a wide map",
            json!({"type": "object", "maxProperties": 1_000_000, "propertyNames": {"maxLength": 1000}, "additionalProperties": {"type": "number"}}),
        ),
        (
            "a map of many names",
            json!({"type": "object", "maxProperties": 900, "propertyNames": {"enum": keys}, "additionalProperties": {"type": "number"}}),
        ),
        (
            "many members",
            json!({"type": "object", "maxProperties": 2500, "additionalProperties": false, "properties": names}),
        ),
        ("patterns that blow up", json!({"anyOf": patterns.clone()})),
        (
            "a member for each of them",
            json!({"type": "array", "prefixItems": patterns, "items": false}),
        ),
        (
            "a long pattern",
            json!({"type": "string", "pattern": format!("^{}$", "[a-z]".repeat(20_000)), "maxLength": 100_000}),
        ),
        (
            "a wide pattern",
            json!({"type": "string", "pattern": r"^\p{L}{500}$", "maxLength": 100_000}),
        ),
        (
            "a repeated pattern",
            json!({"type": "string", "pattern": "^((a{0,100}){0,100}){0,100}$", "maxLength": 1_000_000}),
        ),
        (
            "a long text",
            json!({"type": "string", "pattern": "^[a-z]*$", "maxLength": u64::MAX}),
        ),
        (
            "a text of any words",
            json!({"type": "string", "pattern": r"^(\w+\s?)*$", "maxLength": 1_000_000}),
        ),
        (
            "a word boundary",
            json!({"type": "string", "pattern": r"\bx\b", "maxLength": 10}),
        ),
        (
            "looks around",
            json!({"type": "string", "pattern": "(?=x)x", "maxLength": 10}),
        ),
        (
            "huge multiples",
            json!({"type": "number", "allOf": (1..500).map(|i| json!({"multipleOf": 1e308 / f64::from(i)})).collect::<Vec<_>>()}),
        ),
        (
            "tiny multiples",
            json!({"type": "number", "multipleOf": 5e-324, "minimum": 5e-324, "maximum": 1e308}),
        ),
        (
            "odd multiples",
            json!({"type": "integer", "allOf": (1..500).map(|i| json!({"multipleOf": 9_007_199_254_740_881u64 - 2 * i})).collect::<Vec<_>>()}),
        ),
        (
            "no multiples",
            json!({"type": "number", "multipleOf": 0, "sdcRound": {"base": 0, "mode": "midpoint"}, "sdcPrecision": {"significant": 0, "decimals": u64::MAX}, "sdcMinCount": {"min": u64::MAX}}),
        ),
        (
            "nonsense",
            json!({"type": 7, "enum": {}, "properties": [], "required": 1, "items": [], "prefixItems": {}, "allOf": 1, "anyOf": "x", "if": 1, "sdcSuppressed": 7, "sdcRows": 1, "sdcTable": [], "sdcCodelist": 1, "minLength": -1, "maxLength": 0.5, "pattern": "(", "patternProperties": {"(": 1}, "propertyNames": 3, "maxProperties": "a"}),
        ),
    ] {
        let begun = Instant::now();
        let capacity = count(&schema, Some(1_000_000));
        let took = begun.elapsed();
        eprintln!("{name}: {:?} bits in {took:?}", capacity.bits());
        assert!(took < LIMIT, "{name} took {took:?}");
        assert!(
            capacity.bits().is_some_and(|bits| bits <= 8_000_000),
            "{name}"
        );
        table(&capacity);
        json(&capacity);
        svg(name, &capacity, Some(1));
    }
}

//! Small schemas at random against all values that the validator lets through.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::compile::validator_for_tests;
use crate::judge::canonical::canonical;

/// No more candidates than this for one place.
const MOST: usize = 1500;

/// A schema and a superset of its values.
#[derive(Clone, Debug)]
struct Case {
    schema: Value,
    candidates: Vec<Value>,
    /// Its parts do not depend on each other.
    exact: bool,
}

fn leaf() -> impl Strategy<Value = Case> {
    let integers = (-4..4i64, 0..8i64, 1..4i64).prop_map(|(low, more, step)| Case {
        schema: json!({"type": "integer", "minimum": low, "maximum": low + more, "multipleOf": step}),
        candidates: (-4..=12).map(|i| json!(i)).collect(),
        exact: true,
    });
    let halves = (-4..4i32, 1..4i32, any::<bool>()).prop_map(|(low, more, open)| {
        let (low, high) = (f64::from(low) / 2.0, f64::from(low + more) / 2.0);
        let upper = if open { "exclusiveMaximum" } else { "maximum" };
        Case {
            schema: json!({"type": "number", "minimum": low, upper: high, "multipleOf": 0.5}),
            candidates: (-4..=8).map(|i| json!(f64::from(i) / 2.0)).collect(),
            exact: false,
        }
    });
    let patterns = ["^a*$", "b", "^(ab|é)?", "a$", "^[^b]b?$", "^$|é", "aa|bb"];
    let texts = (0..patterns.len(), 0..2u64, 0..4u64).prop_map(move |(pattern, low, high)| {
        let signs = ["", "a", "b", "é"];
        let mut all = BTreeSet::new();
        for (i, j, k) in (0..64).map(|i| (i / 16, i / 4 % 4, i % 4)) {
            all.insert(format!("{}{}{}", signs[i], signs[j], signs[k]));
        }
        // Only these signs, so that all can be listed.
        let schema = json!({"type": "string", "minLength": low, "maxLength": high,
            "allOf": [{"pattern": patterns[pattern]}], "pattern": "^[abé]*$"});
        let candidates = all.into_iter().map(Value::String).collect();
        Case {
            schema,
            candidates,
            exact: false,
        }
    });
    let one_pattern = (0..3usize, 0..4u64).prop_map(|(pattern, high)| {
        let pattern = ["^[ab]*$", "^(a|bb|é)+$", "^(?:a?b?){2}$"][pattern];
        let signs = ["", "a", "b", "é"];
        let all: BTreeSet<String> = (0..256)
            .map(|i| {
                [i / 64, i / 16 % 4, i / 4 % 4, i % 4]
                    .map(|s| signs[s])
                    .concat()
            })
            .collect();
        Case {
            schema: json!({"type": "string", "pattern": pattern, "maxLength": high}),
            candidates: all.into_iter().map(Value::String).collect(),
            exact: true,
        }
    });
    let lists = prop::sample::subsequence(
        vec![
            json!(0),
            json!("a"),
            json!(null),
            json!([1]),
            json!(true),
            json!(1.0),
            json!(1),
            json!({"a": 0}),
        ],
        0..6,
    )
    .prop_map(|list| Case {
        schema: json!({"enum": if list.is_empty() { vec![json!(7)] } else { list.clone() }}),
        candidates: list.into_iter().chain([json!(7)]).collect(),
        exact: true,
    });
    let booleans = Just(Case {
        schema: json!({"type": ["boolean", "null"]}),
        candidates: vec![json!(true), json!(false), json!(null)],
        exact: true,
    });
    prop_oneof![integers, halves, texts, one_pattern, lists, booleans]
}

/// Sequences of up to `most` of these.
fn sequences(items: &[Vec<Value>]) -> Vec<Value> {
    let mut all = vec![Vec::new()];
    let mut last = all.clone();
    for candidates in items {
        last = (last.iter())
            .flat_map(|start: &Vec<Value>| {
                candidates
                    .iter()
                    .map(move |c| start.iter().cloned().chain([c.clone()]).collect())
            })
            .take(MOST + 1)
            .collect();
        all.extend(last.clone());
    }
    all.into_iter().map(Value::Array).collect()
}

fn valid(case: &Case) -> Vec<Value> {
    let validator = validator_for_tests(&case.schema);
    case.candidates
        .iter()
        .filter(|c| validator.is_valid(c))
        .cloned()
        .collect()
}

fn array(item: Case, other: Case) -> impl Strategy<Value = Case> {
    (0..3usize, 0..4usize, any::<bool>(), any::<bool>()).prop_map(move |(low, high, unique, tuple)| {
        let first = if tuple { valid(&other) } else { valid(&item) };
        let rest = valid(&item);
        let lists: Vec<Vec<Value>> = (0..high).map(|i| if i == 0 { first.clone() } else { rest.clone() }).collect();
        let mut schema = json!({"type": "array", "minItems": low, "maxItems": high, "items": item.schema, "uniqueItems": unique});
        if tuple {
            schema["prefixItems"] = json!([other.schema]);
        }
        let exact = item.exact && (!tuple || (other.exact && !unique));
        Case { schema, candidates: sequences(&lists), exact }
    })
}

fn object(a: Case, b: Case) -> impl Strategy<Value = Case> {
    let required = prop::sample::subsequence(vec!["a", "b", "c"], 0..3);
    (required, 0..3usize, 0..4usize, 0..3u8).prop_map(move |(required, low, high, rest)| {
        let mut schema = json!({"type": "object", "properties": {"a": a.schema, "b": b.schema},
            "required": required, "minProperties": low, "maxProperties": high});
        let other = match rest {
            0 => {
                schema["additionalProperties"] = json!(false);
                Vec::new()
            }
            1 => {
                schema["additionalProperties"] = a.schema.clone();
                schema["propertyNames"] = json!({"enum": ["a", "c", "d"]});
                valid(&a)
            }
            _ => {
                schema["additionalProperties"] = json!(false);
                schema["patternProperties"] = json!({"^[cd]$": b.schema});
                valid(&b)
            }
        };
        let mut all = vec![serde_json::Map::new()];
        for (name, values) in [
            ("a", valid(&a)),
            ("b", valid(&b)),
            ("c", other.clone()),
            ("d", other),
        ] {
            let more: Vec<_> = (all.iter())
                .flat_map(|object| {
                    values.iter().map(move |value| {
                        let mut object = object.clone();
                        object.insert(name.to_owned(), value.clone());
                        object
                    })
                })
                .take(MOST + 1)
                .collect();
            all.extend(more);
        }
        let candidates = all.into_iter().map(Value::Object).collect();
        // A name that a pattern matches and that is listed as well is counted twice.
        let twice = rest == 2 && required.contains(&"c");
        Case {
            schema,
            candidates,
            exact: a.exact && b.exact && !twice,
        }
    })
}

fn alternatives(a: Case, b: Case) -> impl Strategy<Value = Case> {
    (0..5u8).prop_map(move |kind| {
        let (x, y) = (&a.schema, &b.schema);
        let schema = match kind {
            0 => json!({"anyOf": [x, y]}),
            1 => json!({"oneOf": [x, y]}),
            2 => json!({"allOf": [x, y]}),
            3 => json!({"if": {"type": "integer"}, "then": x, "else": y}),
            _ => json!({"anyOf": [x, y], "allOf": [{"anyOf": [y, {"type": "boolean"}]}], "not": {"const": 1}}),
        };
        let candidates = a.candidates.iter().chain(&b.candidates).cloned().collect();
        Case { schema, candidates, exact: false }
    })
}

fn case() -> impl Strategy<Value = Case> {
    leaf()
        .prop_recursive(2, 8, 2, |inner| {
            let pair = (inner.clone(), inner);
            prop_oneof![
                pair.clone().prop_flat_map(|(a, b)| array(a, b)),
                pair.clone().prop_flat_map(|(a, b)| object(a, b)),
                pair.prop_flat_map(|(a, b)| alternatives(a, b)),
            ]
        })
        .prop_filter("few enough to try all", |case| {
            case.candidates.len() <= MOST
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn never_counts_less_than_there_are(case in case()) {
        let texts: BTreeSet<Vec<u8>> = valid(&case).iter().map(canonical).collect();
        let there = Count::from(texts.len());
        let counted = n(&case.schema);
        prop_assert!(there.at_most(&counted), "{} of {}: {counted:?}", texts.len(), case.schema);
        if case.exact {
            prop_assert_eq!(counted, there, "{}", case.schema);
        }
    }
}

//! Contracts are compiled with every `$ref` replaced by what it leads to: they must allow exactly
//! what the files allow, and no schema may cost more than it should.

use std::fmt::Write as _;

use lazaret_policy::compile::load_schema;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::hostile::soon;
use crate::support::{contract, folder};

/// Keywords beside and behind references, with those that see each other.
fn schema(refs: &'static [&'static str], depth: u32) -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!({})),
        Just(json!({"type": "integer"})),
        Just(json!({"minimum": 1})),
        Just(json!({"const": 2})),
        Just(json!({"type": "object"})),
        Just(json!({"maxItems": 1})),
        Just(json!(false)),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || schema(refs, depth - 1);
    let reference = (0..=refs.len()).prop_map(move |i| refs.get(i).map(|name| json!(name)));
    let keyword = prop_oneof![
        (inner(), inner()).prop_map(|(a, b)| ("properties", json!({"a": a, "b": b}))),
        inner().prop_map(|a| ("properties", json!({"a": a}))),
        Just(("additionalProperties", json!(false))),
        Just(("unevaluatedProperties", json!(false))),
        Just(("unevaluatedItems", json!(false))),
        inner().prop_map(|s| ("additionalProperties", s)),
        inner().prop_map(|s| ("patternProperties", json!({"^b": s}))),
        inner().prop_map(|s| ("items", s)),
        inner().prop_map(|s| ("prefixItems", json!([s]))),
        inner().prop_map(|s| ("contains", s)),
        Just(("minContains", json!(0))),
        Just(("required", json!(["a"]))),
        Just(("type", json!("object"))),
        Just(("minimum", json!(1))),
        (inner(), inner()).prop_map(|(a, b)| ("anyOf", json!([a, b]))),
        inner().prop_map(|a| ("allOf", json!([a]))),
        inner().prop_map(|a| ("not", a)),
        inner().prop_map(|a| ("if", a)),
        inner().prop_map(|a| ("then", a)),
        inner().prop_map(|a| ("else", a)),
        inner().prop_map(|a| ("dependentSchemas", json!({"a": a}))),
    ];
    let object = (reference, proptest::collection::vec(keyword, 0..4));
    let object = object.prop_map(|(reference, keywords)| {
        let mut schema: Map<String, Value> = keywords
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v))
            .collect();
        schema.extend(reference.map(|r| ("$ref".to_owned(), r)));
        Value::Object(schema)
    });
    prop_oneof![1 => leaf, 6 => object].boxed()
}

fn payload() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(1)),
        Just(json!(2)),
        Just(json!(0)),
        Just(json!("x"))
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            proptest::collection::btree_map("[abc]", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn without_references_a_schema_allows_the_same(
        root in schema(&["#/$defs/x", "#/$defs/y", "#z"], 3),
        x in schema(&["#/$defs/y", "#z"], 2),
        y in schema(&["#z"], 2),
        z in schema(&[], 2),
        payloads in proptest::collection::vec(payload(), 1..20),
    ) {
        let mut schema = json!({"type": ["object", "array", "integer", "string"], "allOf": [root]});
        let mut z = z;
        if let Value::Object(z) = &mut z {
            z.insert("$anchor".into(), json!("z"));
        } else {
            z = json!({"$anchor": "z", "allOf": [z]});
        }
        schema["$defs"] = json!({"x": x, "y": y, "w": z});
        let folder = folder(&[("schema.json", &schema.to_string())]);
        let loaded = load_schema(&folder.path().join("schema.json"), 1 << 20, 32);
        prop_assume!(loaded.is_ok());
        let (contract, _) = loaded.unwrap();
        let written = jsonschema::options().build(&schema).unwrap();
        for payload in payloads {
            let body = payload.to_string();
            let judged = contract.judge_body(body.as_bytes()).is_ok();
            prop_assert_eq!(judged, written.is_valid(&payload), "{} {}", schema, body);
        }
    }
}

/// What stands beside a reference keeps its meaning, whichever way the two are brought together.
#[test]
fn keywords_beside_references_keep_their_meaning() {
    let base =
        json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
    let closed = json!({"properties": {"a": true}, "unevaluatedProperties": false});
    for (schema, allowed, refused) in [
        (
            json!({"$ref": "#/$defs/t", "additionalProperties": false}),
            vec![],
            vec![json!({"a": 1})],
        ),
        (
            json!({"$ref": "#/$defs/t", "unevaluatedProperties": false}),
            vec![json!({"a": 1})],
            vec![json!({"a": 1, "b": 1})],
        ),
        (
            json!({"$ref": "#/$defs/t", "properties": {"b": {"const": 1}}}),
            vec![json!({"a": 1, "b": 1})],
            vec![json!({"a": "x"}), json!({"a": 1, "b": 2})],
        ),
        (
            json!({"$ref": "#/$defs/t", "required": ["b"]}),
            vec![json!({"a": 1, "b": 1})],
            vec![json!({"a": 1}), json!({"b": 1})],
        ),
        (
            json!({"$ref": "#/$defs/c", "properties": {"b": true}}),
            vec![json!({"a": 1})],
            vec![json!({"b": 1})],
        ),
        (
            json!({"$ref": "#/$defs/t", "minProperties": 2, "title": "t"}),
            vec![json!({"a": 1, "b": 1})],
            vec![json!({"a": 1}), json!({"b": 1, "c": 1})],
        ),
    ] {
        let mut schema = schema;
        schema["$defs"] = json!({"t": base, "c": closed});
        let contract = contract(&schema);
        for (payloads, verdict) in [(allowed, true), (refused, false)] {
            for payload in payloads {
                let judged = contract.judge_body(payload.to_string().as_bytes());
                assert_eq!(judged.is_ok(), verdict, "{schema} {payload}");
            }
        }
    }
}

/// The errors of a schema with a rule, which must come soon.
fn refused(what: &str, schema: &Value) -> String {
    let schema = schema.clone();
    let text = soon(what, move || {
        let folder = folder(&[("schema.json", &schema.to_string())]);
        let loaded = load_schema(&folder.path().join("schema.json"), 1 << 20, 32);
        loaded.map_or_else(|errors| errors.to_string(), |_| String::new())
    });
    assert!(text.len() < 1_000_000, "{what}: {}", text.len());
    text
}

#[test]
fn references_that_multiply_are_refused() {
    for (what, each) in [
        (
            "members",
            json!({"properties": {"a": null, "b": null, "c": null, "d": null}}),
        ),
        ("parts", json!({"prefixItems": [null, null, null, null]})),
    ] {
        let mut defs = Map::new();
        for i in 0..40 {
            let next = json!({"$ref": format!("#/$defs/l{}", i + 1)}).to_string();
            let text = each.to_string().replace("null", &next);
            defs.insert(format!("l{i}"), serde_json::from_str(&text).unwrap());
        }
        defs.insert("l40".into(), json!({"const": 1}));
        let schema = json!({"$ref": "#/$defs/l0", "$defs": defs, "sdcCapacity": {"maxBits": 1}});
        let text = refused(what, &schema);
        assert!(text.contains("[sdc-expansion]"), "{what}: {text}");
    }
}

#[test]
fn long_texts_and_names_that_multiply_are_refused() {
    let text = "x".repeat(100_000);
    let mut members = Map::new();
    for i in 0..300 {
        members.insert(format!("m{i}"), json!({"$ref": "#/$defs/t"}));
    }
    let schema = json!({"properties": members, "$defs": {"t": {"enum": [text]}}, "sdcCapacity": {"maxBits": 1}});
    assert!(refused("texts", &schema).contains("[sdc-expansion]"));

    let mut schema = json!({"prefixItems": vec![json!({"const": 1}); 2000]});
    for i in 0..50 {
        schema = json!({"properties": {(format!("{i}{}", "k".repeat(480))): schema}});
    }
    let mut text = String::new();
    write!(text, "{schema}").unwrap();
    schema["sdcCapacity"] = json!({"maxBits": 1});
    assert!(refused("names", &schema).contains("error"));
}

#[test]
fn deep_schemas_and_long_chains_are_refused_or_judged() {
    let mut defs = Map::new();
    for i in 0..500 {
        let next = json!({"$ref": format!("#/$defs/l{}", i + 1)});
        defs.insert(
            format!("l{i}"),
            json!({"type": "object", "properties": {"a": next}}),
        );
    }
    defs.insert("l500".into(), json!({"const": 1}));
    let mut schema = json!({"$ref": "#/$defs/l0", "$defs": defs});
    // Without rules it is compiled as it is written.
    assert_eq!(refused("plain chain", &schema), "");
    schema["sdcCapacity"] = json!({"maxBits": 1});
    assert!(refused("chain", &schema).contains("[sdc-expansion]"));
}

#[test]
fn many_pointers_cost_little() {
    let names: Vec<String> = (0..1000).map(|i| format!("/m{i}")).collect();
    let members: Map<String, Value> = (0..1000)
        .map(|i| {
            (
                format!("m{i}"),
                json!({"type": "integer", "minimum": 0, "maximum": 9}),
            )
        })
        .collect();
    let branches: Vec<Value> = (0..1000).map(|_| json!({"required": ["m0"]})).collect();
    let rule = json!({"n": "/m0", "min": 10, "stats": names});
    let schema = json!({"type": "object", "properties": members, "additionalProperties": false,
        "anyOf": branches, "sdcContributors": rule, "sdcCapacity": {"maxBits": 9}});
    let text = refused("pointers", &schema);
    assert!(text.contains("[sdc-pointer]"), "{text}");
}

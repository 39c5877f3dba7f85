//! Which schemas count as open, and where.

use serde_json::{Value, json};

use crate::support::{contract_of, folder, lines};

const OBJECT: &str = "object with unlisted members";
const STRING: &str = "string of any length";
const ARRAY: &str = "array of any length";
const ITEMS: &str = "items of any type";
const NUMBER: &str = "number of any size";
const ANY: &str = "value of any type";

/// The open places of a schema, each `pointer: what`.
fn open(schema: &Value) -> Vec<String> {
    let (_, warnings) = contract_of(schema).unwrap_or_else(|e| panic!("{schema}\n{e}"));
    (warnings.iter())
        .map(|d| {
            let what = d.message.trim_start_matches("open schema: ");
            let what = what.trim_start_matches("an ").trim_start_matches("a ");
            format!("{}: {what}", d.pointer)
        })
        .collect()
}

/// A bounded integer.
fn n() -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": 9})
}

fn draft7(mut schema: Value) -> Value {
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema
}

fn draft2019(mut schema: Value) -> Value {
    schema["$schema"] = json!("https://json-schema.org/draft/2019-09/schema");
    schema
}

#[test]
fn closed_schemas_are_closed() {
    let text = json!({"type": "string", "maxLength": 3});
    let closed = [
        json!(false),
        json!({"const": {"any": ["thing"]}}),
        json!({"enum": ["a", 1, null]}),
        json!({"type": "boolean"}),
        json!({"type": "null"}),
        json!({"type": ["boolean", "null"]}),
        n(),
        text.clone(),
        json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
        json!({"type": "object", "additionalProperties": false}),
        json!({"type": "object", "properties": {"a": n(), "b": text}, "additionalProperties": false}),
        json!({"type": "object", "properties": {"a": n()}, "unevaluatedProperties": false}),
        // Through a reference, alone and beside other keywords.
        json!({"$ref": "#/$defs/x", "$defs": {"x": n()}}),
        json!({"$ref": "#/$defs/x", "maximum": 5, "$defs": {"x": {"type": "integer", "minimum": 0}}}),
        json!({"$ref": "#y", "$defs": {"x": {"$anchor": "y", "const": 1}}}),
        // `allOf` brings the parts together.
        json!({"allOf": [{"type": "integer"}, {"minimum": 0}, {"maximum": 9}]}),
        json!({"allOf": [{"type": ["string", "integer"]}, {"type": ["integer", "null"]}], "minimum": 0, "maximum": 1}),
        json!({"allOf": [{"$ref": "#/$defs/base"}], "properties": {"b": n()}, "unevaluatedProperties": false,
               "$defs": {"base": {"type": "object", "properties": {"a": n()}}}}),
        // A member that two parts describe is one place.
        json!({"allOf": [{"properties": {"a": {"type": "integer", "maximum": 9}}}], "properties": {"a": {"minimum": 0}},
               "type": "object", "unevaluatedProperties": false}),
        json!({"allOf": [{"items": {"type": "integer"}}], "items": {"minimum": 0, "maximum": 3}, "type": "array", "maxItems": 2}),
        // Alternatives, each closed, or closed by what is around them.
        json!({"anyOf": [{"const": 0}, n()]}),
        json!({"oneOf": [{"const": "a"}, {"const": "b"}]}),
        json!({"type": "integer", "minimum": 0, "anyOf": [{"maximum": 3}, {"const": 9}]}),
        json!({"type": "object", "properties": {"kind": {"enum": ["a", "b"]}}, "unevaluatedProperties": false,
               "oneOf": [{"properties": {"kind": {"const": "a"}, "n": n()}}, {"properties": {"kind": {"const": "b"}}}]}),
        json!({"anyOf": [{"type": "null"}, {"anyOf": [n(), {"const": "x"}]}]}),
        // Arrays by length, by tuple, by both.
        json!({"type": "array", "items": n(), "maxItems": 3}),
        json!({"type": "array", "prefixItems": [n(), {"const": "x"}], "items": false}),
        json!({"type": "array", "prefixItems": [n(), n()], "maxItems": 2}),
        json!({"type": "array", "prefixItems": [n()], "items": n(), "maxItems": 9}),
        json!({"type": "array", "prefixItems": [n()], "unevaluatedItems": false}),
        json!({"type": "array", "items": false}),
        // A map: few members, with bounded names and closed values.
        json!({"type": "object", "propertyNames": {"enum": ["a", "b"]}, "maxProperties": 2, "additionalProperties": n()}),
        json!({"type": "object", "propertyNames": {"$ref": "#/$defs/name"}, "maxProperties": 2, "additionalProperties": n(),
               "$defs": {"name": {"maxLength": 4}}}),
        json!({"type": "object", "patternProperties": {"^[0-9]{4}$": n()}, "additionalProperties": false,
               "propertyNames": {"maxLength": 4}, "maxProperties": 5}),
        // Recursion.
        json!({"type": "object", "properties": {"next": {"$ref": "#"}, "n": n()}, "additionalProperties": false}),
        json!({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "array", "maxItems": 2,
               "items": {"anyOf": [{"const": 1}, {"$ref": "#/$defs/tree"}]}}}}),
        // Conditions may only narrow, or list closed members.
        json!({"type": "object", "properties": {"a": n()}, "additionalProperties": false,
               "if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["a"]}}),
        json!({"type": "object", "properties": {"a": n()}, "unevaluatedProperties": false,
               "if": {"required": ["a"]}, "then": {"properties": {"b": n()}}}),
        // Other versions.
        draft7(json!({"type": "array", "items": [n(), n()], "additionalItems": false})),
        draft7(json!({"$ref": "#/definitions/x", "definitions": {"x": n()}})),
        draft2019(
            json!({"type": "object", "properties": {"a": n()}, "unevaluatedProperties": false}),
        ),
        json!({"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer", "minimum": 0,
               "exclusiveMinimum": true, "maximum": 9}),
    ];
    assert!(closed.len() >= 25);
    for schema in closed {
        assert_eq!(open(&schema), [""; 0], "{schema}");
    }
}

#[test]
fn open_schemas_are_open_and_say_where() {
    for (schema, places) in [
        (json!(true), vec![("", ANY)]),
        (json!({}), vec![("", ANY)]),
        (json!({"maxLength": 3}), vec![("", ANY)]),
        (json!({"type": "string"}), vec![("", STRING)]),
        (
            json!({"type": "string", "pattern": "^a*$"}),
            vec![("", STRING)],
        ),
        (
            json!({"type": "string", "format": "date"}),
            vec![("", STRING)],
        ),
        (json!({"type": "integer"}), vec![("", NUMBER)]),
        (json!({"type": "integer", "minimum": 0}), vec![("", NUMBER)]),
        (json!({"type": "number", "maximum": 0}), vec![("", NUMBER)]),
        (
            json!({"allOf": [{"type": "integer"}, {"type": "number"}]}),
            vec![("", NUMBER)],
        ),
        (json!({"type": ["integer", "null"]}), vec![("", NUMBER)]),
        (
            json!({"type": ["string", "number"], "maxLength": 3}),
            vec![("", NUMBER)],
        ),
        (json!({"type": "object"}), vec![("", OBJECT)]),
        (
            json!({"type": "object", "properties": {"a": n()}}),
            vec![("", OBJECT)],
        ),
        (
            json!({"type": "object", "additionalProperties": true}),
            vec![("", OBJECT), ("/additionalProperties", ANY)],
        ),
        (
            json!({"type": "object", "additionalProperties": n()}),
            vec![("", OBJECT)],
        ),
        (
            json!({"type": "object", "additionalProperties": n(), "maxProperties": 3}),
            vec![("", OBJECT)],
        ),
        (
            json!({"type": "object", "propertyNames": {"maxLength": 4}, "maxProperties": 3}),
            vec![("", OBJECT)],
        ),
        (
            json!({"type": "object", "propertyNames": {"pattern": "^a*$"}, "maxProperties": 3, "additionalProperties": n()}),
            vec![("", OBJECT)],
        ),
        (
            json!({"type": "object", "patternProperties": {"": n()}, "additionalProperties": false}),
            vec![("", OBJECT)],
        ),
        (
            json!({"type": "object", "properties": {"a": {}}, "additionalProperties": false}),
            vec![("/properties/a", ANY)],
        ),
        (
            json!({"type": "object", "properties": {"a/b~c": {"type": "string"}}, "additionalProperties": false}),
            vec![("/properties/a~1b~0c", STRING)],
        ),
        (json!({"type": "array"}), vec![("", ARRAY), ("", ITEMS)]),
        (json!({"type": "array", "maxItems": 3}), vec![("", ITEMS)]),
        (json!({"type": "array", "items": n()}), vec![("", ARRAY)]),
        (
            json!({"type": "array", "items": {}, "maxItems": 1}),
            vec![("/items", ANY)],
        ),
        (
            json!({"type": "array", "prefixItems": [n()]}),
            vec![("", ARRAY), ("", ITEMS)],
        ),
        (
            json!({"type": "array", "prefixItems": [n()], "maxItems": 2}),
            vec![("", ITEMS)],
        ),
        (
            json!({"type": "array", "prefixItems": [{"type": "string"}], "items": false}),
            vec![("/prefixItems/0", STRING)],
        ),
        (
            json!({"type": "array", "items": n(), "unevaluatedItems": false}),
            vec![("", ARRAY)],
        ),
        (
            json!({"type": "array", "prefixItems": [n()], "contains": n(), "unevaluatedItems": false}),
            vec![("", ARRAY), ("", ITEMS)],
        ),
        // Alternatives: the open one is named.
        (
            json!({"anyOf": [n(), {"type": "string"}]}),
            vec![("/anyOf/1", STRING)],
        ),
        (
            json!({"oneOf": [{"const": 1}, {"not": {"const": 1}}]}),
            vec![("/oneOf/1", ANY)],
        ),
        (json!({"not": {"const": 1}}), vec![("", ANY)]),
        (
            json!({"anyOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"type": "null"}], "unevaluatedProperties": false}),
            vec![("/anyOf/0/properties/a", STRING)],
        ),
        // What is evaluated by a part or a condition is allowed in spite of `unevaluated…`.
        (
            json!({"type": "object", "unevaluatedProperties": false, "allOf": [{"additionalProperties": n()}]}),
            vec![("", OBJECT)],
        ),
        (
            json!({"type": "object", "unevaluatedProperties": false, "if": {"properties": {"x": true}}}),
            vec![("/if/properties/x", ANY)],
        ),
        (
            json!({"type": "object", "unevaluatedProperties": false, "then": {}, "if": {"additionalProperties": n()}}),
            vec![("", OBJECT)],
        ),
        (
            json!({"type": "object", "unevaluatedProperties": false, "dependentSchemas": {"a": {"properties": {"x": {"type": "string"}}}}}),
            vec![("/dependentSchemas/a/properties/x", STRING)],
        ),
        (
            json!({"type": "object", "unevaluatedProperties": false, "$dynamicRef": "#m", "$defs": {"x": {"$dynamicAnchor": "m"}}}),
            vec![("", OBJECT)],
        ),
        // The place that refers is named, not the definition.
        (
            json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "additionalProperties": false, "$defs": {"x": {"type": "string"}}}),
            vec![("/properties/a", STRING)],
        ),
        // A definition that nothing uses is no way out.
        (json!({"const": 1, "$defs": {"x": {}}}), vec![]),
        // Recursion is searched once.
        (
            json!({"type": "object", "properties": {"next": {"$ref": "#"}, "s": {"type": "string"}}, "additionalProperties": false}),
            vec![("/properties/s", STRING)],
        ),
        // Members named as keywords are members.
        (
            json!({"type": "object", "properties": {"default": {"type": "string"}, "$ref": {"type": "string"}, "enum": {"type": "string"}}, "additionalProperties": false}),
            vec![
                ("/properties/$ref", STRING),
                ("/properties/default", STRING),
                ("/properties/enum", STRING),
            ],
        ),
        // Keywords that a version does not know hold nothing there.
        (
            draft7(
                json!({"type": "object", "properties": {"a": n()}, "unevaluatedProperties": false}),
            ),
            vec![("", OBJECT)],
        ),
        (
            draft7(
                json!({"$ref": "#/definitions/x", "maxLength": 3, "definitions": {"x": {"type": "string"}}}),
            ),
            vec![("", STRING)],
        ),
        (
            draft7(json!({"type": "array", "prefixItems": [n()], "maxItems": 1})),
            vec![("", ITEMS)],
        ),
        (
            draft7(
                json!({"type": "array", "items": [n(), {"type": "string"}], "additionalItems": false}),
            ),
            vec![("/items/1", STRING)],
        ),
        (
            draft7(json!({"type": "array", "items": [n()], "maxItems": 2})),
            vec![("", ITEMS)],
        ),
        (
            json!({"$schema": "http://json-schema.org/draft-04/schema#", "const": 1}),
            vec![("", ANY)],
        ),
    ] {
        let mut expected: Vec<String> = places.iter().map(|(p, w)| format!("{p}: {w}")).collect();
        let mut found = open(&schema);
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{schema}");
    }
}

/// The search must not miss what the validator lets through: where it finds nothing, no text and
/// no name of the sender's own may pass.
#[test]
fn nothing_free_passes_a_closed_schema() {
    let canary = "c".repeat(100);
    let number = json!(123_456_789_012_345_u64);
    let frames: Vec<Value> = vec![
        json!(canary),
        json!({&canary: 1}),
        number,
        json!([&canary]),
        json!([1, [1]]),
    ];
    for schema in [
        json!({"type": "object", "properties": {"a": n()}, "unevaluatedProperties": false, "if": {"required": ["a"]}, "then": {"properties": {"b": n()}}}),
        json!({"type": "object", "propertyNames": {"maxLength": 4}, "maxProperties": 2, "additionalProperties": n()}),
        json!({"type": "array", "prefixItems": [n()], "unevaluatedItems": false}),
        json!({"allOf": [{"type": ["string", "integer"]}, {"type": ["integer", "null"]}], "minimum": 0, "maximum": 1}),
        draft7(json!({"type": "array", "items": [n(), n()], "additionalItems": false})),
    ] {
        assert_eq!(open(&schema), [""; 0], "{schema}");
        let contract = crate::support::contract(&schema);
        for frame in &frames {
            for member in ["a", "b", "zz"] {
                for payload in [
                    frame.clone(),
                    json!({member: frame}),
                    json!([0, frame]),
                    json!([frame, 0]),
                ] {
                    let judged = contract.judge_body(payload.to_string().as_bytes());
                    assert!(judged.is_err(), "{schema}\n{payload}");
                }
            }
        }
    }
}

/// Where there are too many combinations the search gives up, and says so.
#[test]
fn a_search_without_end_is_reported() {
    let parts = vec![json!({"type": "integer", "minimum": 0, "maximum": 9}); 4000];
    let forms: Vec<Value> = (0..4000).map(|i| json!({"const": i})).collect();
    let found = open(&json!({"allOf": parts, "anyOf": forms}));
    assert_eq!(found, [": too many combinations to be searched"]);
}

#[test]
fn an_open_place_in_another_file_is_named_there() {
    let folder = folder(&[
        (
            "a.json",
            r#"{"type":"object","properties":{"x":{"$ref":"b.json"}},"additionalProperties":false}"#,
        ),
        (
            "b.json",
            "{\n  \"type\": \"array\",\n  \"maxItems\": 3,\n  \"items\": { \"type\": \"string\" }\n}\n",
        ),
    ]);
    let path = folder.path().join("a.json");
    let (_, warnings) = lazaret_policy::compile::load_schema(&path, 1024, 8).unwrap();
    let lines = lines(&warnings, folder.path());
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with("b.json:4:3 warning: open schema: a string"),
        "{}",
        lines[0]
    );
}

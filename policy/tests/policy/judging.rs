//! What a contract releases, and how it refuses.

use std::collections::BTreeSet;

use lazaret_policy::judge::{BodyHead, MAX_VIOLATIONS, Violation};
use lazaret_policy::{Contract, Reason};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{CLOSED, HEAD, contract, sound};

/// A contract of 64 bytes and depth 3, out of a policy.
fn small() -> std::sync::Arc<Contract> {
    let text = format!(
        "{HEAD}ingress:\n  - name: a\n    from: {{ cidrs: [10.0.0.1] }}\n    port: 80\n    action: inspect\n    exchanges: [{{ request: {{ method: GET, path: / }}, response: {{ statuses: [200], body: c }} }}]\ncontracts: {{ c: {{ schema: c.json, max_bytes: 64, max_depth: 3, media_type: Application/FHIR+JSON }} }}\n"
    );
    sound(&text, &[("c.json", CLOSED)]).contracts["c"].clone()
}

fn head(content_type: &str) -> BodyHead<'_> {
    BodyHead {
        content_type: Some(content_type),
        content_encoding: None,
    }
}

/// `reason pointer keyword` of each violation.
fn refused(contract: &Contract, body: &[u8]) -> Vec<String> {
    let violations = contract.judge_body(body).unwrap_err();
    violations
        .iter()
        .map(|v| {
            format!(
                "{} {} {}",
                v.reason,
                v.pointer,
                v.keyword.as_deref().unwrap_or("-")
            )
        })
        .collect()
}

#[test]
fn every_reason_of_a_body_has_a_body() {
    let contract = small();
    let json = head("application/fhir+json");
    let gzip = BodyHead {
        content_encoding: Some("gzip"),
        ..json
    };
    let cases: Vec<(Reason, BodyHead<'_>, &[u8])> = vec![
        (Reason::MediaType, head("application/json"), b"{\"n\":10}"),
        (Reason::MediaType, BodyHead::default(), b"{\"n\":10}"),
        (Reason::ContentEncoding, gzip, b"{\"n\":10}"),
        (Reason::BodyTooLarge, json, &[b' '; 65]),
        (Reason::JsonEncoding, json, b"\xef\xbb\xbf{\"n\":10}"),
        (Reason::JsonEncoding, json, b"{\"n\":\"\xff\"}"),
        (Reason::JsonSyntax, json, b""),
        (Reason::JsonSyntax, json, b"{\"n\":10,}"),
        (Reason::JsonTrailingBytes, json, b"{\"n\":10}0"),
        (Reason::JsonDuplicateKey, json, b"{\"n\":10,\"n\":11}"),
        (Reason::JsonSurrogate, json, b"{\"n\":\"\\ud800\"}"),
        (Reason::JsonNumber, json, b"{\"n\":9007199254740993}"),
        (Reason::JsonDepth, json, b"[[[[10]]]]"),
        (Reason::SchemaMismatch, json, b"{\"n\":9}"),
        (Reason::SchemaMismatch, json, b"null"),
    ];
    for (reason, head, body) in cases {
        let violations = contract.judge(head, body).unwrap_err();
        assert_eq!(violations[0].reason, reason, "{}", body.escape_ascii());
        assert_eq!(violations.len(), 1);
    }
    let released = contract.judge(json, b" { \"n\" : 1.0e1 } ").unwrap().bytes;
    assert_eq!(released, b"{\"n\":10}");
    // The size is the sender's, not that of the canonical form; at the limit it passes.
    let body = format!("{{\"n\":10}}{}", " ".repeat(56));
    assert_eq!(
        contract.judge(json, body.as_bytes()).unwrap().bytes,
        b"{\"n\":10}"
    );
}

#[test]
fn checks_the_head_before_the_size_and_the_size_before_the_body() {
    let contract = small();
    let reason = |head, body: &[u8]| contract.judge(head, body).unwrap_err()[0].reason;
    let encoded = BodyHead {
        content_type: Some("text/plain"),
        content_encoding: Some("br"),
    };
    assert_eq!(reason(encoded, &[0; 100]), Reason::ContentEncoding);
    assert_eq!(reason(head("text/plain"), &[0; 100]), Reason::MediaType);
    assert_eq!(
        reason(head("application/fhir+json"), &[0; 100]),
        Reason::BodyTooLarge
    );
    assert_eq!(
        reason(head("application/fhir+json"), b"\xff"),
        Reason::JsonEncoding
    );
}

#[test]
fn reads_media_types_strictly() {
    let contract = small();
    for good in [
        "application/fhir+json",
        "APPLICATION/FHIR+JSON",
        " application/fhir+json\t",
        "application/fhir+json;charset=utf-8",
        "application/fhir+json; charset=UTF-8",
        "application/fhir+json; Charset=\"utf-8\"",
        "application/fhir+json ; charset=utf-8 ",
        "application/fhir+json;",
    ] {
        assert_eq!(contract.judge_head(head(good)), Ok(()), "{good}");
    }
    for bad in [
        "",
        ";",
        "application/json",
        "application/fhir",
        "application/fhir+json2",
        "application/fhir+json, application/json",
        "application/fhir+json, text/html",
        "application/*",
        "*/*",
        "application/fhir+json; charset=utf-16",
        "application/fhir+json; charset=latin1",
        "application/fhir+json; charset=utf8",
        "application/fhir+json; charset=",
        "application/fhir+json; charset",
        "application/fhir+json; charset=\"utf-8",
        "application/fhir+json; charset=utf-8\"",
        "application/fhir+json; char\"set=utf-8",
        "application/fhir+json; \"charset=utf-8\"",
        "application/fhir+json; charset =utf-8",
        "application/fhir+json; charset= utf-8",
        "application/fhir+json; charset=utf-8; charset=utf-8",
        "application/fhir+json; charset=utf-8; charset=utf-16",
        "application/fhir+json; fhirVersion=4.0",
        "application/fhir+json; charset=utf-8; boundary=x",
        "application/fhir+json;;charset=utf-8",
        "application/fhir+json\u{a0}",
        "application/fhir+json\r\nx: y",
        "application/fhir+json\0",
        "ａpplication/fhir+json",
        "application / fhir+json",
    ] {
        let violation = contract.judge_head(head(bad)).unwrap_err();
        assert_eq!(violation.reason, Reason::MediaType, "{bad:?}");
    }
    let encoded = |content_encoding| BodyHead {
        content_type: Some("application/fhir+json"),
        content_encoding: Some(content_encoding),
    };
    for good in ["identity", "IDENTITY", " identity "] {
        assert_eq!(contract.judge_head(encoded(good)), Ok(()));
    }
    for bad in [
        "",
        "gzip",
        "identity, gzip",
        "identity, identity",
        "identity;q=1",
        "x",
    ] {
        let violation = contract.judge_head(encoded(bad)).unwrap_err();
        assert_eq!(violation.reason, Reason::ContentEncoding, "{bad:?}");
    }
}

#[test]
fn lists_every_violation_with_its_place_and_keyword() {
    let contract = contract(&json!({
        "type": "object",
        "properties": {
            "cohort": {"enum": ["a", "b"]},
            "fixed": {"const": 1},
            "rows": {"type": "array", "maxItems": 3, "uniqueItems": true, "items": {
                "type": "object",
                "properties": {
                    "n": {"type": "integer", "minimum": 10, "maximum": 99, "multipleOf": 2},
                    "open": {"exclusiveMinimum": 0, "exclusiveMaximum": 1},
                    "name": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^a"},
                    "day": {"format": "date"},
                },
                "required": ["n"],
                "additionalProperties": false,
            }},
            "few": {"minItems": 2, "contains": {"const": 1}},
            "map": {"minProperties": 1, "maxProperties": 2, "propertyNames": {"maxLength": 3}},
            "alternatives": {"anyOf": [{"const": 1}, {"const": 2}]},
            "exclusive": {"oneOf": [{"type": "integer"}, {"minimum": 0}]},
            "never": false,
            "not": {"not": {"const": 1}},
            "tuple": {"prefixItems": [{"const": 1}], "items": false},
            "depends": {"dependentRequired": {"a": ["b"]}},
            "a/b~c": {"type": "null"},
        },
        "required": ["cohort", "rows"],
        "unevaluatedProperties": false,
    }));
    for (body, expected) in [
        (json!({}), vec!["/ required", "/ required"]),
        (json!([]), vec!["/ type"]),
        (json!({"cohort": "c", "rows": []}), vec!["/cohort enum"]),
        (
            json!({"cohort": "a", "rows": [{"n": 9}, {"n": 101}, {}]}),
            vec![
                "/rows/0/n minimum",
                "/rows/0/n multipleOf",
                "/rows/1/n maximum",
                "/rows/1/n multipleOf",
                "/rows/2 required",
            ],
        ),
        (
            json!({"cohort": "a", "rows": [{"n": 10, "x": 1, "y": 2}]}),
            vec![
                "/rows/0/x additionalProperties",
                "/rows/0/y additionalProperties",
            ],
        ),
        (
            json!({"cohort": "a", "rows": [{"n": 10, "name": "b"}, {"n": "10", "name": "abcde"}]}),
            vec![
                "/rows/0/name minLength",
                "/rows/0/name pattern",
                "/rows/1/n type",
                "/rows/1/name maxLength",
            ],
        ),
        (
            json!({"cohort": "a", "rows": [{"n": 10, "open": 0}, {"n": 10, "open": 1}, {"n": 10, "day": "2026-02-30"}]}),
            vec![
                "/rows/0/open exclusiveMinimum",
                "/rows/1/open exclusiveMaximum",
                "/rows/2/day format",
            ],
        ),
        (
            json!({"cohort": "a", "rows": [{"n": 10}, {"n": 12}, {"n": 10}, {"n": 14}]}),
            vec!["/rows maxItems", "/rows uniqueItems"],
        ),
        (
            json!({"cohort": "a", "rows": [], "few": [2]}),
            vec!["/few contains", "/few minItems"],
        ),
        (
            json!({"cohort": "a", "rows": [], "map": {}}),
            vec!["/map minProperties"],
        ),
        (
            json!({"cohort": "a", "rows": [], "map": {"abcd": 1, "b": 1, "c": 1}}),
            vec!["/map maxProperties", "/map propertyNames"],
        ),
        (
            json!({"cohort": "a", "rows": [], "alternatives": 3}),
            vec!["/alternatives anyOf"],
        ),
        (
            json!({"cohort": "a", "rows": [], "exclusive": 1}),
            vec!["/exclusive oneOf"],
        ),
        (
            json!({"cohort": "a", "rows": [], "never": 1}),
            vec!["/never properties"],
        ),
        (
            json!({"cohort": "a", "rows": [], "not": 1}),
            vec!["/not not"],
        ),
        (
            json!({"cohort": "a", "rows": [], "tuple": [1, 2]}),
            vec!["/tuple/1 items"],
        ),
        (
            json!({"cohort": "a", "rows": [], "tuple": [2]}),
            vec!["/tuple/0 const"],
        ),
        (
            json!({"cohort": "a", "rows": [], "depends": {"a": 1}}),
            vec!["/depends dependentRequired"],
        ),
        (
            json!({"cohort": "a", "rows": [], "a/b~c": 1}),
            vec!["/a~1b~0c type"],
        ),
        (
            json!({"cohort": "a", "rows": [], "x/y": 1, "": 1, "7": 1}),
            vec![
                "/* unevaluatedProperties",
                "/ unevaluatedProperties",
                "/x~1y unevaluatedProperties",
            ],
        ),
    ] {
        let mut found: Vec<String> = refused(&contract, body.to_string().as_bytes())
            .iter()
            .map(|line| line.replace("schema-mismatch  ", "schema-mismatch / "))
            .map(|line| line.replace("schema-mismatch ", ""))
            .collect();
        found.sort();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(found, expected, "{body}");
    }
}

#[test]
fn the_number_of_violations_is_bounded() {
    let contract = contract(
        &json!({"type": "array", "items": {"type": "object", "additionalProperties": false, "required": ["a", "b"]}}),
    );
    let many = Value::Array(vec![json!({}); 500]);
    assert_eq!(
        refused(&contract, many.to_string().as_bytes()).len(),
        MAX_VIOLATIONS
    );
    let names: serde_json::Map<_, _> = (0..500).map(|i| (format!("k{i}"), json!(1))).collect();
    let refused = refused(&contract, json!([names]).to_string().as_bytes());
    assert!((1..=MAX_VIOLATIONS).contains(&refused.len()));
}

#[test]
fn records_repeat_only_names_of_the_schema() {
    let contract = contract(&json!({
        "type": "object",
        "properties": {"rows": {"items": {"properties": {"n": {}, "a/b~c": {}, "007": {}}}}, "12345678901": {}},
        "$defs": {"x": {"properties": {"inner": {}}}},
        "examples": [{"properties": {"only-data": {}}}],
    }));
    for (pointer, redacted) in [
        ("", ""),
        ("/rows", "/rows"),
        ("/rows/12/n", "/rows/12/n"),
        ("/rows/0/a~1b~0c", "/rows/0/a~1b~0c"),
        ("/rows/0/007", "/rows/0/007"),
        ("/12345678901", "/12345678901"),
        ("/inner", "/inner"),
        ("/secret", "/*"),
        ("/rows/0/secret/n", "/rows/0/*/n"),
        ("/only-data", "/*"),
        ("/1980-01-01", "/*"),
        // No payload has so many items, and indices have one spelling.
        ("/123456789", "/*"),
        ("/4111111111111111", "/*"),
        ("/01", "/*"),
        ("/+1", "/*"),
        ("/１２", "/*"),
        ("//n", "//n"),
        ("/*", "/*"),
        ("/a~1b", "/*"),
        ("no pointer", "*"),
    ] {
        assert_eq!(contract.redact_pointer(pointer), redacted, "{pointer}");
    }
}

/// A name that is a number could pass for an index; a long one would make answers long.
#[test]
fn foreign_names_in_pointers_are_short_and_no_numbers() {
    let contract = contract(&json!({
        "type": "object", "additionalProperties": {"type": "object", "additionalProperties": false, "properties": {"5": {}}}
    }));
    let long = "l".repeat(1000);
    let body = json!({"1980": {"x": 1}, &long: {"x": 1}, "ok": {"5": 1, "6": 1, &long: 1}});
    let mut found = refused(&contract, body.to_string().as_bytes());
    found.sort();
    assert_eq!(
        found,
        [
            "schema-mismatch /*/x additionalProperties",
            "schema-mismatch /*/x additionalProperties",
            "schema-mismatch /ok/* additionalProperties",
            "schema-mismatch /ok/* additionalProperties",
        ]
    );
    let twice = format!("{{\"{long}\":{{\"a\":1,\"a\":2}}}}");
    assert_eq!(
        refused(&contract, twice.as_bytes()),
        ["json-duplicate-key /*/a -"]
    );
}

/// Any payload, with a text of ours in every place where a value can be.
fn payload(canary: &'static str) -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("cohort"),
        Just("rows"),
        Just("n"),
        Just("name"),
        Just("map"),
        Just("tuple"),
        Just("deep"),
        Just("day"),
    ];
    let leaf = prop_oneof![
        Just(json!(canary)),
        (0..10u32).prop_map(move |i| json!(format!("{canary}{i}"))),
        Just(json!(734_734_734_u32)),
        Just(json!(-734_734_734.5)),
        Just(json!(true)),
        Just(Value::Null),
        Just(json!(10)),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map(name.clone(), inner, 0..6).prop_map(|m| {
                Value::Object(m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

/// Schemas that use every keyword that a payload can fail.
fn schemas() -> Vec<Value> {
    vec![
        json!({"type": "object", "properties": {
            "cohort": {"enum": ["a"]}, "n": {"type": "integer", "minimum": 5, "maximum": 7, "multipleOf": 3},
            "name": {"type": "string", "maxLength": 1, "minLength": 1, "pattern": "^x$", "format": "date"},
            "rows": {"type": "array", "minItems": 2, "maxItems": 2, "uniqueItems": true, "items": {"$ref": "#"}},
            "map": {"type": "object", "propertyNames": {"maxLength": 1}, "minProperties": 3, "maxProperties": 3, "additionalProperties": {"type": "null"}},
            "tuple": {"prefixItems": [{"const": 1}], "items": false, "contains": {"const": 5}},
            "deep": {"anyOf": [{"const": 1}, {"$ref": "#"}]}}, "required": ["cohort"], "additionalProperties": false}),
        json!({"oneOf": [{"type": "string", "maxLength": 2}, {"type": "array", "items": {"const": 1}}, {"type": "array", "maxItems": 1}]}),
        json!({"not": {"type": ["string", "array"]}}),
        json!({"if": {"type": "object"}, "then": {"required": ["x"]}, "else": {"const": 1}}),
        json!({"type": "object", "unevaluatedProperties": false, "allOf": [{"properties": {"n": {"const": 1}}}], "dependentRequired": {"n": ["x"]}, "dependentSchemas": {"rows": {"required": ["y"]}}}),
        json!({"type": "array", "unevaluatedItems": false, "prefixItems": [{"type": "boolean"}], "uniqueItems": true, "minContains": 2, "contains": {"type": "null"}}),
        json!({"type": "object", "patternProperties": {"^[rn]": {"type": "null"}, "e$": {"type": "boolean"}}, "additionalProperties": false}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "contentEncoding": "base64", "contentMediaType": "application/json", "items": [{"const": 1}], "additionalItems": {"type": "string", "format": "email"}, "dependencies": {"n": ["x"], "rows": {"const": 1}}, "propertyNames": false}),
        json!({"exclusiveMinimum": 1, "exclusiveMaximum": 2, "format": "ipv4"}),
        json!({"const": {"a": 1}}),
        json!(false),
    ]
}

fn contracts() -> &'static [Contract] {
    static CONTRACTS: std::sync::OnceLock<Vec<Contract>> = std::sync::OnceLock::new();
    CONTRACTS.get_or_init(|| schemas().iter().map(contract).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// The text of a violation is made of the policy and of member names, never of a value.
    #[test]
    fn violations_never_hold_values(value in payload("canary")) {
        let body = value.to_string();
        for contract in contracts() {
            let Err(violations) = contract.judge_body(body.as_bytes()) else { continue };
            prop_assert!((1..=MAX_VIOLATIONS).contains(&violations.len()));
            let text = serde_json::to_string(&violations).unwrap() + &format!("{violations:?}");
            prop_assert!(!text.contains("canary") && !text.contains("734"), "{text}");
            for violation in &violations {
                prop_assert_eq!(violation.reason, Reason::SchemaMismatch);
                // The bound-less fallback is for large and deep payloads only.
                let explained = violation.keyword.is_some();
                prop_assert!(explained || deep(&value) > 3, "{violation:?} {body}");
            }
        }
    }

    /// The fast check and the thorough one are two programs; they must say the same.
    #[test]
    fn the_fast_and_the_thorough_check_agree(value in payload("c")) {
        for schema in schemas() {
            let validator = jsonschema::options()
                .should_validate_formats(true)
                .with_pattern_options(jsonschema::PatternOptions::regex())
                .build(&schema)
                .unwrap();
            let fast = validator.is_valid(&value);
            prop_assert_eq!(fast, validator.iter_errors(&value).next().is_none());
            prop_assert_eq!(fast, validator.validate(&value).is_ok());
            let ours = contract(&schema).judge_body(value.to_string().as_bytes());
            prop_assert_eq!(fast, ours.is_ok(), "{} {}", schema, value);
        }
    }

    /// What is released is its own canonical form: judged again, it comes out the same.
    #[test]
    fn what_is_released_is_stable(value in payload("x")) {
        for contract in contracts() {
            let Ok(once) = contract.judge_body(value.to_string().as_bytes()) else { continue };
            prop_assert_eq!(contract.judge_body(&once).unwrap(), once);
        }
    }
}

fn deep(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(deep).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(deep).max().unwrap_or(0),
        _ => 0,
    }
}

/// Canaries in the places that only a text can reach: duplicates, broken numbers, names.
#[test]
fn json_violations_never_hold_values() {
    let contract = small();
    for body in [
        "{\"n\":\"canary\",\"n\":\"canary\"}",
        "{\"n\":\"canary\\ud800\"}",
        "[\"canary\",canary]",
        "[\"canary\" 12345.canary]",
        "\"canary\"canary",
        "{\"n\":[[[[\"canary\"]]]]}",
        "\"canary\\x\"",
        "[0.73473473473473473473473473473473]",
    ] {
        let violations: Vec<Violation> = contract.judge_body(body.as_bytes()).unwrap_err();
        let text = format!("{violations:?}");
        assert!(!text.contains("canary") && !text.contains("734"), "{text}");
        assert_ne!(violations[0].reason, Reason::SchemaMismatch, "{body}");
    }
}

#[test]
fn reasons_are_a_stable_code() {
    let codes: BTreeSet<&str> = Reason::ALL.iter().map(|r| r.code()).collect();
    assert_eq!(codes.len(), Reason::ALL.len());
    for reason in Reason::ALL {
        let code = reason.code();
        let kebab = code.split('-').all(|word| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        });
        assert!(kebab, "{code}");
        assert!((400..=599).contains(&reason.status()), "{code}");
        assert!((500..=599).contains(&reason.response_status()), "{code}");
        assert!(
            reason.text().ends_with('.') && reason.text().len() > 20,
            "{code}"
        );
        assert_eq!(Reason::from_code(code), Some(*reason));
        assert_eq!(reason.to_string(), code);
    }
    assert_eq!(Reason::from_code("Json-Syntax"), None);
    assert_eq!(Reason::from_code(""), None);
}

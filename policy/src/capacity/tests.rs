use std::path::{Path, PathBuf};

use num_bigint::BigUint;
use serde_json::{Value, json};

use super::*;

fn n(schema: &Value) -> Count {
    count(schema, None).n
}

fn number(text: &str) -> Count {
    Count::Exact(text.parse::<BigUint>().unwrap())
}

/// Rows of the specification, §4.
#[test]
fn counts_as_specified() {
    let minimum = json!({"min": 10, "zero": "allow"});
    let marked = json!({"type": ["integer", "string"], "minimum": 0, "maximum": 9999,
        "sdcMinCount": minimum, "sdcRound": {"base": 5, "mode": "nearest"},
        "sdcSuppressed": [{"marker": "<10", "lo": 1, "hi": 9}, {"marker": "*", "lo": 0, "hi": 9999}]});
    let fives = json!({"type": "integer", "minimum": 0, "maximum": 9999, "multipleOf": 5});
    let any_number = json!({"type": "number"});
    let map = |most: Option<u64>| {
        let mut map = json!({"type": "object", "propertyNames": {"enum": ["a", "b", "c", "d"]},
            "additionalProperties": {"type": "boolean"}});
        if let Some(most) = most {
            map["maxProperties"] = json!(most);
        }
        map
    };
    let object = json!({"type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"type": "boolean"}, "b": {"enum": ["F", "M", "U"]}}});
    let mut open = object.clone();
    open.as_object_mut().unwrap().remove("additionalProperties");
    let list = |more: Value| {
        let mut list = json!({"type": "array", "maxItems": 5, "items": {"enum": [1, 2, 3, 4, 5]}});
        list.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        list
    };
    let anys: BigUint = (0..=16).map(|k| BigUint::from(1_112_064u32).pow(k)).sum();
    for (row, schema, exact, bits) in [
        ("1", json!({"type": "boolean"}), "2", "1.000000"),
        ("2", json!({"const": "v1"}), "1", "0.000000"),
        ("3", json!({"enum": ["F", "M", "U"]}), "3", "1.584963"),
        ("4", json!({"enum": [1, 1.0, "1"]}), "2", "1.000000"),
        (
            "5",
            json!({"type": "integer", "minimum": 0, "maximum": 9999}),
            "10000",
            "13.287712",
        ),
        ("6", fives.clone(), "2000", "10.965784"),
        ("7", marked, "2001", "10.966505"),
        (
            "8",
            json!({"type": "integer"}),
            "18014398509481983",
            "54.000000",
        ),
        ("9", any_number.clone(), "9691746398101307391", "63.071462"),
        (
            "11",
            json!({"type": "number", "minimum": 0, "maximum": 1}),
            "4607182418800017409",
            "61.998590",
        ),
        (
            "12",
            json!({"type": "number", "minimum": 0, "maximum": 1, "sdcPrecision": {"decimals": 3}}),
            "1001",
            "9.967226",
        ),
        (
            "13",
            json!({"type": "string", "pattern": r"^[A-Z][0-9][0-9](\.[0-9]{1,2})?$"}),
            "288600",
            "18.138712",
        ),
        (
            "14",
            json!({"type": "string", "pattern": "[0-9]{3}", "maxLength": 8}),
            "10204629252633090538324298461287000",
            "112.974779",
        ),
        (
            "15",
            json!({"type": "string", "maxLength": 1}),
            "1112065",
            "20.084810",
        ),
        (
            "16",
            json!({"type": "string", "maxLength": 16}),
            &anys.to_string(),
            "321.356936",
        ),
        (
            "18a",
            json!({"type": "string", "pattern": "^20[0-9]{2}-W(0[1-9]|[1-4][0-9]|5[0-3])$"}),
            "5300",
            "12.371777",
        ),
        (
            "18b",
            json!({"type": "string", "pattern": "^(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"}),
            "74400",
            "16.183015",
        ),
        ("19", object, "8", "3.000000"),
        (
            "20",
            json!({"type": "array", "items": {"type": "boolean"}, "maxItems": 3}),
            "15",
            "3.906891",
        ),
        (
            "21",
            json!({"type": "array", "items": fives, "minItems": 10, "maxItems": 10}),
            "1024000000000000000000000000000000",
            "109.657843",
        ),
        ("22a", list(json!({"uniqueItems": true})), "326", "8.348728"),
        (
            "22b",
            list(json!({"sdcRows": {"max": 5, "key": [""], "sorted": true}})),
            "32",
            "5.000000",
        ),
        (
            "23",
            json!({"anyOf": [{"type": "boolean"}, {"enum": ["F", "M", "U"]}]}),
            "5",
            "2.321928",
        ),
        ("24a", map(None), "81", "6.339850"),
        ("24b", map(Some(2)), "33", "5.044394"),
    ] {
        let capacity = count(&schema, None);
        assert_eq!(capacity.n, number(exact), "row {row}");
        assert_eq!(format!("{:.6}", capacity.bits_f64()), bits, "row {row}");
    }
    assert_eq!(n(&open), Count::Infinite, "row 19, open");
    let weights =
        json!({"type": "array", "items": any_number, "minItems": 10_000, "maxItems": 10_000});
    let weights = count(&weights, None);
    assert_eq!(weights.n, number("9691746398101307391").pow(10_000));
    assert_eq!(format!("{:.2}", weights.bits_f64()), "630714.62");
    let text = count(&json!({"type": "string"}), Some(4096));
    assert_eq!((text.bits(), text.by_size), (Some(32_768), true));
}

#[test]
fn leaves_out_margins_that_follow_from_cells() {
    let cell = json!({"type": "integer", "minimum": 0, "maximum": 9999});
    let exactly = |n: u64, items: &Value| json!({"type": "array", "items": items, "minItems": n, "maxItems": n});
    let table = |rule: Option<Value>, margin: &Value| {
        let mut table = json!({"type": "object", "additionalProperties": false,
            "required": ["cells", "rows", "cols", "total"],
            "properties": {"cells": exactly(2, &exactly(2, &cell)), "rows": exactly(2, margin),
                "cols": exactly(2, &cell), "total": cell}});
        if let Some(rule) = rule {
            table["sdcTable"] = rule;
        }
        n(&table)
    };
    let rule = json!({"matrix": "/cells", "rowTotals": "/rows", "colTotals": "/cols", "total": "/total", "min": 10});
    let all = Count::from(10_000u64);
    assert_eq!(table(None, &cell), all.pow(9));
    assert_eq!(format!("{:.6}", all.pow(9).log2()), "119.589411");
    assert_eq!(table(Some(rule.clone()), &cell), all.pow(4));
    assert_eq!(format!("{:.6}", all.pow(4).log2()), "53.150850");
    // A margin that may be a marker is a choice; so are rows and columns then.
    let mut marked = cell.clone();
    marked["sdcSuppressed"] = json!([{"marker": 10_000, "lo": 1, "hi": 9}]);
    assert_eq!(table(Some(rule), &marked), all.pow(6));
    // Each is the other's sum, so one of them is free.
    let lines = json!({"lines": [{"total": "/total", "parts": ["/cells/0/0"]},
        {"total": "/cells/0/0", "parts": ["/total"]}], "min": 10});
    assert_eq!(table(Some(lines), &cell), all.pow(8));
}

/// Markers in a part of a cell's schema make its margins a choice all the same.
#[test]
fn counts_margins_of_cells_whose_markers_are_hidden() {
    let least = json!({"min": 10, "zero": "deny"});
    let marker = json!([{"marker": 0, "lo": 0, "hi": 9999}]);
    let hidden = json!({"type": "integer", "minimum": 0, "maximum": 11,
        "allOf": [{"sdcMinCount": least, "sdcSuppressed": marker}]});
    let total = json!({"type": "integer", "minimum": 0, "maximum": 9999, "sdcMinCount": least});
    let plain = json!({"type": "integer", "minimum": 0, "maximum": 11});
    let lines = |cell: &Value, more: Value| {
        let mut table = json!({"type": "object", "additionalProperties": false,
            "required": ["a", "b", "t"], "properties": {"a": cell, "b": cell, "t": total},
            "sdcTable": {"lines": [{"total": "/t", "parts": ["/a", "/b"]}], "min": 10}});
        let table = table.as_object_mut().unwrap();
        table.extend(more.as_object().unwrap().clone());
        n(&Value::Object(table.clone()))
    };
    let totals = 9_990u64;
    assert_eq!(
        lines(&plain, json!({})),
        Count::from(12u64 * 12),
        "none hidden"
    );
    assert_eq!(lines(&hidden, json!({})), Count::from(3 * 3 * totals));
    let with = |key: &str, value: Value| {
        let mut cell = plain.clone();
        cell[key] = value;
        cell
    };
    let masked = json!({"sdcSuppressed": marker});
    for cell in [
        with("allOf", json!([{"allOf": [masked]}])),
        with("anyOf", json!([masked, {}])),
        with("oneOf", json!([masked])),
        with("if", masked.clone()),
        with(
            "allOf",
            json!([{"sdcRound": {"base": 2, "mode": "nearest"}}]),
        ),
    ] {
        assert!(
            !lines(&cell, json!({})).at_most(&Count::from(12u64 * 12)),
            "{cell}"
        );
    }
    // Below the table itself: for members that it does not list.
    for part in [
        json!({"properties": {"a": hidden}}),
        json!({"additionalProperties": masked}),
        json!({"allOf": [{"additionalProperties": masked}]}),
    ] {
        let counted = lines(&plain, json!({"allOf": [part]}));
        assert!(!counted.at_most(&Count::from(12u64 * 12)), "{part}");
    }

    let two =
        |items: &Value| json!({"type": "array", "items": items, "minItems": 2, "maxItems": 2});
    let matrix = |rows: Value| {
        n(&json!({"type": "object", "additionalProperties": false,
        "required": ["m", "r", "c", "t"],
        "properties": {"m": rows, "r": two(&total), "c": two(&total), "t": total},
        "sdcTable": {"matrix": "/m", "rowTotals": "/r", "colTotals": "/c", "total": "/t", "min": 10}}))
    };
    let margins = Count::from(totals).pow(5);
    let cells = |n: u64| Count::from(n).pow(4);
    assert_eq!(matrix(two(&two(&plain))), cells(12), "none hidden");
    assert_eq!(matrix(two(&two(&hidden))), cells(3).mul(&margins));
    let mut rows = two(&two(&plain));
    rows["allOf"] = json!([{"items": {"items": masked}}]);
    assert!(margins.at_most(&matrix(rows)));
}

fn fixtures() -> Option<PathBuf> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/disclosure/contracts");
    folder.is_dir().then_some(folder)
}

#[test]
fn counts_example_contracts() {
    let Some(folder) = fixtures() else {
        eprintln!("the disclosure fixtures are absent");
        return;
    };
    // What the specification says, and what is counted here, which is less where rows have unique
    // keys in order: these number C(keys, j) values^j, not C(keys values, j). Evidence does not
    // leave, and there is no more than one row for each key (`costs`). Times increase (`km`).
    for (name, specified, counted) in [
        ("crosstab", "239.18", "239.18"),
        ("weekly-cases", "265.73", "251.55"),
        ("fhir-measurereport-summary", "334.81", "331.40"),
        ("lab-distribution", "388.17", "388.17"),
        ("comment", "506.95", "506.95"),
        ("ohdsi-summarised-result", "509.40", "478.40"),
        ("costs", "717.55", "199.32"),
        ("km", "1227.96", "1121.16"),
        ("glm", "1749.62", "1695.91"),
        ("fl-update", "630744.52", "630744.52"),
        ("rows-uncovered", "180195.26", "180195.26"),
    ] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.schema.json"))).unwrap();
        let schema = serde_json::from_str(&text).unwrap();
        let capacity = count(&schema, None);
        let bits = capacity.bits_f64();
        assert_eq!(format!("{bits:.2}"), counted, "{name}");
        assert!(bits <= specified.parse::<f64>().unwrap() + 0.005, "{name}");
        let excess = exceeds(&schema, &capacity).map(|excess| (excess.allowed, excess.bits));
        let expected = (name == "fl-update").then_some((65_536, Some(630_745)));
        assert_eq!(excess, expected, "{name}");
    }
}

/// The specification's own figures for rows, from its coarser formula: so much for the inputs.
#[test]
fn rows_by_the_coarser_formula_are_as_specified() {
    let falling = |rows: u64, of: BigUint| -> BigUint {
        (1..=rows)
            .fold((BigUint::from(1u8), BigUint::ZERO), |(n, sum), j| {
                let n = n * (&of - (j - 1)) / j;
                (n.clone(), sum + n)
            })
            .1
    };
    let log = |n: BigUint| Count::Exact(n).log2();
    let cells = BigUint::from(999_994u64);
    let weekly = log(falling(12, cells * 12u8)) + 5300f64.log2();
    assert_eq!(format!("{weekly:.2}"), "265.73");
    let glm = BigUint::from(40u64 * 2_000_001) * 1_000_001u64;
    let glm = log(falling(40, glm)) + 3.0 * 999_990f64.log2() + 3f64.log2();
    assert_eq!(format!("{glm:.2}"), "1749.62");
}

#[test]
fn numbers_have_the_digits_that_rules_leave() {
    let decimals = |from: i64, to: i64, scale: f64, keep: &dyn Fn(&str) -> bool| {
        let texts = (from..=to).map(|i| {
            String::from_utf8(crate::judge::canonical::canonical(&json!(i as f64 / scale))).unwrap()
        });
        Count::from(texts.filter(|text| keep(text)).count())
    };
    let significant = |text: &str, most: usize| {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        digits.trim_start_matches('0').trim_end_matches('0').len() <= most
    };
    for most in 1..=3usize {
        let schema = json!({"type": "number", "minimum": 0.01, "maximum": 25.5, "sdcPrecision": {"significant": most}});
        let expected = decimals(100, 255_000, 10_000.0, &|text| significant(text, most));
        assert_eq!(n(&schema), expected, "{most}");
        let schema = json!({"type": "number", "exclusiveMinimum": -25.5, "exclusiveMaximum": -0.01, "sdcPrecision": {"significant": most}});
        let expected = decimals(101, 254_999, 10_000.0, &|text| significant(text, most));
        assert_eq!(n(&schema), expected, "{most}, negative");
    }
    for most in 0..=3usize {
        let keep = |text: &str| text.split_once('.').map_or(0, |(_, f)| f.len()) <= most;
        let schema = json!({"type": "number", "minimum": -1.25, "exclusiveMaximum": 2.5, "sdcPrecision": {"decimals": most}});
        assert_eq!(n(&schema), decimals(-1250, 2499, 1000.0, &keep), "{most}");
    }
    let count = |more: Value| {
        let mut schema = json!({"type": "integer", "minimum": 0, "maximum": 40});
        schema
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        n(&schema)
    };
    let small = |n: u64| Count::from(n);
    assert_eq!(
        count(json!({"sdcRound": {"base": 6, "mode": "midpoint"}})),
        small(8),
        "0 3 9 .. 39"
    );
    assert_eq!(
        count(
            json!({"sdcRound": {"base": 6, "mode": "midpoint"}, "sdcMinCount": {"min": 7, "zero": "allow"}})
        ),
        small(8)
    );
    assert_eq!(
        count(
            json!({"sdcRound": {"base": 5, "mode": "nearest"}, "sdcMinCount": {"min": 8, "zero": "allow"}})
        ),
        small(8)
    );
    assert_eq!(
        count(json!({"sdcMinCount": {"min": 10, "zero": "deny"}})),
        small(31)
    );
    assert_eq!(
        count(
            json!({"sdcMinCount": {"min": 10, "zero": "allow"}, "sdcSuppressed": [{"marker": 0, "lo": 0, "hi": 9}]})
        ),
        small(32)
    );
    assert_eq!(
        count(
            json!({"sdcMinCount": {"min": 10, "zero": "allow"}, "sdcSuppressed": [{"marker": -5, "lo": 1, "hi": 9}]})
        ),
        small(32),
        "below the minimum"
    );
    assert_eq!(
        count(json!({"multipleOf": 7, "exclusiveMaximum": 35})),
        small(5)
    );
    assert_eq!(count(json!({"multipleOf": 1e300})), small(1));
    assert_eq!(count(json!({"minimum": 50})), small(0));
    let null = json!({"type": ["integer", "null", "object"], "minimum": 0, "maximum": 9, "sdcMinCount": {"min": 5, "zero": "deny"}, "sdcSuppressed": [{"marker": null, "lo": 0, "hi": 4}]});
    assert_eq!(n(&null), small(6));
    let texts = json!({"type": "string", "pattern": "^(0|[1-9][0-9]?|<5|-)$", "sdcMinCount": {"min": 5, "zero": "allow", "numeric": "string"}, "sdcSuppressed": [{"marker": "<5", "lo": 1, "hi": 4}]});
    assert_eq!(
        n(&texts),
        small(1 + 95 + 2),
        "`-` is no number, but patterns are not intersected"
    );
    let codes =
        json!({"type": "string", "sdcCodelist": {"codes": ["I", "II", "I", "IX"]}, "maxLength": 2});
    assert_eq!(n(&codes), small(3));
}

#[test]
fn does_not_count_evidence_or_trust_what_it_hides() {
    let row = |top: Value| {
        json!({"type": "object", "additionalProperties": false, "required": ["n", "evidence"],
        "properties": {"n": {"enum": [1, 2, 3]}, "evidence": top}, "sdcDominance": {"n": "/n"}})
    };
    let evidence = json!({"type": "string"});
    assert_eq!(n(&row(evidence.clone())), Count::from(3u8));
    let rows = |more: Value| {
        let mut rows =
            json!({"type": "array", "minItems": 2, "maxItems": 2, "items": row(evidence.clone())});
        rows.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        n(&rows)
    };
    // Rows that differ in their evidence alone become equal.
    assert_eq!(rows(json!({"uniqueItems": true})), Count::from(9u8));
    assert_eq!(
        rows(json!({"sdcRows": {"max": 2, "key": ["/n"], "sorted": true}})),
        Count::from(3u8)
    );
    assert_eq!(
        rows(json!({"sdcRows": {"max": 2, "key": ["/evidence"], "sorted": true}})),
        Count::from(9u8)
    );
    // In an alternative it might be the other one that let it through, with its evidence.
    assert_eq!(n(&json!({"anyOf": [row(evidence)]})), Count::Infinite);
}

#[test]
fn does_not_count_what_it_does_not_understand() {
    for schema in [
        json!(true),
        json!({}),
        json!(1),
        json!({"$ref": "#/$defs/x", "type": "boolean"}),
        json!({"$dynamicRef": "#x", "type": "boolean"}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "boolean"}),
        json!({"type": 7}),
        json!({"type": ["boolean", "date"]}),
        json!({"type": "object"}),
        json!({"type": "array"}),
        json!({"type": "array", "maxItems": 1}),
        json!({"type": "string"}),
        json!({"type": "string", "pattern": "^a*$"}),
        json!({"type": "string", "pattern": "a"}),
        json!({"type": "object", "patternProperties": {"^a$": {"type": "boolean"}}}),
        json!({"type": "object", "maxProperties": 1, "additionalProperties": {"type": "boolean"}}),
        json!({"anyOf": [{"type": "boolean"}, {}]}),
        json!({"type": "array", "maxItems": 3, "contains": {"const": 1}, "unevaluatedItems": false}),
    ] {
        let capacity = count(&schema, None);
        assert_eq!(capacity.n, Count::Infinite, "{schema}");
        assert!(
            capacity.leaves.iter().any(|leaf| leaf.n.is_infinite()),
            "{schema}"
        );
        assert_eq!(count(&schema, Some(10)).bits(), Some(80), "{schema}");
    }
}

#[test]
fn counts_members_that_alternatives_allow() {
    let boolean = json!({"type": "boolean"});
    let parts =
        json!([{"properties": {"a": boolean}}, {"properties": {"b": boolean}, "required": ["b"]}]);
    // {}, a, b and both: with two values each.
    let expected = json!({"type": "object", "unevaluatedProperties": false, "anyOf": parts});
    assert!(Count::from(9u8).at_most(&n(&expected)) && !n(&expected).is_infinite());
    let all = json!({"type": "object", "unevaluatedProperties": false, "allOf": parts});
    assert_eq!(n(&all), Count::from(6u8));
    let names = json!({"type": "object", "additionalProperties": false,
        "patternProperties": {"^[xy][0-9]$": boolean}, "maxProperties": 1});
    assert_eq!(n(&names), Count::from(41u8));
    let conditional = json!({"type": "object", "additionalProperties": false, "required": ["a", "b"],
        "properties": {"a": boolean, "b": {"enum": [1, 2, 3, 4]}},
        "if": {"properties": {"a": {"const": true}}},
        "then": {"properties": {"b": {"const": 1}}}, "else": {"properties": {"b": {"enum": [2, 3]}}}});
    assert_eq!(
        n(&conditional),
        Count::from(5u8),
        "else does not know that a is false"
    );
}

mod hostile;
mod properties;
mod reports;

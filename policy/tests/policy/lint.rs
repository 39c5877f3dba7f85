//! What is found in contracts with disclosure rules: which code, where, and how bad.

use std::path::{Path, PathBuf};

use lazaret_policy::compile::load_schema_on;
use lazaret_policy::lint::{DIALECT, META, Terms};
use lazaret_policy::{Contract, Diagnostics, Severity, Site};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::folder;

/// Loads a schema as a contract on the usual terms.
fn load(schema: &Value, strict: bool) -> Result<(Contract, Diagnostics), Diagnostics> {
    load_on(schema, strict, &Site::default())
}

fn load_on(
    schema: &Value,
    strict: bool,
    site: &Site,
) -> Result<(Contract, Diagnostics), Diagnostics> {
    let folder = folder(&[("schema.json", &schema.to_string())]);
    load_file(&folder.path().join("schema.json"), strict, site)
}

fn load_file(
    path: &Path,
    strict: bool,
    site: &Site,
) -> Result<(Contract, Diagnostics), Diagnostics> {
    let terms = Terms {
        strict,
        every: false,
        site,
        max_bytes: 65_536,
    };
    load_schema_on(path, &terms, 32)
}

/// The findings of a schema as `code pointer`, errors only or all.
fn codes(
    loaded: Result<(Contract, Diagnostics), Diagnostics>,
    severity: Option<Severity>,
) -> Vec<String> {
    let findings = match loaded {
        Ok((_, findings)) | Err(findings) => findings,
    };
    (findings.iter())
        .filter(|d| severity.is_none_or(|s| d.severity == s))
        .map(|d| format!("{} {}", d.code.unwrap_or("-"), d.pointer))
        .collect()
}

fn count() -> Value {
    json!({"type": "integer", "maximum": 99_999, "sdcMinCount": {"min": 10, "zero": "deny"}})
}

fn figure() -> Value {
    json!({"type": "number", "minimum": 0, "maximum": 99, "sdcPrecision": {"decimals": 1}})
}

fn object(members: Value) -> Value {
    let names: Vec<&String> = members.as_object().unwrap().keys().collect();
    json!({"type": "object", "required": names, "properties": members, "additionalProperties": false})
}

/// A contract that has every kind of rule and nothing wrong.
fn sound() -> Value {
    let list =
        |items: Value| json!({"type": "array", "minItems": 2, "maxItems": 9, "items": items});
    let cell = json!({"type": ["integer", "string"], "maximum": 999,
        "sdcMinCount": {"min": 10, "zero": "allow"},
        "sdcSuppressed": [{"marker": "<10", "lo": 1, "hi": 9}, {"marker": "*", "lo": 0, "hi": 999}]});
    let mut row = object(json!({"key": {"enum": ["a", "b"]}, "n": count(), "mean": figure()}));
    row["sdcContributors"] = json!({"n": "/n", "min": 10, "stats": ["/mean"]});
    let mut rows = list(row);
    rows["sdcRows"] = json!({"max": 9, "key": ["/key"], "sorted": true});
    let step = object(
        json!({"t": {"type": "integer", "minimum": 0, "maximum": 720},
        "at_risk": count(), "events": count()}),
    );
    let mut curve = list(step);
    curve["sdcSurvival"] = json!({"time": "/t", "grid": 30, "atRisk": "/at_risk",
        "events": "/events", "min": 10});
    let quantile = object(json!({"p": {"enum": [0.25, 0.5, 0.75]}, "value": figure()}));
    let edge = json!({"enum": [null, 1, 2]});
    let bin = object(json!({"lo": edge, "hi": edge, "count": count()}));
    let mut schema = object(json!({
        "round": {"type": "integer", "minimum": 0, "maximum": 9, "sdcMeta": "a round number"},
        "week": {"type": "string", "pattern": "^20[0-9]{2}-W[0-5][0-9]$", "maxLength": 8},
        "n": count(), "df": count(), "smallest": count(), "events": count(), "rate": figure(),
        "sum": figure(), "evidence": object(json!({"top1": figure(), "top2": figure()})), "mean": figure(),
        "terms": list(object(json!({"term": {"enum": ["x", "y"]}, "estimate": figure()}))),
        "quantiles": list(quantile), "bins": list(bin), "rows": rows, "curve": curve,
        "cells": list(list(cell.clone())), "row_totals": list(cell.clone()),
        "col_totals": list(cell.clone()), "total": cell,
    }));
    let rules = json!({
        "$schema": DIALECT,
        "sdcContributors": {"n": "/n", "min": 10, "stats": ["/mean"]},
        "sdcRate": {"rate": "/rate", "scale": 1, "decimals": 3, "den": "/n", "num": "/events", "min": 10},
        "sdcModel": {"n": "/n", "df": "/df", "params": "/terms", "minDf": 10, "maxParamRatio": 0.33,
            "minCategory": "/smallest"},
        "sdcDominance": {"n": "/n", "total": "/sum", "top": ["/evidence/top1", "/evidence/top2"], "nk": {"n": 2, "k": 0.9}, "p": 0.1},
        "sdcQuantiles": {"n": "/n", "items": "/quantiles", "prob": "/p", "value": "/value", "min": 10},
        "sdcHistogram": {"bins": "/bins", "lo": "/lo", "hi": "/hi", "count": "/count", "n": "/n", "min": 10,
            "edges": [1, 2], "openTails": true, "maxDensity": 0.33},
        "sdcTable": {"matrix": "/cells", "rowTotals": "/row_totals", "colTotals": "/col_totals", "total": "/total",
            "lines": [{"total": "/n", "parts": ["/rows/*/n"]}], "nested": [["/n", "/events"]], "min": 10, "minWidth": 5},
        "sdcText": {"forbid": ["email", "date"]},
        "sdcCapacity": {"maxBits": 65_536},
        "sdcRelease": {"cell": ["/week", "/rows/*/key"], "value": "/rows/*/n", "horizon": "P400D", "window": "P7D",
            "maxReleases": 3, "maxBytes": 8192, "maxBits": 2000, "differencing": {"min": 10},
            "repeat": "identical", "linkedAudit": true},
    });
    schema
        .as_object_mut()
        .unwrap()
        .extend(rules.as_object().unwrap().clone());
    schema
}

/// Sets a member of a schema; `null` takes it out.
fn set(schema: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = schema
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("{pointer}"));
    match (parent, value) {
        (Value::Array(items), value) => items[name.parse::<usize>().unwrap()] = value,
        (Value::Object(members), Value::Null) => drop(members.remove(name).expect(pointer)),
        (Value::Object(members), value) => drop(members.insert(name.to_owned(), value)),
        _ => panic!("{pointer}"),
    }
}

#[test]
fn a_sound_contract_has_no_findings() {
    assert_eq!(codes(load(&sound(), true), None), [""; 0]);
}

/// One change each to the sound contract, and the finding that must be among those it leads to.
#[test]
fn every_defect_is_found_where_it_stands() {
    let p = |name: &str| format!("/properties/{name}");
    let min = |k: u64| json!({"min": k, "zero": "deny"});
    let rows: Vec<(String, Value, &str, String)> = vec![
        // L1: names and values.
        (
            "/sdcMinCuont".into(),
            json!({}),
            "sdc-unknown-keyword",
            "/sdcMinCuont".into(),
        ),
        (
            "/SDCMinCount".into(),
            json!({}),
            "sdc-unknown-keyword",
            "/SDCMinCount".into(),
        ),
        (
            "/scdMinCount".into(),
            json!({}),
            "sdc-unknown-keyword",
            "/scdMinCount".into(),
        ),
        (
            "/sdc".into(),
            json!(1),
            "sdc-unknown-keyword",
            "/sdc".into(),
        ),
        (
            p("n/maximun"),
            json!(1),
            "sdc-unknown-keyword",
            p("n/maximun"),
        ),
        (
            "/x-owner".into(),
            json!("me"),
            "sdc-unknown-keyword",
            "/x-owner".into(),
        ),
        (
            p("n/sdcMinCount"),
            json!({"min": 10}),
            "sdc-value",
            p("n/sdcMinCount"),
        ),
        (
            p("n/sdcMinCount"),
            json!({"min": "10", "zero": "deny"}),
            "sdc-value",
            p("n/sdcMinCount/min"),
        ),
        (
            p("n/sdcMinCount"),
            json!({"min": 10, "zero": "no"}),
            "sdc-value",
            p("n/sdcMinCount/zero"),
        ),
        (
            p("n/sdcMinCount"),
            json!({"min": 10, "zero": "deny", "mni": 3}),
            "sdc-value",
            p("n/sdcMinCount/mni"),
        ),
        (
            p("n/sdcMinCount"),
            json!(10),
            "sdc-value",
            p("n/sdcMinCount"),
        ),
        (
            p("total/sdcSuppressed"),
            json!([]),
            "sdc-value",
            p("total/sdcSuppressed"),
        ),
        (
            p("total/sdcSuppressed"),
            json!([{"marker": "a", "lo": 1, "hi": 9}, {"marker": "b", "lo": 1, "hi": 9},
            {"marker": "c", "lo": 1, "hi": 9}]),
            "sdc-value",
            p("total/sdcSuppressed"),
        ),
        (
            p("total/sdcSuppressed/0"),
            json!({"marker": true, "lo": 1, "hi": 9}),
            "sdc-value",
            p("total/sdcSuppressed/0/marker"),
        ),
        (
            p("rate/sdcPrecision"),
            json!({"decimals": 1, "significant": 2}),
            "sdc-value",
            p("rate/sdcPrecision"),
        ),
        (
            p("rate/sdcPrecision"),
            json!({}),
            "sdc-value",
            p("rate/sdcPrecision"),
        ),
        (
            p("n/sdcRound"),
            json!({"base": 1, "mode": "nearest"}),
            "sdc-value",
            p("n/sdcRound/base"),
        ),
        (
            p("n/sdcRound"),
            json!({"base": 5, "mode": "midpoint"}),
            "sdc-value",
            p("n/sdcRound/base"),
        ),
        (
            p("round/sdcMeta"),
            json!(""),
            "sdc-value",
            p("round/sdcMeta"),
        ),
        (
            "/sdcText".into(),
            json!({"forbid": ["name"]}),
            "sdc-value",
            "/sdcText/forbid/0".into(),
        ),
        (
            p("week/sdcCodelist"),
            json!({"list": "weeks"}),
            "sdc-value",
            p("week/sdcCodelist/list"),
        ),
        (
            p("week/sdcCodelist"),
            json!({"list": format!("weeks@sha256:{}", "0".repeat(64))}),
            "sdc-codelist",
            p("week/sdcCodelist/list"),
        ),
        (
            "/sdcRate/scale".into(),
            json!(10),
            "sdc-value",
            "/sdcRate/scale".into(),
        ),
        (
            "/sdcHistogram/openTails".into(),
            json!(false),
            "sdc-value",
            "/sdcHistogram/openTails".into(),
        ),
        (
            "/sdcTable/matrix".into(),
            json!(null),
            "sdc-value",
            "/sdcTable".into(),
        ),
        (
            "/sdcContributors/n".into(),
            json!("n"),
            "sdc-value",
            "/sdcContributors/n".into(),
        ),
        (
            "/sdcRelease/window".into(),
            json!("P1M"),
            "sdc-value",
            "/sdcRelease/window".into(),
        ),
        (
            "/sdcCapacity".into(),
            json!(5),
            "sdc-value",
            "/sdcCapacity".into(),
        ),
        // L2: openness.
        (
            "/additionalProperties".into(),
            json!(null),
            "sdc-open",
            String::new(),
        ),
        (p("rows/maxItems"), json!(null), "sdc-open", p("rows")),
        (p("n/maximum"), json!(null), "sdc-open", p("n")),
        (p("rate/sdcPrecision"), json!(null), "sdc-open", p("rate")),
        (p("week/pattern"), json!(null), "sdc-open", p("week")),
        (
            p("week"),
            json!({"type": "string", "pattern": "^a+$"}),
            "sdc-open",
            p("week"),
        ),
        (p("week"), json!({}), "sdc-open", p("week")),
        (
            p("total/sdcMinCount/numeric"),
            json!("string"),
            "sdc-open",
            p("total"),
        ),
        // L3: coverage.
        (p("n/sdcMinCount"), json!(null), "sdc-open", p("n")),
        (
            p("df"),
            json!({"type": "integer", "minimum": 0, "maximum": 9}),
            "-none-",
            String::new(),
        ),
        (
            p("age"),
            json!({"type": "integer", "minimum": 0, "maximum": 120}),
            "sdc-uncovered",
            p("age"),
        ),
        (
            p("events/sdcMinCount"),
            json!(null),
            "sdc-uncovered",
            p("events"),
        ),
        (
            p("total/sdcMinCount"),
            json!(null),
            "sdc-uncovered",
            p("total"),
        ),
        (
            "/sdcContributors".into(),
            json!(null),
            "sdc-uncovered",
            p("mean"),
        ),
        ("/sdcRate".into(), json!(null), "sdc-uncovered", p("rate")),
        (
            "/sdcModel".into(),
            json!(null),
            "sdc-uncovered",
            p("terms/items/properties/estimate"),
        ),
        (
            "/sdcDominance".into(),
            json!(null),
            "sdc-uncovered",
            p("sum"),
        ),
        (
            "/sdcQuantiles".into(),
            json!(null),
            "sdc-uncovered",
            p("quantiles/items/properties/value"),
        ),
        (
            p("curve/sdcSurvival"),
            json!(null),
            "sdc-uncovered",
            p("curve/items/properties/t"),
        ),
        (
            p("mean"),
            json!({"anyOf": [{"type": "integer", "maximum": 9, "sdcMinCount": {"min": 10, "zero": "deny"}},
            {"type": "integer", "minimum": 0, "maximum": 9}]}),
            "-none-",
            String::new(),
        ),
        (
            p("n2"),
            json!({"anyOf": [{"type": "integer", "maximum": 9, "sdcMinCount": {"min": 10, "zero": "deny"}},
            {"type": "integer", "minimum": 0, "maximum": 9}]}),
            "sdc-uncovered",
            p("n2/anyOf/1"),
        ),
        // L4: positions.
        (
            "/not".into(),
            json!({"sdcText": {"forbid": ["date"]}}),
            "sdc-position",
            "/not/sdcText".into(),
        ),
        (
            "/if".into(),
            json!({"properties": {"n": {"sdcMinCount": min(10)}}}),
            "sdc-position",
            "/if/properties/n/sdcMinCount".into(),
        ),
        (
            p("rows/contains"),
            json!({"sdcText": {"forbid": ["date"]}}),
            "sdc-position",
            p("rows/contains/sdcText"),
        ),
        (
            "/propertyNames".into(),
            json!({"sdcText": {"forbid": ["date"]}}),
            "sdc-position",
            "/propertyNames/sdcText".into(),
        ),
        (
            p("rows/sdcCapacity"),
            json!({"maxBits": 1}),
            "sdc-position",
            p("rows/sdcCapacity"),
        ),
        // L5: draft and references.
        (
            "/$schema".into(),
            json!("http://json-schema.org/draft-07/schema#"),
            "sdc-draft",
            "/$schema".into(),
        ),
        (
            p("n"),
            json!({"$dynamicRef": "#/properties/df"}),
            "sdc-dynamic-ref",
            p("n/$dynamicRef"),
        ),
        (
            p("rows/items/properties/key"),
            json!({"$ref": "#/properties/rows"}),
            "sdc-recursion",
            p("rows/items/properties/key/$ref"),
        ),
        // L6: pointers.
        (
            "/sdcContributors/stats/0".into(),
            json!("/meen"),
            "sdc-pointer",
            "/sdcContributors/stats/0".into(),
        ),
        (
            "/sdcRate/den".into(),
            json!("/n/x"),
            "sdc-pointer",
            "/sdcRate/den".into(),
        ),
        (
            "/sdcDominance/top/0".into(),
            json!("/evidence/top3"),
            "sdc-pointer",
            "/sdcDominance/top/0".into(),
        ),
        (
            "/sdcQuantiles/prob".into(),
            json!("/q"),
            "sdc-pointer",
            "/sdcQuantiles/prob".into(),
        ),
        (
            "/sdcHistogram/bins".into(),
            json!("/bin"),
            "sdc-pointer",
            "/sdcHistogram/bins".into(),
        ),
        (
            p("curve/sdcSurvival/time"),
            json!("/time"),
            "sdc-pointer",
            p("curve/sdcSurvival/time"),
        ),
        (
            p("rows/sdcRows/key/0"),
            json!("/kex"),
            "sdc-pointer",
            p("rows/sdcRows/key/0"),
        ),
        (
            "/sdcTable/lines/0/parts/0".into(),
            json!("/rows/n"),
            "sdc-pointer",
            "/sdcTable/lines/0/parts/0".into(),
        ),
        (
            "/sdcTable/nested/0/1".into(),
            json!("/x"),
            "sdc-pointer",
            "/sdcTable/nested/0/1".into(),
        ),
        (
            "/sdcRelease/cell/0".into(),
            json!("/weak"),
            "sdc-pointer",
            "/sdcRelease/cell/0".into(),
        ),
        (
            "/required".into(),
            json!(["n"]),
            "sdc-pointer",
            "/sdcContributors/stats/0".into(),
        ),
        // L7: the floor.
        (
            p("n/sdcMinCount"),
            min(4),
            "sdc-looser",
            p("n/sdcMinCount/min"),
        ),
        (
            "/sdcTable/minWidth".into(),
            json!(4),
            "sdc-looser",
            "/sdcTable/minWidth".into(),
        ),
        (
            "/sdcCapacity/maxBits".into(),
            json!(65_537),
            "sdc-looser",
            "/sdcCapacity/maxBits".into(),
        ),
        // L8: what the contract says of itself.
        (
            "/sdcCapacity".into(),
            json!(null),
            "sdc-no-capacity",
            String::new(),
        ),
        // L9: patterns.
        (
            p("week/pattern"),
            json!("20[0-9]{2}"),
            "sdc-pattern-anchor",
            p("week/pattern"),
        ),
        (
            p("week/pattern"),
            json!("^a|b$"),
            "sdc-pattern-anchor",
            p("week/pattern"),
        ),
        (
            p("week/pattern"),
            json!("^\\d{4}$"),
            "sdc-pattern-class",
            p("week/pattern"),
        ),
        (
            p("week/pattern"),
            json!("^[\\w]{4}$"),
            "sdc-pattern-class",
            p("week/pattern"),
        ),
        (
            "/patternProperties".into(),
            json!({"x": false}),
            "sdc-pattern-anchor",
            "/patternProperties/x".into(),
        ),
        // Markers.
        (
            p("total/sdcSuppressed/0/hi"),
            json!(8),
            "sdc-marker",
            p("total/sdcSuppressed/0/hi"),
        ),
        (
            p("total/sdcSuppressed/0/lo"),
            json!(2),
            "sdc-marker",
            p("total/sdcSuppressed/0/lo"),
        ),
        (
            p("total/sdcSuppressed/1/hi"),
            json!(99),
            "sdc-marker",
            p("total/sdcSuppressed/1/hi"),
        ),
        (
            p("total/sdcSuppressed/1/lo"),
            json!(1),
            "sdc-marker",
            p("total/sdcSuppressed/1/lo"),
        ),
        (
            p("total/sdcSuppressed/0/marker"),
            json!(10),
            "sdc-marker",
            p("total/sdcSuppressed/0/marker"),
        ),
        (
            p("total/sdcSuppressed/0"),
            json!({"marker": "x", "lo": 9, "hi": 1}),
            "sdc-marker",
            p("total/sdcSuppressed/0/lo"),
        ),
        (
            p("week/sdcSuppressed"),
            json!([{"marker": "-", "lo": 0, "hi": 9}]),
            "sdc-marker",
            p("week/sdcSuppressed"),
        ),
    ];
    assert!(rows.len() >= 60);
    let mut wrong = Vec::new();
    for (at, value, code, pointer) in rows {
        let mut schema = sound();
        set(&mut schema, &at, value.clone());
        let loaded = load(&schema, true);
        let refused = loaded.is_err();
        let found = codes(loaded, Some(Severity::Error));
        let right = if code == "-none-" {
            !refused && found.is_empty()
        } else {
            refused && found.contains(&format!("{code} {pointer}"))
        };
        if !right {
            wrong.push(format!(
                "{at} = {value}: wanted {code} {pointer}, got {found:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Beside what a rule about several members judges, a number is as free as elsewhere.
#[test]
fn rules_cover_exactly_what_they_judge() {
    let whole = || json!({"type": "integer", "minimum": 0, "maximum": 120});
    let mut share = json!({"type": "number", "minimum": 0, "maximum": 1});
    let more_digits = share.clone();
    share["sdcPrecision"] = json!({"decimals": 3});
    let with = |schema: &Value, key: &str, value: Value| {
        let mut schema = schema.clone();
        schema[key] = value;
        schema
    };
    let tenths = with(&figure(), "multipleOf", json!(1));
    let wide = with(&share, "maximum", json!(99));
    let fine = with(&share, "sdcPrecision", json!({"decimals": 4}));
    let round = with(&figure(), "sdcPrecision", json!({"decimals": 0}));
    let nested = json!({"type": "object", "additionalProperties": false,
        "properties": {"deep": figure()}});
    for (list, member, covered) in [
        ("bins", whole(), false),
        ("bins", share.clone(), false),
        ("bins", count(), true),
        ("quantiles", whole(), false),
        ("quantiles", figure(), false),
        ("quantiles", count(), true),
        ("curve", whole(), false),
        ("curve", figure(), false),
        ("curve", wide, false),
        ("curve", fine, false),
        ("curve", more_digits, false),
        ("curve", share, true),
        ("terms", whole(), false),
        ("terms", tenths, false),
        ("terms", round, false),
        ("terms", figure(), true),
        ("terms", count(), true),
        ("terms", nested, false),
    ] {
        let at = format!("/properties/{list}/items/properties/other");
        let mut schema = sound();
        set(&mut schema, &at, member.clone());
        let found = codes(load(&schema, true), Some(Severity::Error));
        let uncovered = found
            .iter()
            .any(|f| f.starts_with(&format!("sdc-uncovered {at}")));
        assert_eq!(uncovered, !covered, "{list} {member}: {found:?}");
        assert!(!covered || found.is_empty(), "{list} {member}: {found:?}");
    }
    // Parameters without names, and their number.
    for (params, covered) in [
        (
            json!({"type": "array", "maxItems": 9, "items": figure()}),
            true,
        ),
        (
            json!({"type": "array", "maxItems": 9, "items": whole()}),
            false,
        ),
        (whole(), true),
    ] {
        let mut schema = sound();
        set(&mut schema, "/properties/terms", params.clone());
        let found = codes(load(&schema, true), Some(Severity::Error));
        assert_eq!(found.is_empty(), covered, "{params}: {found:?}");
    }
}

/// `linked` says nothing of the count, nor of rows with a role that it does not know.
#[test]
fn linked_values_are_covered_only_in_rows_of_a_known_role() {
    let value = |rules: Value| {
        let mut value = json!({"type": ["number", "string"], "minimum": 0, "maximum": 9999,
            "sdcPrecision": {"decimals": 1}, "sdcSuppressed": [{"marker": "-", "lo": 0, "hi": 9999}]});
        value
            .as_object_mut()
            .unwrap()
            .extend(rules.as_object().unwrap().clone());
        value
    };
    let counted = value(json!({"sdcMinCount": {"min": 10, "zero": "allow"},
        "sdcSuppressed": [{"marker": "<10", "lo": 1, "hi": 9}]}));
    let branch = |role: Value, value: &Value| json!({"properties": {"role": role, "value": value}});
    let (count, percentage) = (json!({"const": "count"}), json!({"const": "percentage"}));
    let bare = value(json!({}));
    let either = json!({"enum": ["count", "percentage"]});
    for (role, branches, covered) in [
        (either.clone(), json!([branch(json!({}), &bare)]), false),
        (either.clone(), json!([branch(json!({}), &counted)]), true),
        (
            either.clone(),
            json!([branch(percentage.clone(), &bare)]),
            true,
        ),
        (either.clone(), json!([branch(count.clone(), &bare)]), false),
        (
            either.clone(),
            json!([
                branch(count.clone(), &counted),
                branch(percentage.clone(), &bare)
            ]),
            true,
        ),
        (
            either.clone(),
            json!([branch(count, &bare), branch(percentage.clone(), &bare)]),
            false,
        ),
        (
            either,
            json!([branch(json!({"enum": ["percentage", "mean"]}), &bare)]),
            false,
        ),
        (
            json!({"enum": ["other"]}),
            json!([branch(json!({}), &bare)]),
            false,
        ),
        (
            json!({"enum": ["other", "percentage"]}),
            json!([
                branch(json!({"const": "other"}), &bare),
                branch(percentage, &bare)
            ]),
            false,
        ),
    ] {
        let mut row = object(json!({"g": {"enum": ["A", "B"]}, "role": role, "value": {}}));
        row["oneOf"] = branches;
        let schema = json!({"$schema": DIALECT, "type": "array", "minItems": 1, "maxItems": 4,
            "items": row, "sdcCapacity": {"maxBits": 999},
            "sdcRows": {"max": 4, "key": ["/g", "/role"], "sorted": true, "linked": {"key": ["/g"],
                "role": "/role", "value": "/value", "when": "count", "then": ["percentage"], "markers": ["<10", "-"]}}});
        let found = codes(load(&schema, true), Some(Severity::Error));
        let uncovered = found.iter().any(|f| f.starts_with("sdc-uncovered "));
        assert_eq!(uncovered, !covered, "{}: {found:?}", schema["items"]);
        assert!(
            !covered || found.is_empty(),
            "{}: {found:?}",
            schema["items"]
        );
    }
}

/// The finding names the file that has the definition, its line and its column.
#[test]
fn findings_have_places_across_files() {
    let root = "{ \"$schema\": \"urn:lazaret:meta:sdc:1\",\n  \"type\": \"object\", \"additionalProperties\": false,\n  \
        \"sdcCapacity\": { \"maxBits\": 99 },\n  \"required\": [\"a\", \"b\"],\n  \"properties\": {\n    \
        \"a\": { \"$ref\": \"defs.json#/$defs/count\" },\n    \
        \"b\": { \"$ref\": \"defs.json#/$defs/plain\", \"title\": \"B\" }\n  }\n}\n";
    let defs = "{ \"$defs\": {\n    \"count\": { \"type\": \"integer\", \"maximum\": 9,\n      \
        \"sdcMinCount\": { \"min\": 4, \"zero\": \"deny\" } },\n    \
        \"plain\": { \"type\": \"integer\", \"minimum\": 0, \"maximum\": 9 }\n} }\n";
    let folder = folder(&[("schema.json", root), ("defs.json", defs)]);
    let errors = load_file(&folder.path().join("schema.json"), false, &Site::default());
    let text = errors.unwrap_err().to_string();
    let text = text.replace(&format!("{}/", folder.path().display()), "");
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with(' ')).collect();
    assert_eq!(
        lines,
        [
            "defs.json:3:24: error [sdc-looser]: a minimum of 4 people, where the site asks for 5 \
             (at /$defs/count/sdcMinCount/min)",
            "schema.json:7:5: error [sdc-uncovered]: a number without a disclosure rule: a cell of \
             one person would pass (at /properties/b)",
        ]
    );
}

#[test]
fn plain_contracts_are_warned_of_keywords_that_mean_nothing() {
    let schema =
        json!({"type": "integer", "minimum": 0, "maximun": 9, "maximum": 9, "x-unit": "mm"});
    let (_, findings) = load(&schema, true).unwrap();
    assert_eq!(findings.len(), 1, "{findings}");
    let found = findings.iter().next().unwrap();
    assert_eq!(found.help.as_deref(), Some("did you mean `maximum`?"));
    assert_eq!(found.code, Some("sdc-unknown-keyword"));
    // One that looks like a rule was meant to hold something back.
    assert!(load(&json!({"type": "boolean", "sdMinCount": {}}), false).is_err());
}

/// Open and uncovered places are warnings unless asked for more strictly; a site policy asks it of
/// contracts without rules, too.
#[test]
fn strictness_is_asked_for() {
    let mut schema = sound();
    set(&mut schema, "/$schema", Value::Null);
    set(&mut schema, "/sdcRate", Value::Null);
    let (_, findings) = load(&schema, false).unwrap();
    assert_eq!(
        codes(Err(findings), Some(Severity::Warning)),
        ["sdc-uncovered /properties/rate"]
    );
    assert!(load(&schema, true).is_err());
    schema["$schema"] = json!(DIALECT);
    assert!(load(&schema, false).is_err());

    let plain = object(json!({"n": {"type": "integer", "minimum": 0, "maximum": 9}}));
    assert!(load(&plain, true).is_ok());
    let folder = folder(&[("schema.json", &plain.to_string())]);
    let site = Site::default();
    let terms = Terms {
        strict: true,
        every: true,
        site: &site,
        max_bytes: 65_536,
    };
    let errors = load_schema_on(&folder.path().join("schema.json"), &terms, 32);
    let found = codes(errors, None);
    assert_eq!(found, ["sdc-no-capacity ", "sdc-uncovered /properties/n"]);
}

/// A pointer may lead through references and alternatives, and to a member that may be missing if
/// it says so.
#[test]
fn pointers_lead_through_the_flattened_schema() {
    let mut schema = sound();
    schema["$defs"] = json!({"base": {"required": ["extra"], "properties": {"extra": figure()}}});
    schema["allOf"] = json!([{"$ref": "#/$defs/base"}]);
    set(&mut schema, "/properties/extra", json!(true));
    set(
        &mut schema,
        "/sdcContributors/stats",
        json!(["/mean", "/extra"]),
    );
    let found = codes(load(&schema, true), Some(Severity::Error));
    assert_eq!(found, [""; 0]);

    let mut schema = sound();
    let required = schema["required"].as_array_mut().unwrap();
    required.retain(|name| name != "mean");
    assert_eq!(
        codes(load(&schema, true), Some(Severity::Error)),
        [
            "sdc-uncovered /properties/mean",
            "sdc-pointer /sdcContributors/stats/0"
        ]
    );
    set(&mut schema, "/sdcContributors/stats/0", json!("/mean?"));
    assert_eq!(codes(load(&schema, true), None), [""; 0]);
}

/// Errors of a contract in `schema.json`, which may refer to `base.json`.
fn errors_beside(schema: &Value, base: &Value) -> Vec<String> {
    let (schema, base) = (schema.to_string(), base.to_string());
    let folder = folder(&[("schema.json", &schema), ("base.json", &base)]);
    let loaded = load_file(&folder.path().join("schema.json"), true, &Site::default());
    assert!(loaded.is_err(), "{schema}");
    codes(loaded, Some(Severity::Error))
}

/// A rule about the whole contract is read at its root alone, so that anywhere else is an error.
#[test]
fn rules_about_the_whole_contract_stand_at_its_root() {
    for keyword in ["sdcRelease", "sdcCapacity"] {
        let mut schema = sound();
        let rule = schema.as_object_mut().unwrap().remove(keyword).unwrap();
        schema["allOf"] = json!([{"title": "a part"}, {"allOf": [{ keyword: rule }]}]);
        let found = errors_beside(&schema, &json!({}));
        let expected = format!("sdc-position /allOf/1/allOf/0/{keyword}");
        assert!(found.contains(&expected), "{keyword}: {found:?}");
    }
    // Both sides have members, so that the target goes into an `allOf`.
    let mut base = sound();
    base.as_object_mut().unwrap().remove("additionalProperties");
    let schema = json!({"$schema": DIALECT, "$ref": "base.json", "unevaluatedProperties": false,
        "properties": {"x": {"enum": [1]}}, "required": ["x"]});
    let found = errors_beside(&schema, &base);
    assert!(
        found.contains(&"sdc-position /sdcRelease".into()),
        "{found:?}"
    );

    // In a place that nothing reads, the contract is refused all the same.
    let mut schema = json!({"enum": [1], "sdcCapacity": {"maxBits": 9}});
    assert_eq!(codes(load(&schema, true), None), [""; 0]);
    schema["x-note"] = json!([{"sdcRelease": {"cell": [""]}}]);
    let found = errors_beside(&schema, &json!({}));
    assert!(found.contains(&"sdc-value /sdcRelease".into()), "{found:?}");
}

/// What is no schema must not become one by a `$ref`: no check looks there.
#[test]
fn references_lead_to_schemas_alone() {
    let rule = json!({"type": "object", "additionalProperties": false, "required": ["n"],
        "properties": {"n": count()}, "sdcTabel": {}});
    let draft7 = "http://json-schema.org/draft-07/schema#";
    for (at, target) in [
        ("x-components", json!({"R": rule})),
        ("default", json!({"R": rule})),
        ("const", json!({"R": rule})),
        ("examples", json!([rule])),
        ("contentSchema", json!({"R": rule})),
        ("x-list", json!([{"properties": {"a": rule}}])),
    ] {
        let below = match &target {
            Value::Array(list) if list[0].get("type").is_none() => "/0/properties/a",
            Value::Array(_) => "/0",
            _ => "/R",
        };
        for dialect in [
            DIALECT,
            "https://json-schema.org/draft/2020-12/schema",
            draft7,
        ] {
            let reference = format!("#/{at}{below}");
            let schema = json!({"$schema": dialect, "$ref": reference, at: target});
            assert_eq!(errors_beside(&schema, &json!({})), ["- /$ref"], "{schema}");
            let schema = json!({"$schema": dialect, "$ref": format!("base.json{reference}")});
            let base = json!({ at: target });
            assert_eq!(errors_beside(&schema, &base), ["- /$ref"], "{schema}");
        }
    }
    // An anchor is found anywhere.
    let schema = json!({"$ref": "#a", "x-a": {"$anchor": "a", "enum": [1]}});
    assert_eq!(errors_beside(&schema, &json!({})), ["- /$ref"]);
    let places = json!({
        "$defs": {"default": {"enum": [1]}, "any": true, "a/b": {"allOf": [{"not": {"enum": [2]}}]}},
        "properties": {
            "a": {"$ref": "#/$defs/default"}, "b": {"$ref": "#/$defs/any"},
            "c": {"$ref": "#/$defs/a~1b/allOf/0/not"}, "d": {"$ref": "#/properties/a"},
        },
    });
    assert!(load(&places, false).is_ok());
}

/// Without its form as one schema, no contract with a rule is made.
#[test]
fn a_rule_anywhere_asks_for_a_contract_that_can_be_checked() {
    let plain = json!({"$schema": "http://json-schema.org/draft-07/schema#", "enum": [1]});
    assert!(load(&plain, true).is_ok());
    for (at, value) in [
        ("sdcMeta", json!("a number")),
        ("x-note", json!({"sdcMeta": "a number"})),
        ("default", json!([{"sdcMeta": "a number"}])),
    ] {
        let mut schema = plain.clone();
        schema[at] = value;
        assert_eq!(
            errors_beside(&schema, &json!({})),
            ["sdc-draft /$schema"],
            "{schema}"
        );
    }
}

/// Each rule of the site policy, and the contract's value that it refuses.
#[test]
fn no_contract_is_looser_than_its_site() {
    let usual = Site::default;
    let k = |k_floor| Site {
        k_floor,
        k: 20,
        ..usual()
    };
    let nk = |n, k| Site {
        nk: lazaret_policy::site::Nk { n, k },
        ..usual()
    };
    let days = |days: u64| std::time::Duration::from_secs(days * 86_400);
    let minima = [
        "/properties/n/sdcMinCount/min",
        "/properties/rows/items/sdcContributors/min",
        "/sdcContributors/min",
        "/sdcRate/min",
        "/sdcQuantiles/min",
        "/sdcHistogram/min",
        "/properties/curve/sdcSurvival/min",
        "/sdcTable/min",
        "/sdcRelease/differencing/min",
    ];
    let mut rows: Vec<(Site, &str, bool)> = Vec::new();
    for at in minima {
        rows.extend([(k(10), at, true), (k(11), at, false)]);
    }
    rows.extend([
        (
            Site {
                zero: lazaret_policy::site::Zero::Deny,
                ..usual()
            },
            "/properties/total/sdcMinCount/zero",
            false,
        ),
        (
            Site {
                zero: lazaret_policy::site::Zero::Deny,
                ..usual()
            },
            "/properties/n/sdcMinCount/zero",
            true,
        ),
        (
            Site {
                df_floor: 11,
                ..usual()
            },
            "/sdcModel/minDf",
            false,
        ),
        (
            Site {
                param_ratio: 0.32,
                ..usual()
            },
            "/sdcModel/maxParamRatio",
            false,
        ),
        (nk(2, 0.9), "/sdcDominance/nk/k", true),
        (nk(2, 0.89), "/sdcDominance/nk/k", false),
        (nk(1, 0.9), "/sdcDominance/nk/k", true),
        (nk(3, 0.9), "/sdcDominance/nk/k", false),
        (Site { p: 0.2, ..usual() }, "/sdcDominance/p", false),
        (
            Site {
                max_bits: 65_535,
                ..usual()
            },
            "/sdcCapacity/maxBits",
            false,
        ),
        (
            Site {
                max_bits: 1999,
                ..usual()
            },
            "/sdcRelease/maxBits",
            false,
        ),
        (
            Site {
                max_bytes: 8191,
                ..usual()
            },
            "/sdcRelease/maxBytes",
            false,
        ),
        (
            Site {
                horizon: days(401),
                ..usual()
            },
            "/sdcRelease/horizon",
            false,
        ),
        (
            Site {
                horizon: days(399),
                ..usual()
            },
            "/sdcRelease/horizon",
            true,
        ),
    ]);
    for (site, at, allowed) in rows {
        let found = codes(load_on(&sound(), false, &site), Some(Severity::Error));
        let looser = found.contains(&format!("sdc-looser {at}"));
        assert_eq!(looser, !allowed, "{at} {site:?}: {found:?}");
    }
    // Cells that are counted, and have no rule or one that lets zeros leave.
    let deny = Site {
        zero: lazaret_policy::site::Zero::Deny,
        ..usual()
    };
    let plain = json!({"type": "integer", "minimum": 0, "maximum": 9999});
    let hidden = json!({"anyOf": [count(), plain]});
    let part = json!({"type": "integer", "allOf": [count()]});
    for (cell, rule) in [
        (
            "/properties/bins/items/properties/count",
            "/sdcHistogram/count",
        ),
        (
            "/properties/curve/items/properties/events",
            "/properties/curve/sdcSurvival/events",
        ),
    ] {
        let mut zeros = count();
        zeros["sdcMinCount"]["zero"] = json!("allow");
        for (cell_schema, allowed) in [
            (count(), true),
            (part.clone(), true),
            (zeros, false),
            (plain.clone(), false),
            (hidden.clone(), false),
        ] {
            let mut schema = sound();
            set(&mut schema, cell, cell_schema.clone());
            let looser = |site: &Site| {
                codes(load_on(&schema, false, site), Some(Severity::Error))
                    .contains(&format!("sdc-looser {rule}"))
            };
            assert_eq!(looser(&deny), !allowed, "{rule} {cell_schema}");
            assert!(!looser(&usual()), "{rule} {cell_schema}");
        }
    }
    // Between the floor and what is usual there is a warning.
    let site = Site { k: 11, ..usual() };
    let (_, findings) = load_on(&sound(), true, &site).unwrap();
    assert!(findings.iter().all(|d| d.code == Some("sdc-unusual")) && !findings.is_empty());
}

#[test]
fn code_lists_belong_to_the_contract() {
    // What `sha256sum` says of the sound list below.
    let digest: String = Sha256::digest("I\nII\n")
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let mut schema = sound();
    schema["properties"]["code"] =
        json!({"type": "string", "sdcCodelist": {"list": format!("codes@sha256:{digest}")}});
    schema["required"]
        .as_array_mut()
        .unwrap()
        .push(json!("code"));
    for (list, ok) in [
        (Some("I\nII\n"), true),
        (Some("I\n\nII\n"), false),
        (Some("I"), false),
        (None, false),
    ] {
        let text = schema.to_string();
        let mut files = vec![("schema.json", text.as_str())];
        files.extend(list.map(|list| ("codes", list)));
        let folder = folder(&files);
        let loaded = load_file(&folder.path().join("schema.json"), true, &Site::default());
        let found = codes(loaded, Some(Severity::Error));
        assert_eq!(
            !found.iter().any(|f| f.starts_with("sdc-codelist")),
            ok,
            "{list:?} {found:?}"
        );
        // Without its codes, the label could be any text.
        let follows = |f: &String| f.starts_with("sdc-codelist") || f.starts_with("sdc-capacity");
        assert!(found.iter().all(follows), "{found:?}");
    }
}

/// The meta-schema is for editors; it must say the same as the checks.
#[test]
fn the_published_meta_schema_is_current_and_strict() {
    let meta: Value = serde_json::from_str(META).unwrap();
    assert_eq!(meta["$id"], DIALECT);
    assert!(jsonschema::draft202012::meta::is_valid(&meta));
    let validator = jsonschema::options()
        .with_vocabulary("urn:lazaret:sdc:1")
        .build(&meta)
        .unwrap();
    assert!(validator.is_valid(&sound()));
    for (at, value) in [
        ("/sdcMinCuont", json!({})),
        ("/properties/n/sdcMinCuont", json!({})),
        (
            "/properties/rows/items/properties/n/sdcMinCount",
            json!({"min": 10}),
        ),
        ("/properties/n/maximum", json!("9")),
        ("/minimun", json!(1)),
    ] {
        let mut schema = sound();
        set(&mut schema, at, value);
        assert!(!validator.is_valid(&schema), "{at}");
    }
    // Each rule and each of its keys says what it is for.
    for (keyword, rule) in meta["properties"].as_object().unwrap() {
        assert!(
            rule["description"].as_str().is_some_and(|d| d.len() > 20),
            "{keyword}"
        );
    }
    for (name, rule) in meta["$defs"].as_object().unwrap() {
        let keys = rule["properties"].as_object().into_iter().flatten();
        for (key, value) in keys {
            let described = value.get("description").is_some() || value.get("$ref").is_some();
            assert!(described, "{name}/{key}");
        }
    }
}

fn fixtures() -> Option<PathBuf> {
    let shared = match std::env::var_os("LAZARET_SHARED") {
        Some(shared) => PathBuf::from(shared),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
    };
    let contracts = shared.join("fixtures/disclosure/contracts");
    if contracts.is_dir() {
        return Some(contracts);
    }
    eprintln!(
        "{} is absent: its contracts are not tested",
        contracts.display()
    );
    None
}

/// The contracts of the fixtures, strictly, with the dialect declared as they ask for.
#[test]
fn the_fixture_contracts_load_but_for_the_two_that_must_not() {
    let Some(folder) = fixtures() else {
        return;
    };
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 11);
    for file in files {
        let name = file
            .file_name()
            .unwrap()
            .to_string_lossy()
            .replace(".schema.json", "");
        let text = std::fs::read_to_string(&file).unwrap();
        let mut plain: Value = serde_json::from_str(&text).unwrap();
        let mut schema = plain.clone();
        schema["$schema"] = json!(DIALECT);
        if name == "fhir-measurereport-summary" {
            // It names no figures, and the counts of its strata have no place of their own.
            let errors = codes(load(&schema, true), Some(Severity::Error));
            assert_eq!(errors, ["sdc-value /sdcRelease"]);
            schema["sdcRelease"]["value"] = json!("/group/0/population/0/count");
            plain["sdcRelease"] = schema["sdcRelease"].clone();
        }
        let errors = codes(load(&schema, true), Some(Severity::Error));
        let expected: &[&str] = match &*name {
            "rows-uncovered" => &["sdc-no-capacity", "sdc-uncovered", "sdc-uncovered"],
            "fl-update" => &["sdc-open", "sdc-open"],
            _ => &[],
        };
        let found: Vec<_> = errors
            .iter()
            .map(|e| e.split(' ').next().unwrap())
            .collect();
        let known: Vec<_> = found
            .iter()
            .filter(|code| **code != "sdc-capacity")
            .copied()
            .collect();
        assert_eq!(known, expected, "{name}: {errors:?}");
        if name == "fl-update" {
            let found = codes(load(&plain, false), Some(Severity::Error));
            assert_eq!(found, ["sdc-capacity /sdcCapacity/maxBits"]);
        }
        if expected.is_empty() {
            assert_eq!(found, [""; 0], "{name}");
            assert!(load(&plain, true).is_ok(), "{name}");
        }
    }
}

//! The table of the audit (docs/disclosure.md), contracts, and payloads of every kind that is wrong.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::judge::sdc::Finding;

fn cell() -> Value {
    json!({
        "type": ["integer", "string"],
        "sdcMinCount": {"min": 10, "zero": "allow"},
        "sdcSuppressed": [
            {"marker": "<10", "lo": 1, "hi": 9}, {"marker": "*", "lo": 0, "hi": 999_999},
        ],
    })
}

fn rounded(base: i64, mode: &str) -> Value {
    let mut cell = cell();
    cell["sdcRound"] = json!({"base": base, "mode": mode});
    cell
}

fn matrix(cell: &Value) -> Value {
    let list = |items: &Value| json!({"type": "array", "items": items});
    json!({
        "properties": {
            "cells": list(&list(cell)), "r": list(cell), "c": list(cell), "t": cell,
        },
        "sdcTable": {
            "matrix": "/cells", "rowTotals": "/r", "colTotals": "/c", "total": "/t", "min": 10,
        },
    })
}

fn table(schema: &Value) -> Table {
    Table::new(&schema["sdcTable"], schema.as_object().unwrap()).unwrap()
}

fn found(schema: &Value, value: &Value) -> Vec<Finding> {
    let table = table(schema);
    let found = Findings::of(&table, value);
    assert_eq!(Findings::any(&table, value), !found.is_empty(), "{value}");
    found
}

/// Reasons and places.
fn seen(schema: &Value, value: &Value) -> Vec<(&'static str, String)> {
    let found = found(schema, value).into_iter();
    found.map(|f| (f.reason.code(), f.pointer)).collect()
}

fn at(reason: Reason, pointers: &[&str]) -> Vec<(&'static str, String)> {
    let code = reason.code();
    pointers.iter().map(|p| (code, (*p).to_owned())).collect()
}

#[test]
fn the_audit_table() {
    let line = |cell: Value| {
        json!({
            "properties": {"parts": {"items": cell}, "total": cell},
            "sdcTable": {"lines": [{"total": "/total", "parts": ["/parts/*"]}], "min": 10},
        })
    };
    let exact = line(cell());
    let base5 = line(rounded(5, "nearest"));
    let matrix = matrix(&cell());
    let narrow = |pointers: &[&str]| at(Reason::SdcRecoverable, pointers);
    let block = ["/cells/0/0", "/cells/0/1", "/cells/1/0", "/cells/1/1"];
    for (case, schema, value, expected) in [
        (
            "one suppressed cell",
            &exact,
            json!({"parts": [25, "<10", 40], "total": 72}),
            narrow(&["/parts/1"]),
        ),
        (
            "a forced block",
            &matrix,
            json!({"cells": [["<10", "<10", 40], ["<10", "<10", 31]],
                "r": [42, 49], "c": [10, 10, 71], "t": 91}),
            narrow(&block),
        ),
        (
            "a narrow block",
            &matrix,
            json!({"cells": [["<10", "<10", 40], ["<10", "<10", 31]],
                "r": [44, 47], "c": [10, 10, 71], "t": 91}),
            narrow(&block),
        ),
        (
            "a block of width 5",
            &matrix,
            json!({"cells": [["<10", "<10", 40], ["<10", "<10", 31]],
                "r": [52, 43], "c": [13, 11, 71], "t": 95}),
            vec![],
        ),
        (
            "a block with complements",
            &matrix,
            json!({"cells": [["<10", "*", 40], ["<10", "*", 31]],
                "r": [102, 82], "c": [11, 102, 71], "t": 184}),
            vec![],
        ),
        (
            "rounded, and forced all the same",
            &base5,
            json!({"parts": [20, 15, "<10"], "total": 50}),
            narrow(&["/parts/2"]),
        ),
        (
            "rounded",
            &base5,
            json!({"parts": [20, 15, "<10"], "total": 45}),
            vec![],
        ),
        (
            "no solution",
            &exact,
            json!({"parts": [25, 30, 40], "total": 97}),
            at(Reason::SdcInconsistent, &["/total"]),
        ),
        (
            "a suppressed total of published cells",
            &exact,
            json!({"parts": [25, 30, 40], "total": "*"}),
            narrow(&["/total"]),
        ),
        (
            "suppressed totals beside it",
            &matrix,
            json!({"cells": [["<10", 30], [25, 40]], "r": ["*", 65], "c": ["*", 70], "t": "*"}),
            vec![],
        ),
        (
            "no solution within the markers",
            &exact,
            json!({"parts": ["<10", "<10"], "total": 19}),
            at(Reason::SdcInconsistent, &["/total"]),
        ),
        (
            "no solution for all lines together",
            &matrix,
            json!({"cells": [["<10", "<10", "<10", 0], ["<10", "<10", "<10", 0], ["*", "*", "*", "*"]],
                "r": [20, 20, "*"], "c": [13, 13, 13, "*"], "t": "*"}),
            at(Reason::SdcInconsistent, &[""]),
        ),
    ] {
        assert_eq!(seen(schema, &value), expected, "{case}");
    }
}

#[test]
fn a_label_for_all_small_counts_is_protected() {
    let midpoint = matrix(&rounded(10, "midpoint"));
    let narrow = at(Reason::SdcRecoverable, &["/cells/0/0"]);
    // 5 stands for 1 to 10; the row leaves 1 to 3 of them.
    let narrowed = json!({"cells": [[5, 95], [95, 95]], "r": [105, 185], "c": [95, 185], "t": 285});
    assert_eq!(seen(&midpoint, &narrowed), []);
    let mut schema = midpoint;
    schema["properties"]["r"]["items"] = cell();
    let narrowed = json!({"cells": [[5, 95], [95, 95]], "r": [94, 195], "c": [95, 185], "t": 285});
    assert_eq!(seen(&schema, &narrowed), narrow);
}

#[test]
fn parts_and_wholes() {
    let schema = json!({
        "properties": {"all": cell(), "some": cell(), "few": cell()},
        "sdcTable": {"nested": [["/all", "/some"], ["/some", "/few?"]], "min": 10},
    });
    let nested = |pointer: &str| at(Reason::SdcNested, &[pointer]);
    let inconsistent = |pointer: &str| at(Reason::SdcInconsistent, &[pointer]);
    for (value, expected) in [
        (json!({"all": 100, "some": 97, "few": 97}), nested("/some")),
        (json!({"all": 100, "some": 91}), nested("/some")),
        (json!({"all": 100, "some": 99}), nested("/some")),
        (json!({"all": 100, "some": 100, "few": 95}), nested("/few")),
        (json!({"all": 100, "some": 100, "few": 90}), vec![]),
        (json!({"all": 100, "some": 90, "few": 0}), vec![]),
        (json!({"all": 100, "some": 110}), inconsistent("/some")),
        (json!({"all": "<10", "some": 10}), inconsistent("/some")),
        (json!({"all": 10, "some": "<10"}), nested("/some")),
        (json!({"all": 12, "some": "<10"}), vec![]),
        (json!({"all": "<10", "some": "<10"}), vec![]),
        (
            json!({"all": "<10", "some": "<10", "few": 0}),
            nested("/few"),
        ),
        (json!({"all": 100, "some": "*"}), vec![]),
        // A part is not larger than its whole: at most 4 of them.
        (
            json!({"all": 100, "some": "*", "few": 98}),
            at(Reason::SdcRecoverable, &["/some"]),
        ),
        (json!({"all": 100}), at(Reason::SdcPointer, &["/some"])),
        (
            json!({"all": 100, "some": null}),
            at(Reason::SdcCell, &["/some"]),
        ),
        (
            json!({"all": 100, "some": 10.5}),
            at(Reason::SdcCell, &["/some"]),
        ),
        (json!([]), at(Reason::SdcPointer, &["/all"])),
    ] {
        assert_eq!(seen(&schema, &value), expected, "{value}");
    }
}

#[test]
fn a_table_of_another_form_is_refused() {
    let schema = matrix(&cell());
    let whole = json!({"cells": [[25, 30], [31, 22]], "r": [55, 53], "c": [56, 52], "t": 108});
    assert_eq!(seen(&schema, &whole), []);
    for (member, value, reason, pointer) in [
        (
            "cells",
            json!([[25, 30], [31]]),
            Reason::SdcPointer,
            "/cells/1",
        ),
        (
            "cells",
            json!([[25, 30], 53]),
            Reason::SdcPointer,
            "/cells/1",
        ),
        ("cells", json!([[25, 30]]), Reason::SdcPointer, "/cells"),
        ("cells", json!([]), Reason::SdcPointer, "/cells"),
        (
            "cells",
            json!({"0": [25, 30]}),
            Reason::SdcPointer,
            "/cells",
        ),
        (
            "cells",
            json!([[25, 30], [31, "22"]]),
            Reason::SdcCell,
            "/cells/1/1",
        ),
        (
            "cells",
            json!([[25, 30], [31, null]]),
            Reason::SdcCell,
            "/cells/1/1",
        ),
        (
            "cells",
            json!([[25, 30], [31, 22.5]]),
            Reason::SdcCell,
            "/cells/1/1",
        ),
        (
            "cells",
            json!([[25, 30], [31, 1e300]]),
            Reason::SdcCell,
            "/cells/1/1",
        ),
        ("r", json!([55, 53, 0]), Reason::SdcPointer, "/cells"),
        ("r", json!([54, 53]), Reason::SdcInconsistent, "/r/0"),
        ("c", json!([56]), Reason::SdcPointer, "/cells/0"),
        ("c", json!([]), Reason::SdcPointer, "/c"),
        ("c", json!([56, 53]), Reason::SdcInconsistent, "/c/1"),
        ("t", json!([108]), Reason::SdcCell, "/t"),
        ("t", json!(109), Reason::SdcInconsistent, "/t"),
    ] {
        let mut broken = whole.clone();
        broken[member] = value;
        assert_eq!(seen(&schema, &broken), at(reason, &[pointer]), "{broken}");
        broken.as_object_mut().unwrap().remove(member);
        let missing = at(Reason::SdcPointer, &[&format!("/{member}")]);
        assert_eq!(seen(&schema, &broken), missing, "{broken}");
    }
    let huge = 9_007_199_254_740_991_i64;
    let huge = json!({"cells": [[huge, huge], [huge, huge]], "r": [huge, huge], "c": [huge, huge], "t": 0});
    assert_eq!(seen(&schema, &huge), at(Reason::SdcInconsistent, &["/r/0"]));
}

#[test]
fn every_part_must_be_there() {
    let schema = json!({
        "properties": {
            "rows": {"items": {"properties": {"n": cell(), "m": cell()}}}, "n": cell(), "m": cell(),
        },
        "sdcTable": {"lines": [
            {"total": "/n", "parts": ["/rows/*/n"]}, {"total": "/m?", "parts": ["/rows/*/m?"]},
        ], "min": 10},
    });
    let missing = at(Reason::SdcPointer, &["/rows/*/n"]);
    for (value, expected) in [
        (json!({"n": 30, "rows": [{"n": 10}, {"n": 20}]}), vec![]),
        (json!({"n": 30, "rows": [{"n": 30}, {}]}), missing.clone()),
        (json!({"n": 0, "rows": []}), missing.clone()),
        (json!({"n": 0}), missing.clone()),
        (json!({"n": 30, "rows": [{"n": 30}, 7]}), missing.clone()),
        (
            json!({"rows": [{"n": 30}]}),
            at(Reason::SdcPointer, &["/n"]),
        ),
        (
            json!({"n": 30, "m": 10, "rows": [{"n": 10, "m": 10}, {"n": 20}]}),
            vec![],
        ),
        (
            json!({"n": 30, "rows": [{"n": 10, "m": 10}, {"n": 20}]}),
            vec![],
        ),
        // All parts may be left out: then the total stands alone.
        (
            json!({"n": 30, "m": 10, "rows": [{"n": 10}, {"n": 20}]}),
            vec![],
        ),
        (
            json!({"n": 30, "m": 10, "rows": [{"n": 10, "m": 20}, {"n": 20}]}),
            at(Reason::SdcInconsistent, &["/m"]),
        ),
    ] {
        assert_eq!(seen(&schema, &value), expected, "{value}");
    }
}

/// Strata of a measure report, as in fixtures 01, 04 and 06.
#[test]
fn strata_add_up_to_their_group() {
    let count = || json!({"properties": {"count": cell()}});
    let population = json!({"items": count()});
    let schema = json!({
        "properties": {
            "population": population,
            "stratifier": {"items": {"properties": {"stratum": {"items": {
                "properties": {"population": population},
            }}}}},
        },
        "sdcTable": {"lines": [{
            "total": "/population/0/count",
            "parts": ["/stratifier/0/stratum/*/population/0/count"],
        }], "min": 10, "minWidth": 5},
    });
    let report = |strata: &[Value], total: i64| {
        let strata: Vec<_> = strata
            .iter()
            .map(|n| json!({"population": [{"count": n}]}))
            .collect();
        json!({"population": [{"count": total}], "stratifier": [{"stratum": strata}]})
    };
    let strata = |i: usize| format!("/stratifier/0/stratum/{i}/population/0/count");
    for (value, expected) in [
        (report(&[json!(120), json!(310), json!(250)], 680), vec![]),
        (
            report(&[json!("<10"), json!(310), json!(250)], 563),
            at(Reason::SdcRecoverable, &[&strata(0)]),
        ),
        (
            report(&[json!("<10"), json!("<10"), json!(250)], 260),
            vec![],
        ),
        (
            report(&[json!("<10"), json!("<10"), json!(250)], 253),
            at(Reason::SdcRecoverable, &[&strata(0), &strata(1)]),
        ),
    ] {
        assert_eq!(seen(&schema, &value), expected, "{value}");
    }
}

#[test]
fn messages_say_what_would_pass_and_no_interval() {
    let schema = matrix(&cell());
    let value = json!({"cells": [["<10", 77], [31, 22]], "r": [84, 53], "c": [38, 99], "t": 137});
    let found = found(&schema, &value);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        found[0].message,
        "suppress more cells: what is published must leave at least 5 between the least and the \
         greatest possible value of this one"
    );
}

#[test]
fn too_much_to_decide_is_refused() {
    let schema = matrix(&cell());
    let size = |n: usize, cell: &str| {
        let list = vec![json!(cell); n];
        json!({"cells": vec![list.clone(); n], "r": list, "c": list, "t": "*"})
    };
    for (n, cell) in [(14, "*"), (60, "*")] {
        assert_eq!(
            seen(&schema, &size(n, cell)),
            at(Reason::SdcUnproven, &[""])
        );
    }
    assert_eq!(seen(&schema, &size(13, "*")), []);
}

#[test]
fn contracts_that_make_no_sense_are_refused() {
    let base = matrix(&cell());
    for (rule, why) in [
        (
            json!({"min": 10}),
            "needs `matrix` with its totals, or `lines`, or `nested`",
        ),
        (json!({"lines": [], "min": 10}), "not empty"),
        (
            json!({"lines": [{"total": "/t", "parts": []}], "min": 10}),
            "not empty",
        ),
        (
            json!({"lines": [{"total": "/r/*", "parts": ["/t"]}], "min": 10}),
            "without `*`",
        ),
        (
            json!({"lines": [{"total": "/x", "parts": ["/t"]}], "min": 10}),
            "leads to no member",
        ),
        (
            json!({"nested": [["/t", "/r/*"]], "min": 10}),
            "without `*`",
        ),
        (
            json!({"nested": [["/t"]], "min": 10}),
            "pairs of a whole and a part",
        ),
        (json!({"nested": [["/t", "/t"]]}), "lacks `min`"),
        (json!({"nested": [["/t", "/t"]], "min": 0}), "at least 1"),
        (
            json!({"nested": [["/t", "/t"]], "min": 10, "minWidth": 0}),
            "at least 1",
        ),
        (
            json!({"nested": [["/t", "/t"]], "min": 10, "minWdth": 4}),
            "knows no member",
        ),
        (json!({"matrix": "/cells", "min": 10}), "needs pointers"),
        (
            json!({"matrix": "/cells", "rowTotals": "/r", "colTotals": "/c", "total": "/t?", "min": 10}),
            "cannot be optional",
        ),
        (
            json!({"matrix": "/r", "rowTotals": "/r", "colTotals": "/c", "total": "/t", "min": 10}),
            "leads to no member",
        ),
    ] {
        let error = Table::new(&rule, base.as_object().unwrap()).unwrap_err();
        assert!(error.contains(why), "{rule}: {error}");
    }
    let width = |min: i64| {
        let rule = json!({"nested": [["/t", "/t"]], "min": min});
        Table::new(&rule, base.as_object().unwrap()).unwrap().width
    };
    assert_eq!([width(10), width(5), width(1)], [5, 3, 1]);
}

/// The payloads under `shared/fixtures/disclosure` that have tables, judged by this rule alone: what
/// others find is not here.
#[test]
fn fixtures_have_their_verdicts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/disclosure");
    let read = |name: &str| -> Value {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    if !folder.is_dir() {
        println!("no fixtures at ../shared");
        return;
    }
    let schema = read("contracts/crosstab.schema.json");
    for (name, expected) in [
        ("16-crosstab-pass", vec![]),
        ("17-crosstab-block-pass", vec![]),
        (
            "18-crosstab-single-deny",
            at(Reason::SdcRecoverable, &["/cells/0/1"]),
        ),
        ("21-crosstab-small-deny", vec![]),
        (
            "22-crosstab-inconsistent-deny",
            at(Reason::SdcInconsistent, &["/rowTotals/0"]),
        ),
        (
            "23-crosstab-null-deny",
            at(Reason::SdcCell, &["/cells/0/1"]),
        ),
    ] {
        let payload = read(&format!("payloads/{name}.json"));
        assert_eq!(seen(&schema, &payload), expected, "{name}");
    }
    let group = read("contracts/fhir-measurereport-summary.schema.json");
    let group = &group["properties"]["group"]["items"];
    for name in [
        "01-measurereport-pass",
        "02-measurereport-small-stratum-deny",
    ] {
        let payload = read(&format!("payloads/{name}.json"));
        assert_eq!(seen(group, &payload["group"][0]), [], "{name}");
    }
}

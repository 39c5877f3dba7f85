//! What the audit of suppressed cells costs, by the size of a table: judging a whole payload under a
//! contract with `sdcTable`. `cargo bench -p lazaret-policy --bench table`.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lazaret_policy::Contract;
use lazaret_policy::compile::load_schema;
use serde_json::{Value, json};

/// Pseudo-random numbers (xorshift64*), the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits") % end
    }
}

fn cell(rounding: bool) -> Value {
    let mut cell = json!({
        "type": ["integer", "string"], "minimum": 0, "maximum": 999_999, "maxLength": 3,
        "sdcSuppressed": [
            {"marker": "<10", "lo": 1, "hi": 9}, {"marker": "*", "lo": 0, "hi": 999_999},
        ],
    });
    if rounding {
        cell["sdcRound"] = json!({"base": 5, "mode": "nearest"});
    }
    cell
}

fn load(schema: &Value) -> Contract {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = Path::new(dir.path()).join("table.schema.json");
    std::fs::write(&path, schema.to_string()).expect("it can be written");
    load_schema(&path, 1 << 20, 32).expect("the schema loads").0
}

/// A contract for a table in rows and columns.
fn matrix(rounding: bool) -> Contract {
    let list = |items: Value| json!({"type": "array", "maxItems": 2000, "items": items});
    load(&json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object", "additionalProperties": false,
        "required": ["cells", "rows", "columns", "total"],
        "properties": {
            "cells": list(list(cell(rounding))),
            "rows": list(cell(rounding)), "columns": list(cell(rounding)), "total": cell(rounding),
        },
        "sdcTable": {
            "matrix": "/cells", "rowTotals": "/rows", "colTotals": "/columns", "total": "/total",
            "min": 10,
        },
    }))
}

/// A contract for a cube of this side with all of its margins, in one list.
fn cube(side: usize, rounding: bool) -> Contract {
    let at = |i: usize, j: usize, k: usize| format!("/{}", (i * (side + 1) + j) * (side + 1) + k);
    let mut lines = Vec::new();
    for (a, b) in (0..=side).flat_map(|a| (0..=side).map(move |b| (a, b))) {
        let line = |at: &dyn Fn(usize) -> String| json!({"total": at(side), "parts": (0..side).map(at).collect::<Vec<_>>()});
        lines.extend([
            line(&|i| at(i, a, b)),
            line(&|i| at(a, i, b)),
            line(&|i| at(a, b, i)),
        ]);
    }
    load(&json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "array", "maxItems": 2000, "items": cell(rounding),
        "sdcTable": {"lines": lines, "min": 10},
    }))
}

fn published(value: usize, rounding: bool) -> Value {
    let value = if rounding { (value + 2) / 5 * 5 } else { value };
    value.into()
}

/// A table with so many suppressed cells, in blocks of four with one small count each.
fn matrix_body(rows: usize, columns: usize, suppressed: usize, rounding: bool) -> Vec<u8> {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut counts: Vec<Vec<usize>> = (0..rows)
        .map(|_| (0..columns).map(|_| 20 + chance.below(480)).collect())
        .collect();
    let mut hidden = vec![vec![None; columns]; rows];
    let mut count = 0;
    while count < suppressed {
        let (r, c) = (chance.below(rows), chance.below(columns));
        let (s, d) = (chance.below(rows), chance.below(columns));
        if r == s || c == d || hidden[r][c].is_some() || count + 4 > suppressed + 3 {
            continue;
        }
        counts[r][c] = 1 + chance.below(9);
        for (i, j, marker) in [(r, c, "<10"), (r, d, "*"), (s, c, "*"), (s, d, "*")] {
            if hidden[i][j].is_none() && count < suppressed {
                hidden[i][j] = Some(marker);
                count += 1;
            }
        }
    }
    let shown = |r: usize, c: usize| {
        hidden[r][c].map_or_else(|| published(counts[r][c], rounding), Value::from)
    };
    let row = |r: usize| (0..columns).map(|c| shown(r, c)).collect::<Vec<_>>();
    let total = |sum: usize| published(sum, rounding);
    let body = json!({
        "cells": (0..rows).map(row).collect::<Vec<_>>(),
        "rows": counts.iter().map(|row| total(row.iter().sum())).collect::<Vec<_>>(),
        "columns": (0..columns).map(|c| total(counts.iter().map(|row| row[c]).sum()))
            .collect::<Vec<_>>(),
        "total": total(counts.iter().flatten().sum()),
    });
    body.to_string().into_bytes()
}

/// A cube with margins and so many of its inner cells suppressed.
fn cube_body(side: usize, suppressed: usize, rounding: bool) -> Vec<u8> {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut counts = vec![0; (side + 1).pow(3)];
    let mut hidden = vec![false; counts.len()];
    let inner: Vec<_> = (0..side.pow(3))
        .map(|n| [n / side / side, n / side % side, n % side])
        .collect();
    let at = |[i, j, k]: [usize; 3]| (i * (side + 1) + j) * (side + 1) + k;
    for &cell in &inner {
        let count = 20 + chance.below(480);
        for margins in 0..8 {
            let place = |axis: usize| {
                if margins >> axis & 1 == 1 {
                    side
                } else {
                    cell[axis]
                }
            };
            counts[at([place(0), place(1), place(2)])] += count;
        }
    }
    let mut left = suppressed.min(inner.len());
    while left > 0 {
        let cell = at(inner[chance.below(inner.len())]);
        left -= usize::from(!hidden[cell]);
        hidden[cell] = true;
    }
    let shown = counts
        .iter()
        .zip(&hidden)
        .map(|(&count, &hidden)| match hidden {
            true => Value::from("*"),
            false => published(count, rounding),
        });
    Value::Array(shown.collect()).to_string().into_bytes()
}

/// What the judge says, and of how many things.
fn verdict(contract: &Contract, body: &[u8]) -> String {
    match contract.judge_body(body) {
        Ok(_) => "passes".into(),
        Err(violations) => {
            let mut text = String::from("refused:");
            let mut reasons: Vec<_> = violations.iter().map(|v| v.reason).collect();
            reasons.dedup();
            for reason in reasons {
                write!(text, " {reason}").expect("a String takes everything");
            }
            text
        }
    }
}

fn tables(c: &mut Criterion) {
    let mut group = c.benchmark_group("table");
    group.sample_size(10);
    for rounding in [false, true] {
        let contract = matrix(rounding);
        let kind = if rounding { "rounded" } else { "exact" };
        for (rows, columns, suppressed) in [
            (3, 4, 0),
            (10, 10, 0),
            (50, 38, 0),
            (10, 10, 30),
            (20, 20, 91),
            (30, 30, 200),
            (50, 38, 200),
        ] {
            let body = matrix_body(rows, columns, suppressed, rounding);
            let verdict = verdict(&contract, &body);
            let name = format!("{kind} {rows}x{columns}/{suppressed} {verdict}");
            group.bench_function(BenchmarkId::from_parameter(name), |b| {
                b.iter(|| black_box(contract.judge_body(black_box(&body))).is_ok());
            });
        }
        for (side, suppressed) in [(3, 27), (4, 40), (6, 150), (8, 200), (11, 200)] {
            let contract = cube(side, rounding);
            let body = cube_body(side, suppressed, rounding);
            let verdict = verdict(&contract, &body);
            let name = format!("{kind} {side}x{side}x{side}/{suppressed} {verdict}");
            group.bench_function(BenchmarkId::from_parameter(name), |b| {
                b.iter(|| black_box(contract.judge_body(black_box(&body))).is_ok());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, tables);
criterion_main!(benches);

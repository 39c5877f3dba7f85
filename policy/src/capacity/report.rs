//! Reports for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::count::{Count, decimals};
use super::{Capacity, PolicyCapacity};

/// What stands between the columns of a table.
const GAP: &str = "  ";

/// A capacity for terminals: one line for each place with a choice, the largest first.
pub fn table(capacity: &Capacity) -> String {
    let head = ["bits", "each", "times", "values", "place", "what"].map(str::to_owned);
    let mut rows = vec![head.to_vec()];
    for leaf in capacity.choices() {
        rows.push(vec![
            bits(leaf.total_bits()),
            bits(leaf.bits()),
            leaf.instances
                .map_or("unbounded".to_owned(), |n| n.to_string()),
            leaf.n.text(),
            place(&leaf.pointer),
            leaf.what.to_owned(),
        ]);
    }
    let structure = capacity.structure_bits();
    if structure.is_finite() {
        let blank = String::new();
        rows.push(vec![
            bits(structure),
            blank.clone(),
            blank.clone(),
            blank.clone(),
            blank,
            "which parts are there, in which order".to_owned(),
        ]);
    }
    let mut text = aligned(&rows, 4);
    let size = if capacity.by_size {
        ", by the size of the body"
    } else {
        ""
    };
    // Writing to a String cannot fail.
    let _ = match capacity.bits() {
        Some(whole) => writeln!(
            text,
            "\nat most {} bits in one release{size} ({whole} when rounded up)",
            bits(capacity.bits_f64())
        ),
        None => writeln!(text, "\nnothing bounds what one release carries"),
    };
    text
}

/// The same for programs. What is unbounded is null, and so is a number too long to be read.
pub fn json(capacity: &Capacity) -> Value {
    let leaves: Vec<Value> = (capacity.leaves.iter())
        .map(|leaf| {
            json!({
                "pointer": leaf.pointer,
                "what": leaf.what,
                "instances": leaf.instances,
                "values": leaf.n.json(),
                "bits": decimals(leaf.bits()),
                "totalBits": decimals(leaf.total_bits()),
            })
        })
        .collect();
    json!({
        "bits": capacity.bits(),
        "exactBits": decimals(capacity.bits_f64()),
        "payloads": capacity.n.json(),
        "bySize": capacity.by_size,
        "structureBits": decimals(capacity.structure_bits()),
        "leaves": leaves,
    })
}

/// The capacity of a policy for terminals: rules, and their exchanges below them.
pub fn policy_table(capacity: &PolicyCapacity) -> String {
    let head = ["bits", "a day", "rule", "what can leave"].map(str::to_owned);
    let mut rows = vec![head.to_vec()];
    let day = |bits_per_day: Option<f64>| bits_per_day.map_or_else(String::new, bits);
    for rule in &capacity.rules {
        let what = format!("{} {}", rule.direction.as_str(), rule.action);
        rows.push(vec![
            bits(rule.n.log2()),
            day(rule.bits_per_day),
            rule.name.to_string(),
            what,
        ]);
        for exchange in &rule.exchanges {
            let parts = exchange.parts.iter().filter(|part| part.n != Count::one());
            let parts: Vec<String> = parts
                .map(|part| format!("{} {}", part.name, bits(part.n.log2())))
                .collect();
            let what = format!("  {}: {}", exchange.label, parts.join(", "));
            let what = what.trim_end_matches([':', ' ']).to_owned();
            let daily = day(exchange.bits_per_day);
            rows.push(vec![bits(exchange.n.log2()), daily, String::new(), what]);
        }
    }
    let mut text = aligned(&rows, 2);
    let total = |what: &str, n: &Count| match n.bits() {
        _ if n.is_zero() => format!("no {what} can leave by inspected rules\n"),
        Some(_) => format!("at most {} bits in one {what}\n", bits(n.log2())),
        None => format!("nothing bounds what one {what} carries\n"),
    };
    let _ = write!(
        text,
        "\n{}{}",
        total("request", &capacity.requests),
        total("answer", &capacity.answers)
    );
    text
}

/// The same for programs.
pub fn policy_json(capacity: &PolicyCapacity) -> Value {
    let rules: Vec<Value> = (capacity.rules.iter())
        .map(|rule| {
            let exchanges: Vec<Value> = (rule.exchanges.iter())
                .map(|exchange| {
                    let part = |part: &super::Part| {
                        json!({"name": part.name, "bits": decimals(part.n.log2())})
                    };
                    json!({
                        "label": *exchange.label,
                        "bits": exchange.n.bits(),
                        "exactBits": decimals(exchange.n.log2()),
                        "bitsPerDay": exchange.bits_per_day.map(decimals),
                        "parts": exchange.parts.iter().map(part).collect::<Vec<_>>(),
                    })
                })
                .collect();
            json!({
                "name": *rule.name,
                "direction": rule.direction.as_str(),
                "action": rule.action,
                "destinations": rule.destinations.json(),
                "bits": rule.n.bits(),
                "exactBits": decimals(rule.n.log2()),
                "bitsPerDay": rule.bits_per_day.map(decimals),
                "exchanges": exchanges,
            })
        })
        .collect();
    json!({
        "requestBits": capacity.requests.bits(),
        "answerBits": capacity.answers.bits(),
        "rules": rules,
    })
}

/// A figure in bits.
pub(super) fn bits(bits: f64) -> String {
    if !bits.is_finite() {
        return "unbounded".to_owned();
    }
    // No minus before what rounds to nothing.
    let text = format!("{bits:.2}");
    if text == "-0.00" {
        "0.00".to_owned()
    } else {
        text
    }
}

/// A pointer, or what stands for the whole payload.
pub(super) fn place(pointer: &str) -> String {
    if pointer.is_empty() {
        return "(the payload)".to_owned();
    }
    pointer
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Columns, the first so many to the right.
fn aligned(rows: &[Vec<String>], right: usize) -> String {
    let width = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or(0)
    };
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(i, (cell, width))| {
                let pad = " ".repeat(width - cell.chars().count());
                if i < right {
                    format!("{pad}{cell}")
                } else {
                    format!("{cell}{pad}")
                }
            });
        let line = cells.collect::<Vec<_>>().join(GAP);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

//! Margins that follow from the cells of a table, and so carry nothing of their own.
//!
//! Only where `sdcTable` leaves no choice at all: every cell and margin is a whole number, without
//! markers and without rounding, and no margin is, over others, a part of itself. Markers may stand
//! in any schema that holds there, so where there are parts or alternatives nothing is left out.

use serde_json::{Map, Value};

use crate::judge::sdc::{Pointer, Token, schemas_at};

type Schema = Map<String, Value>;
type Way = Vec<Token>;

/// A total and what it is the sum of.
struct Line {
    total: Way,
    parts: Vec<Way>,
}

/// The ways to all margins that follow from others.
pub(super) fn derived(here: &[&Schema]) -> Vec<Way> {
    let Some(rule) = here.iter().find_map(|schema| schema.get("sdcTable")) else {
        return Vec::new();
    };
    let lines = matrix(rule).unwrap_or_else(|| lines(rule));
    let mut kept: Vec<Line> = Vec::new();
    for line in lines {
        let whole = (line.parts.iter().chain([&line.total])).all(|way| is_whole(here, way));
        if whole && !circular(&kept, &line) {
            kept.push(line);
        }
    }
    kept.into_iter().map(|line| line.total).collect()
}

fn matrix(rule: &Value) -> Option<Vec<Line>> {
    let cells = way(rule.get("matrix")?)?;
    let below = |way: &Way, levels: usize| {
        let every = std::iter::repeat_n(Token::Every, levels);
        way.iter().cloned().chain(every).collect::<Way>()
    };
    let mut lines = Vec::new();
    for (name, levels) in [("rowTotals", 1), ("colTotals", 1), ("total", 0)] {
        if let Some(total) = rule.get(name).and_then(way) {
            lines.push(Line {
                total: below(&total, levels),
                parts: vec![below(&cells, 2)],
            });
        }
    }
    Some(lines)
}

fn lines(rule: &Value) -> Vec<Line> {
    let line = |written: &Value| {
        let total = way(written.get("total")?)?;
        let parts = written.get("parts")?.as_array()?.iter().map(way);
        let parts = parts.collect::<Option<Vec<_>>>()?;
        (!total.contains(&Token::Every)).then_some(Line { total, parts })
    };
    let written = rule.get("lines").and_then(Value::as_array);
    written.into_iter().flatten().filter_map(line).collect()
}

/// A way to something that must be there.
fn way(pointer: &Value) -> Option<Way> {
    let pointer = Pointer::parse(pointer).ok()?;
    (!pointer.optional).then(|| pointer.tokens().to_vec())
}

/// Whether a new total is a part of itself, over the lines that there are.
fn circular(lines: &[Line], new: &Line) -> bool {
    let mut todo: Vec<&Way> = new.parts.iter().collect();
    let mut seen = vec![false; lines.len()];
    while let Some(part) = todo.pop() {
        if meet(part, &new.total) {
            return true;
        }
        for (line, seen) in lines.iter().zip(&mut seen) {
            if meet(part, &line.total) && !std::mem::replace(seen, true) {
                todo.extend(&line.parts);
            }
        }
    }
    false
}

/// Whether two ways can lead to one place, or one through the other.
fn meet(a: &Way, b: &Way) -> bool {
    a.iter()
        .zip(b)
        .all(|(a, b)| a == b || *a == Token::Every || *b == Token::Every)
}

/// Whether there are only whole numbers, each as it is.
fn is_whole(here: &[&Schema], way: &Way) -> bool {
    let mut places: Vec<&Value> = Vec::new();
    let mut maps: Vec<&Schema> = here.to_vec();
    // As the rule itself reads its cells.
    let judged = here.iter().flat_map(|schema| schemas_at(schema, way));
    if judged.into_iter().any(is_masked) {
        return false;
    }
    for token in way {
        places = maps
            .iter()
            .flat_map(|schema| below(schema, token))
            .collect();
        if places.is_empty() {
            return false;
        }
        maps = places
            .iter()
            .filter_map(|place| place.as_object())
            .collect();
        if maps.len() < places.len() || maps.iter().any(|schema| has_parts(schema)) {
            return false;
        }
    }
    !places.is_empty() && maps.iter().all(|schema| is_plain_integer(schema))
}

fn is_plain_integer(schema: &Schema) -> bool {
    let whole = schema.get("type").and_then(Value::as_str) == Some("integer");
    whole && !is_masked(schema)
}

/// Whether something else than the true number may stand there.
fn is_masked(schema: &Schema) -> bool {
    ["sdcSuppressed", "sdcRound"]
        .iter()
        .any(|k| schema.contains_key(*k))
}

/// Whether other schemas hold, or may hold, at the same place.
fn has_parts(schema: &Schema) -> bool {
    const PARTS: &[&str] = &[
        "$dynamicRef",
        "$ref",
        "allOf",
        "anyOf",
        "dependentSchemas",
        "if",
        "oneOf",
    ];
    PARTS.iter().any(|k| schema.contains_key(*k))
}

/// The schemas one step below; more than one for all items of a tuple.
fn below<'s>(schema: &'s Schema, token: &Token) -> Vec<&'s Value> {
    let prefix = schema.get("prefixItems").and_then(Value::as_array);
    let items = schema
        .get("items")
        .filter(|items| **items != Value::Bool(false));
    let properties = schema.get("properties").and_then(Value::as_object);
    match token {
        Token::Every if properties.is_some() => Vec::new(),
        Token::Every => prefix.into_iter().flatten().chain(items).collect(),
        Token::Name(name) => {
            let index = name.parse::<usize>().ok();
            let item = index
                .and_then(|i| prefix?.get(i))
                .or_else(|| index.and(items));
            properties
                .and_then(|all| all.get(name))
                .or(item)
                .into_iter()
                .collect()
        }
    }
}

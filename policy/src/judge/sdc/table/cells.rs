//! From a payload to variables and lines.

use std::collections::HashMap;

use serde_json::Value;

use super::{Cells, Line, Matrix, System, Table};
use crate::Reason;
use crate::judge::sdc::pointer::Token;
use crate::judge::sdc::{CellRule, CellValue, Findings, Pointer};
use crate::source::join;

/// A table as a payload states it.
#[derive(Debug)]
pub(crate) struct Stated<'v> {
    cells: Vec<Cell<'v>>,
    /// The variables of cells, which are told apart by the addresses of their values.
    numbers: HashMap<usize, usize>,
    lines: Vec<Line>,
    /// Wholes and parts of them.
    nested: Vec<(usize, usize)>,
    /// The value at which the rule stands.
    root: &'v Value,
}

#[derive(Debug)]
struct Cell<'v> {
    value: &'v Value,
    bounds: (i64, i64),
    /// What is published does not tell the number, and must not.
    suppressed: bool,
}

impl Table {
    /// Reads a table; `None` if it is incomplete, with findings that say so.
    pub(crate) fn state<'v>(&self, value: &'v Value, found: &mut Findings) -> Option<Stated<'v>> {
        let mut stated = Stated {
            root: value,
            cells: Vec::new(),
            numbers: HashMap::new(),
            lines: Vec::new(),
            nested: Vec::new(),
        };
        if let Some(matrix) = &self.matrix {
            stated.matrix(matrix, self.min, found)?;
        }
        for sum in &self.lines {
            let Some(total) = stated.all(&sum.total, self.min, found)? else {
                continue;
            };
            let mut parts = Vec::new();
            for cells in &sum.parts {
                parts.extend(stated.all(cells, self.min, found)?.unwrap_or_default());
            }
            let total = total[0];
            // A total whose parts may all be left out says nothing about them.
            if !parts.is_empty() {
                stated.lines.push(Line { total, parts });
            }
        }
        for (whole, part) in &self.nested {
            let whole = stated.all(whole, self.min, found)?;
            let part = stated.all(part, self.min, found)?;
            if let (Some(whole), Some(part)) = (whole, part) {
                stated.nested.push((whole[0], part[0]));
            }
        }
        Some(stated)
    }
}

impl<'v> Stated<'v> {
    /// What an audit needs to know. The first variables are the cells, in the order of
    /// [`Stated::pointer`]; further ones are what parts leave out of their wholes.
    pub(crate) fn system(&self, width: i64) -> System {
        let suppressed = |(cell, stated): (usize, &Cell<'_>)| stated.suppressed.then_some(cell);
        let mut system = System {
            bounds: self.cells.iter().map(|cell| cell.bounds).collect(),
            lines: self.lines.clone(),
            suppressed: self
                .cells
                .iter()
                .enumerate()
                .filter_map(suppressed)
                .collect(),
            width,
        };
        for (total, part) in self.unknown() {
            let (lo, hi) = self.difference(total, part);
            let left_out = system.bounds.len();
            system.bounds.push((lo.max(0), hi));
            let parts = vec![part, left_out];
            system.lines.push(Line { total, parts });
        }
        system
    }

    /// Looks at what parts leave out of their wholes.
    pub(super) fn differences(&self, min: i64, found: &mut Findings) {
        for &(whole, part) in &self.nested {
            if found.enough() {
                return;
            }
            let (lo, hi) = self.difference(whole, part);
            if hi < 0 {
                found.push(
                    Reason::SdcInconsistent,
                    self.pointer(part),
                    || "a part that is not larger than its whole",
                );
            } else if lo >= 1 && hi < min {
                found.push(Reason::SdcNested, self.pointer(part), || {
                    format!("a part that leaves out nobody, or at least {min} of its whole")
                });
            }
        }
    }

    /// Where a cell is, from the place of the rule on.
    pub(crate) fn pointer(&self, cell: usize) -> String {
        let value = self.cells.get(cell).map(|cell| cell.value);
        let found = value.and_then(|value| find(self.root, value));
        found.unwrap_or_default()
    }

    /// Where the total of a line is.
    pub(super) fn total(&self, line: usize) -> String {
        let nested = || self.unknown().nth(line - self.lines.len());
        let total = (self.lines.get(line))
            .map_or_else(|| nested().map(|(whole, _)| whole), |line| Some(line.total));
        total.map(|cell| self.pointer(cell)).unwrap_or_default()
    }

    /// The pairs whose difference is possible and not known: each has a line in the system.
    fn unknown(&self) -> impl Iterator<Item = (usize, usize)> {
        let pairs = self.nested.iter().copied();
        pairs.filter(|&(whole, part)| {
            let (lo, hi) = self.difference(whole, part);
            lo < hi && hi >= 0
        })
    }

    fn difference(&self, whole: usize, part: usize) -> (i64, i64) {
        let (whole, part) = (self.cells[whole].bounds, self.cells[part].bounds);
        (whole.0 - part.1, whole.1 - part.0)
    }

    fn matrix(&mut self, matrix: &Matrix, min: i64, found: &mut Findings) -> Option<()> {
        let row_totals = self.list(&matrix.row_totals, &matrix.row_total, min, found)?;
        let column_totals = self.list(&matrix.column_totals, &matrix.column_total, min, found)?;
        let total = self.all(&matrix.total, min, found)??[0];
        let rows = self.array(&matrix.rows, found)?;
        let width = column_totals.len();
        let fits = |row: &Value| row.as_array().is_some_and(|row| row.len() == width);
        let ragged = rows.iter().position(|row| !fits(row));
        if rows.len() != row_totals.len() || ragged.is_some() {
            let mut pointer = matrix.rows.to_string();
            if let Some(row) = ragged {
                pointer = join(&pointer, row);
            }
            found.push(
                Reason::SdcPointer,
                pointer,
                || "as many rows as row totals, and in each as many cells as column totals",
            );
            return None;
        }
        let mut columns = vec![Vec::with_capacity(rows.len()); width];
        for (row, &total) in rows.iter().zip(&row_totals) {
            let mut parts = Vec::with_capacity(width);
            for (cell, column) in row.as_array()?.iter().zip(&mut columns) {
                let cell = self.cell(cell, &matrix.cell, min, found)?;
                parts.push(cell);
                column.push(cell);
            }
            self.lines.push(Line { total, parts });
        }
        let lines = column_totals.iter().zip(columns);
        self.lines
            .extend(lines.map(|(&total, parts)| Line { total, parts }));
        for parts in [row_totals, column_totals] {
            self.lines.push(Line { total, parts });
        }
        Some(())
    }

    /// The elements of an array of cells.
    fn list(
        &mut self,
        pointer: &Pointer,
        rule: &CellRule,
        min: i64,
        found: &mut Findings,
    ) -> Option<Vec<usize>> {
        let cells = self.array(pointer, found)?;
        (cells.iter())
            .map(|cell| self.cell(cell, rule, min, found))
            .collect()
    }

    fn array(&self, pointer: &Pointer, found: &mut Findings) -> Option<&'v [Value]> {
        let array = pointer.one(self.root).and_then(Value::as_array);
        let array = array.filter(|array| !array.is_empty());
        if array.is_none() {
            found.push(
                Reason::SdcPointer,
                pointer.to_string(),
                || "an array that is not empty",
            );
        }
        array.map(Vec::as_slice)
    }

    /// The cells that a pointer names, at least one: `None` with a finding, `Some(None)` if they are
    /// missing and may be.
    fn all(&mut self, cells: &Cells, min: i64, found: &mut Findings) -> Option<Option<Vec<usize>>> {
        let mut values = Vec::new();
        let complete = walk(self.root, cells.pointer.tokens(), &mut values);
        let optional = cells.pointer.optional;
        if !optional && (!complete || values.is_empty()) {
            found.push(
                Reason::SdcPointer,
                cells.pointer.to_string(),
                || "the members that the contract names here, each of them",
            );
            return None;
        }
        if values.is_empty() {
            return Some(None);
        }
        let cells = values
            .into_iter()
            .map(|v| self.cell(v, &cells.rule, min, found));
        cells.collect::<Option<_>>().map(Some)
    }

    /// The variable of a cell; `None`, with a finding, if it holds nothing that it may hold.
    fn cell(
        &mut self,
        value: &'v Value,
        rule: &CellRule,
        min: i64,
        found: &mut Findings,
    ) -> Option<usize> {
        let next = self.cells.len();
        let cell = *self
            .numbers
            .entry(std::ptr::from_ref(value).addr())
            .or_insert(next);
        if cell < next {
            return Some(cell);
        }
        let Some(bounds) = rule.interval(value) else {
            let pointer = find(self.root, value);
            found.push(Reason::SdcCell, pointer.unwrap_or_default(), || {
                format!("a whole number{}", rule.or_markers())
            });
            return None;
        };
        let suppressed = match rule.read(value) {
            CellValue::Marker { .. } => true,
            // The label of all small counts, on a grid whose middle is below the minimum.
            CellValue::Number(number) => {
                let small = |n: i64| n > 0 && n < min;
                bounds.0 < bounds.1 && number.as_integer().is_some_and(small)
            }
            CellValue::Invalid => false,
        };
        self.cells.push(Cell {
            value,
            bounds,
            suppressed,
        });
        Some(cell)
    }
}

/// Collects the values at the end of a pointer, in the order of the payload; whether none of its
/// ways ended early.
fn walk<'v>(value: &'v Value, tokens: &[Token], values: &mut Vec<&'v Value>) -> bool {
    let Some((token, rest)) = tokens.split_first() else {
        values.push(value);
        return true;
    };
    let mut all = |children: &mut dyn Iterator<Item = &'v Value>| {
        let mut whole = true;
        for child in children {
            whole &= walk(child, rest, values);
        }
        whole
    };
    match (token, value) {
        (Token::Every, Value::Array(items)) => all(&mut items.iter()),
        (Token::Every, Value::Object(members)) => all(&mut members.values()),
        (Token::Every, _) => false,
        (Token::Name(name), Value::Array(items)) => {
            let item = name.parse::<usize>().ok().and_then(|i| items.get(i));
            item.is_some_and(|item| walk(item, rest, values))
        }
        (Token::Name(name), value) => {
            (value.get(name)).is_some_and(|member| walk(member, rest, values))
        }
    }
}

/// The pointer from a value to one below it, which is told by where it is. Only asked for when
/// something is wrong. Recurses: values come from the reader, which bounds their depth.
fn find(value: &Value, wanted: &Value) -> Option<String> {
    if std::ptr::eq(value, wanted) {
        return Some(String::new());
    }
    match value {
        Value::Array(items) => (items.iter().enumerate())
            .find_map(|(i, item)| find(item, wanted).map(|below| join("", i) + &below)),
        Value::Object(members) => (members.iter())
            .find_map(|(name, item)| find(item, wanted).map(|below| join("", name) + &below)),
        _ => None,
    }
}

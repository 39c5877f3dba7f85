//! `sdcTable`: cells, their margins, parts and wholes, and whether suppressed cells stay so.
//!
//! Stands where all of its members are below it. What it names is read once into variables and
//! lines ([`Stated`]); [`audit()`] judges those. A member that is missing is a finding, and so is a
//! table that does not have the form that its margins say.
//!
//! Sources: sdcTable's `attack()`, tau-ARGUS, the CMS cell size suppression policy ("derived from
//! other reported cells").

use serde_json::{Map, Value};

use super::params::{integer, members};
use super::{CellRule, Findings, Pointer, Rule};
use crate::Reason;

mod audit;
mod cells;
mod part;
mod propagate;
mod search;
mod simplex;

pub(crate) use audit::{Limits, Line, System, Trouble, audit};
pub(crate) use cells::Stated;

const KEYWORD: &str = "sdcTable";

/// The rule.
#[derive(Debug)]
pub(crate) struct Table {
    matrix: Option<Matrix>,
    lines: Vec<Sum>,
    /// Wholes and parts of them.
    nested: Vec<(Cells, Cells)>,
    /// The least number of people behind a figure.
    min: i64,
    /// How far apart the least and the greatest possible value of a suppressed cell are, at least.
    width: i64,
}

/// Cells in rows and columns, with all of their totals.
#[derive(Debug)]
struct Matrix {
    /// The array of rows.
    rows: Pointer,
    cell: CellRule,
    row_totals: Pointer,
    row_total: CellRule,
    column_totals: Pointer,
    column_total: CellRule,
    total: Cells,
}

/// A total and what it is the sum of.
#[derive(Debug)]
struct Sum {
    total: Cells,
    parts: Vec<Cells>,
}

/// Cells of one kind.
#[derive(Debug)]
struct Cells {
    pointer: Pointer,
    rule: CellRule,
}

impl Rule for Table {
    fn new(value: &Value, schema: &Map<String, Value>) -> Result<Self, String> {
        let matrix = ["matrix", "rowTotals", "colTotals", "total"];
        let rest = ["lines", "nested", "minWidth"];
        let optional = [&matrix[..], &rest].concat();
        let members = members(KEYWORD, value, &["min"], &optional)?;
        let number = |name: &str, value: &Value| {
            let number = integer(KEYWORD, name, value)?;
            let why = || format!("`{name}` of `{KEYWORD}` is at least 1");
            Some(number).filter(|n| *n >= 1).ok_or_else(why)
        };
        let min = number("min", &members["min"])?;
        let width = members.get("minWidth");
        let table = Self {
            matrix: (matrix.iter().any(|name| members.contains_key(*name)))
                .then(|| Matrix::new(members, schema))
                .transpose()?,
            lines: each(members, "lines", |line| Sum::new(line, schema))?,
            nested: each(members, "nested", |pair| nested(pair, schema))?,
            min,
            width: width.map_or(Ok(min - min / 2), |width| number("minWidth", width))?,
        };
        if table.matrix.is_none() && table.lines.is_empty() && table.nested.is_empty() {
            return Err(format!(
                "`{KEYWORD}` needs `matrix` with its totals, or `lines`, or `nested`"
            ));
        }
        Ok(table)
    }

    fn check(&self, value: &Value, found: &mut Findings) {
        let Some(stated) = self.state(value, found) else {
            return;
        };
        stated.differences(self.min, found);
        if found.enough() {
            return;
        }
        let troubles = audit(
            &stated.system(self.width),
            &Limits::STANDARD,
            found.first_only,
        );
        for trouble in troubles {
            if found.enough() {
                break;
            }
            self.report(trouble, &stated, found);
        }
    }
}

impl Table {
    fn report(&self, trouble: Trouble, stated: &Stated<'_>, found: &mut Findings) {
        let width = self.width;
        match trouble {
            Trouble::Inconsistent(line) => {
                let pointer = line.map(|line| stated.total(line)).unwrap_or_default();
                found.push(
                    Reason::SdcInconsistent,
                    pointer,
                    || "totals that are the sums of their parts, within rounding and markers",
                );
            }
            Trouble::Recoverable(cell) => {
                found.push(Reason::SdcRecoverable, stated.pointer(cell), || {
                    format!(
                        "suppress more cells: what is published must leave at least {width} \
                         between the least and the greatest possible value of this one"
                    )
                });
            }
            Trouble::Unproven(cell) => {
                found.push(Reason::SdcUnproven, stated.pointer(cell), || {
                    "a smaller table, or another choice of suppressed cells: this one could not be \
                     proven safe within the limits"
                });
            }
            Trouble::TooLarge => found.push(Reason::SdcUnproven, "", || {
                let Limits {
                    cells, suppressed, ..
                } = Limits::STANDARD;
                format!("at most {cells} cells with {suppressed} suppressed ones among them")
            }),
        }
    }
}

impl Matrix {
    fn new(members: &Map<String, Value>, schema: &Map<String, Value>) -> Result<Self, String> {
        let member = |name: &str, below: &str| {
            let Some(Value::String(text)) = members.get(name) else {
                return Err(format!(
                    "a matrix in `{KEYWORD}` needs pointers `matrix`, `rowTotals`, `colTotals` and \
                     `total`"
                ));
            };
            let pointer = single(&Value::from(text.as_str()))?;
            if pointer.optional {
                return Err(format!("`{name}` of `{KEYWORD}` cannot be optional"));
            }
            let cells = Cells::new(&Value::from(format!("{text}{below}")), schema)?;
            Ok((pointer, cells))
        };
        let (rows, cells) = member("matrix", "/*/*")?;
        let (row_totals, row_total) = member("rowTotals", "/*")?;
        let (column_totals, column_total) = member("colTotals", "/*")?;
        let (_, total) = member("total", "")?;
        Ok(Self {
            rows,
            cell: cells.rule,
            row_totals,
            row_total: row_total.rule,
            column_totals,
            column_total: column_total.rule,
            total,
        })
    }
}

impl Sum {
    fn new(line: &Value, schema: &Map<String, Value>) -> Result<Self, String> {
        let members = members(KEYWORD, line, &["total", "parts"], &[])?;
        single(&members["total"])?;
        let parts = each(members, "parts", |part| Cells::new(part, schema))?;
        let total = Cells::new(&members["total"], schema)?;
        Ok(Self { total, parts })
    }
}

impl Cells {
    fn new(pointer: &Value, schema: &Map<String, Value>) -> Result<Self, String> {
        let pointer = Pointer::parse(pointer)?;
        let rule = CellRule::at(schema, &pointer)?;
        Ok(Self { pointer, rule })
    }
}

/// A pointer to one place.
fn single(pointer: &Value) -> Result<Pointer, String> {
    let parsed = Pointer::parse(pointer)?;
    if parsed.is_plural() {
        return Err(format!(
            "`{parsed}` in `{KEYWORD}` must name one member, without `*`"
        ));
    }
    Ok(parsed)
}

fn nested(pair: &Value, schema: &Map<String, Value>) -> Result<(Cells, Cells), String> {
    let Some([whole, part]) = pair.as_array().map(Vec::as_slice) else {
        return Err(format!(
            "`nested` of `{KEYWORD}` needs pairs of a whole and a part of it: [\"/all\", \"/some\"]"
        ));
    };
    single(whole)?;
    single(part)?;
    Ok((Cells::new(whole, schema)?, Cells::new(part, schema)?))
}

/// The elements of a list that, if it is there, is not empty.
fn each<T>(
    members: &Map<String, Value>,
    name: &str,
    read: impl FnMut(&Value) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    match members.get(name) {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) if !list.is_empty() => list.iter().map(read).collect(),
        Some(_) => Err(format!(
            "`{name}` of `{KEYWORD}` needs a list that is not empty"
        )),
    }
}

#[cfg(test)]
mod tests;

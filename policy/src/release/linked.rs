//! Tables of one period, put together: what none of them tells alone, all of them may.
//!
//! The lines (totals and their parts) of all releases in the horizon with the same labels for the
//! whole payload are stacked, and figures with the same key are one unknown. Whether the unknowns
//! stay wide enough is for the audit of suppressed cells to prove.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::cells::violation;
use super::{Cell, History, Interval, Key, LinkedRelease, ReleaseFacts, ReleaseRule};
use crate::Reason;
use crate::judge::Violation;
use crate::judge::sdc::Pointer;
use crate::judge::sdc::table::{self, Limits, Line, System};

/// The `sdcTable`s of a contract, as lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    tables: Vec<Table>,
    /// The least width that an unknown must keep.
    width: u64,
}

#[derive(Clone, Debug)]
enum Table {
    Matrix {
        cells: String,
        rows: String,
        columns: String,
        total: String,
    },
    Line {
        total: String,
        parts: Vec<Pointer>,
    },
}

impl Lines {
    /// Reads the tables of a contract that stand where there is one of them.
    pub(super) fn of_schema(schema: &Map<String, Value>) -> Result<Self, String> {
        let mut lines = Self::default();
        lines.read(schema, String::new())?;
        if lines.tables.is_empty() {
            return Err(
                "`linkedAudit` needs an `sdcTable` with lines or a matrix, on an object \
                        that every payload has once"
                    .into(),
            );
        }
        Ok(lines)
    }

    fn read(&mut self, schema: &Map<String, Value>, at: String) -> Result<(), String> {
        if let Some(table) = schema.get("sdcTable") {
            self.table(table, &at)?;
        }
        let members = schema.get("properties").and_then(Value::as_object);
        for (name, member) in members.into_iter().flatten() {
            if let Value::Object(member) = member {
                self.read(member, crate::source::join(&at, name))?;
            }
        }
        Ok(())
    }

    fn table(&mut self, table: &Value, at: &str) -> Result<(), String> {
        const WRONG: &str = "`linkedAudit` cannot read `sdcTable`: it has `matrix`, `rowTotals`, \
                             `colTotals` and `total`, or `lines` with `total` and `parts`";
        let min = table.get("min").and_then(Value::as_u64).unwrap_or(1);
        let width = table.get("minWidth").and_then(Value::as_u64);
        self.width = self.width.max(width.unwrap_or(min.div_ceil(2)));
        let pointer = |of: &Value, name: &str| {
            let text = of.get(name).and_then(Value::as_str).ok_or(WRONG)?;
            Ok::<_, &str>(format!("{at}{text}"))
        };
        if table.get("matrix").is_some() {
            self.tables.push(Table::Matrix {
                cells: pointer(table, "matrix")?,
                rows: pointer(table, "rowTotals")?,
                columns: pointer(table, "colTotals")?,
                total: pointer(table, "total")?,
            });
        }
        for line in table
            .get("lines")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let parts = line.get("parts").and_then(Value::as_array).ok_or(WRONG)?;
            let parts: Result<Vec<_>, String> = (parts.iter())
                .map(|part| {
                    let part = part.as_str().ok_or(WRONG)?;
                    Pointer::parse(&Value::String(format!("{at}{part}")))
                })
                .collect();
            self.tables.push(Table::Line {
                total: pointer(line, "total")?,
                parts: parts?,
            });
        }
        Ok(())
    }

    /// The lines of a payload over its cells.
    pub(super) fn of(
        &self,
        payload: &Value,
        cells: &[Cell],
    ) -> Result<Vec<(usize, Vec<usize>)>, Violation> {
        if self.tables.is_empty() {
            return Ok(Vec::new());
        }
        let places: BTreeMap<&str, usize> = (cells.iter().enumerate())
            .map(|(i, cell)| (cell.pointer.as_str(), i))
            .collect();
        let find = |place: String| {
            places.get(place.as_str()).copied().ok_or_else(|| {
                let message = "for a linked audit, each figure of a table is one that `value` \
                               names";
                violation(Reason::SdcLinkedAudit, place, message.into())
            })
        };
        let mut lines = Vec::new();
        for table in &self.tables {
            for (total, parts) in table.places(payload) {
                let parts: Result<Vec<_>, _> = parts.into_iter().map(find).collect();
                lines.push((find(total)?, parts?));
            }
        }
        Ok(lines)
    }
}

impl Table {
    /// Totals and parts as places in a payload.
    fn places(&self, payload: &Value) -> Vec<(String, Vec<String>)> {
        match self {
            Self::Line { total, parts } => {
                let parts = parts.iter().flat_map(|part| part.all(payload));
                let parts: Vec<String> = parts.map(|(place, _)| place).collect();
                // A total whose parts may all be left out says nothing about them.
                if parts.is_empty() {
                    return Vec::new();
                }
                vec![(total.clone(), parts)]
            }
            Self::Matrix {
                cells,
                rows,
                columns,
                total,
            } => {
                let items =
                    |at: &str| (payload.pointer(at).and_then(Value::as_array)).map_or(0, Vec::len);
                let (height, width) = (items(cells), items(columns));
                let row = |i: usize| (0..width).map(move |j| format!("{cells}/{i}/{j}"));
                let column = |j: usize| (0..height).map(move |i| format!("{cells}/{i}/{j}"));
                let mut lines = Vec::new();
                lines.extend((0..height).map(|i| (format!("{rows}/{i}"), row(i).collect())));
                lines.extend((0..width).map(|j| (format!("{columns}/{j}"), column(j).collect())));
                let all = |of: &str, n: usize| (0..n).map(|i| format!("{of}/{i}")).collect();
                lines.push((total.clone(), all(rows, height)));
                lines.push((total.clone(), all(columns, width)));
                lines
            }
        }
    }
}

/// Audits a release together with all earlier ones of its scope.
///
/// It runs while the ledger is held, and all other releases wait for it: who makes tables that are
/// hard to decide must not keep them waiting. So it may take fewer steps than the audit of one
/// payload; what is not proven then is refused.
pub(super) fn audit(
    rule: &ReleaseRule,
    facts: &ReleaseFacts,
    history: &History,
) -> Result<(), Violation> {
    audit_within(rule, facts, history, &Limits::BRIEF)
}

fn audit_within(
    rule: &ReleaseRule,
    facts: &ReleaseFacts,
    history: &History,
    limits: &Limits,
) -> Result<(), Violation> {
    let width = i64::try_from(rule.lines.width).unwrap_or(i64::MAX);
    let system = stack(facts, &history.linked, width).filter(|_| !history.linked_cut);
    let fits = |system: &System| table::audit(system, limits, true).is_empty();
    if system.as_ref().is_some_and(fits) {
        return Ok(());
    }
    let message = format!(
        "together with the tables of the last {} seconds, each suppressed figure is proven to keep \
         at least {} possible values",
        rule.horizon, rule.lines.width
    );
    Err(violation(Reason::SdcLinkedAudit, String::new(), message))
}

/// Puts tables together; `None` if they contradict each other. What one of them hides stays to be
/// hidden.
fn stack(facts: &ReleaseFacts, earlier: &[LinkedRelease], width: i64) -> Option<System> {
    let mut system = System {
        width,
        ..System::default()
    };
    let mut known: BTreeMap<Key, usize> = BTreeMap::new();
    let mut hidden = BTreeSet::new();
    let mut lines = BTreeSet::new();
    let own = facts.linked();
    for release in earlier.iter().chain([&own]) {
        let mut here = Vec::with_capacity(release.cells.len());
        for (key, Interval { lo, hi }) in &release.cells {
            let unknown = *known.entry(*key).or_insert(system.bounds.len());
            match system.bounds.get_mut(unknown) {
                None => system.bounds.push((*lo, *hi)),
                Some(bounds) => *bounds = (bounds.0.max(*lo), bounds.1.min(*hi)),
            }
            here.push(unknown);
        }
        let at = |i: &usize| here.get(*i).copied();
        for (total, parts) in &release.lines {
            let parts: Option<Vec<_>> = parts.iter().map(at).collect();
            lines.insert((at(total)?, parts?));
        }
        for i in &release.suppressed {
            hidden.insert(at(i)?);
        }
    }
    let lines = lines.into_iter();
    system.lines = lines.map(|(total, parts)| Line { total, parts }).collect();
    system.suppressed = hidden.into_iter().collect();
    Some(system)
}

impl ReleaseFacts {
    /// As a later release looks back on it.
    pub fn linked(&self) -> LinkedRelease {
        let cells = self.cells.iter();
        LinkedRelease {
            cells: cells.map(|c| (c.key, c.interval)).collect(),
            suppressed: self.suppressed(),
            lines: self.lines.clone(),
        }
    }

    /// The suppressed figures, as indices into [`Self::cells`].
    pub fn suppressed(&self) -> Vec<usize> {
        let cells = self.cells.iter().enumerate();
        let suppressed = cells.filter(|(_, cell)| cell.suppressed);
        suppressed.map(|(i, _)| i).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A square table with margins and suppressed cells.
    fn square(side: usize, suppressed: usize) -> (ReleaseRule, ReleaseFacts) {
        let schema = json!({
            "properties": {"week": {"enum": [1]}, "a": {}, "b": {}, "sum": {}},
            "sdcTable": {"lines": [{"total": "/sum", "parts": ["/a", "/b"]}], "min": 10},
            "sdcRelease": {"cell": ["/week"], "value": ["/a", "/b", "/sum"], "linkedAudit": true}
        });
        let rule = ReleaseRule::of_contract(&schema, "t").unwrap().unwrap();
        let payload = json!({"week": 1, "a": 20, "b": 30, "sum": 50});
        let mut facts = rule.facts(&payload, b"").unwrap();
        let value = |i: usize, j: usize| 11 + ((i * 31 + j * 17 + i * j * 7) % 89) as i64;
        // A band beside the diagonal: each row and each column has as many.
        let hidden = |i: usize, j: usize| (i * 3 + j) % side < suppressed / side;
        let like = facts.cells[0].clone();
        facts.cells.clear();
        facts.lines.clear();
        let mut add = |value: i64, suppressed: bool| {
            let mut cell = like.clone();
            let number = facts.cells.len();
            cell.key[..8].copy_from_slice(&(number as u64).to_be_bytes());
            cell.suppressed = suppressed;
            cell.interval = match suppressed {
                true => Interval { lo: 0, hi: 999_999 },
                false => Interval::exactly(value),
            };
            facts.cells.push(cell);
            number
        };
        let cells: Vec<Vec<usize>> = (0..side)
            .map(|i| (0..side).map(|j| add(value(i, j), hidden(i, j))).collect())
            .collect();
        let row = |i: usize| (0..side).map(|j| value(i, j)).sum();
        let column = |j: usize| (0..side).map(|i| value(i, j)).sum();
        let rows: Vec<_> = (0..side).map(|i| add(row(i), false)).collect();
        let columns: Vec<_> = (0..side).map(|j| add(column(j), false)).collect();
        for i in 0..side {
            facts.lines.push((rows[i], cells[i].clone()));
            let down = cells.iter().map(|row| row[i]).collect();
            facts.lines.push((columns[i], down));
        }
        (rule, facts)
    }

    /// Others wait while it runs: what is not proven within its steps is refused, and the largest
    /// tables that there are need fewer.
    #[test]
    fn an_audit_ends_after_its_steps() {
        for (side, suppressed) in [(10, 30), (20, 100), (40, 200)] {
            let (rule, facts) = square(side, suppressed);
            assert_eq!(facts.suppressed().len(), suppressed);
            let history = History::default();
            assert!(audit(&rule, &facts, &history).is_ok(), "{side}");
            let few = Limits {
                steps: 2000,
                ..Limits::BRIEF
            };
            let found = audit_within(&rule, &facts, &history, &few).unwrap_err();
            assert_eq!(found.reason, Reason::SdcLinkedAudit, "{side}");
        }
    }
}

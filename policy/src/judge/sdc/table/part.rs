//! Parts of a table that have no line in common, each of which is decided on its own.

use super::audit::System;
use super::propagate::Equation;
use super::search::Search;
use super::simplex::{Simplex, Undecided};

/// The most entries of a system of lines: 4 MiB.
const MAX_ENTRIES: usize = 1024 * 1024;

/// Steps that a part may take per entry of its system of lines, so that small tables, of which a
/// payload may hold many, do not cost as much as a large one.
const STEPS_PER_ENTRY: u64 = 10_000;

/// Variables that are not yet known and depend on each other, and the lines that they are in.
pub(super) struct Part<'t> {
    pub(super) system: &'t System,
    pub(super) bounds: &'t [(i64, i64)],
    equations: &'t [Equation],
    pub(super) variables: Vec<usize>,
    pub(super) lines: Vec<usize>,
    /// Which of `variables` are to be protected, by their index there.
    pub(super) protected: Vec<usize>,
}

/// What became of a part.
pub(super) enum Settled {
    /// The protected variables that are too narrow, and those that could not be decided.
    Cells {
        narrow: Vec<usize>,
        open: Vec<usize>,
    },
    /// There is no solution.
    Inconsistent,
    /// There is nothing to protect, but whether there is a solution could not be decided.
    Unknown,
    /// It is not worth beginning.
    TooLarge,
}

impl<'t> Part<'t> {
    /// Takes a table apart.
    pub(super) fn all(
        system: &'t System,
        bounds: &'t [(i64, i64)],
        equations: &'t [Equation],
    ) -> Vec<Self> {
        let free = |variable: usize| bounds[variable].0 < bounds[variable].1;
        let mut group: Vec<usize> = (0..bounds.len()).collect();
        let mut first_free = Vec::with_capacity(equations.len());
        for equation in equations {
            let mut variables = equation.iter().map(|&(v, _)| v).filter(|&v| free(v));
            let first = variables.next();
            first_free.push(first);
            for other in variables {
                let (a, b) = (root(&mut group, other), first.map(|v| root(&mut group, v)));
                group[a] = b.unwrap_or(a);
            }
        }
        let mut part_of = vec![usize::MAX; bounds.len()];
        let mut parts: Vec<Self> = Vec::new();
        let mut protected = vec![false; bounds.len()];
        for &cell in &system.suppressed {
            // The narrow ones have been found already.
            protected[cell] = bounds[cell].1 - bounds[cell].0 >= system.width;
        }
        for variable in (0..bounds.len()).filter(|&v| free(v)) {
            let root = root(&mut group, variable);
            if part_of[root] == usize::MAX {
                part_of[root] = parts.len();
                parts.push(Self {
                    system,
                    bounds,
                    equations,
                    variables: Vec::new(),
                    lines: Vec::new(),
                    protected: Vec::new(),
                });
            }
            let part = &mut parts[part_of[root]];
            if protected[variable] {
                part.protected.push(part.variables.len());
            }
            part.variables.push(variable);
        }
        for (line, first) in first_free.into_iter().enumerate() {
            if let Some(variable) = first {
                let root = root(&mut group, variable);
                parts[part_of[root]].lines.push(line);
            }
        }
        parts
    }

    /// Decides on each protected variable. `steps` is what is left of the work that may be done.
    pub(super) fn settle(&self, steps: &mut u64) -> Settled {
        let Some(simplex) = self.simplex(*steps) else {
            return Settled::TooLarge;
        };
        let granted = simplex.steps;
        let mut search = Search::new(self, simplex);
        let outcome = search.run();
        *steps -= granted - search.simplex.steps;
        let of_all = |index: usize| self.variables[index];
        match outcome {
            Ok(()) if !search.witnesses.any() => Settled::Inconsistent,
            Err(Undecided) if self.protected.is_empty() => Settled::Unknown,
            // When the search was cut short, what has been proven until then still counts.
            Ok(()) | Err(Undecided) => Settled::Cells {
                narrow: search.narrow.iter().copied().map(of_all).collect(),
                open: search.witnesses.open().map(of_all).collect(),
            },
        }
    }

    fn simplex(&self, steps: u64) -> Option<Simplex> {
        let (columns, rows) = (self.variables.len(), self.lines.len());
        let entries = columns.checked_mul(rows)?;
        // A pivot looks at every row and column a few times, besides its entries.
        let size = entries + 4 * (columns + rows);
        let granted = steps.min(size as u64 * STEPS_PER_ENTRY);
        if entries > MAX_ENTRIES {
            return None;
        }
        let lines: Option<Vec<_>> = self.lines.iter().map(|&line| self.row(line)).collect();
        let bounds = self.variables.iter().map(|&variable| self.bounds[variable]);
        Some(Simplex::new(bounds.collect(), &lines?, granted))
    }

    /// A line without what is known of it.
    fn row(&self, line: usize) -> Option<(Vec<(usize, i32)>, i128)> {
        let mut terms = Vec::new();
        let mut sum = 0;
        for &(variable, factor) in &self.equations[line] {
            let (lo, hi) = self.bounds[variable];
            if lo == hi {
                sum -= i128::from(lo) * i128::from(factor);
            } else {
                let index = self.variables.binary_search(&variable).ok()?;
                terms.push((index, i32::try_from(factor).ok()?));
            }
        }
        Some((terms, sum))
    }
}

fn root(group: &mut [usize], mut variable: usize) -> usize {
    while group[variable] != variable {
        group[variable] = group[group[variable]];
        variable = group[variable];
    }
    variable
}

//! The search for tables: least and greatest values by [`super::simplex`], branching where these
//! are not integers, and a second look at every table found.

use super::audit::Line;
use super::part::Part;
use super::simplex::{Simplex, Undecided, Way};

/// How deep branches may lie within branches.
const MAX_DEPTH: usize = 200;

/// The tables found so far, as far as they matter: per protected variable, the least and the
/// greatest value in any of them.
pub(super) struct Witnesses<'t> {
    part: &'t Part<'t>,
    /// By index into the part's variables; `None` for those that need no more.
    seen: Vec<Option<Seen>>,
    /// A table of the whole part; all else at its only value.
    values: Vec<i64>,
    any: bool,
}

#[derive(Clone, Copy)]
struct Seen {
    least: i64,
    greatest: i64,
}

/// A search through the tables of one part.
pub(super) struct Search<'t> {
    pub(super) simplex: Simplex,
    pub(super) witnesses: Witnesses<'t>,
    /// The protected variables for which there are no two tables that are far enough apart.
    pub(super) narrow: Vec<usize>,
}

impl<'t> Search<'t> {
    pub(super) fn new(part: &'t Part<'t>, simplex: Simplex) -> Self {
        let witnesses = Witnesses::new(part);
        Self {
            simplex,
            witnesses,
            narrow: Vec::new(),
        }
    }

    /// Decides on each protected variable.
    pub(super) fn run(&mut self) -> Result<(), Undecided> {
        self.explore(None, 0)?;
        if !self.witnesses.any {
            return Ok(());
        }
        let part = self.witnesses.part;
        for &variable in &part.protected {
            for way in [Way::Up, Way::Down] {
                if self.witnesses.is_open(variable) {
                    self.explore(Some((variable, way)), 0)?;
                }
            }
            if self.witnesses.is_open(variable) {
                self.witnesses.seen[variable] = None;
                self.narrow.push(variable);
            }
        }
        Ok(())
    }

    /// Looks for any table, or for the one that is farthest on a way, until the variable has been
    /// seen wide enough.
    fn explore(&mut self, goal: Option<(usize, Way)>, depth: usize) -> Result<(), Undecided> {
        let (simplex, witnesses) = (&mut self.simplex, &mut self.witnesses);
        if !simplex.solve()? {
            return Ok(());
        }
        witnesses.look(simplex);
        if witnesses.is_reached(goal) {
            return Ok(());
        }
        if let Some((variable, way)) = goal {
            let end = simplex.push(variable, way, |simplex| {
                witnesses.look(simplex);
                witnesses.is_reached(goal)
            })?;
            if !end || !witnesses.can_gain(variable, way, simplex.floor(variable)) {
                return Ok(());
            }
        }
        match simplex.fractional() {
            Some(variable) => self.branch(variable, goal, depth),
            None => Ok(()),
        }
    }

    fn branch(
        &mut self,
        variable: usize,
        goal: Option<(usize, Way)>,
        depth: usize,
    ) -> Result<(), Undecided> {
        if depth == MAX_DEPTH {
            return Err(Undecided);
        }
        let (lo, hi) = self.simplex.bounds(variable);
        let floor = self.simplex.floor(variable).0;
        let below = i64::try_from(floor).map_err(|_| Undecided)?;
        for (from, to) in [(lo, below), (below + 1, hi)] {
            if from <= to && !self.witnesses.is_reached(goal) {
                self.simplex.bind(variable, from, to)?;
                self.explore(goal, depth + 1)?;
            }
        }
        self.simplex.bind(variable, lo, hi)
    }
}

impl<'t> Witnesses<'t> {
    fn new(part: &'t Part<'t>) -> Self {
        let mut seen = vec![None; part.variables.len()];
        for &index in &part.protected {
            seen[index] = Some(Seen {
                least: i64::MAX,
                greatest: i64::MIN,
            });
        }
        Self {
            part,
            seen,
            values: part.bounds.iter().map(|&(lo, _)| lo).collect(),
            any: false,
        }
    }

    /// Whether there is any table at all.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    fn is_open(&self, variable: usize) -> bool {
        self.seen[variable].is_some()
    }

    /// The protected variables that have not been seen wide enough.
    pub(super) fn open(&self) -> impl Iterator<Item = usize> {
        let protected = self.part.protected.iter().copied();
        protected.filter(|&variable| self.is_open(variable))
    }

    fn is_reached(&self, goal: Option<(usize, Way)>) -> bool {
        match goal {
            Some((variable, _)) => !self.is_open(variable),
            None => self.any,
        }
    }

    /// Whether a table beyond those seen is possible, when a variable goes no farther than this.
    fn can_gain(&self, variable: usize, way: Way, (floor, whole): (i128, bool)) -> bool {
        let Some(Seen { least, greatest }) = self.seen[variable] else {
            return false;
        };
        match way {
            Way::Up => floor > i128::from(greatest),
            Way::Down => floor + i128::from(!whole) < i128::from(least),
        }
    }

    /// Takes a table into account that shows anything new.
    fn look(&mut self, simplex: &Simplex) {
        if simplex.fractional().is_some() || (self.any && !self.is_news(simplex)) {
            return;
        }
        let part = self.part;
        for (index, &variable) in part.variables.iter().enumerate() {
            let Ok(value) = i64::try_from(simplex.floor(index).0) else {
                return;
            };
            self.values[variable] = value;
        }
        if !self.is_table() {
            return;
        }
        self.any = true;
        for &index in &part.protected {
            let value = self.values[part.variables[index]];
            if let Some(Seen { least, greatest }) = &mut self.seen[index] {
                (*least, *greatest) = ((*least).min(value), (*greatest).max(value));
                if *greatest - *least >= part.system.width {
                    self.seen[index] = None;
                }
            }
        }
    }

    fn is_news(&self, simplex: &Simplex) -> bool {
        self.part.protected.iter().any(|&variable| {
            self.seen[variable].is_some_and(|Seen { least, greatest }| {
                let value = simplex.floor(variable).0;
                value < i128::from(least) || value > i128::from(greatest)
            })
        })
    }

    /// Whether the values fulfil the lines and the bounds of the table as it was given: nothing of
    /// the search is trusted.
    fn is_table(&self) -> bool {
        let bounds = &self.part.system.bounds;
        let lines: &[Line] = &self.part.system.lines;
        let within = |&variable: &usize| {
            let (lo, hi) = bounds[variable];
            (lo..=hi).contains(&self.values[variable])
        };
        (self.part.variables.iter().all(within))
            && (self.part.lines.iter()).all(|&line| lines[line].holds(&self.values))
    }
}

//! The simplex method in exact integers, for lines `Σ aᵢ·xᵢ = c` with a lower and an upper bound for
//! every variable.
//!
//! Pivoting without fractions (Edmonds 1967, Bareiss 1968): every entry is an integer over one
//! common denominator, the determinant of the basis, so there is no rounding, no tolerance, and
//! every division comes out even. In two-way tables the denominator stays 1 and every vertex is
//! integral. What does not fit its type, or takes more steps than are left, is [`Undecided`]; after
//! that the state is void.

mod pivot;

/// Whoever asked gets no answer: out of steps, or numbers too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undecided;

/// Which way a variable goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

/// After so many pivots that move nothing, the choice is Bland's, which cannot go in circles.
const PATIENCE: u32 = 12;

/// Steps that every round costs beside those for its entries, per row and column.
const ROUND: u64 = 4;

/// A system of lines at one basic solution. Variables `0..columns` are the caller's; one more per
/// line measures by how much the line is missed, and is held at 0.
#[derive(Debug)]
pub(super) struct Simplex {
    rows: usize,
    columns: usize,
    /// `denominator · basic(row) = constant − Σ entry(row, column) · outside(column)`.
    entries: Vec<i32>,
    denominator: i64,
    /// The variable of each row.
    basic: Vec<usize>,
    /// The variable of each column.
    outside: Vec<usize>,
    place: Vec<Place>,
    bounds: Vec<(i64, i64)>,
    /// What each variable outside the basis is worth.
    values: Vec<i64>,
    /// `denominator` times what the variable of each row is worth.
    scaled: Vec<i128>,
    /// Pivots in a row that moved nothing.
    stalled: u32,
    /// Work that may still be done, in updates of entries.
    pub(super) steps: u64,
    /// The columns of the pivot's row that are not zero; kept for its memory.
    support: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Row(usize),
    Column(usize),
    /// A measure of a line that has left the basis never comes back.
    Gone,
}

impl Simplex {
    /// Variables with their bounds, and lines: terms `(variable, factor)` and their sum.
    pub(super) fn new(
        bounds: Vec<(i64, i64)>,
        lines: &[(Vec<(usize, i32)>, i128)],
        steps: u64,
    ) -> Self {
        let (rows, columns) = (lines.len(), bounds.len());
        // Halfway between the bounds: what was rounded is almost right there.
        let mut values: Vec<i64> = bounds.iter().map(|(lo, hi)| lo + (hi - lo) / 2).collect();
        let mut entries = vec![0; rows * columns];
        let mut scaled = Vec::with_capacity(rows);
        for (row, (terms, sum)) in lines.iter().enumerate() {
            let mut missed = *sum;
            for &(column, factor) in terms {
                entries[row * columns + column] = factor;
                missed -= i128::from(factor) * i128::from(values[column]);
            }
            scaled.push(missed);
        }
        let mut bounds = bounds;
        bounds.resize(columns + rows, (0, 0));
        values.resize(columns + rows, 0);
        let places = (0..columns).map(Place::Column);
        Self {
            rows,
            columns,
            entries,
            denominator: 1,
            basic: (columns..columns + rows).collect(),
            outside: (0..columns).collect(),
            place: places.chain((0..rows).map(Place::Row)).collect(),
            bounds,
            values,
            scaled,
            stalled: 0,
            steps,
            support: Vec::new(),
        }
    }

    /// Finds a solution, from wherever it stands; `false` if there is none.
    pub(super) fn solve(&mut self) -> Result<bool, Undecided> {
        let mut gains = Vec::new();
        loop {
            gains.clear();
            gains.resize(self.columns, 0);
            let mut met = true;
            for row in 0..self.rows {
                let sign = match self.missed(row) {
                    None => continue,
                    Some(Way::Down) => 1,
                    Some(Way::Up) => -1,
                };
                met = false;
                self.charge(self.columns as u64)?;
                let entries = &self.entries[row * self.columns..][..self.columns];
                for (gain, &entry) in gains.iter_mut().zip(entries) {
                    *gain += sign * i64::from(entry);
                }
            }
            if met {
                return Ok(true);
            }
            let Some((column, way)) = self.choose(&gains) else {
                return Ok(false);
            };
            self.go(column, way)?;
        }
    }

    /// Moves a variable as far as it goes from a solution, over solutions alone. `look` sees every
    /// one of them, and ends the move with `true`. Whether the end was reached.
    pub(super) fn push(
        &mut self,
        variable: usize,
        way: Way,
        mut look: impl FnMut(&Self) -> bool,
    ) -> Result<bool, Undecided> {
        let mut gains = Vec::new();
        loop {
            let choice = match self.place[variable] {
                Place::Column(column) => self.may_go(column, way).then_some((column, way)),
                Place::Row(row) => {
                    let sign = if way == Way::Up { -1 } else { 1 };
                    let entries = &self.entries[row * self.columns..][..self.columns];
                    gains.clear();
                    gains.extend(entries.iter().map(|&entry| sign * i64::from(entry)));
                    self.choose(&gains)
                }
                Place::Gone => None,
            };
            let Some((column, way)) = choice else {
                return Ok(true);
            };
            self.go(column, way)?;
            if self.stalled == 0 && look(self) {
                return Ok(false);
            }
        }
    }

    /// Sets the bounds of a variable; the lines hold on, but solve again.
    pub(super) fn bind(&mut self, variable: usize, lo: i64, hi: i64) -> Result<(), Undecided> {
        self.bounds[variable] = (lo, hi);
        self.stalled = 0;
        let Place::Column(column) = self.place[variable] else {
            return Ok(());
        };
        let value = self.values[variable];
        let moved = i128::from(value.clamp(lo, hi)) - i128::from(value);
        self.values[variable] = value.clamp(lo, hi);
        for row in 0..self.rows {
            self.scaled[row] -= i128::from(self.entry(row, column)) * moved;
        }
        self.charge(self.rows as u64)
    }

    /// The bounds of a variable.
    pub(super) fn bounds(&self, variable: usize) -> (i64, i64) {
        self.bounds[variable]
    }

    /// What a variable is worth, rounded down, and whether that is all of it.
    pub(super) fn floor(&self, variable: usize) -> (i128, bool) {
        match self.place[variable] {
            Place::Row(row) => {
                let d = i128::from(self.denominator);
                let scaled = self.scaled[row];
                (scaled.div_euclid(d), scaled.rem_euclid(d) == 0)
            }
            _ => (i128::from(self.values[variable]), true),
        }
    }

    /// A variable that is not worth an integer.
    pub(super) fn fractional(&self) -> Option<usize> {
        if self.denominator == 1 {
            return None;
        }
        (0..self.columns).find(|&variable| !self.floor(variable).1)
    }

    fn entry(&self, row: usize, column: usize) -> i32 {
        self.entries[row * self.columns + column]
    }

    fn charge(&mut self, steps: u64) -> Result<(), Undecided> {
        self.steps = self.steps.checked_sub(steps).ok_or(Undecided)?;
        Ok(())
    }

    /// Which way the variable of a row must go to come between its bounds.
    fn missed(&self, row: usize) -> Option<Way> {
        let d = i128::from(self.denominator);
        let (lo, hi) = self.bounds[self.basic[row]];
        if self.scaled[row] > d * i128::from(hi) {
            Some(Way::Down)
        } else if self.scaled[row] < d * i128::from(lo) {
            Some(Way::Up)
        } else {
            None
        }
    }

    fn may_go(&self, column: usize, way: Way) -> bool {
        let variable = self.outside[column];
        let (lo, hi) = self.bounds[variable];
        match way {
            Way::Up => self.values[variable] < hi,
            Way::Down => self.values[variable] > lo,
        }
    }

    /// The column whose move gains most, by what a move up gains in each.
    fn choose(&self, gains: &[i64]) -> Option<(usize, Way)> {
        let way = |gain: i64| if gain > 0 { Way::Up } else { Way::Down };
        let useful = (0..self.columns).filter(|&column| {
            let gain = gains[column];
            gain != 0 && self.may_go(column, way(gain))
        });
        let column = if self.stalled > PATIENCE {
            useful.min_by_key(|&column| self.outside[column])?
        } else {
            useful.max_by_key(|&column| gains[column].unsigned_abs())?
        };
        Some((column, way(gains[column])))
    }
}

//! One pivot: how far a variable goes, and what that makes of every entry.

use super::{PATIENCE, Place, ROUND, Simplex, Undecided, Way};

/// The first bound that is met on a way.
struct Block {
    /// The row whose variable meets a bound; `None` for the moving variable itself.
    row: Option<usize>,
    /// `denominator` times the length of the way, times `rate`.
    distance: i128,
    rate: i64,
    /// The bound that is met.
    bound: i64,
}

impl Simplex {
    /// Moves the variable of a column until something meets a bound.
    pub(super) fn go(&mut self, column: usize, way: Way) -> Result<(), Undecided> {
        self.charge(ROUND * (self.rows + self.columns) as u64)?;
        let block = self.block(column, way)?;
        self.stalled = if block.distance == 0 {
            self.stalled + 1
        } else {
            0
        };
        match block.row {
            None => self.flip(column, way, block.distance),
            Some(row) => self.pivot(row, column, way, &block),
        }
    }

    fn block(&self, column: usize, way: Way) -> Result<Block, Undecided> {
        let variable = self.outside[column];
        let (lo, hi) = self.bounds[variable];
        let bound = if way == Way::Up { hi } else { lo };
        let mut first = Block {
            row: None,
            distance: (i128::from(bound) - i128::from(self.values[variable])).abs(),
            rate: 1,
            bound,
        };
        for row in 0..self.rows {
            let entry = self.entry(row, column);
            if entry == 0 {
                continue;
            }
            let rises = (entry < 0) == (way == Way::Up);
            let Some((bound, distance)) = self.ahead(row, rises) else {
                continue;
            };
            let rate = i64::from(entry).abs();
            let (here, there) = (
                distance.checked_mul(i128::from(first.rate)),
                first.distance.checked_mul(i128::from(rate)),
            );
            let (here, there) = (here.ok_or(Undecided)?, there.ok_or(Undecided)?);
            if here < there || (here == there && self.better(row, rate, &first)) {
                first = Block {
                    row: Some(row),
                    distance,
                    rate,
                    bound,
                };
            }
        }
        Ok(first)
    }

    /// The bound that the variable of a row meets on its way, and how far it is from there. One
    /// that is beyond a bound may go on; on its way back it stops at the first.
    fn ahead(&self, row: usize, rises: bool) -> Option<(i64, i128)> {
        let d = i128::from(self.denominator);
        let (lo, hi) = self.bounds[self.basic[row]];
        let scaled = self.scaled[row];
        let (near, far) = if rises { (lo, hi) } else { (hi, lo) };
        [near, far].into_iter().find_map(|bound| {
            let distance = if rises {
                d * i128::from(bound) - scaled
            } else {
                scaled - d * i128::from(bound)
            };
            let behind = bound == near && near != far && distance == 0;
            (distance >= 0 && !behind).then_some((bound, distance))
        })
    }

    /// Which of two rows that meet a bound together leaves: Bland's choice, or else the measure of
    /// a line, or else what keeps the denominator small.
    fn better(&self, row: usize, rate: i64, than: &Block) -> bool {
        let Some(other) = than.row else {
            return false;
        };
        let (this, other) = (self.basic[row], self.basic[other]);
        if self.stalled > PATIENCE {
            return this < other;
        }
        let rank = |variable: usize, rate: i64| (variable < self.columns, rate);
        rank(this, rate) < rank(other, than.rate)
    }

    fn flip(&mut self, column: usize, way: Way, distance: i128) -> Result<(), Undecided> {
        let variable = self.outside[column];
        let (lo, hi) = self.bounds[variable];
        let moved = if way == Way::Up { distance } else { -distance };
        self.values[variable] = if way == Way::Up { hi } else { lo };
        for row in 0..self.rows {
            self.scaled[row] -= i128::from(self.entry(row, column)) * moved;
        }
        self.charge(self.rows as u64)
    }

    fn pivot(
        &mut self,
        row: usize,
        column: usize,
        way: Way,
        block: &Block,
    ) -> Result<(), Undecided> {
        let (old, new) = (self.denominator, block.rate);
        let pivot = i64::from(self.entry(row, column));
        self.move_values(row, column, way, block)?;

        let columns = self.columns;
        self.support.clear();
        for other in 0..columns {
            if other != column && self.entries[row * columns + other] != 0 {
                self.support.push(other);
            }
        }
        let sign = pivot.signum();
        for other in (0..self.rows).filter(|&other| other != row) {
            let factor = i64::from(self.entry(other, column));
            if factor == 0 && old == new {
                continue;
            }
            self.reduce(other, row, factor * sign, old, new)?;
            self.entries[other * columns + column] = narrow(-factor * sign)?;
        }
        for &other in &self.support {
            let entry = &mut self.entries[row * columns + other];
            *entry = narrow(i64::from(*entry) * sign)?;
        }
        self.entries[row * columns + column] = narrow(old * sign)?;
        self.denominator = new;

        let (enters, leaves) = (self.outside[column], self.basic[row]);
        self.basic[row] = enters;
        self.outside[column] = leaves;
        self.place[enters] = Place::Row(row);
        self.place[leaves] = Place::Column(column);
        self.values[leaves] = block.bound;
        if leaves >= columns {
            self.place[leaves] = Place::Gone;
            for row in 0..self.rows {
                self.entries[row * columns + column] = 0;
            }
        }
        Ok(())
    }

    /// What the variables of all rows are worth after a pivot, over the new denominator.
    fn move_values(
        &mut self,
        row: usize,
        column: usize,
        way: Way,
        block: &Block,
    ) -> Result<(), Undecided> {
        let (old, new) = (i128::from(self.denominator), i128::from(block.rate));
        let moved = if way == Way::Up {
            block.distance
        } else {
            -block.distance
        };
        for other in 0..self.rows {
            let entry = self.entries[other * self.columns + column];
            if entry == 0 && old == new {
                continue;
            }
            let change = i128::from(entry).checked_mul(moved).ok_or(Undecided)?;
            let scaled = self.scaled[other].checked_mul(new).ok_or(Undecided)?;
            self.scaled[other] = scaled.checked_sub(change).ok_or(Undecided)? / old;
        }
        let value = i128::from(self.values[self.outside[column]]);
        self.scaled[row] = value * new + moved;
        Ok(())
    }

    /// Clears a column in a row, with a multiple of the pivot's row.
    fn reduce(
        &mut self,
        other: usize,
        row: usize,
        factor: i64,
        old: i64,
        new: i64,
    ) -> Result<(), Undecided> {
        let columns = self.columns;
        if old == new {
            // factor · entry / old comes out even only together with the first term.
            self.charge(self.support.len() as u64)?;
            for &column in &self.support {
                let entry = i64::from(self.entries[row * columns + column]);
                let here = &mut self.entries[other * columns + column];
                let product = i64::from(*here) * new - factor * entry;
                *here = narrow(if old == 1 { product } else { product / old })?;
            }
            return Ok(());
        }
        self.charge(2 * columns as u64)?;
        for column in 0..columns {
            let entry = i64::from(self.entries[row * columns + column]);
            let here = &mut self.entries[other * columns + column];
            *here = narrow((i64::from(*here) * new - factor * entry) / old)?;
        }
        Ok(())
    }
}

/// Entries are subdeterminants of a matrix that is almost all zeros and ones; one that is not small
/// means that the method is out of its depth. Products of two fit `i64` this way.
fn narrow(entry: i64) -> Result<i32, Undecided> {
    match i32::try_from(entry) {
        Ok(entry) if entry > i32::MIN => Ok(entry),
        _ => Err(Undecided),
    }
}

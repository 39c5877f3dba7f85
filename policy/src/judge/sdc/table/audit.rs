//! Whether the cells that a table keeps back stay back: what the other cells and the margins tell of
//! each.
//!
//! A pure function of bounds and lines, without JSON, so that several tables that share variables
//! can be judged as one. All of it is exact. A cell passes only with two tables of integers that
//! fulfil every line and every bound, looked at again apart from the search that found them, and
//! that differ in this cell by the width that is asked for. Whatever cannot be decided within the
//! limits does not pass.
//!
//! Sources: sdcTable's `attack()` (smallest and largest value of each suppressed cell), with a
//! width as in tau-ARGUS.

use super::part::{Part, Settled};
use super::propagate::{Equation, propagate};

/// Larger values than this are not judged: sums of them must fit.
const MAX_VALUE: u64 = 1 << 53;

/// A table, or several that share variables.
#[derive(Clone, Debug, Default)]
pub(crate) struct System {
    /// What is known of each variable: the least and the greatest value that it can have.
    pub(crate) bounds: Vec<(i64, i64)>,
    /// What adds up.
    pub(crate) lines: Vec<Line>,
    /// The variables to be protected.
    pub(crate) suppressed: Vec<usize>,
    /// How far apart the least and the greatest possible value of each must be.
    pub(crate) width: i64,
}

/// One variable that is the sum of others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    /// The sum.
    pub(crate) total: usize,
    /// What is summed.
    pub(crate) parts: Vec<usize>,
}

/// What an audit may cost. Beyond it, tables are refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Variables.
    pub(crate) cells: usize,
    /// Variables to be protected.
    pub(crate) suppressed: usize,
    /// Elementary steps of the search, about 4 ns each.
    pub(crate) steps: u64,
}

impl Limits {
    /// The limits of every audit.
    pub(crate) const STANDARD: Self = Self {
        cells: 2000,
        suppressed: 200,
        steps: 250_000_000,
    };

    /// The limits of an audit that others wait for: some 40 ms.
    pub(crate) const BRIEF: Self = Self {
        steps: 10_000_000,
        ..Self::STANDARD
    };
}

/// What an audit objects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// No values fulfil all lines; a line that shows it, if it is a single one.
    Inconsistent(Option<usize>),
    /// More than the limits.
    TooLarge,
    /// This variable can be narrowed to less than the width. Proven.
    Recoverable(usize),
    /// It could not be decided how far this variable can be narrowed.
    Unproven(usize),
}

/// Everything, or the first thing, that is wrong with a table. A table without common solution has
/// no other trouble.
pub(crate) fn audit(system: &System, limits: &Limits, first_only: bool) -> Vec<Trouble> {
    if system.bounds.iter().any(|(lo, hi)| lo > hi) {
        return vec![Trouble::Inconsistent(None)];
    }
    if system.suppressed.is_empty() && system.bounds.iter().all(|(lo, hi)| lo == hi) {
        return add_up(system)
            .map_or_else(|line| vec![Trouble::Inconsistent(Some(line))], |()| vec![]);
    }
    let large = |&value: &i64| value.unsigned_abs() > MAX_VALUE;
    if system.bounds.len() > limits.cells
        || system.suppressed.len() > limits.suppressed
        || system.bounds.iter().any(|(lo, hi)| large(lo) || large(hi))
    {
        return vec![Trouble::TooLarge];
    }
    let equations: Vec<Equation> = system.lines.iter().map(Line::equation).collect();
    let mut bounds = system.bounds.clone();
    if let Err(line) = propagate(&mut bounds, &equations) {
        return vec![Trouble::Inconsistent(Some(line))];
    }
    settle(system, &bounds, &equations, limits, first_only)
}

/// Goes through the parts of a table that have no line in common.
fn settle(
    system: &System,
    bounds: &[(i64, i64)],
    equations: &[Equation],
    limits: &Limits,
    first_only: bool,
) -> Vec<Trouble> {
    let narrow = |&&cell: &&usize| bounds[cell].1 - bounds[cell].0 < system.width;
    let mut troubles: Vec<Trouble> = (system.suppressed.iter().filter(narrow))
        .map(|&cell| Trouble::Recoverable(cell))
        .collect();
    let mut steps = limits.steps;
    for part in Part::all(system, bounds, equations) {
        if first_only && !troubles.is_empty() {
            break;
        }
        match part.settle(&mut steps) {
            Settled::Cells { narrow, open } => {
                troubles.extend(narrow.into_iter().map(Trouble::Recoverable));
                troubles.extend(open.into_iter().map(Trouble::Unproven));
            }
            Settled::Inconsistent => return vec![Trouble::Inconsistent(None)],
            Settled::Unknown | Settled::TooLarge => troubles.push(Trouble::TooLarge),
        }
    }
    troubles.sort_unstable();
    troubles.dedup();
    if first_only {
        troubles.truncate(1);
    }
    troubles
}

/// Whether published totals are the sums of published parts; the first line where not.
fn add_up(system: &System) -> Result<(), usize> {
    let holds = |line: &Line| {
        let value = |&cell: &usize| i128::from(system.bounds[cell].0);
        line.parts.iter().map(value).sum::<i128>() == value(&line.total)
    };
    (system.lines.iter().position(|line| !holds(line))).map_or(Ok(()), Err)
}

impl Line {
    fn equation(&self) -> Equation {
        let mut terms: Equation = self.parts.iter().map(|&part| (part, -1)).collect();
        terms.push((self.total, 1));
        terms.sort_unstable();
        terms.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        terms.retain(|&(_, factor)| factor != 0);
        terms
    }

    /// Whether values fulfil the line.
    pub(super) fn holds(&self, values: &[i64]) -> bool {
        let value = |&cell: &usize| i128::from(values[cell]);
        self.parts.iter().map(value).sum::<i128>() == value(&self.total)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A small generator whose numbers are the same everywhere (xorshift64*, Marsaglia, Vigna).
    struct Chance(u64);

    impl Chance {
        fn new(seed: u64) -> Self {
            Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
        }

        fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
        }

        fn one_in(&mut self, n: u64) -> bool {
            self.below(n) == 0
        }
    }

    /// The cells of a cube with all of its margins, and which axes each is a total on.
    struct Cube {
        sides: Vec<usize>,
        cells: Vec<Vec<usize>>,
        lines: Vec<Line>,
    }

    impl Cube {
        fn new(sides: &[usize]) -> Self {
            let mut cells = vec![vec![]];
            for side in sides {
                let longer =
                    |cell: Vec<usize>| (0..=*side).map(move |i| [&cell[..], &[i]].concat());
                cells = cells.into_iter().flat_map(longer).collect();
            }
            let numbers: BTreeMap<_, _> = cells.iter().cloned().zip(0..).collect();
            let mut lines = Vec::new();
            for (axis, &side) in sides.iter().enumerate() {
                for cell in cells.iter().filter(|cell| cell[axis] == side) {
                    let part = |i| {
                        let mut part = cell.clone();
                        part[axis] = i;
                        numbers[&part]
                    };
                    let parts = (0..side).map(part).collect();
                    lines.push(Line {
                        total: numbers[cell],
                        parts,
                    });
                }
            }
            let sides = sides.to_vec();
            Self {
                sides,
                cells,
                lines,
            }
        }

        /// Totals of given inner cells.
        fn fill(&self, mut inner: impl FnMut() -> i64) -> Vec<i64> {
            let is_inner = |cell: &[usize]| cell.iter().zip(&self.sides).all(|(i, side)| i < side);
            let mut values: Vec<i64> = self.cells.iter().map(|_| 0).collect();
            for (value, cell) in values.iter_mut().zip(&self.cells) {
                *value = if is_inner(cell) { inner() } else { 0 };
            }
            for line in &self.lines {
                values[line.total] = line.parts.iter().map(|&part| values[part]).sum();
            }
            values
        }
    }

    /// Totals of groups of cells that overlap, as in tables with cells in common: vertices are not
    /// always integral.
    fn groups(cells: usize, chance: &mut Chance) -> (Vec<i64>, Vec<Line>) {
        let mut values: Vec<i64> = (0..cells).map(|_| chance.below(6) as i64).collect();
        let mut lines = Vec::new();
        for total in cells..2 * cells {
            let parts: Vec<_> = (0..cells).filter(|_| chance.one_in(2)).collect();
            values.push(parts.iter().map(|&part| values[part]).sum());
            lines.push(Line { total, parts });
        }
        (values, lines)
    }

    /// A random table: small counts and some others suppressed, some cells rounded, a few wrong.
    /// A shape without sides stands for [`groups`].
    fn random(sides: &[usize], seed: u64) -> System {
        let mut chance = Chance::new(seed);
        let (rarely, rounding) = (1 + chance.below(6), chance.one_in(3));
        let (mut values, lines) = if sides.is_empty() {
            groups(5, &mut chance)
        } else {
            let cube = Cube::new(sides);
            (cube.fill(|| chance.below(12) as i64), cube.lines)
        };
        if chance.one_in(20) {
            let cell = chance.below(values.len() as u64) as usize;
            values[cell] += 1;
        }
        let mut system = System {
            lines,
            width: 1 + chance.below(4) as i64,
            ..System::default()
        };
        for (cell, &value) in values.iter().enumerate() {
            let bounds = if (1..5).contains(&value) {
                (1, 4)
            } else if chance.one_in(rarely) {
                ((value - 6).max(0), value + 6)
            } else if rounding {
                let label = (value + 1) / 3 * 3;
                ((label - 1).max(0), label + 1)
            } else {
                (value, value)
            };
            if bounds.1 - bounds.0 > 2 {
                system.suppressed.push(cell);
            }
            system.bounds.push(bounds);
        }
        system
    }

    /// All tables there are, one variable that is no total after the other, left as soon as a line
    /// cannot hold any more.
    struct Enumeration<'s> {
        system: &'s System,
        inner: Vec<usize>,
        /// Per variable the lines it is summed in whose parts are all no totals.
        lines_of: Vec<Vec<&'s Line>>,
        known: Vec<bool>,
        values: Vec<i64>,
        extremes: Vec<(i64, i64)>,
        left: u64,
    }

    impl Enumeration<'_> {
        /// The least and the greatest value of every variable: `None` if it takes too long, and an
        /// empty list if there is no table.
        fn of(system: &System, steps: u64) -> Option<Vec<(i64, i64)>> {
            let all = 0..system.bounds.len();
            let is_inner = |&v: &usize| system.lines.iter().all(|line| line.total != v);
            let lines_of = |v| {
                let lines = system
                    .lines
                    .iter()
                    .filter(move |line| line.parts.contains(&v));
                lines
                    .filter(|line| line.parts.iter().all(is_inner))
                    .collect()
            };
            let mut enumeration = Enumeration {
                system,
                inner: all.clone().filter(is_inner).collect(),
                lines_of: all.clone().map(lines_of).collect(),
                known: all.map(|_| false).collect(),
                values: system.bounds.iter().map(|&(lo, _)| lo).collect(),
                extremes: Vec::new(),
                left: steps,
            };
            enumeration.from(0)?;
            Some(enumeration.extremes)
        }

        fn from(&mut self, next: usize) -> Option<()> {
            self.left = self.left.checked_sub(1)?;
            let Some(&variable) = self.inner.get(next) else {
                self.count();
                return Some(());
            };
            let (lo, hi) = self.system.bounds[variable];
            self.known[variable] = true;
            for value in lo..=hi {
                self.values[variable] = value;
                if self.lines_of[variable]
                    .iter()
                    .all(|line| self.may_hold(line))
                {
                    self.from(next + 1)?;
                }
            }
            self.known[variable] = false;
            Some(())
        }

        fn may_hold(&self, line: &Line) -> bool {
            let (mut least, mut most) = (0, 0);
            for &part in &line.parts {
                let (lo, hi) = self.system.bounds[part];
                let value = self.values[part];
                let (lo, hi) = if self.known[part] {
                    (value, value)
                } else {
                    (lo, hi)
                };
                least += lo;
                most += hi;
            }
            let (lo, hi) = self.system.bounds[line.total];
            least <= hi && lo <= most
        }

        fn count(&mut self) {
            let (system, values) = (self.system, &mut self.values);
            for line in &system.lines {
                values[line.total] = line.parts.iter().map(|&part| values[part]).sum();
            }
            let mut bounded = system.bounds.iter().zip(&*values);
            if bounded.all(|((lo, hi), value)| lo <= value && value <= hi)
                && system.lines.iter().all(|line| line.holds(values))
            {
                if self.extremes.is_empty() {
                    self.extremes = values.iter().map(|&value| (value, value)).collect();
                }
                for ((lo, hi), &value) in self.extremes.iter_mut().zip(&*values) {
                    (*lo, *hi) = ((*lo).min(value), (*hi).max(value));
                }
            }
        }
    }

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum Outcome {
        Passed,
        Recoverable,
        Inconsistent,
        NothingSuppressed,
        NotEnumerated,
    }

    fn compare(system: &System, steps: u64) -> Outcome {
        let all = audit(system, &Limits::STANDARD, false);
        let first = audit(system, &Limits::STANDARD, true);
        assert_eq!(
            all.is_empty(),
            first.is_empty(),
            "{all:?} {first:?} {system:?}"
        );
        let Some(extremes) = Enumeration::of(system, steps) else {
            return Outcome::NotEnumerated;
        };
        if extremes.is_empty() {
            assert!(
                matches!(all[..], [Trouble::Inconsistent(_)]),
                "{all:?} {system:?}"
            );
            return Outcome::Inconsistent;
        }
        let narrow = |&&v: &&usize| extremes[v].1 - extremes[v].0 < system.width;
        let expected = system.suppressed.iter().filter(narrow);
        let expected: Vec<_> = expected.map(|&v| Trouble::Recoverable(v)).collect();
        assert_eq!(all, expected, "{extremes:?} {system:?}");
        assert!(first.iter().all(|trouble| all.contains(trouble)));
        match (system.suppressed.is_empty(), all.is_empty()) {
            (true, _) => Outcome::NothingSuppressed,
            (false, true) => Outcome::Passed,
            (false, false) => Outcome::Recoverable,
        }
    }

    const SHAPES: [&[usize]; 6] = [&[2, 3], &[3, 3], &[2, 2, 2], &[5], &[], &[2, 2, 3]];

    #[test]
    fn agrees_with_enumeration_on_many_tables() {
        let mut of_all = BTreeMap::new();
        for sides in SHAPES {
            let mut outcomes = BTreeMap::new();
            for seed in 0..500 {
                let outcome = compare(&random(sides, seed), 2000);
                *outcomes.entry(outcome).or_insert(0) += 1;
            }
            println!("{sides:?}: {outcomes:?}");
            for (outcome, count) in outcomes {
                *of_all.entry(outcome).or_insert(0) += count;
            }
        }
        for outcome in [Outcome::Passed, Outcome::Recoverable, Outcome::Inconsistent] {
            let count = of_all.get(&outcome).copied().unwrap_or(0);
            assert!(count > 20, "{of_all:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn agrees_with_enumeration(shape in 0..5_usize, seed: u64) {
            compare(&random(SHAPES[shape], seed), 2000);
        }
    }

    /// Two triangles whose sides hold one person at most: no two corners of one are taken, so that
    /// each triangle holds 0 or 1. Halves at all corners would make it 3 together.
    #[test]
    fn halves_of_people_are_no_witnesses() {
        let line = |total, parts: &[usize]| Line {
            total,
            parts: parts.to_vec(),
        };
        let lines = vec![
            line(6, &[0, 1]),
            line(7, &[1, 2]),
            line(8, &[0, 2]),
            line(9, &[3, 4]),
            line(10, &[4, 5]),
            line(11, &[3, 5]),
            line(12, &[0, 1, 2, 3, 4, 5]),
        ];
        let mut bounds = vec![(0, 1); 12];
        bounds.push((0, 6));
        let mut system = System {
            bounds,
            lines,
            suppressed: vec![12],
            width: 3,
        };
        let narrow = vec![Trouble::Recoverable(12)];
        assert_eq!(audit(&system, &Limits::STANDARD, false), narrow);
        system.width = 2;
        assert_eq!(audit(&system, &Limits::STANDARD, false), []);
        // Every side taken: halves only.
        for side in 6..9 {
            system.bounds[side] = (1, 1);
        }
        let none = vec![Trouble::Inconsistent(None)];
        assert_eq!(audit(&system, &Limits::STANDARD, false), none);
    }

    /// Wherever the search is cut short, what passes has passed, and nothing else does.
    #[test]
    fn no_limit_makes_a_table_pass() {
        for (sides, seeds) in [(&[3, 3][..], 0..12), (&[][..], 0..40)] {
            for seed in seeds {
                let system = random(sides, seed);
                let expected = audit(&system, &Limits::STANDARD, false);
                for steps in (0..3000).step_by(29) {
                    let limits = Limits {
                        steps,
                        ..Limits::STANDARD
                    };
                    let found = audit(&system, &limits, false);
                    assert!(
                        expected.is_empty() || !found.is_empty(),
                        "{steps} {system:?}"
                    );
                    let proven = |trouble: &&Trouble| matches!(trouble, Trouble::Recoverable(_));
                    let wrong = found.iter().filter(proven).find(|t| !expected.contains(t));
                    let inconsistent = matches!(expected[..], [Trouble::Inconsistent(_)]);
                    assert!(inconsistent || wrong.is_none(), "{steps} {system:?}");
                }
            }
        }
    }

    #[test]
    fn beyond_the_limits_is_refused() {
        let cube = Cube::new(&[3, 3]);
        let exact = cube.fill(|| 10).into_iter().map(|value| (value, value));
        let mut system = System {
            bounds: exact.collect(),
            lines: cube.lines,
            suppressed: (0..11).filter(|cell| cell % 4 < 3).collect(),
            width: 20,
        };
        for &cell in &system.suppressed {
            system.bounds[cell] = (0, 99);
        }
        let open: Vec<_> = system
            .suppressed
            .iter()
            .map(|&v| Trouble::Unproven(v))
            .collect();
        assert_eq!(audit(&system, &Limits::STANDARD, false), []);
        let limits = |cells, suppressed, steps| Limits {
            cells,
            suppressed,
            steps,
        };
        for (limits, expected) in [
            (limits(15, 200, 1_000_000), vec![Trouble::TooLarge]),
            (limits(2000, 1, 1_000_000), vec![Trouble::TooLarge]),
            (limits(2000, 200, 200), open.clone()),
            (limits(2000, 200, 0), open),
        ] {
            assert_eq!(audit(&system, &limits, false), expected, "{limits:?}");
            assert_eq!(audit(&system, &limits, true), expected[..1], "{limits:?}");
        }
        let mut large = system.clone();
        large.bounds[0] = (0, i64::MAX);
        assert_eq!(audit(&large, &Limits::STANDARD, false), [Trouble::TooLarge]);
        let rounded = System {
            suppressed: Vec::new(),
            ..system
        };
        assert_eq!(
            audit(&rounded, &limits(2000, 200, 0), false),
            [Trouble::TooLarge]
        );
        assert_eq!(audit(&rounded, &Limits::STANDARD, false), []);
    }
}

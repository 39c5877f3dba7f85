//! How many numbers of some kind there are between two bounds.

use num_bigint::BigInt;

use super::decimal::Decimal;

/// The decade of the smallest double, 5e-324.
const LOWEST_DECADE: i32 = -324;

/// Numbers between two bounds.
#[derive(Clone)]
pub(super) struct Range {
    pub(super) low: Bound,
    pub(super) high: Bound,
}

/// A bound; an open one is not in the range itself.
#[derive(Clone)]
pub(super) struct Bound {
    pub(super) at: Decimal,
    pub(super) open: bool,
}

impl Range {
    /// One number.
    pub(super) fn point(at: Decimal) -> Self {
        let bound = Bound { at, open: false };
        Self {
            low: bound.clone(),
            high: bound,
        }
    }

    pub(super) fn raise(&mut self, to: Bound) {
        if to.at > self.low.at || (to.at == self.low.at && to.open) {
            self.low = to;
        }
    }

    pub(super) fn lower(&mut self, to: Bound) {
        if to.at < self.high.at || (to.at == self.high.at && to.open) {
            self.high = to;
        }
    }

    pub(super) fn has(&self, n: &Decimal) -> bool {
        let above = *n > self.low.at || (*n == self.low.at && !self.low.open);
        let below = *n < self.high.at || (*n == self.high.at && !self.high.open);
        above && below
    }

    /// How many multiples of a positive number.
    pub(super) fn multiples(&self, step: &Decimal) -> BigInt {
        let high = self.high.at.floor_div(step);
        let low = -(-&self.low.at).floor_div(step);
        let mut count: BigInt = high - low + 1;
        count -= i32::from(self.high.open && self.high.at.is_multiple(step));
        count -= i32::from(self.low.open && self.low.at.is_multiple(step));
        count.max(BigInt::ZERO)
    }

    /// Zero, and the numbers that are half of `base` modulo `base`.
    pub(super) fn midpoints(&self, base: &BigInt) -> BigInt {
        let half = Decimal::from(base / 2u8);
        let moved = |bound: &Bound| Bound {
            at: &bound.at - &half,
            open: bound.open,
        };
        let mut positive = self.clone();
        positive.raise(Bound {
            at: Decimal::from(0),
            open: true,
        });
        let labels = Self {
            low: moved(&positive.low),
            high: moved(&positive.high),
        };
        let zero = i32::from(self.has(&Decimal::from(0)));
        labels.multiples(&Decimal::from(base.clone())) + zero
    }

    /// How many doubles.
    pub(super) fn doubles(&self) -> BigInt {
        let (Some(low), Some(high)) = (self.low.at.double(), self.high.at.double()) else {
            return BigInt::from(u64::MAX);
        };
        let low = order(low) + i128::from(self.low.open);
        let high = order(high) - i128::from(self.high.open);
        BigInt::from((high - low + 1).max(0))
    }

    /// How many decimals with so many significant digits.
    pub(super) fn significant(&self, digits: u32) -> BigInt {
        let zero = Decimal::from(0);
        let side = |low: &Bound, high: &Bound| {
            if high.at <= zero {
                return BigInt::ZERO;
            }
            let up_to = |bound: &Bound| significant_up_to(&bound.at, digits, bound.open);
            let below = if low.at > zero {
                let mut below = low.clone();
                below.open = !low.open;
                up_to(&below)
            } else {
                BigInt::ZERO
            };
            (up_to(high) - below).max(BigInt::ZERO)
        };
        let turned = |bound: &Bound| Bound {
            at: -&bound.at,
            open: bound.open,
        };
        let negative = side(&turned(&self.high), &turned(&self.low));
        side(&self.low, &self.high) + negative + i32::from(self.has(&zero))
    }
}

/// How many decimals with so many significant digits are positive and not above `n`.
fn significant_up_to(n: &Decimal, digits: u32, open: bool) -> BigInt {
    let ten = BigInt::from(10u8);
    let decade = n.decade();
    let per_decade: BigInt = ten.pow(digits - 1) * 9;
    let full = BigInt::from((decade - LOWEST_DECADE).max(0));
    let step = Decimal::power_of_ten(decade - digits as i32 + 1);
    let within: BigInt = n.floor_div(&step) - ten.pow(digits - 1) + 1;
    full * per_decade + within - i32::from(open && n.is_multiple(&step))
}

/// The doubles in order, numbered; both zeros are one number.
fn order(n: f64) -> i128 {
    let size = i128::from(n.abs().to_bits());
    if n < 0.0 { -size } else { size }
}

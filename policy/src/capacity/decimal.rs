//! Exact decimals: `digits` times ten to the power of `exponent`.

use std::cmp::Ordering;
use std::ops::{Neg, Sub};

use num_bigint::{BigInt, Sign};
use serde_json::Value;

/// Exponents of doubles are smaller in size: what lies beyond is no number of a schema.
const MAX_EXPONENT: i32 = 400;

/// An exact decimal.
#[derive(Clone, Debug)]
pub(super) struct Decimal {
    digits: BigInt,
    exponent: i32,
}

impl Decimal {
    /// The decimal that the shortest text of a JSON number names.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let Value::Number(number) = value else {
            return None;
        };
        let text = number.to_string();
        let (text, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
            None => (&*text, 0),
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{fraction}").parse().ok()?;
        let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        (exponent.abs() <= MAX_EXPONENT).then_some(Self { digits, exponent })
    }

    pub(super) fn power_of_ten(exponent: i32) -> Self {
        Self {
            digits: BigInt::from(1),
            exponent,
        }
    }

    pub(super) fn bits(&self) -> u64 {
        self.digits.bits()
    }

    pub(super) fn is_positive(&self) -> bool {
        self.digits.sign() == Sign::Plus
    }

    pub(super) fn is_whole(&self) -> bool {
        self.is_multiple(&Self::from(1))
    }

    pub(super) fn is_multiple(&self, step: &Self) -> bool {
        let (a, b) = self.aligned(step);
        b != BigInt::ZERO && a % b == BigInt::ZERO
    }

    /// How often `step`, which is positive, is in it: rounded down.
    pub(super) fn floor_div(&self, step: &Self) -> BigInt {
        let (a, b) = self.aligned(step);
        let (quotient, rest) = (&a / &b, &a % &b);
        if rest.sign() == Sign::Minus {
            quotient - 1
        } else {
            quotient
        }
    }

    /// For a positive number: the exponent of the power of ten that is next below.
    pub(super) fn decade(&self) -> i32 {
        let length = self.digits.magnitude().to_string().len();
        self.exponent + i32::try_from(length).unwrap_or(i32::MAX / 2) - 1
    }

    /// The nearest double.
    pub(super) fn double(&self) -> Option<f64> {
        format!("{}e{}", self.digits, self.exponent).parse().ok()
    }

    /// Both as whole numbers of the smaller power of ten.
    fn aligned(&self, other: &Self) -> (BigInt, BigInt) {
        let exponent = self.exponent.min(other.exponent);
        (self.scaled(exponent), other.scaled(exponent))
    }

    fn scaled(&self, exponent: i32) -> BigInt {
        let more = u32::try_from(self.exponent - exponent).unwrap_or(0);
        &self.digits * BigInt::from(10u8).pow(more)
    }
}

/// The least common multiple of two positive numbers.
pub(super) fn lcm(a: &Decimal, b: &Decimal) -> Decimal {
    let (x, y) = a.aligned(b);
    let (mut large, mut small) = (x.clone(), y.clone());
    while small != BigInt::ZERO {
        (large, small) = (small.clone(), large % small);
    }
    Decimal {
        digits: x / large * y,
        exponent: a.exponent.min(b.exponent),
    }
}

impl<N: Into<BigInt>> From<N> for Decimal {
    fn from(n: N) -> Self {
        Self {
            digits: n.into(),
            exponent: 0,
        }
    }
}

impl Neg for &Decimal {
    type Output = Decimal;

    fn neg(self) -> Decimal {
        Decimal {
            digits: -&self.digits,
            exponent: self.exponent,
        }
    }
}

impl Sub for &Decimal {
    type Output = Decimal;

    fn sub(self, other: Self) -> Decimal {
        let (a, b) = self.aligned(other);
        Decimal {
            digits: a - b,
            exponent: self.exponent.min(other.exponent),
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = self.aligned(other);
        a.cmp(&b)
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

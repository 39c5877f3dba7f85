//! How many: exact while that is cheap, an upper bound beyond, infinite where nothing bounds it.

use num_bigint::BigUint;
use serde_json::{Value, json};

/// Larger numbers are not kept exactly, in bits: arithmetic on them would take seconds, and no
/// contract that lets so much through is anywhere near a site's ceiling.
const MAX_EXACT_BITS: u64 = 1 << 20;

/// Between an estimated logarithm and the truth, in bits: what rounding of doubles can take away.
const SLACK_BITS: f64 = 1.0;

/// A number of things, never less than there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Count {
    /// This many.
    Exact(BigUint),
    /// Two to the power of this many, at most: too large to be kept exactly.
    Power(u64),
    /// Nothing bounds it.
    Infinite,
}

impl Count {
    pub(crate) fn zero() -> Self {
        Self::from(0u8)
    }

    pub(crate) fn one() -> Self {
        Self::from(1u8)
    }

    /// Two to the power of `bits`.
    pub(crate) fn power_of_two(bits: u64) -> Self {
        if bits <= MAX_EXACT_BITS {
            return Self::Exact(BigUint::from(1u8) << bits);
        }
        Self::Power(bits)
    }

    pub(crate) fn is_zero(&self) -> bool {
        matches!(self, Self::Exact(n) if n == &BigUint::ZERO)
    }

    pub(crate) fn is_infinite(&self) -> bool {
        *self == Self::Infinite
    }

    /// The exact number, if it is known.
    pub fn exact(&self) -> Option<&BigUint> {
        match self {
            Self::Exact(n) => Some(n),
            _ => None,
        }
    }

    /// The number, if it is exact and fits.
    pub(crate) fn small(&self) -> Option<u64> {
        self.exact()?.try_into().ok()
    }

    /// Bits that are enough to number all of them: the logarithm to base two, rounded up, exactly;
    /// `None` if nothing bounds it.
    pub fn bits(&self) -> Option<u64> {
        match self {
            Self::Exact(n) if *n == BigUint::ZERO => Some(0),
            Self::Exact(n) => Some((n - 1u8).bits()),
            Self::Power(bits) => Some(*bits),
            Self::Infinite => None,
        }
    }

    /// The logarithm to base two, for display: exact to far more than six decimals. Zero for no
    /// things at all, infinite if nothing bounds it.
    #[expect(clippy::cast_precision_loss, reason = "for display")]
    pub fn log2(&self) -> f64 {
        match self {
            Self::Exact(n) => {
                let low = n.bits().saturating_sub(64);
                let top = u64::try_from(n >> low).unwrap_or(u64::MAX);
                if top == 0 {
                    0.0
                } else {
                    (top as f64).log2() + low as f64
                }
            }
            Self::Power(bits) => *bits as f64,
            Self::Infinite => f64::INFINITY,
        }
    }

    pub(crate) fn add(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => Self::of(a + b),
            (Self::Infinite, _) | (_, Self::Infinite) => Self::Infinite,
            (a, b) if a.is_zero() => b.clone(),
            (a, b) if b.is_zero() => a.clone(),
            (a, b) => Self::power(a.ceiling().max(b.ceiling()).checked_add(1)),
        }
    }

    pub(crate) fn mul(&self, other: &Self) -> Self {
        if self.is_zero() || other.is_zero() {
            return Self::zero();
        }
        match (self, other) {
            (Self::Infinite, _) | (_, Self::Infinite) => Self::Infinite,
            (Self::Exact(a), Self::Exact(b)) if a.bits() + b.bits() <= MAX_EXACT_BITS => {
                Self::of(a * b)
            }
            (Self::Exact(a), other) | (other, Self::Exact(a)) if *a == BigUint::from(1u8) => {
                other.clone()
            }
            (a, b) => Self::power(a.ceiling().checked_add(b.ceiling())),
        }
    }

    /// `self` to the power of `times`.
    pub(crate) fn pow(&self, times: u64) -> Self {
        match self {
            _ if times == 0 => Self::one(),
            Self::Exact(n) if *n <= BigUint::from(1u8) => self.clone(),
            Self::Exact(n) => match u32::try_from(times) {
                Ok(exponent) if n.bits().saturating_mul(times) <= MAX_EXACT_BITS => {
                    Self::of(n.pow(exponent))
                }
                _ => self.estimated_pow(times),
            },
            Self::Power(bits) => Self::power(bits.checked_mul(times)),
            Self::Infinite => Self::Infinite,
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded up, and large numbers are infinite"
    )]
    fn estimated_pow(&self, times: u64) -> Self {
        // A double errs by less than one part in 2^50 here.
        let bits = self.log2() * times as f64 * (1.0 + f64::EPSILON * 8.0) + SLACK_BITS;
        if bits < 1e15 {
            Self::power(Some(bits.ceil() as u64))
        } else {
            Self::Infinite
        }
    }

    /// The powers of `self` from the `low`th to the `high`th, summed up.
    pub(crate) fn powers(&self, low: u64, high: u64) -> Self {
        if low > high {
            return Self::zero();
        }
        if self.is_zero() {
            return if low == 0 { Self::one() } else { Self::zero() };
        }
        if *self == Self::one() {
            return Self::Exact(BigUint::from(high - low) + 1u8);
        }
        let Some(next) = high.checked_add(1) else {
            return Self::Infinite;
        };
        match (self, self.pow(next), self.pow(low)) {
            (Self::Exact(n), Self::Exact(above), Self::Exact(below)) => {
                Self::of((above - below) / (n - 1u8))
            }
            // A geometric series with a ratio of at least two is below twice its last member.
            _ => self.pow(high).mul(&Self::from(2u8)),
        }
    }

    /// `self` minus what is known to be a part of it.
    pub(crate) fn without(&self, part: u64) -> Self {
        match self {
            Self::Exact(n) => {
                let part = BigUint::from(part);
                Self::Exact(if *n > part { n - part } else { BigUint::ZERO })
            }
            other => other.clone(),
        }
    }

    pub(crate) fn min(self, other: Self) -> Self {
        if self.at_most(&other) { self } else { other }
    }

    pub(crate) fn max(self, other: Self) -> Self {
        if self.at_most(&other) { other } else { self }
    }

    pub(crate) fn at_most(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => a <= b,
            (_, Self::Infinite) => true,
            (Self::Infinite, _) => false,
            (a, b) => a.ceiling() <= b.ceiling(),
        }
    }

    fn of(n: BigUint) -> Self {
        if n.bits() <= MAX_EXACT_BITS {
            return Self::Exact(n);
        }
        Self::Power(n.bits())
    }

    fn power(bits: Option<u64>) -> Self {
        bits.map_or(Self::Infinite, Self::Power)
    }

    fn ceiling(&self) -> u64 {
        self.bits().unwrap_or(u64::MAX)
    }

    /// As text: digits while these can be read, a power of two beyond.
    pub fn text(&self) -> String {
        match self {
            Self::Exact(n) if n.bits() <= 64 => n.to_string(),
            Self::Exact(_) => format!("2^{:.2}", self.log2()),
            Self::Power(bits) => format!("<=2^{bits}"),
            Self::Infinite => "unbounded".to_owned(),
        }
    }

    /// As JSON: the exact number as a decimal string while that is short.
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Exact(n) if n.bits() <= 1024 => json!(n.to_string()),
            _ => Value::Null,
        }
    }
}

impl<N: Into<BigUint>> From<N> for Count {
    fn from(n: N) -> Self {
        Self::of(n.into())
    }
}

/// The logarithm in decimals that people read; what is unbounded has none.
pub(crate) fn decimals(bits: f64) -> Value {
    if !bits.is_finite() {
        return Value::Null;
    }
    json!((bits * 1e6).round() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_bits_exactly_and_for_display() {
        for (n, bits, log) in [
            (0u64, 0, "0.000000"),
            (1, 0, "0.000000"),
            (2, 1, "1.000000"),
            (3, 2, "1.584963"),
            (4, 2, "2.000000"),
            (5, 3, "2.321928"),
            (u64::MAX, 64, "64.000000"),
        ] {
            let count = Count::from(n);
            assert_eq!(count.bits(), Some(bits), "{n}");
            assert_eq!(format!("{:.6}", count.log2()), log, "{n}");
        }
        assert_eq!(Count::power_of_two(32_768).bits(), Some(32_768));
        assert_eq!(
            Count::power_of_two(32_768).add(&Count::one()).bits(),
            Some(32_769)
        );
        assert_eq!(Count::Infinite.bits(), None);
    }

    #[test]
    fn stays_above_the_truth_where_it_stops_being_exact() {
        let ten = Count::from(10u8);
        let billion = ten.pow(1_000_000_000);
        // 10^9 log2(10) = 3 321 928 094.887...
        assert!(
            matches!(billion, Count::Power(3_321_928_095..=3_321_928_100)),
            "{billion:?}"
        );
        assert!(ten.powers(0, 1_000_000_000).bits() >= billion.bits());
        assert!(matches!(billion.mul(&ten), Count::Power(_)));
        assert_eq!(ten.pow(u64::MAX).pow(u64::MAX), Count::Infinite);
        assert_eq!(Count::Infinite.mul(&Count::zero()), Count::zero());
        assert_eq!(Count::Infinite.add(&Count::zero()), Count::Infinite);
        assert_eq!(billion.add(&Count::zero()), billion);
        assert_eq!(billion.mul(&Count::one()), billion);
        assert_eq!(Count::from(3u8).powers(1, 3), Count::from(39u8));
        assert_eq!(Count::one().powers(2, 4), Count::from(3u8));
        assert_eq!(Count::zero().powers(0, 9), Count::one());
    }
}

//! Privacy loss as an exact decimal.

use std::fmt;

use serde_json::Value;

use crate::judge::canonical::canonical;

/// Digits behind the decimal point.
const DECIMALS: usize = 9;

const UNIT: u64 = 1_000_000_000;

/// The largest privacy loss of one release. Far below it, there is no privacy left.
const LARGEST: u64 = 1000 * UNIT;

/// A privacy loss in billionths, so that many of them add up exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epsilon(u64);

impl Epsilon {
    /// What would be right, where [`Epsilon::read`] gives nothing.
    pub(super) const WANTED: &'static str =
        "a number above 0 and up to 1000, with at most 9 decimals";

    /// From billionths.
    pub const fn from_billionths(n: u64) -> Self {
        Self(n)
    }

    /// As billionths.
    pub const fn billionths(self) -> u64 {
        self.0
    }

    /// Reads a claim or a budget from its canonical text.
    pub(super) fn read(value: &Value) -> Option<Self> {
        if !value.is_number() {
            return None;
        }
        let text = String::from_utf8(canonical(value)).ok()?;
        // RFC 8785 writes an exponent only below 1e-6 and from 1e21 on.
        let (mantissa, exponent) = match text.split_once("e-") {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<usize>().ok()?),
            None => (&*text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let decimals = fraction.len().checked_add(exponent)?;
        if decimals > DECIMALS {
            return None;
        }
        let digits: u64 = format!("{whole}{fraction}").parse().ok()?;
        let scale = 10_u64.pow(u32::try_from(DECIMALS - decimals).ok()?);
        let n = digits.checked_mul(scale)?;
        (1..=LARGEST).contains(&n).then_some(Self(n))
    }
}

impl fmt::Display for Epsilon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / UNIT, self.0 % UNIT);
        let fraction = format!("{fraction:09}");
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            fraction => write!(f, "{whole}.{fraction}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_exactly_or_not_at_all() {
        for (text, billionths) in [
            ("1", Some(UNIT)),
            ("1.0", Some(UNIT)),
            ("0.1", Some(100_000_000)),
            ("0.30000000000000004", None),
            ("1e-9", Some(1)),
            ("1.5e-8", Some(15)),
            ("1e-10", None),
            ("1.5e-9", None),
            ("0", None),
            ("-0.0", None),
            ("-1", None),
            ("1000", Some(LARGEST)),
            ("1000.000000001", None),
            ("1e300", None),
            ("5e-324", None),
            ("\"1\"", None),
            ("null", None),
            ("true", None),
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            let read = Epsilon::read(&value).map(Epsilon::billionths);
            assert_eq!(read, billionths, "{text}");
        }
    }

    #[test]
    fn is_shown_as_written() {
        for (n, text) in [(UNIT, "1"), (100_000_000, "0.1"), (1, "0.000000001")] {
            assert_eq!(Epsilon(n).to_string(), text);
        }
    }
}

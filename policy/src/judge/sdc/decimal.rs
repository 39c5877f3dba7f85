//! Decimal numbers, exactly: what a number says where it is written, never what a double makes of it.
//!
//! A JSON number is read from its canonical text (RFC 8785), so that judge and receiver see the same
//! digits. A numeric text is read as it is spelled, with its trailing zeros: it leaves so.

use std::cmp::Ordering;

use serde_json::Number;

use crate::judge::json::MAX_SAFE_INTEGER;

/// The most digits of a numeric text, leading zero included. It keeps every number and every power
/// of ten that brings two of them to one scale within an `i128`.
const MAX_DIGITS: usize = 34;

/// `digits * 10^exponent`, `|digits| < 10^34`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal {
    digits: i128,
    exponent: i32,
}

impl Decimal {
    /// A whole number.
    pub(crate) const fn integer(value: i64) -> Self {
        Self {
            digits: value as i128,
            exponent: 0,
        }
    }

    /// The number that the canonical text of `number` shows.
    pub(crate) fn from_number(number: &Number) -> Option<Self> {
        match number.as_i64() {
            Some(integer) if integer.unsigned_abs() <= MAX_SAFE_INTEGER => {
                Some(Self::integer(integer))
            }
            _ => {
                let double = number.as_f64().filter(|double| double.is_finite())?;
                Self::read(ryu_js::Buffer::new().format_finite(double))
            }
        }
    }

    /// The number that a text `^(0|[1-9][0-9]*)(\.[0-9]+)?$` spells; `None` for any other text, and
    /// for one of more than 34 digits.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let plain = digits(whole) && digits(fraction) && (whole == "0" || !whole.starts_with('0'));
        plain.then(|| Self::read(text)).flatten()
    }

    /// Reads `-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?`.
    fn read(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let (mantissa, negative) = match mantissa.strip_prefix('-') {
            Some(mantissa) => (mantissa, true),
            None => (mantissa, false),
        };
        let mut exponent: i32 = exponent.parse().ok()?;
        let (mut digits, mut count, mut behind_point) = (0_i128, 0, false);
        for byte in mantissa.bytes() {
            match byte {
                b'.' if !behind_point => behind_point = true,
                b'0'..=b'9' if count < MAX_DIGITS => {
                    digits = digits * 10 + i128::from(byte - b'0');
                    count += 1;
                    exponent -= i32::from(behind_point);
                }
                _ => return None,
            }
        }
        let digits = if negative { -digits } else { digits };
        Some(Self { digits, exponent })
    }

    /// Digits behind the point, once the exponent is written out. Of a numeric text: as spelled.
    pub(crate) fn decimals(self) -> u32 {
        self.exponent.min(0).unsigned_abs()
    }

    /// Significant digits: leading zeros do not count, nor do those at the end of a whole number.
    /// Zero has none.
    pub(crate) fn significant(self) -> u32 {
        let mut digits = self.digits.unsigned_abs();
        if digits == 0 {
            return 0;
        }
        while self.exponent >= 0 && digits.is_multiple_of(10) {
            digits /= 10;
        }
        digits.ilog10() + 1
    }

    /// Whether it is below zero.
    pub(crate) fn is_negative(self) -> bool {
        self.digits < 0
    }

    /// Whether it is zero.
    pub(crate) fn is_zero(self) -> bool {
        self.digits == 0
    }

    /// Whether it is one that the wire allows: at most 2^53-1 in size (RFC 7493 section 2.2).
    pub(crate) fn is_safe(self) -> bool {
        const MAX: i64 = MAX_SAFE_INTEGER as i64;
        Self::integer(-MAX) <= self && self <= Self::integer(MAX)
    }

    /// Its value, if that is a whole number, however it is spelled.
    pub(crate) fn as_integer(self) -> Option<i64> {
        self.scaled(0)?.try_into().ok()
    }

    /// Its value times `10^places`, if that is a whole number that fits.
    pub(crate) fn scaled(self, places: u32) -> Option<i128> {
        if self.digits == 0 {
            return Some(0);
        }
        let shift = i64::from(self.exponent) + i64::from(places);
        let size = u32::try_from(shift.unsigned_abs()).ok()?;
        let power = 10_i128.checked_pow(size)?;
        if shift >= 0 {
            return self.digits.checked_mul(power);
        }
        (self.digits % power == 0).then(|| self.digits / power)
    }

    /// The largest whole number that is not above it; `None` if that is no `i64`.
    pub(crate) fn floor(self) -> Option<i64> {
        if self.exponent >= 0 {
            return self.as_integer();
        }
        let power = 10_i128.checked_pow(self.exponent.unsigned_abs());
        // A power that does not fit is larger than all digits.
        let floor = match power {
            Some(power) => self.digits.div_euclid(power),
            None => -i128::from(self.is_negative()),
        };
        floor.try_into().ok()
    }

    /// The smallest whole number that is not below it; `None` if that is no `i64`.
    pub(crate) fn ceil(self) -> Option<i64> {
        let mirrored = Self {
            digits: -self.digits,
            exponent: self.exponent,
        };
        mirrored.floor()?.checked_neg()
    }

    /// Whether it is a whole multiple of `base`, which must not be 0.
    pub(crate) fn is_multiple_of(self, base: i64) -> bool {
        self.remainder(base) == Some(0)
    }

    /// The remainder, from 0 on, of a whole number divided by `base`; `None` for a fraction and for
    /// `base` 0.
    pub(crate) fn remainder(self, base: i64) -> Option<i64> {
        let remainder = self.scaled(0)?.checked_rem_euclid(i128::from(base))?;
        remainder.try_into().ok()
    }

    /// Where its first digit stands: 1 for 1 to 9, 0 for 0.1 to 0.9. Not for 0.
    fn magnitude(self) -> i64 {
        let digits = self.digits.unsigned_abs().ilog10() + 1;
        i64::from(digits) + i64::from(self.exponent)
    }

    /// Compares the sizes of two numbers other than 0.
    fn cmp_size(self, other: Self) -> Ordering {
        self.magnitude().cmp(&other.magnitude()).then_with(|| {
            // Of equal magnitude, so the one with more digits is the one to lift the other to: what
            // comes out has at most 34 digits.
            let lift = |number: Self, to: i32| {
                let power = 10_u128.pow((number.exponent - to).unsigned_abs());
                number.digits.unsigned_abs() * power
            };
            let low = self.exponent.min(other.exponent);
            lift(self, low).cmp(&lift(other, low))
        })
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.exponent == other.exponent {
            return self.digits.cmp(&other.digits);
        }
        let signs = self.digits.signum().cmp(&other.digits.signum());
        signs.then_with(|| match self.digits.signum() {
            0 => Ordering::Equal,
            1 => self.cmp_size(*other),
            _ => other.cmp_size(*self),
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Equal in value, however they are spelled.
impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Decimal {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn number(value: Value) -> Decimal {
        let Value::Number(number) = value else {
            panic!("a number");
        };
        Decimal::from_number(&number).unwrap()
    }

    #[test]
    fn digits_are_those_of_the_canonical_text() {
        for (value, decimals, significant, integer) in [
            (json!(0), 0, 0, Some(0)),
            (json!(-0.0), 0, 0, Some(0)),
            (json!(12), 0, 2, Some(12)),
            (json!(12.0), 0, 2, Some(12)),
            (json!(1230), 0, 3, Some(1230)),
            (json!(-1234), 0, 4, Some(-1234)),
            (json!(0.1), 1, 1, None),
            (json!(1.234), 3, 4, None),
            (json!(1e-3), 3, 1, None),
            (json!(1e-7), 7, 1, None),
            (json!(1.5e-7), 8, 2, None),
            (json!(0.1234), 4, 4, None),
            (json!(0.1 + 0.2), 17, 17, None),
            (json!(5e-324), 324, 1, None),
            (json!(1e21), 0, 1, None),
            (json!(1e300), 0, 1, None),
            (json!(f64::MAX), 0, 17, None),
            (
                json!(9_007_199_254_740_993_i64),
                0,
                16,
                Some(9_007_199_254_740_992),
            ),
        ] {
            let decimal = number(value.clone());
            assert_eq!(decimal.decimals(), decimals, "{value}");
            assert_eq!(decimal.significant(), significant, "{value}");
            assert_eq!(decimal.as_integer(), integer, "{value}");
        }
    }

    #[test]
    fn numeric_texts_are_read_as_they_are_spelled() {
        for (text, expected) in [
            ("0", Some((0, Some(0)))),
            ("12", Some((0, Some(12)))),
            ("12.0", Some((1, Some(12)))),
            ("1.50", Some((2, None))),
            ("0.05", Some((2, None))),
            ("0123456789", None),
            ("00", None),
            ("-1", None),
            ("+1", None),
            ("1.", None),
            (".5", None),
            ("1e3", None),
            ("1.2.3", None),
            ("", None),
            (" 1", None),
            ("\u{0661}", None),
            ("1234567890123456789012345678901234", Some((0, None))),
            ("12345678901234567890123456789012345", None),
        ] {
            let read = Decimal::from_text(text);
            let read = read.map(|read| (read.decimals(), read.as_integer()));
            assert_eq!(read, expected, "{text}");
        }
        assert_eq!(Decimal::from_text("1.500").unwrap().significant(), 4);
    }

    /// A number as its sign and its digits, written out from 10^40 down to 10^-40.
    fn written_out(text: &str) -> (bool, String) {
        let (text, negative) = (text.trim_start_matches('-'), text.starts_with('-'));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole:0>40}{fraction:0<40}");
        let zero = digits.bytes().all(|digit| digit == b'0');
        (negative && !zero, digits)
    }

    fn order(a: &str, b: &str) -> Ordering {
        match (written_out(a), written_out(b)) {
            ((false, a), (false, b)) => a.cmp(&b),
            ((true, a), (true, b)) => b.cmp(&a),
            ((false, _), (true, _)) => Ordering::Greater,
            ((true, _), (false, _)) => Ordering::Less,
        }
    }

    fn texts() -> impl Strategy<Value = String> {
        "-?(0|[1-9][0-9]{0,16})(\\.(0{0,6}[0-9]{1,8}|[0-9]0{1,6}))?"
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn order_is_that_of_the_digits_written_out(a in texts(), b in texts()) {
            let (ours, theirs) = (Decimal::read(&a).unwrap(), Decimal::read(&b).unwrap());
            prop_assert_eq!(ours.cmp(&theirs), order(&a, &b), "{} and {}", a, b);
            prop_assert_eq!(theirs.cmp(&ours), order(&b, &a), "{} and {}", b, a);
        }

        #[test]
        fn zeros_behind_the_point_do_not_change_the_value(a in texts(), zeros in 1..4_usize) {
            let dot = if a.contains('.') { "" } else { "." };
            let longer = format!("{a}{dot}{}", "0".repeat(zeros));
            let (ours, longer) = (Decimal::read(&a).unwrap(), Decimal::read(&longer).unwrap());
            prop_assert_eq!(ours, longer);
            prop_assert_eq!(ours.as_integer(), longer.as_integer());
            prop_assert_eq!(ours.floor(), longer.floor());
            prop_assert_eq!(ours.remainder(7), longer.remainder(7));
        }

        #[test]
        fn doubles_order_as_decimals(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(a.is_finite() && b.is_finite());
            let (ours, theirs) = (number(json!(a)), number(json!(b)));
            prop_assert_eq!(Some(ours.cmp(&theirs)), a.partial_cmp(&b));
            if a.abs() < 2_f64.powi(53) {
                prop_assert_eq!(ours.floor(), Some(a.floor() as i64));
                prop_assert_eq!(ours.ceil(), Some(a.ceil() as i64));
            }
            prop_assert_eq!(ours.significant() <= 17, true);
        }

        #[test]
        fn whole_numbers_are_whole(a in -(1_i64 << 53) + 1..1 << 53, base in 1..1_000_000_i64) {
            let decimal = number(json!(a));
            prop_assert_eq!(decimal.as_integer(), Some(a));
            prop_assert_eq!(decimal.remainder(base), Some(a.rem_euclid(base)));
            prop_assert_eq!(decimal.is_multiple_of(base), a % base == 0);
            prop_assert_eq!(decimal.decimals(), 0);
            let text = a.to_string();
            let expected = text.trim_start_matches('-').trim_end_matches('0').len();
            prop_assert_eq!(decimal.significant() as usize, expected);
            prop_assert!(decimal.is_safe());
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let pattern = |text: &str| {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
                let digits = |t: &str| !t.is_empty() && t.chars().all(|c| c.is_ascii_digit());
                digits(whole) && digits(fraction) && !(whole.len() > 1 && whole.starts_with('0'))
            };
            prop_assert_eq!(Decimal::from_text(&text).is_some(), pattern(&text));
        }
    }
}

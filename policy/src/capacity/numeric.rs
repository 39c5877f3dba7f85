//! How many numbers a place can hold. Numbers are doubles of at most 2^53-1 in size; what rules say
//! of digits they say of the shortest decimal text of a number (RFC 8785 §3.2.2.3).

use num_bigint::{BigInt, BigUint};
use serde_json::{Map, Value};

use super::count::Count;
use super::decimal::{Decimal, lcm};
use super::range::{Bound, Range};

/// The largest number in size: 2^53-1 (RFC 7493 §2.2).
const MAX_SAFE: i64 = (1 << 53) - 1;

/// More significant digits than any double needs: such a rule refuses nothing.
const ALL_DIGITS: u64 = 17;

/// More of a common step is not looked for, in bits.
const MAX_STEP_BITS: u64 = 4096;

/// What the schemas of a place say of its numbers, when all of them hold.
pub(super) struct Numbers {
    range: Range,
    /// Numbers are whole multiples of this.
    step: Option<Decimal>,
    /// Fractions that numbers are multiples of, in binary or in decimal reading.
    fractions: Vec<Decimal>,
    /// Zero, or half of this modulo this.
    midpoints: Vec<BigInt>,
    significant: Option<u32>,
    /// The least count, if counts are asked for.
    least: Option<BigInt>,
    zero: bool,
    markers: Vec<Decimal>,
}

impl Numbers {
    /// `whole`: the type leaves whole numbers only.
    pub(super) fn new(here: &[&Map<String, Value>], whole: bool) -> Self {
        let closed = |at: i64| Bound {
            at: Decimal::from(at),
            open: false,
        };
        let mut numbers = Self {
            range: Range {
                low: closed(-MAX_SAFE),
                high: closed(MAX_SAFE),
            },
            step: whole.then(|| Decimal::from(1)),
            fractions: Vec::new(),
            midpoints: Vec::new(),
            significant: None,
            least: None,
            zero: true,
            markers: Vec::new(),
        };
        for schema in here {
            numbers.bounds(schema);
            numbers.multiples(schema);
            numbers.rules(schema);
        }
        numbers
    }

    fn bounds(&mut self, schema: &Map<String, Value>) {
        for (keyword, open) in [("minimum", false), ("exclusiveMinimum", true)] {
            if let Some(at) = schema.get(keyword).and_then(Decimal::of) {
                self.range.raise(Bound { at, open });
            }
        }
        for (keyword, open) in [("maximum", false), ("exclusiveMaximum", true)] {
            if let Some(at) = schema.get(keyword).and_then(Decimal::of) {
                self.range.lower(Bound { at, open });
            }
        }
    }

    fn multiples(&mut self, schema: &Map<String, Value>) {
        let Some(step) = schema.get("multipleOf").and_then(Decimal::of) else {
            return;
        };
        if step.is_whole() {
            self.narrow(step);
        } else if step.is_positive() {
            self.fractions.push(step);
        }
    }

    fn rules(&mut self, schema: &Map<String, Value>) {
        let of_numbers = |keyword: &str| {
            let rule = schema.get(keyword)?.as_object()?;
            (rule.get("numeric").and_then(Value::as_str) != Some("string")).then_some(rule)
        };
        let midpoint = self.round(schema);
        if let Some(rule) = of_numbers("sdcMinCount")
            && let Some(min) = rule.get("min").and_then(Value::as_u64)
        {
            self.narrow(Decimal::from(1));
            self.not_negative();
            // Under midpoint rounding a label stands for counts on both sides of the least one.
            if !midpoint {
                self.zero &= rule.get("zero").and_then(Value::as_str) != Some("deny");
                let min = BigInt::from(min);
                self.least = Some(
                    self.least
                        .take()
                        .map_or(min.clone(), |least| least.max(min)),
                );
            }
        }
        if let Some(rule) = of_numbers("sdcPrecision") {
            let number = |name: &str| rule.get(name).and_then(Value::as_u64);
            if let Some(decimals) = number("decimals").and_then(|d| i32::try_from(d).ok()) {
                self.narrow(Decimal::power_of_ten(-decimals.min(400)));
            }
            if let Some(digits @ 1..ALL_DIGITS) = number("significant") {
                let digits = digits as u32;
                self.significant = Some(self.significant.map_or(digits, |s| s.min(digits)));
            }
        }
        let markers = schema.get("sdcSuppressed").and_then(Value::as_array);
        let markers = markers
            .into_iter()
            .flatten()
            .filter_map(|m| m.get("marker"));
        self.markers.extend(markers.filter_map(Decimal::of));
    }

    /// Whether the rounding is to midpoints.
    fn round(&mut self, schema: &Map<String, Value>) -> bool {
        let Some(rule) = schema.get("sdcRound").and_then(Value::as_object) else {
            return false;
        };
        let Some(base) = rule.get("base").and_then(Value::as_u64).filter(|b| *b > 0) else {
            return false;
        };
        self.not_negative();
        if rule.get("mode").and_then(Value::as_str) == Some("midpoint") {
            self.narrow(Decimal::from(1));
            self.midpoints.push(base.into());
            return true;
        }
        self.narrow(Decimal::from(BigInt::from(base)));
        false
    }

    fn not_negative(&mut self) {
        self.range.raise(Bound {
            at: Decimal::from(0),
            open: false,
        });
    }

    fn narrow(&mut self, step: Decimal) {
        if !step.is_positive() {
            return;
        }
        let common = match &self.step {
            Some(other) => lcm(other, &step),
            None => step,
        };
        if common.bits() <= MAX_STEP_BITS {
            self.step = Some(common);
        }
    }

    /// Whether the plain keywords let a number through.
    pub(super) fn admits(schemas: &[&Map<String, Value>], value: &Value) -> bool {
        Decimal::of(value).is_none_or(|n| Self::plain(schemas).lets_through(&n))
    }

    fn plain(schemas: &[&Map<String, Value>]) -> Self {
        let mut plain = Self::new(&[], false);
        for schema in schemas {
            plain.bounds(schema);
            plain.multiples(schema);
        }
        plain
    }

    fn lets_through(&self, n: &Decimal) -> bool {
        self.range.has(n) && self.step.as_ref().is_none_or(|step| n.is_multiple(step))
    }

    /// How many there are at most.
    pub(super) fn count(&self, schemas: &[&Map<String, Value>]) -> Count {
        let sum = |of: &dyn Fn(&Range) -> BigInt| -> BigInt { self.ranges().iter().map(of).sum() };
        let mut least = sum(&Range::doubles);
        if let Some(step) = &self.step {
            least = least.min(sum(&|range| range.multiples(step)));
        }
        for step in &self.fractions {
            // A multiple in binary reading need not be one in decimal reading; and bounds differ
            // by the rounding of a double.
            let each = sum(&|range| range.multiples(step));
            if each < BigInt::from(1u64 << 40) {
                least = least.min((each + 2) * 2);
            }
        }
        for base in &self.midpoints {
            least = least.min(sum(&|range| range.midpoints(base)));
        }
        if let Some(digits) = self.significant {
            least = least.min(sum(&|range| range.significant(digits)));
        }
        let markers = self.more_markers(schemas);
        Count::from(least.to_biguint().unwrap_or_default() + BigUint::from(markers))
    }

    /// The ranges in which numbers may be: all, or zero and what is not below the least count.
    fn ranges(&self) -> Vec<Range> {
        let Some(least) = &self.least else {
            return vec![self.range.clone()];
        };
        let mut above = self.range.clone();
        above.raise(Bound {
            at: Decimal::from(least.clone()),
            open: false,
        });
        let mut ranges = vec![above];
        if self.zero && self.range.has(&Decimal::from(0)) && *least > BigInt::ZERO {
            ranges.push(Range::point(Decimal::from(0)));
        }
        ranges
    }

    /// Markers that are numbers and are not counted as such yet; the rules let them pass, the plain
    /// keywords may not.
    fn more_markers(&self, schemas: &[&Map<String, Value>]) -> usize {
        if self.markers.is_empty() {
            return 0;
        }
        let plain = Self::plain(schemas);
        let fits = |n: &&Decimal| plain.lets_through(n);
        let counted = |n: &Decimal| {
            self.ranges().iter().any(|range| range.has(n))
                && self.step.as_ref().is_none_or(|step| n.is_multiple(step))
                && self.midpoints.is_empty()
                && self.significant.is_none()
        };
        let mut more: Vec<_> = (self.markers.iter())
            .filter(fits)
            .filter(|n| !counted(n))
            .collect();
        more.sort();
        more.dedup();
        more.len()
    }
}

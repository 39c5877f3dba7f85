//! What a figure says about the count behind it.

use serde_json::Value;

use crate::judge::sdc::{CellRule, CellValue};

/// All whole numbers from `lo` to `hi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    /// The least.
    pub lo: i64,
    /// The largest.
    pub hi: i64,
}

impl Interval {
    /// Every number.
    pub const ALL: Self = Self {
        lo: i64::MIN,
        hi: i64::MAX,
    };

    /// One number.
    pub const fn exactly(n: i64) -> Self {
        Self { lo: n, hi: n }
    }

    /// Whether a difference of 1 to `k - 1`, up or down, cannot be ruled out between the two.
    pub fn too_near(self, other: Self, k: u64) -> bool {
        let (low, high) = (
            i128::from(other.lo) - i128::from(self.hi),
            i128::from(other.hi) - i128::from(self.lo),
        );
        let near = i128::from(k) - 1;
        near >= 1 && ((low <= near && high >= 1) || (high >= -near && low <= -1))
    }

    /// Whether they have a number in common.
    pub fn meets(self, other: Self) -> bool {
        self.lo <= other.hi && other.lo <= self.hi
    }
}

/// A figure, as its schema has it read: what it says, and whether that is what it hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figure {
    pub(super) interval: Interval,
    /// It is a marker.
    pub(super) suppressed: bool,
}

impl Figure {
    /// Reads a figure; `None` for what is neither a whole number nor a declared marker.
    pub(super) fn read(rule: &CellRule, value: &Value) -> Option<Self> {
        let (lo, hi) = rule.interval(value)?;
        let marker = matches!(rule.read(value), CellValue::Marker { .. });
        Some(Self {
            interval: Interval { lo, hi },
            suppressed: marker,
        })
    }

    /// As [`Self::read`] for a noisy figure, which may be a fraction.
    pub(super) fn read_noisy(rule: &CellRule, value: &Value) -> Option<Self> {
        let fraction = || match rule.read(value) {
            CellValue::Number(number) => Some(Self {
                interval: Interval {
                    lo: number.floor()?,
                    hi: number.ceil()?,
                },
                suppressed: false,
            }),
            _ => None,
        };
        Self::read(rule, value).or_else(fraction)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_read_as_their_schema_says() {
        let rule = |schema: Value| CellRule::new(schema.as_object().unwrap()).unwrap();
        let plain = json!({"sdcSuppressed": [{"marker": "<10", "lo": 1, "hi": 9},
                                             {"marker": -5, "lo": 1, "hi": 4}]});
        let nearest = json!({"sdcRound": {"base": 5, "mode": "nearest"}});
        for (schema, value, expected) in [
            (&plain, json!(12), Some((12, 12, false))),
            (&plain, json!(12.0), Some((12, 12, false))),
            (&plain, json!("<10"), Some((1, 9, true))),
            (&plain, json!(-5), Some((1, 4, true))),
            (&plain, json!("<5"), None),
            (&plain, json!(null), None),
            (&plain, json!(1.5), None),
            (&plain, json!(1e300), None),
            (&nearest, json!(20), Some((18, 22, false))),
        ] {
            let read = Figure::read(&rule(schema.clone()), &value);
            let read = read.map(|f| (f.interval.lo, f.interval.hi, f.suppressed));
            assert_eq!(read, expected, "{schema} {value}");
        }
        let noisy = Figure::read_noisy(&rule(json!({})), &json!(-1.5)).unwrap();
        assert_eq!(noisy.interval, Interval { lo: -2, hi: -1 });
    }

    #[test]
    fn too_near_is_what_a_small_difference_could_explain() {
        let near = |a: (i64, i64), b: (i64, i64), k| {
            let [a, b] = [a, b].map(|(lo, hi)| Interval { lo, hi });
            assert_eq!(a.too_near(b, k), b.too_near(a, k));
            a.too_near(b, k)
        };
        // By force: some difference in 1..k-1 or its negative, of numbers in the intervals.
        for a in 0_i64..6 {
            for b in a..8 {
                for c in 0..6 {
                    for d in c..8 {
                        for k in 1..5 {
                            let force = (a..=b)
                                .any(|x| (c..=d).any(|y| x != y && (x - y).unsigned_abs() < k));
                            assert_eq!(near((a, b), (c, d), k), force, "{a} {b} {c} {d} {k}");
                        }
                    }
                }
            }
        }
        assert!(near((i64::MIN, i64::MAX), (0, 0), 2));
    }
}

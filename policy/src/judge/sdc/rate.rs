//! `sdcRate`: a rate must agree with its counts, and must not reveal a small one.
//!
//! CMS (cell size suppression policy: no cell of 1 to 10 from percentages or formulas either),
//! omopgenerics and OpenSAFELY (rates of suppressed counts are suppressed).

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::aggregate::{Arguments, Cell, Seen};
use super::{Decimal, Findings, Rule};
use crate::Reason;

/// What a rate may be per: one, hundred (per cent), thousand, hundred thousand.
const SCALES: [i64; 4] = [1, 100, 1000, 100_000];

/// The most decimals of a rate; it keeps products within an `i128`.
const MAX_DECIMALS: i64 = 15;

/// `{"rate": p, "scale": s, "decimals": d, "den": p, "num": p?, "min": k}`.
///
/// The counts that the rate may come from are those `c` from 0 to `den` for which `c * scale / den`
/// is at most half a unit of the `d`-th decimal away from it: an interval. There must be one. A
/// published numerator must be one of them; beside a suppressed one no rate is published; and where
/// there is none, they, or what they leave of the denominator, must not all be 1 to `min - 1`.
#[derive(Debug)]
pub(crate) struct Rate {
    rate: Cell,
    den: Cell,
    num: Option<Cell>,
    scale: i64,
    decimals: u32,
    min: i64,
}

impl Rule for Rate {
    fn new(value: &Value, schema: &Map<String, Value>) -> Result<Self, String> {
        let required = &["rate", "scale", "decimals", "den", "min"];
        let arguments = Arguments::read("sdcRate", value, schema, required, &["num"])?;
        let scale = arguments.integer("scale", 1)?;
        if !SCALES.contains(&scale) {
            return Err(arguments.wrong("scale", "must be 1, 100, 1000 or 100000"));
        }
        let decimals = arguments.integer("decimals", 0)?;
        let decimals = u32::try_from(decimals)
            .ok()
            .filter(|_| decimals <= MAX_DECIMALS);
        Ok(Self {
            rate: arguments.loose_cell("rate")?,
            den: arguments.cell("den")?,
            num: arguments.optional("num", Arguments::loose_cell)?,
            scale,
            decimals: decimals.ok_or_else(|| {
                arguments.wrong("decimals", format_args!("must be at most {MAX_DECIMALS}"))
            })?,
            min: arguments.integer("min", 1)?,
        })
    }

    fn check(&self, value: &Value, found: &mut Findings) {
        let Some(Seen::Number(rate)) = self.rate.read(value, "", found) else {
            return;
        };
        let Some(den) = self.den.count(value, "", Reason::SdcRate, found) else {
            return;
        };
        let place = || self.rate.pointer.to_string();
        let Some(counts) = self.counts(rate, den) else {
            found.push(Reason::SdcRate, place(), || self.message());
            return;
        };
        let num = self
            .num
            .as_ref()
            .map_or(Some(Seen::Absent), |num| num.read(value, "", found));
        match num {
            None => {}
            Some(Seen::Number(num)) if num.as_integer().is_some_and(|n| counts.contains(&n)) => {}
            Some(Seen::Number(_)) => found.push(Reason::SdcRate, place(), || self.message()),
            Some(Seen::Marker) => found.push(
                Reason::SdcRate,
                place(),
                || "a rate is suppressed where its numerator is",
            ),
            Some(Seen::Absent) => {
                let (lo, hi) = (*counts.start(), *counts.end());
                let small = |lo, hi| lo >= 1 && hi < self.min;
                if small(lo, hi) || small(den - hi, den - lo) {
                    found.push(Reason::SdcRate, place(), || {
                        let min = self.min;
                        format!("a rate from which no count of 1 to {} follows", min - 1)
                    });
                }
            }
        }
    }
}

impl Rate {
    /// The counts that a rate may come from; `None` if there are none, or if the rate has more
    /// decimals than it may: these could tell a count that the others do not.
    fn counts(&self, rate: Decimal, den: i64) -> Option<RangeInclusive<i64>> {
        let (scale, den) = (i128::from(self.scale), i128::from(den));
        let whole = scale * 10_i128.pow(self.decimals);
        let rate = rate.scaled(self.decimals)?;
        if den == 0 || !(0..=whole).contains(&rate) {
            return None;
        }
        // Times 2 * 10^d * den, all is whole: |2 * c * whole - 2 * rate * den| <= den. At most
        // 2 * 10^20 * 2^53 stands here.
        let lo = -((1 - 2 * rate) * den).div_euclid(2 * whole);
        let hi = ((2 * rate + 1) * den).div_euclid(2 * whole);
        let (lo, hi) = (lo.max(0), hi.min(den));
        let range = i64::try_from(lo).ok()?..=i64::try_from(hi).ok()?;
        (!range.is_empty()).then_some(range)
    }

    fn message(&self) -> String {
        let Self {
            rate,
            den,
            scale,
            decimals,
            ..
        } = self;
        let num = match &self.num {
            Some(num) => format!("`{}`", num.pointer),
            None => "a whole number".into(),
        };
        let (rate, den) = (&rate.pointer, &den.pointer);
        format!("`{rate}` is {num} / `{den}` * {scale}, rounded to {decimals} decimals")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::testing::{assert_strict, codes, example, example_contract, found, rule};
    use super::*;

    fn schema(scale: i64, decimals: i64, num: bool) -> Value {
        let cell = json!({"sdcSuppressed": [{"marker": "<5", "lo": 1, "hi": 4}]});
        let mut schema = json!({
            "properties": {"rate": cell, "den": cell, "num": cell},
            "sdcRate": {"rate": "/rate", "scale": scale, "decimals": decimals, "den": "/den", "min": 10},
        });
        if num {
            schema["sdcRate"]["num"] = json!("/num");
        }
        schema
    }

    #[test]
    fn a_rate_agrees_with_its_counts() {
        let rate = || vec![("sdc-rate", "/rate".to_owned())];
        let at = |code, place: &str| vec![(code, place.to_owned())];
        for (scale, decimals, value, expected) in [
            (1, 3, json!({"rate": 0.5, "den": 600, "num": 300}), vec![]),
            (1, 3, json!({"rate": 0.5, "den": 600, "num": 290}), rate()),
            (
                1,
                3,
                json!({"rate": 0.667, "den": 3000, "num": 2000}),
                vec![],
            ),
            (1, 3, json!({"rate": 0.5, "den": 600, "num": 300.5}), rate()),
            (
                100,
                1,
                json!({"rate": 0.8, "den": 390, "num": "<5"}),
                rate(),
            ),
            (
                100,
                1,
                json!({"rate": "<5", "den": 390, "num": "<5"}),
                vec![],
            ),
            (
                100,
                1,
                json!({"rate": "<5", "den": "<5", "num": "<5"}),
                vec![],
            ),
            (100, 1, json!({"rate": 0, "den": 390, "num": 0}), vec![]),
            (100, 1, json!({"rate": 100, "den": 390, "num": 390}), vec![]),
            (
                100,
                1,
                json!({"rate": 100.1, "den": 390, "num": 390}),
                rate(),
            ),
            (100, 1, json!({"rate": -0.1, "den": 390, "num": 0}), rate()),
            // Half a unit to either side: 1 of 8 is 12.5 %.
            (100, 0, json!({"rate": 12, "den": 8, "num": 1}), vec![]),
            (100, 0, json!({"rate": 13, "den": 8, "num": 1}), vec![]),
            (100, 0, json!({"rate": 14, "den": 8, "num": 1}), rate()),
            (
                1000,
                0,
                json!({"rate": 21, "den": 5000, "num": 105}),
                vec![],
            ),
            (
                100_000,
                1,
                json!({"rate": 12.4, "den": 9_007_199_254_740_991_i64, "num": 1_116_892_707_587_i64}),
                vec![],
            ),
            // More decimals than agreed could tell more.
            (1, 1, json!({"rate": 0.55, "den": 600, "num": 330}), rate()),
            (1, 3, json!({"rate": 5e-324, "den": 600, "num": 0}), rate()),
            (1, 3, json!({"rate": 0.5, "den": 0, "num": 0}), rate()),
            (
                1,
                3,
                json!({"rate": 0.5, "den": "<5", "num": 3}),
                at("sdc-rate", "/den"),
            ),
            (
                1,
                3,
                json!({"rate": 0.5, "den": 600.5, "num": 3}),
                at("sdc-rate", "/den"),
            ),
            (
                1,
                3,
                json!({"rate": 0.5, "den": -600, "num": 3}),
                at("sdc-rate", "/den"),
            ),
            (1, 3, json!({"rate": 0.5, "num": 3}), at("sdc-pointer", "")),
            (
                1,
                3,
                json!({"rate": 0.5, "den": 600}),
                at("sdc-pointer", ""),
            ),
            (1, 3, json!({"den": 600, "num": 3}), at("sdc-pointer", "")),
            (
                1,
                3,
                json!({"rate": "0.5", "den": 600, "num": 300}),
                at("sdc-cell", "/rate"),
            ),
            (
                1,
                3,
                json!({"rate": 0.5, "den": 600, "num": null}),
                at("sdc-cell", "/num"),
            ),
        ] {
            let found = found::<Rate>("sdcRate", &schema(scale, decimals, true), &value);
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn a_rate_without_numerator_tells_no_small_count() {
        for (scale, decimals, rate, den, passes) in [
            (100, 1, json!(12.3), 50_000, true),
            (1, 3, json!(0.004), 500, false),
            (1, 3, json!(0.996), 500, false),
            (1, 3, json!(0), 500, true),
            (1, 3, json!(1), 500, true),
            (1, 3, json!(0.02), 500, true),
            (1, 3, json!(0.018), 500, false),
            (1, 3, json!(0.98), 500, true),
            // 3 to 9 of 600: all small, though none is told.
            (100, 0, json!(1), 600, false),
            // 5 to 15 of 1000: some are not small.
            (100, 0, json!(1), 1000, true),
            // All or none of few.
            (1, 3, json!(0), 5, false),
            (1, 3, json!(1), 5, false),
            // No count at all.
            (1, 3, json!(0.501), 10, false),
        ] {
            let value = json!({"rate": rate, "den": den});
            let found = found::<Rate>("sdcRate", &schema(scale, decimals, false), &value);
            assert_eq!(found.is_empty(), passes, "{value}: {found:?}");
        }
        let mut optional = schema(1, 3, false);
        optional["sdcRate"]["num"] = json!("/num?");
        optional["sdcRate"]["rate"] = json!("/rate?");
        for (value, passes) in [
            (json!({"rate": 0.004, "den": 500}), false),
            (json!({"rate": 0.004, "den": 500, "num": 2}), true),
            (json!({"den": 500}), true),
        ] {
            let found = found::<Rate>("sdcRate", &optional, &value);
            assert_eq!(found.is_empty(), passes, "{value}: {found:?}");
        }
    }

    #[test]
    fn its_value_is_read_strictly() {
        assert_strict::<Rate>(
            "sdcRate",
            &schema(1, 3, true),
            &["num"],
            &[
                ("scale", json!(10), "must be 1, 100, 1000 or 100000"),
                ("decimals", json!(-1), "at least 0"),
                ("decimals", json!(16), "at most 15"),
                ("den", json!("/den?"), "must not end in `?`"),
                ("num", json!("/none"), "leads to no member"),
                ("min", json!("10"), "whole number"),
            ],
        );
    }

    #[test]
    fn the_example_of_a_measure_report_passes() {
        if let Some(contract) = example_contract("fhir-measurereport-summary")
            && let Some(payload) = example("payloads/01-measurereport-pass.json")
        {
            assert_eq!(codes(&contract, &payload), [""; 0]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn the_interval_is_what_trying_all_counts_gives(
            den in 1..400_i64,
            scale in prop::sample::select(SCALES.to_vec()),
            decimals in 0..4_u32,
            part in 0..1_100_i64,
        ) {
            let unit = 10_i64.pow(decimals);
            let digits = part * scale * unit / 1000;
            let text = match decimals {
                0 => digits.to_string(),
                _ => format!("{}.{:0width$}", digits / unit, digits % unit, width = decimals as usize),
            };
            let schema = schema(scale, decimals.into(), false);
            let rate: Rate = rule("sdcRate", &schema).unwrap();
            let counts = rate.counts(Decimal::from_text(&text).unwrap(), den);
            let fits = |c: &i64| (2 * c * scale * unit - 2 * digits * den).abs() <= den;
            let all: Vec<i64> = (0..=den).filter(fits).collect();
            let ours: Vec<i64> = counts.into_iter().flatten().collect();
            prop_assert_eq!(ours, all, "{} of {}", text, den);
        }
    }
}

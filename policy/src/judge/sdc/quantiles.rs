//! `sdcQuantiles`: enough people between one quantile and the next, and before and behind all.
//!
//! The statbarn classes Position and Endpoints (minimum and maximum are values of single people),
//! DataSHIELD (people for each quantile), OpenSAFELY and ABS DataLab (no minimum or maximum).

use serde_json::{Map, Value};

use super::aggregate::{Arguments, Cell, MAX_DECIMALS, Seen, items, missing, number};
use super::{CellValue, Decimal, Findings, Pointer, Rule};
use crate::Reason;

/// 1, in the unit in which probabilities are counted.
const CERTAIN: i128 = 10_i128.pow(MAX_DECIMALS);

/// `{"n": p, "items": p, "prob": q, "value": q, "min": k}`: the probabilities rise between 0 and 1
/// and at least `min` of `n` people are in each gap, those to 0 and to 1 included; the values do not
/// fall.
#[derive(Debug)]
pub(crate) struct Quantiles {
    n: Cell,
    items: Pointer,
    prob: Pointer,
    value: Cell,
    min: i64,
}

impl Rule for Quantiles {
    fn new(value: &Value, schema: &Map<String, Value>) -> Result<Self, String> {
        let required = &["n", "items", "prob", "value", "min"];
        let arguments = Arguments::read("sdcQuantiles", value, schema, required, &[])?;
        let items = arguments.pointer("items")?;
        Ok(Self {
            n: arguments.cell("n")?,
            prob: arguments.pointer("prob")?,
            value: arguments.item_cell(&items.to_string(), "value")?,
            min: arguments.integer("min", 1)?,
            items,
        })
    }

    fn check(&self, value: &Value, found: &mut Findings) {
        let n = self.n.read(value, "", found);
        let items = items(&self.items, value, Reason::SdcQuantiles, found);
        let (Some(n), Some(items)) = (n, items) else {
            return;
        };
        let n = match n {
            Seen::Number(n) => n.as_integer().filter(|n| *n >= self.min),
            // Behind a suppressed number nothing can be published.
            Seen::Marker | Seen::Absent if self.all_suppressed(items) => return,
            Seen::Marker | Seen::Absent => None,
        };
        let Some(n) = n else {
            found.push(Reason::SdcQuantiles, self.n.pointer.to_string(), || {
                format!("a whole number of at least {}, for any quantile", self.min)
            });
            return;
        };
        self.check_probabilities(n, items, found);
        self.check_values(items, found);
    }
}

impl Quantiles {
    fn all_suppressed(&self, items: &[Value]) -> bool {
        let suppressed = |item| {
            let value = self.value.pointer.one(item);
            value.is_some_and(|value| {
                matches!(self.value.rule.read(value), CellValue::Marker { .. })
            })
        };
        items.iter().all(suppressed)
    }

    fn check_probabilities(&self, n: i64, items: &[Value], found: &mut Findings) {
        let mut before = 0;
        for (i, item) in items.iter().enumerate() {
            if found.enough() {
                return;
            }
            let here = format_args!("{}/{i}", self.items);
            let place = || format!("{}/{i}{}", self.items, self.prob);
            let Some(value) = self.prob.one(item) else {
                missing(&self.prob, here, found);
                return;
            };
            let prob = number(value).and_then(|prob| prob.scaled(MAX_DECIMALS));
            let Some(prob) = prob.filter(|prob| before < *prob && *prob < CERTAIN) else {
                found.push(Reason::SdcQuantiles, place(), || {
                    "probabilities rise, above 0 and below 1: those are the minimum and the maximum"
                });
                return;
            };
            if !self.is_filled(n, prob - before) {
                found.push(Reason::SdcQuantiles, place(), || self.message());
            }
            before = prob;
        }
        if !items.is_empty() && !self.is_filled(n, CERTAIN - before) {
            found.push(Reason::SdcQuantiles, self.items.to_string(), || {
                self.message()
            });
        }
    }

    /// Whether enough people are in a gap between two probabilities. `n` is below 2^53, a gap at
    /// most 10^15.
    fn is_filled(&self, n: i64, gap: i128) -> bool {
        i128::from(n) * gap >= i128::from(self.min) * CERTAIN
    }

    fn check_values(&self, items: &[Value], found: &mut Findings) {
        let mut before: Option<Decimal> = None;
        for (i, item) in items.iter().enumerate() {
            if found.enough() {
                return;
            }
            let here = format_args!("{}/{i}", self.items);
            if let Some(Seen::Number(value)) = self.value.read(item, here, found) {
                if before.is_some_and(|before| value < before) {
                    let place = format!("{here}{}", self.value.pointer);
                    found.push(
                        Reason::SdcQuantiles,
                        place,
                        || "a value that is not below the one of the probability before",
                    );
                }
                before = Some(value);
            }
        }
    }

    fn message(&self) -> String {
        let (n, min) = (&self.n.pointer, self.min);
        format!(
            "at least {min} of `{n}` people below the first quantile, above the last, and between \
             each and the next"
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{assert_strict, codes, example, example_contract, found};
    use super::*;

    fn schema() -> Value {
        let dash = json!([{"marker": "-", "lo": 0, "hi": 99}]);
        json!({
            "properties": {
                "n": {"sdcSuppressed": [{"marker": "<10", "lo": 1, "hi": 9}]},
                "q": {"items": {"properties": {"p": {}, "v": {"sdcSuppressed": dash}}}},
            },
            "sdcQuantiles": {"n": "/n", "items": "/q", "prob": "/p", "value": "/v", "min": 10},
        })
    }

    fn quantiles(n: Value, items: &[(f64, Value)]) -> Value {
        let items = items.iter().map(|(p, v)| json!({"p": p, "v": v}));
        json!({"n": n, "q": items.collect::<Vec<_>>()})
    }

    #[test]
    fn enough_people_are_between_quantiles() {
        let at = |place: &str| vec![("sdc-quantiles", place.to_owned())];
        let one = json!(1);
        let quartiles = [(0.25, json!(5.6)), (0.5, json!(6.2)), (0.75, json!(7.1))];
        for (value, expected) in [
            (quantiles(json!(412), &quartiles), vec![]),
            (quantiles(json!(40), &quartiles), vec![]),
            (
                quantiles(json!(39), &quartiles),
                [at("/q/0/p"), at("/q/1/p"), at("/q/2/p"), at("/q")].concat(),
            ),
            (quantiles(json!(12), &[]), vec![]),
            (quantiles(json!(9), &[]), at("/n")),
            (quantiles(json!("<10"), &[]), vec![]),
            (quantiles(json!("<10"), &[(0.5, json!("-"))]), vec![]),
            (quantiles(json!("<10"), &[(0.5, json!(4))]), at("/n")),
            (quantiles(json!(100.5), &[(0.5, json!(4))]), at("/n")),
            (quantiles(json!(60), &[(0.05, one.clone())]), at("/q/0/p")),
            (quantiles(json!(60), &[(0.95, one.clone())]), at("/q")),
            (
                quantiles(json!(200), &[(0.05, one.clone()), (0.95, one.clone())]),
                vec![],
            ),
            (quantiles(json!(199), &[(0.05, one.clone())]), at("/q/0/p")),
            // 0.95 - 0.9 is 0.05 exactly, whatever doubles say.
            (
                quantiles(json!(200), &[(0.9, one.clone()), (0.95, one.clone())]),
                vec![],
            ),
            (
                quantiles(
                    json!(100),
                    &[(0.1, one.clone()), (0.2, one.clone()), (0.3, one.clone())],
                ),
                vec![],
            ),
            (quantiles(json!(412), &[(0.0, one.clone())]), at("/q/0/p")),
            (quantiles(json!(412), &[(1.0, one.clone())]), at("/q/0/p")),
            (quantiles(json!(412), &[(-0.5, one.clone())]), at("/q/0/p")),
            (
                quantiles(json!(412), &[(5e-324, one.clone())]),
                at("/q/0/p"),
            ),
            (
                quantiles(json!(412), &[(0.30000000000000004, one.clone())]),
                at("/q/0/p"),
            ),
            (
                quantiles(json!(412), &[(0.5, one.clone()), (0.5, one.clone())]),
                at("/q/1/p"),
            ),
            (
                quantiles(json!(412), &[(0.5, one.clone()), (0.25, one.clone())]),
                at("/q/1/p"),
            ),
            (
                quantiles(json!(19), &[(0.5, one.clone())]),
                [at("/q/0/p"), at("/q")].concat(),
            ),
            (quantiles(json!(20), &[(0.5, one.clone())]), vec![]),
            (
                quantiles(json!(412), &[(0.25, json!(5)), (0.5, json!(4.9))]),
                at("/q/1/v"),
            ),
            (
                quantiles(json!(412), &[(0.25, json!(5)), (0.5, json!(5.0))]),
                vec![],
            ),
            (
                quantiles(
                    json!(412),
                    &[(0.25, json!(5)), (0.5, json!("-")), (0.75, json!(4))],
                ),
                at("/q/2/v"),
            ),
            (
                quantiles(json!(412), &[(0.25, json!(null))]),
                vec![("sdc-cell", "/q/0/v".into())],
            ),
            (json!({"n": 412, "q": 7}), at("/q")),
            (json!({"n": 412, "q": [{"p": "0.5", "v": 1}]}), at("/q/0/p")),
            (json!({"n": 412}), vec![("sdc-pointer", String::new())]),
            (json!({"q": []}), vec![("sdc-pointer", String::new())]),
            (
                json!({"n": 412, "q": [{"v": 1}]}),
                vec![("sdc-pointer", "/q/0".into())],
            ),
            (
                json!({"n": 412, "q": [{"p": 0.5}]}),
                vec![("sdc-pointer", "/q/0".into())],
            ),
        ] {
            let found = found::<Quantiles>("sdcQuantiles", &schema(), &value);
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn its_value_is_read_strictly() {
        assert_strict::<Quantiles>(
            "sdcQuantiles",
            &schema(),
            &[],
            &[
                ("min", json!(-1), "at least 1"),
                ("items", json!("/q?"), "must not end in `?`"),
                ("value", json!("/w"), "leads to no member"),
                ("prob", json!(0.5), "is no pointer"),
            ],
        );
    }

    #[test]
    fn the_examples_are_judged_as_they_should() {
        let Some(contract) = example_contract("lab-distribution") else {
            return;
        };
        let pass = example("payloads/29-lab-pass.json").unwrap();
        let mut few = pass.clone();
        few["n"] = json!(60);
        few["quantiles"] = json!([{"p": 0.05, "value": 4.4}, {"p": 0.5, "value": 6.2}]);
        for (payload, rule) in [
            (pass, None),
            (
                example("payloads/31-lab-minmax-deny.json").unwrap(),
                Some("sdc-quantiles"),
            ),
            (few, Some("sdc-quantiles")),
        ] {
            let codes = codes(&contract, &payload);
            assert_eq!(codes.is_empty(), rule.is_none(), "{codes:?}");
            assert!(rule.is_none_or(|rule| codes.contains(&rule)), "{codes:?}");
        }
    }
}

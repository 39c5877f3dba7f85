//! `sdcModel`: a regression has enough people for its parameters.
//!
//! ACRO (10 residual degrees of freedom), DataSHIELD's `glmDS2` (parameters at most 0.33 of the
//! people: a saturated model returns its data), SACRO-ML.

use serde_json::{Map, Value};

use super::aggregate::{Arguments, Cell, Ratio, missing, number};
use super::cell::schema_at;
use super::{Findings, Pointer, Rule};
use crate::Reason;

/// `{"n": p, "df": p, "params": p, "minDf": d, "maxParamRatio": r, "minCategory": p?, "min": k?}`;
/// `params` is an array with an item for each parameter, or their number; `min` is the least that
/// `minCategory` may be, if not that of its own `sdcMinCount`.
#[derive(Debug)]
pub(crate) struct Model {
    n: Cell,
    df: Cell,
    params: Pointer,
    min_df: i64,
    max_ratio: Ratio,
    /// The smallest category of the data, and the least that it may be.
    category: Option<(Cell, i64)>,
}

impl Rule for Model {
    fn new(value: &Value, schema: &Map<String, Value>) -> Result<Self, String> {
        let required = &["n", "df", "params", "minDf", "maxParamRatio"];
        let optional = &["minCategory", "min"];
        let arguments = Arguments::read("sdcModel", value, schema, required, optional)?;
        let category = arguments.optional("minCategory", Arguments::cell)?;
        let min = arguments.optional("min", |arguments, name| arguments.integer(name, 1))?;
        let category = match (category, min) {
            (None, None) => None,
            (None, Some(_)) => {
                let what = "needs `minCategory` beside it, for which it is the least";
                return Err(arguments.wrong("min", what));
            }
            (Some(cell), min) => {
                let min = min.or_else(|| min_count(schema, &cell.pointer));
                let what = "needs `min` beside it, or `sdcMinCount` where it points to";
                let min = min.ok_or_else(|| arguments.wrong("minCategory", what))?;
                Some((cell, min))
            }
        };
        Ok(Self {
            n: arguments.cell("n")?,
            df: arguments.cell("df")?,
            params: arguments.pointer("params")?,
            min_df: arguments.integer("minDf", 1)?,
            max_ratio: arguments.ratio("maxParamRatio")?,
            category,
        })
    }

    fn check(&self, value: &Value, found: &mut Findings) {
        let n = self.n.count(value, "", Reason::SdcModel, found);
        let df = self.df.count(value, "", Reason::SdcModel, found);
        let params = self.count_params(value, found);
        if let (Some(n), Some(df), Some(params)) = (n, df, params) {
            self.check_sizes(n, df, params, found);
        }
        if let Some((cell, min)) = &self.category
            && let Some(category) = cell.count(value, "", Reason::SdcModel, found)
            && category < *min
        {
            let place = cell.pointer.to_string();
            found.push(Reason::SdcModel, place, || {
                format!("at least {min} people in the smallest category")
            });
        }
    }
}

impl Model {
    fn count_params(&self, value: &Value, found: &mut Findings) -> Option<usize> {
        let Some(params) = self.params.one(value) else {
            missing(&self.params, "", found);
            return None;
        };
        let count = match params {
            Value::Array(items) => Some(items.len()),
            value => number(value)
                .and_then(|number| number.as_integer())
                .and_then(|count| usize::try_from(count).ok()),
        };
        if count.is_none() {
            let message = || "an array with an item for each parameter, or their number";
            found.push(Reason::SdcModel, self.params.to_string(), message);
        }
        count
    }

    fn check_sizes(&self, n: i64, df: i64, params: usize, found: &mut Findings) {
        let (n_at, df_at, params_at) = (&self.n.pointer, &self.df.pointer, &self.params);
        if i64::try_from(params)
            .ok()
            .and_then(|params| n.checked_sub(params))
            != Some(df)
        {
            found.push(Reason::SdcModel, df_at.to_string(), || {
                format!("`{df_at}` is `{n_at}` less the number of parameters in `{params_at}`")
            });
        }
        if df < self.min_df {
            found.push(Reason::SdcModel, df_at.to_string(), || {
                format!("at least {} degrees of freedom", self.min_df)
            });
        }
        if !self.max_ratio.allows(params, n) {
            found.push(Reason::SdcModel, params_at.to_string(), || {
                format!(
                    "at most {} parameters for each of `{n_at}`",
                    self.max_ratio.text
                )
            });
        }
    }
}

/// The least count of the leaf that a pointer names, as the leaf has it.
fn min_count(schema: &Map<String, Value>, pointer: &Pointer) -> Option<i64> {
    let leaf = schema_at(schema, pointer.tokens())?;
    let min = number(leaf.get("sdcMinCount")?.get("min")?)?;
    min.as_integer().filter(|min| *min >= 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{assert_strict, codes, example, example_contract, found, rule};
    use super::*;

    fn schema() -> Value {
        json!({
            "properties": {"n": {}, "df": {}, "terms": {}, "small": {
                "sdcSuppressed": [{"marker": "<10", "lo": 1, "hi": 9}],
            }},
            "sdcModel": {
                "n": "/n", "df": "/df", "params": "/terms", "minDf": 10, "maxParamRatio": 0.33,
                "minCategory": "/small", "min": 10,
            },
        })
    }

    #[test]
    fn a_model_has_enough_people() {
        let model = |place: &str| ("sdc-model", place.to_owned());
        let terms = |count: usize| vec![json!({"estimate": 1}); count];
        for (value, expected) in [
            (
                json!({"n": 412, "df": 408, "terms": terms(4), "small": 25}),
                vec![],
            ),
            (
                json!({"n": 412, "df": 408, "terms": 4, "small": 10}),
                vec![],
            ),
            (
                json!({"n": 100, "df": 67, "terms": 33, "small": 10}),
                vec![],
            ),
            (
                json!({"n": 100, "df": 66, "terms": 34, "small": 10}),
                vec![model("/terms")],
            ),
            (
                json!({"n": 103, "df": 69, "terms": 34, "small": 10}),
                vec![model("/terms")],
            ),
            (
                json!({"n": 104, "df": 70, "terms": 34, "small": 10}),
                vec![],
            ),
            (
                json!({"n": 40, "df": 20, "terms": terms(20), "small": 12}),
                vec![model("/terms")],
            ),
            (
                json!({"n": 412, "df": 380, "terms": 4, "small": 25}),
                vec![model("/df")],
            ),
            (
                json!({"n": 13, "df": 9, "terms": 4, "small": 13}),
                vec![model("/df")],
            ),
            (json!({"n": 14, "df": 10, "terms": 4, "small": 13}), vec![]),
            (
                json!({"n": 4, "df": 0, "terms": 4, "small": 13}),
                vec![model("/df"), model("/terms")],
            ),
            (
                json!({"n": 412, "df": 408, "terms": 4, "small": 9}),
                vec![model("/small")],
            ),
            (
                json!({"n": 412, "df": 408, "terms": 4, "small": "<10"}),
                vec![model("/small")],
            ),
            (
                json!({"n": 412, "df": 408.5, "terms": 4, "small": 25}),
                vec![model("/df")],
            ),
            (
                json!({"n": -412, "df": 408, "terms": 4, "small": 25}),
                vec![model("/n")],
            ),
            (
                json!({"n": 412, "df": 408, "terms": "4", "small": 25}),
                vec![model("/terms")],
            ),
            (
                json!({"n": 412, "df": 408, "terms": -4, "small": 25}),
                vec![model("/terms")],
            ),
            (
                json!({"n": 412, "df": 408, "terms": {}, "small": 25}),
                vec![model("/terms")],
            ),
            (
                json!({"n": "412", "terms": 4}),
                vec![
                    ("sdc-cell", "/n".into()),
                    ("sdc-pointer", String::new()),
                    ("sdc-pointer", String::new()),
                ],
            ),
            (
                json!({"n": 412, "df": 412, "small": 25}),
                vec![("sdc-pointer", String::new())],
            ),
        ] {
            assert_eq!(
                found::<Model>("sdcModel", &schema(), &value),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn the_least_category_may_be_that_of_its_leaf() {
        let mut schema = schema();
        schema["sdcModel"].as_object_mut().unwrap().remove("min");
        let why = rule::<Model>("sdcModel", &schema).unwrap_err();
        assert!(why.contains("needs `min` beside it"), "{why}");
        schema["properties"]["small"]["sdcMinCount"] = json!({"min": 20, "zero": "allow"});
        for (small, passes) in [(20, true), (19, false), (0, false)] {
            let value = json!({"n": 412, "df": 408, "terms": 4, "small": small});
            let found = found::<Model>("sdcModel", &schema, &value);
            assert_eq!(found.is_empty(), passes, "{small}: {found:?}");
        }
    }

    #[test]
    fn its_value_is_read_strictly() {
        let optional = &["minCategory", "min"];
        assert_strict::<Model>(
            "sdcModel",
            &schema(),
            optional,
            &[
                ("minDf", json!(0), "at least 1"),
                ("maxParamRatio", json!(0), "above 0 and up to 1"),
                ("maxParamRatio", json!(1.01), "above 0 and up to 1"),
                ("maxParamRatio", json!(0.1234567), "at most 6 decimals"),
                ("maxParamRatio", json!("0.33"), "above 0 and up to 1"),
                ("params", json!("/terms/*"), "cannot hold `*`"),
                ("minCategory", json!("/large"), "leads to no member"),
            ],
        );
        let mut alone = schema();
        alone["sdcModel"]
            .as_object_mut()
            .unwrap()
            .remove("minCategory");
        let why = rule::<Model>("sdcModel", &alone).unwrap_err();
        assert!(why.contains("needs `minCategory` beside it"), "{why}");
    }

    #[test]
    fn the_examples_are_judged_as_they_should() {
        let Some(contract) = example_contract("glm") else {
            return;
        };
        let payload = |name: &str| example(&format!("payloads/{name}.json")).unwrap();
        let mut wrong_df = payload("10-glm-pass");
        wrong_df["dfResidual"] = json!(380);
        for (payload, rule) in [
            (payload("10-glm-pass"), None),
            (payload("11-glm-saturated-deny"), Some("sdc-model")),
            (wrong_df, Some("sdc-model")),
        ] {
            let codes = codes(&contract, &payload);
            assert_eq!(codes.is_empty(), rule.is_none(), "{codes:?}");
            assert!(rule.is_none_or(|rule| codes.contains(&rule)), "{codes:?}");
        }
    }
}

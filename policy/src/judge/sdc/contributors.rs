//! `sdcContributors`: no statistic without the number of people behind it.
//!
//! ACRO (safe threshold), UK LLC, CDC WONDER and DataSHIELD's `meanDS` refuse a mean, sum or
//! deviation over fewer people than their threshold. The number is the sender's claim.

use serde_json::{Map, Value};

use super::aggregate::{Arguments, Cell, Seen, every};
use super::{Findings, Rule};
use crate::Reason;

/// `{"n": p, "min": k, "stats": [p..]}`: if any of `stats` is a number, then `n` is a whole number
/// of at least `min` people.
#[derive(Debug)]
pub(crate) struct Contributors {
    n: Cell,
    min: i64,
    stats: Vec<Cell>,
}

impl Rule for Contributors {
    fn new(value: &Value, schema: &Map<String, Value>) -> Result<Self, String> {
        let required = &["n", "min", "stats"];
        let arguments = Arguments::read("sdcContributors", value, schema, required, &[])?;
        Ok(Self {
            n: arguments.cell("n")?,
            min: arguments.integer("min", 1)?,
            stats: arguments.cells("stats")?,
        })
    }

    fn check(&self, value: &Value, found: &mut Findings) {
        let Some(n) = self.n.read(value, "", found) else {
            return;
        };
        let enough = match n {
            Seen::Number(n) => n.as_integer().is_some_and(|n| n >= self.min),
            Seen::Absent | Seen::Marker => false,
        };
        // Most payloads are in order, and then no place need be written.
        if enough && self.stats.iter().all(|cell| cell.is_in_order(value)) {
            return;
        }
        for cell in &self.stats {
            for (place, stat) in every(&cell.pointer, value, found) {
                if found.enough() {
                    return;
                }
                let seen = cell.seen(stat, || place.clone(), found);
                if !enough && matches!(seen, Some(Seen::Number(_))) {
                    found.push(Reason::SdcContributors, place, || self.message(cell));
                }
            }
        }
    }
}

impl Contributors {
    fn message(&self, stat: &Cell) -> String {
        let (n, min) = (&self.n.pointer, self.min);
        let otherwise = match stat.rule.or_markers() {
            markers if markers.is_empty() => ", or no statistic".into(),
            markers => markers,
        };
        format!("a statistic beside `{n}` of at least {min}{otherwise}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{assert_strict, found};
    use super::*;

    fn schema() -> Value {
        let markers = json!([{"marker": "<10", "lo": 1, "hi": 9}]);
        let dash = json!([{"marker": "-", "lo": 0, "hi": 9999}]);
        json!({
            "properties": {
                "n": {"sdcMinCount": {"min": 10, "zero": "allow"}, "sdcSuppressed": markers},
                "mean": {"sdcSuppressed": dash},
                "sd": {},
                "rows": {"items": {"properties": {"sum": {"sdcSuppressed": dash}}}},
            },
            "sdcContributors": {"n": "/n", "min": 10, "stats": ["/mean", "/sd?", "/rows/*/sum?"]},
        })
    }

    #[test]
    fn a_statistic_needs_its_people() {
        let contributors = |place: &str| vec![("sdc-contributors", place.to_owned())];
        for (value, expected) in [
            (json!({"n": 412, "mean": 6.4}), vec![]),
            (
                json!({"n": 10, "mean": 6.4, "sd": 1, "rows": [{"sum": 1}, {}]}),
                vec![],
            ),
            (json!({"n": "<10", "mean": "-"}), vec![]),
            (json!({"n": 0, "mean": "-"}), vec![]),
            (json!({"n": 3, "mean": "-"}), vec![]),
            (json!({"n": 412, "mean": "-"}), vec![]),
            (json!({"n": 3, "mean": 7000}), contributors("/mean")),
            (json!({"n": 9, "mean": 7}), contributors("/mean")),
            (json!({"n": 0, "mean": 0}), contributors("/mean")),
            (json!({"n": -12, "mean": 7}), contributors("/mean")),
            (json!({"n": 10.5, "mean": 7}), contributors("/mean")),
            (json!({"n": "<10", "mean": 7}), contributors("/mean")),
            (
                json!({"n": "<10", "mean": "-", "sd": 1}),
                contributors("/sd"),
            ),
            (
                json!({"n": "<10", "mean": "-", "rows": [{"sum": "-"}, {"sum": 4}]}),
                contributors("/rows/1/sum"),
            ),
            (json!({"mean": 7}), vec![("sdc-pointer", String::new())]),
            (json!({"n": 12}), vec![("sdc-pointer", String::new())]),
            (json!(7), vec![("sdc-pointer", String::new())]),
            (
                json!({"n": null, "mean": "-"}),
                vec![("sdc-cell", "/n".into())],
            ),
            (
                json!({"n": "412", "mean": 6.4}),
                vec![("sdc-cell", "/n".into())],
            ),
            (
                json!({"n": 412, "mean": null}),
                vec![("sdc-cell", "/mean".into())],
            ),
            (
                json!({"n": 412, "mean": [6.4]}),
                vec![("sdc-cell", "/mean".into())],
            ),
            (
                json!({"n": "<10", "mean": "<10"}),
                vec![("sdc-cell", "/mean".into())],
            ),
        ] {
            let found = found::<Contributors>("sdcContributors", &schema(), &value);
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn a_plural_pointer_leaves_no_gap() {
        let mut schema = schema();
        schema["sdcContributors"]["stats"] = json!(["/rows/*/sum"]);
        for (rows, expected) in [
            (json!([{"sum": 1}, {"sum": 2}]), vec![]),
            (json!([]), vec![]),
            (
                json!([{"sum": 1}, {}]),
                vec![("sdc-pointer", "/rows/1".to_owned())],
            ),
            (json!(7), vec![("sdc-pointer", "/rows".to_owned())]),
        ] {
            let value = json!({"n": 12, "rows": rows});
            let found = found::<Contributors>("sdcContributors", &schema, &value);
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn its_value_is_read_strictly() {
        assert_strict::<Contributors>(
            "sdcContributors",
            &schema(),
            &[],
            &[
                ("n", json!("/n?"), "must not end in `?`"),
                ("n", json!("/rows/*/sum"), "cannot hold `*`"),
                ("n", json!("n"), "begins with `/`"),
                ("n", json!("/m"), "leads to no member"),
                ("min", json!(0), "at least 1"),
                ("min", json!(9.5), "whole number"),
                ("stats", json!([]), "not empty"),
                ("stats", json!("/mean"), "must be a list"),
                ("stats", json!(["/men"]), "leads to no member"),
            ],
        );
    }
}

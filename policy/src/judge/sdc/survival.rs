//! `sdcSurvival`: no step of a survival curve rests on few people.
//!
//! ACRO (`survival_safe_threshold` 10: the differences of a survival table are themselves counts)
//! and OpenSAFELY (Kaplan-Meier on rounded counts).

use serde_json::{Map, Value};

use super::aggregate::{Arguments, Cell};
use super::{Findings, Rule};
use crate::Reason;

/// `{"time": q, "grid": g, "atRisk": q, "events": q, "min": k}`, on the array of rows: times are
/// rising multiples of `grid`, and every count of people that a row tells, or that follows from two
/// rows, is at least `min`, or none where nobody had an event or left.
#[derive(Debug)]
pub(crate) struct Survival {
    time: Cell,
    grid: i64,
    at_risk: Cell,
    events: Cell,
    min: i64,
}

/// What one row says.
#[derive(Clone, Copy)]
struct Row {
    time: i64,
    at_risk: i64,
    events: i64,
}

impl Rule for Survival {
    fn new(value: &Value, schema: &Map<String, Value>) -> Result<Self, String> {
        let required = &["time", "grid", "atRisk", "events", "min"];
        let arguments = Arguments::read("sdcSurvival", value, schema, required, &[])?;
        Ok(Self {
            time: arguments.item_cell("", "time")?,
            grid: arguments.integer("grid", 1)?,
            at_risk: arguments.item_cell("", "atRisk")?,
            events: arguments.item_cell("", "events")?,
            min: arguments.integer("min", 1)?,
        })
    }

    fn check(&self, value: &Value, found: &mut Findings) {
        let Value::Array(rows) = value else {
            found.push(Reason::SdcSurvival, "", || "an array of rows");
            return;
        };
        let mut before: Option<Row> = None;
        for (i, row) in rows.iter().enumerate() {
            // Without one row the differences to the next are not known.
            let Some(row) = self.read(i, row, found) else {
                return;
            };
            self.check_row(i, row, found);
            if let Some(before) = before {
                self.check_step(i, before, row, found);
            }
            if found.enough() {
                return;
            }
            before = Some(row);
        }
        if let Some(last) = before
            && !self.is_none_or_many(last.at_risk - last.events)
        {
            let place = format!("/{}{}", rows.len() - 1, self.at_risk.pointer);
            found.push(Reason::SdcSurvival, place, || {
                format!(
                    "nobody, or at least {} people, behind the last event",
                    self.min
                )
            });
        }
    }
}

impl Survival {
    fn read(&self, i: usize, row: &Value, found: &mut Findings) -> Option<Row> {
        let mut count = |cell: &Cell| {
            let at = format_args!("/{i}");
            cell.count(row, at, Reason::SdcSurvival, found)
        };
        Some(Row {
            time: count(&self.time)?,
            at_risk: count(&self.at_risk)?,
            events: count(&self.events)?,
        })
    }

    fn check_row(&self, i: usize, row: Row, found: &mut Findings) {
        let mut object = |cell: &Cell, message: String| {
            found.push(Reason::SdcSurvival, format!("/{i}{}", cell.pointer), || {
                message
            });
        };
        let (grid, min) = (self.grid, self.min);
        if row.time % grid != 0 {
            object(&self.time, format!("a time that is a multiple of {grid}"));
        }
        if row.at_risk < min {
            object(&self.at_risk, format!("at least {min} people at risk"));
        }
        if !self.is_none_or_many(row.events) {
            object(&self.events, format!("no event, or at least {min}"));
        }
    }

    fn check_step(&self, i: usize, before: Row, row: Row, found: &mut Findings) {
        let mut object = |cell: &Cell, message: String| {
            found.push(Reason::SdcSurvival, format!("/{i}{}", cell.pointer), || {
                message
            });
        };
        if row.time <= before.time {
            object(&self.time, "a time behind the one of the row before".into());
        }
        let drop = before.at_risk - row.at_risk;
        let censored = drop - before.events;
        if !self.is_none_or_many(drop) || !self.is_none_or_many(censored) {
            let message = format!(
                "since the row before, nobody or at least {} people have left, and nobody or at \
                 least {} of them without an event in that row",
                self.min, self.min
            );
            object(&self.at_risk, message);
        }
    }

    fn is_none_or_many(&self, people: i64) -> bool {
        people == 0 || people >= self.min
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{assert_strict, codes, example, example_contract, found};
    use super::*;

    fn schema() -> Value {
        let marked = json!({"sdcSuppressed": [{"marker": "<10", "lo": 1, "hi": 9}]});
        json!({
            "items": {"properties": {"t": {}, "atRisk": marked, "events": marked}},
            "sdcSurvival": {
                "time": "/t", "grid": 30, "atRisk": "/atRisk", "events": "/events", "min": 10,
            },
        })
    }

    fn curve(rows: &[(i64, i64)]) -> Value {
        let rows = rows.iter().enumerate();
        let rows = rows.map(|(i, (r, e))| json!({"t": 30 * i, "atRisk": r, "events": e}));
        rows.collect::<Vec<_>>().into()
    }

    #[test]
    fn no_step_rests_on_few_people() {
        let at = |place: &str| ("sdc-survival", place.to_owned());
        for (rows, expected) in [
            (&[(240, 0), (240, 12), (215, 10), (190, 0)][..], vec![]),
            (&[(240, 0)], vec![]),
            (&[], vec![]),
            (&[(10, 0), (10, 0)], vec![]),
            (
                &[(240, 0), (239, 0), (237, 0)],
                vec![at("/1/atRisk"), at("/2/atRisk")],
            ),
            (&[(240, 0), (231, 0)], vec![at("/1/atRisk")]),
            (&[(240, 0), (230, 0)], vec![]),
            // More people than before.
            (&[(240, 0), (260, 0)], vec![at("/1/atRisk")]),
            (&[(240, 9)], vec![at("/0/events")]),
            (&[(9, 0)], vec![at("/0/atRisk"), at("/0/atRisk")]),
            (&[(0, 0)], vec![at("/0/atRisk")]),
            // 12 events, and 1, 0 or 13 who left without one.
            (&[(240, 12), (227, 0)], vec![at("/1/atRisk")]),
            (&[(240, 12), (228, 0)], vec![]),
            (&[(240, 12), (215, 0)], vec![]),
            // More events than people who left.
            (&[(240, 30), (220, 0)], vec![at("/1/atRisk")]),
            (&[(240, 30), (240, 0)], vec![at("/1/atRisk")]),
            // Behind the last event are 3, none or 10 people, or fewer than none.
            (&[(15, 12)], vec![at("/0/atRisk")]),
            (&[(12, 12)], vec![]),
            (&[(22, 12)], vec![]),
            (&[(12, 15)], vec![at("/0/atRisk")]),
        ] {
            let value = curve(rows);
            let found = found::<Survival>("sdcSurvival", &schema(), &value);
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn times_are_on_the_grid_and_all_is_counted() {
        let row = |t: Value, at_risk: Value, events: Value| json!([{"t": 30, "atRisk": 240, "events": 0}, {"t": t, "atRisk": at_risk, "events": events}]);
        let at = |code, place: &str| vec![(code, place.to_owned())];
        for (value, expected) in [
            (row(json!(60), json!(240), json!(0)), vec![]),
            (
                row(json!(30), json!(240), json!(0)),
                at("sdc-survival", "/1/t"),
            ),
            (
                row(json!(0), json!(240), json!(0)),
                at("sdc-survival", "/1/t"),
            ),
            (
                row(json!(45), json!(240), json!(0)),
                at("sdc-survival", "/1/t"),
            ),
            (
                row(json!(60.5), json!(240), json!(0)),
                at("sdc-survival", "/1/t"),
            ),
            (
                row(json!(-60), json!(240), json!(0)),
                at("sdc-survival", "/1/t"),
            ),
            (
                row(json!(60), json!("<10"), json!(0)),
                at("sdc-survival", "/1/atRisk"),
            ),
            (
                row(json!(60), json!(240), json!("<10")),
                at("sdc-survival", "/1/events"),
            ),
            (
                row(json!(60), json!(240), json!(null)),
                at("sdc-cell", "/1/events"),
            ),
            (json!([{"t": 30, "atRisk": 240}]), at("sdc-pointer", "/0")),
            (json!([7]), at("sdc-pointer", "/0")),
            (json!({}), at("sdc-survival", "")),
        ] {
            let found = found::<Survival>("sdcSurvival", &schema(), &value);
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn its_value_is_read_strictly() {
        assert_strict::<Survival>(
            "sdcSurvival",
            &schema(),
            &[],
            &[
                ("grid", json!(0), "at least 1"),
                ("grid", json!(0.5), "whole number"),
                ("min", json!(0), "at least 1"),
                ("time", json!("/time"), "leads to no member"),
                ("events", json!("/events?"), "must not end in `?`"),
            ],
        );
    }

    #[test]
    fn the_examples_are_judged_as_they_should() {
        let Some(contract) = example_contract("km") else {
            return;
        };
        let pass = example("payloads/14-km-pass.json").unwrap();
        let mut small_steps = pass.clone();
        small_steps["curve"][1]["atRisk"] = json!(239);
        small_steps["curve"][2]["atRisk"] = json!(237);
        assert_eq!(codes(&contract, &pass), [""; 0]);
        assert!(codes(&contract, &small_steps).contains(&"sdc-survival"));
    }
}

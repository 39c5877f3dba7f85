//! Suppression markers: the interval that a marker stands for must be the one that its reader will
//! take it for, or the audit of suppressed cells reckons with a wrong one.

use serde_json::{Map, Value};

use super::places::Place;
use super::{Finding, Lint};
use crate::compile::flatten::Flat;
use crate::source::join;

pub(super) fn check(lint: &mut Lint<'_>, flat: &Flat, place: &Place<'_>) {
    let Some(Value::Array(markers)) = place.schema.get("sdcSuppressed") else {
        return;
    };
    let at = join(&place.pointer, "sdcSuppressed");
    let rules = ["sdcMinCount", "sdcPrecision"];
    if !rules.iter().any(|rule| place.schema.contains_key(*rule)) {
        let message = "markers without a rule for the numbers that they stand for";
        let help = "`sdcMinCount` or `sdcPrecision` beside it";
        lint.at_flat(flat, &at, Finding::error("sdc-marker", message, help));
    }
    for (i, marker) in markers.iter().enumerate() {
        if let Err((key, message, help)) = judge(marker, place.schema) {
            let at = join(&join(&at, i), key);
            lint.at_flat(flat, &at, Finding::error("sdc-marker", message, help));
        }
    }
}

type Wrong = (&'static str, String, String);

/// A primary marker hides what is below the minimum; a complementary one hides anything.
fn judge(marker: &Value, schema: &Map<String, Value>) -> Result<(), Wrong> {
    let number = |key: &str| marker.get(key).and_then(Value::as_f64);
    let (Some(lo), Some(hi)) = (number("lo"), number("hi")) else {
        // Reported as a wrong value.
        return Ok(());
    };
    if lo > hi {
        let help = "`lo` at most `hi`".to_owned();
        return Err(("lo", "a marker stands for nothing".into(), help));
    }
    let rule = schema.get("sdcMinCount");
    let min = rule.and_then(|rule| rule.get("min")?.as_f64());
    let maximum = schema.get("maximum").and_then(Value::as_f64);
    if let (Some(Value::Number(shown)), Some(min)) = (marker.get("marker"), min)
        && shown.as_f64().is_some_and(|shown| shown >= min)
    {
        let message = "the marker cannot be told from a count".to_owned();
        return Err((
            "marker",
            message,
            format!("a text, or a number below {min}"),
        ));
    }
    let primary = min.is_some_and(|min| hi == min - 1.0);
    let complementary = maximum.is_none_or(|maximum| hi == maximum);
    if !primary && !complementary {
        let message =
            "the marker stands neither for counts below the minimum nor for any".to_owned();
        let mut help = String::new();
        if let Some(min) = min {
            help += &format!("`hi` {} for a count below the minimum", min - 1.0);
        }
        if let Some(maximum) = maximum {
            let or = if help.is_empty() { "" } else { "; " };
            help += &format!("{or}`hi` {maximum}, as `maximum`, for any");
        }
        return Err(("hi", message, help));
    }
    let minimum = schema.get("minimum").and_then(Value::as_f64).unwrap_or(0.0);
    let fits = if primary && min.is_some() {
        lo == 0.0 || lo == 1.0
    } else {
        lo == 0.0 || lo == minimum
    };
    if fits {
        return Ok(());
    }
    let message = "the marker stands for less than it may hide".to_owned();
    let help = if primary {
        "`lo` 1, or 0 if zeros are hidden as well".to_owned()
    } else {
        format!("`lo` {minimum}")
    };
    Err(("lo", message, help))
}

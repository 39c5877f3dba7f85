//! No rule looser than the site policy: what a contract says may only be stricter.

use serde_json::Value;

use super::places::Place;
use super::pointers::around;
use super::{Finding, Lint};
use crate::compile::Report;
use crate::compile::flatten::Flat;
use crate::diagnostic::{Diagnostic, Severity};
use crate::judge::sdc::{Pointer, schemas_at};
use crate::site::{Site, Zero};
use crate::source::join;

/// The minimum of people of each rule: the keyword, and where in its value.
const MINIMA: &[(&str, &str)] = &[
    ("sdcContributors", "/min"),
    ("sdcHistogram", "/min"),
    ("sdcMinCount", "/min"),
    ("sdcModel", "/min"),
    ("sdcQuantiles", "/min"),
    ("sdcRate", "/min"),
    ("sdcRelease", "/differencing/min"),
    ("sdcSurvival", "/min"),
    ("sdcTable", "/min"),
];

/// What is looser, and what would be right; the lowest or highest value that the site allows.
type Looser = Option<(String, String)>;

pub(super) fn check(lint: &mut Lint<'_>, flat: &Flat, place: &Place<'_>) {
    for (keyword, rule) in place.schema {
        if keyword.starts_with("sdc") {
            let at = join(&place.pointer, keyword);
            minimum(lint, flat, &at, keyword, rule);
            zeros(lint, flat, place, keyword, rule);
            for (below, found) in looser(keyword, rule, lint.terms.site) {
                if let Some((message, help)) = found {
                    let at = format!("{at}{below}");
                    lint.at_flat(flat, &at, Finding::error("sdc-looser", message, help));
                }
            }
        }
    }
}

fn minimum(lint: &mut Lint<'_>, flat: &Flat, at: &str, keyword: &str, rule: &Value) {
    let (floor, usual) = (lint.terms.site.k_floor, lint.terms.site.k);
    let below = MINIMA.iter().filter(|(k, _)| *k == keyword);
    for (_, below) in below {
        let Some(k) = rule.pointer(below).and_then(Value::as_u64) else {
            continue;
        };
        let finding = if k < floor {
            let message = format!("a minimum of {k} people, where the site asks for {floor}");
            Finding::error("sdc-looser", message, format!("{floor} or more"))
        } else if k < usual {
            let message = format!("a minimum of {k} people, where {usual} are usual");
            let help = format!("{usual}, unless there is a reason for fewer");
            Finding::error("sdc-unusual", message, help).with(Severity::Warning)
        } else {
            continue;
        };
        lint.at_flat(flat, &format!("{at}{below}"), finding);
    }
}

/// Reports cells that a rule counts people in and in which it lets zeros leave, unless their own
/// rule holds them back where the site asks for it.
fn zeros(lint: &mut Lint<'_>, flat: &Flat, place: &Place<'_>, keyword: &str, rule: &Value) {
    let (array, name) = match keyword {
        "sdcHistogram" => (rule.get("bins"), "count"),
        "sdcSurvival" => (None, "events"),
        _ => return,
    };
    if lint.terms.site.zero != Zero::Deny {
        return;
    }
    let array = array.and_then(Value::as_str).unwrap_or_default();
    let cell = rule.get(name).and_then(Value::as_str).unwrap_or_default();
    // Alternatives are not followed: one of them may have no rule.
    let denies = || {
        let way = Pointer::parse(&Value::from(format!("{array}/*{cell}"))).ok()?;
        let start = flat.value.pointer(around(&place.pointer))?.as_object()?;
        let rules = schemas_at(start, way.tokens()).into_iter();
        let mut rules = rules.filter_map(|schema| schema.get("sdcMinCount")?.get("zero"));
        rules.any(|zero| zero == "deny").then_some(())
    };
    if denies().is_none() {
        let at = join(&join(&place.pointer, keyword), name);
        let message = "zeros leave in these cells, where the site policy denies them";
        let help = "`sdcMinCount` with `\"zero\": \"deny\"` at the cells";
        lint.at_flat(flat, &at, Finding::error("sdc-looser", message, help));
    }
}

/// The values of a rule that the site bounds, each with its place.
fn looser(keyword: &str, rule: &Value, site: &Site) -> Vec<(&'static str, Looser)> {
    let number = |place: &str| rule.pointer(place).and_then(Value::as_f64);
    let least = |place: &'static str, floor: f64| (place, below(number(place), floor));
    let most = |place: &'static str, ceiling: f64| (place, above(number(place), ceiling));
    match keyword {
        "sdcMinCount" => vec![("/zero", zero(rule, site))],
        "sdcModel" => vec![
            least("/minDf", float(site.df_floor)),
            most("/maxParamRatio", site.param_ratio),
        ],
        "sdcDominance" => vec![least("/p", site.p), most("/nk/k", share(rule, site))],
        "sdcTable" => {
            let width = number("/min").map_or(0.0, |min| (min / 2.0).ceil());
            vec![least("/minWidth", width)]
        }
        "sdcCapacity" => vec![most("/maxBits", float(site.max_bits))],
        "sdcRelease" => vec![
            most("/maxBytes", float(site.max_bytes)),
            most("/maxBits", float(site.max_bits)),
            ("/horizon", horizon(rule, site)),
        ],
        _ => Vec::new(),
    }
}

fn below(value: Option<f64>, floor: f64) -> Looser {
    let value = value.filter(|value| *value < floor)?;
    let message = format!("{value} is looser than the site policy allows");
    Some((message, format!("{floor} or more")))
}

fn above(value: Option<f64>, ceiling: f64) -> Looser {
    let value = value.filter(|value| *value > ceiling)?;
    let message = format!("{value} is looser than the site policy allows");
    Some((message, format!("{ceiling} or less")))
}

fn zero(rule: &Value, site: &Site) -> Looser {
    let allows = rule.get("zero").and_then(Value::as_str) != Some("deny");
    (site.zero == Zero::Deny && allows).then(|| {
        let message = "zeros leave, where the site policy denies them".to_owned();
        (message, "`\"zero\": \"deny\"`".to_owned())
    })
}

/// The largest share of `nk.n` contributors that refuses all that the site's rule refuses: of the
/// largest `n`, the largest fewer hold at least their part.
fn share(rule: &Value, site: &Site) -> f64 {
    let n = rule.pointer("/nk/n").and_then(Value::as_u64).unwrap_or(0);
    if n >= site.nk.n {
        return site.nk.k;
    }
    site.nk.k * float(n) / float(site.nk.n)
}

fn horizon(rule: &Value, site: &Site) -> Looser {
    let written = rule.get("horizon")?.as_str()?;
    let days = site.horizon.as_secs() / 86_400;
    // What cannot be read is reported as a wrong value.
    (seconds(written)? < site.horizon.as_secs()).then(|| {
        let message = format!("releases are forgotten after `{written}`");
        (
            message,
            format!("`P{days}D` or longer, as the site policy asks"),
        )
    })
}

/// The length of an ISO 8601 duration of weeks, days, hours, minutes and seconds.
fn seconds(duration: &str) -> Option<u64> {
    let (mut rest, mut total) = (duration.strip_prefix('P')?, 0_u64);
    let mut in_time = false;
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T') {
            (rest, in_time) = (time, true);
            continue;
        }
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..end].parse().ok()?;
        let unit = match (rest[end..].chars().next()?, in_time) {
            ('W', false) => 604_800,
            ('D', false) => 86_400,
            ('H', true) => 3_600,
            ('M', true) => 60,
            ('S', true) => 1,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[end + 1..];
    }
    Some(total)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bounds of policies are far below 2^53"
)]
fn float(number: u64) -> f64 {
    number as f64
}

/// Reports a body that is larger than the site allows for contracts with disclosure rules.
pub(crate) fn body(max_bytes: usize, site: &Site, pointer: &str, report: &mut Report) {
    if max_bytes as u64 > site.max_bytes {
        let (file, place) = report.place(pointer);
        report.push(Diagnostic {
            severity: Severity::Error,
            code: Some("sdc-looser"),
            file,
            line: place.line,
            column: place.column,
            pointer: pointer.to_owned(),
            message: format!("a body of {max_bytes} bytes is more than the site policy allows"),
            help: Some(format!("{} or less", site.max_bytes)),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_length() {
        for (text, length) in [
            ("P400D", Some(400 * 86_400)),
            ("P2W", Some(14 * 86_400)),
            ("P1DT1H1M1S", Some(90_061)),
            ("PT90M", Some(5_400)),
            ("P1M", None),
            ("P1Y", None),
            ("1D", None),
            ("P1", None),
            ("P99999999999999999999D", None),
        ] {
            assert_eq!(seconds(text), length, "{text}");
        }
    }
}

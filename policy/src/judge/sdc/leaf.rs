//! Rules for one cell: counts, markers, grids and digits.

use serde_json::{Map, Value};

use super::cell::{Marker, Rounding, RoundingMode};
use super::params::{integer, is_text, members};
use super::{CellRule, CellValue, Decimal, Findings, Rule};
use crate::Reason;

/// The least minimum that a count may have: three people. Regole deontologiche for statistics and
/// research (Gazzetta Ufficiale 14-1-2019, 19A00181, annex 1, article 5). A site may ask for more.
const LEGAL_FLOOR: i64 = 3;

/// The most digits that a rule may allow: a double has no more than 17 that tell it from others.
const MAX_DIGITS: i64 = 17;

/// `sdcMinCount`: a count of people is 0, where that is allowed, or not below a minimum.
#[derive(Debug)]
pub(crate) struct MinCount {
    cell: CellRule,
    min: i64,
    zero: bool,
}

impl Rule for MinCount {
    fn new(value: &Value, schema: &Map<String, Value>) -> Result<Self, String> {
        const KEYWORD: &str = "sdcMinCount";
        let members = members(KEYWORD, value, &["min", "zero"], &["numeric"])?;
        is_text(KEYWORD, members)?;
        let min = integer(KEYWORD, "min", &members["min"])?;
        if min < LEGAL_FLOOR {
            return Err(format!("`min` of `{KEYWORD}` is at least {LEGAL_FLOOR}"));
        }
        let zero = match members["zero"].as_str() {
            Some("allow") => true,
            Some("deny") => false,
            _ => return Err(format!("`zero` of `{KEYWORD}` is \"allow\" or \"deny\"")),
        };
        let cell = CellRule::new(schema)?;
        if let Some(Rounding { base, mode }) = cell.rounding
            && mode == RoundingMode::Midpoint
            && base < min - 1
        {
            return Err(format!(
                "`base` of `sdcRound` is at least {} beside `{KEYWORD}` with `min` {min}: all counts \
                 below the minimum share one midpoint",
                min - 1
            ));
        }
        Ok(Self { cell, min, zero })
    }

    fn check(&self, value: &Value, found: &mut Findings) {
        match self.cell.read(value) {
            CellValue::Marker { .. } => {}
            CellValue::Number(count) if self.allows(count) => {}
            CellValue::Number(_) => found.push(Reason::SdcMinCount, "", || self.wanted()),
            CellValue::Invalid => found.push(Reason::SdcCell, "", || self.wanted()),
        }
    }
}

impl MinCount {
    fn allows(&self, count: Decimal) -> bool {
        if count.decimals() > 0 || count.is_negative() {
            return false;
        }
        if count.is_zero() {
            return self.zero;
        }
        match self.cell.rounding {
            // The first midpoint may be below the minimum: it stands for the counts around it.
            Some(
                rounding @ Rounding {
                    mode: RoundingMode::Midpoint,
                    ..
                },
            ) => rounding.has(count),
            _ => count >= Decimal::integer(self.min),
        }
    }

    fn wanted(&self) -> String {
        let zero = if self.zero { " or 0" } else { "" };
        let markers = self.cell.or_markers();
        let counts = match self.cell.rounding {
            Some(
                rounding @ Rounding {
                    mode: RoundingMode::Midpoint,
                    ..
                },
            ) => on_grid(rounding),
            _ => format!("a whole number that is not below {}", self.min),
        };
        format!("{counts}{zero}{}{markers}", spelling(&self.cell))
    }
}

/// `sdcSuppressed`: what is not a number is a declared marker.
#[derive(Debug)]
pub(crate) struct Suppressed(CellRule);

impl Rule for Suppressed {
    fn new(value: &Value, schema: &Map<String, Value>) -> Result<Self, String> {
        Marker::list(value)?;
        let beside = ["sdcMinCount", "sdcPrecision"];
        if !beside.iter().any(|keyword| schema.contains_key(*keyword)) {
            return Err("`sdcSuppressed` stands beside `sdcMinCount` or `sdcPrecision`".into());
        }
        CellRule::new(schema).map(Self)
    }

    fn check(&self, value: &Value, found: &mut Findings) {
        if self.0.read(value) == CellValue::Invalid {
            let message = || format!("a number{}{}", spelling(&self.0), self.0.or_markers());
            found.push(Reason::SdcMarker, "", message);
        }
    }
}

/// `sdcRound`: a number is on the grid that it is rounded to.
#[derive(Debug)]
pub(crate) struct Round {
    cell: CellRule,
    rounding: Rounding,
}

impl Rule for Round {
    fn new(value: &Value, schema: &Map<String, Value>) -> Result<Self, String> {
        Ok(Self {
            rounding: Rounding::new(value)?,
            cell: CellRule::new(schema)?,
        })
    }

    fn check(&self, value: &Value, found: &mut Findings) {
        let reason = match self.cell.read(value) {
            CellValue::Marker { .. } => return,
            CellValue::Number(number) if self.rounding.has(number) => return,
            CellValue::Number(_) => Reason::SdcRound,
            CellValue::Invalid => Reason::SdcCell,
        };
        found.push(reason, "", || {
            let (zero, markers) = match self.rounding.mode {
                RoundingMode::Nearest => ("", self.cell.or_markers()),
                RoundingMode::Midpoint => (" or 0", self.cell.or_markers()),
            };
            let text = spelling(&self.cell);
            format!("{}{zero}{text}{markers}", on_grid(self.rounding))
        });
    }
}

/// `sdcPrecision`: a number has no more digits than it needs.
#[derive(Debug)]
pub(crate) struct Precision {
    cell: CellRule,
    digits: Digits,
}

/// What is counted of a number, and how much of it there may be.
#[derive(Clone, Copy, Debug)]
enum Digits {
    Decimals(u32),
    Significant(u32),
}

impl Rule for Precision {
    fn new(value: &Value, schema: &Map<String, Value>) -> Result<Self, String> {
        const KEYWORD: &str = "sdcPrecision";
        let members = members(KEYWORD, value, &[], &["decimals", "significant", "numeric"])?;
        is_text(KEYWORD, members)?;
        let number = |name: &str, least: i64| match members.get(name) {
            None => Ok(None),
            Some(value) => match integer(KEYWORD, name, value)? {
                digits if (least..=MAX_DIGITS).contains(&digits) => Ok(u32::try_from(digits).ok()),
                _ => Err(format!(
                    "`{name}` of `{KEYWORD}` is a number from {least} to {MAX_DIGITS}"
                )),
            },
        };
        let digits = match (number("decimals", 0)?, number("significant", 1)?) {
            (Some(decimals), None) => Digits::Decimals(decimals),
            (None, Some(significant)) => Digits::Significant(significant),
            _ => {
                let why = format!("`{KEYWORD}` needs one of `decimals` and `significant`");
                return Err(why);
            }
        };
        let cell = CellRule::new(schema)?;
        Ok(Self { cell, digits })
    }

    fn check(&self, value: &Value, found: &mut Findings) {
        let reason = match self.cell.read(value) {
            CellValue::Marker { .. } => return,
            CellValue::Number(number) if self.digits.suffice(number) => return,
            CellValue::Number(_) => Reason::SdcPrecision,
            CellValue::Invalid => Reason::SdcCell,
        };
        found.push(reason, "", || {
            let (most, what) = match self.digits {
                Digits::Decimals(most) => (most, "decimals"),
                Digits::Significant(most) => (most, "significant digits"),
            };
            let (text, markers) = (spelling(&self.cell), self.cell.or_markers());
            format!("a number with at most {most} {what}{text}{markers}")
        });
    }
}

impl Digits {
    fn suffice(self, number: Decimal) -> bool {
        match self {
            Self::Decimals(most) => number.decimals() <= most,
            Self::Significant(most) => number.significant() <= most,
        }
    }
}

/// `sdcMeta`: says why a value does not depend on people. It lets everything pass; the schema bounds
/// the value, and the reason is for the review of the contract.
#[derive(Debug)]
pub(crate) struct Meta;

impl Rule for Meta {
    fn new(value: &Value, _: &Map<String, Value>) -> Result<Self, String> {
        let reason = value.as_str().is_some_and(|why| !why.trim().is_empty());
        let wanted = "`sdcMeta` needs a text: why the value does not depend on people";
        reason.then_some(Self).ok_or_else(|| wanted.into())
    }

    fn check(&self, _: &Value, _: &mut Findings) {}
}

fn on_grid(Rounding { base, mode }: Rounding) -> String {
    match mode {
        RoundingMode::Nearest => format!("a multiple of {base}"),
        RoundingMode::Midpoint => format!("a multiple of {base} plus {}", base / 2),
    }
}

fn spelling(cell: &CellRule) -> &'static str {
    if cell.text { ", as a text" } else { "" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The codes of what a rule finds; `None` if it cannot be made.
    fn codes<R: Rule>(keyword: &str, schema: &Value, value: &Value) -> Result<Vec<Reason>, String> {
        let rule = R::new(&schema[keyword], schema.as_object().unwrap())?;
        let found = Findings::of(&rule, value);
        assert_eq!(Findings::any(&rule, value), !found.is_empty());
        Ok(found.iter().map(|finding| finding.reason).collect())
    }

    fn check<R: Rule>(keyword: &str, schema: &Value, rows: &[(Value, Option<Reason>)]) {
        for (value, expected) in rows {
            let found = codes::<R>(keyword, schema, value).unwrap();
            let expected: Vec<_> = expected.iter().copied().collect();
            assert_eq!(found, expected, "{value} in {schema}");
        }
    }

    const CELL: Option<Reason> = Some(Reason::SdcCell);

    #[test]
    fn counts_are_zero_or_not_below_the_minimum() {
        const SMALL: Option<Reason> = Some(Reason::SdcMinCount);
        let mut schema = json!({
            "sdcMinCount": {"min": 10, "zero": "allow"},
            "sdcSuppressed": [{"marker": "<10", "lo": 1, "hi": 9}],
        });
        let rows = [
            (json!(10), None),
            (json!(10.0), None),
            (json!(412), None),
            (json!("<10"), None),
            (json!(1), SMALL),
            (json!(9), SMALL),
            (json!(9.5), SMALL),
            (json!(10.5), SMALL),
            (json!(-5), SMALL),
            (json!(-0.5), SMALL),
            (json!(null), CELL),
            (json!("10"), CELL),
            (json!("<5"), CELL),
            (json!(" <10"), CELL),
            (json!(""), CELL),
            (json!("NA"), CELL),
            (json!(true), CELL),
            (json!([10]), CELL),
            (json!({"n": 10}), CELL),
            (json!(1e300), CELL),
        ];
        check::<MinCount>("sdcMinCount", &schema, &rows);
        check::<MinCount>(
            "sdcMinCount",
            &schema,
            &[(json!(0), None), (json!(-0.0), None)],
        );
        schema["sdcMinCount"]["zero"] = json!("deny");
        check::<MinCount>("sdcMinCount", &schema, &rows);
        check::<MinCount>(
            "sdcMinCount",
            &schema,
            &[(json!(0), SMALL), (json!(-0.0), SMALL)],
        );
        schema["sdcSuppressed"] = json!([{"marker": 0, "lo": 0, "hi": 9}]);
        check::<MinCount>(
            "sdcMinCount",
            &schema,
            &[(json!(0), None), (json!("<10"), CELL)],
        );
    }

    #[test]
    fn counts_may_be_texts() {
        const SMALL: Option<Reason> = Some(Reason::SdcMinCount);
        let schema = json!({
            "sdcMinCount": {"min": 5, "zero": "allow", "numeric": "string"},
            "sdcSuppressed": [{"marker": "<5", "lo": 1, "hi": 4}],
        });
        let rows = [
            (json!("5"), None),
            (json!("0"), None),
            (json!("<5"), None),
            (json!("4"), SMALL),
            (json!("12.0"), SMALL),
            (json!("12.5"), SMALL),
            (json!(12), CELL),
            (json!("-5"), CELL),
            (json!("05"), CELL),
            (json!("1e3"), CELL),
            (json!("9007199254740992"), CELL),
        ];
        check::<MinCount>("sdcMinCount", &schema, &rows);
    }

    #[test]
    fn rounded_counts_are_on_their_grid_and_not_below_the_minimum() {
        const SMALL: Option<Reason> = Some(Reason::SdcMinCount);
        const OFF: Option<Reason> = Some(Reason::SdcRound);
        let nhs = json!({
            "sdcMinCount": {"min": 8, "zero": "allow"},
            "sdcRound": {"base": 5, "mode": "nearest"},
            "sdcSuppressed": [{"marker": "*", "lo": 1, "hi": 7}],
        });
        for (value, small, off) in [
            (json!(5), SMALL, None),
            (json!(8), None, OFF),
            (json!(10), None, None),
            (json!(0), None, None),
            (json!("*"), None, None),
            (json!("x"), CELL, CELL),
        ] {
            check::<MinCount>("sdcMinCount", &nhs, &[(value.clone(), small)]);
            check::<Round>("sdcRound", &nhs, &[(value, off)]);
        }
        let midpoint = json!({
            "sdcMinCount": {"min": 7, "zero": "allow"},
            "sdcRound": {"base": 6, "mode": "midpoint"},
        });
        for (value, small, off) in [
            (json!(0), None, None),
            (json!(3), None, None),
            (json!(9), None, None),
            (json!(15), None, None),
            (json!(6), SMALL, OFF),
            (json!(12), SMALL, OFF),
            (json!(-3), SMALL, OFF),
            (json!(3.5), SMALL, OFF),
        ] {
            check::<MinCount>("sdcMinCount", &midpoint, &[(value.clone(), small)]);
            check::<Round>("sdcRound", &midpoint, &[(value, off)]);
        }
        let base5 = json!({
            "sdcRound": {"base": 5, "mode": "nearest"},
            "sdcSuppressed": [{"marker": "<10", "lo": 1, "hi": 9}],
        });
        let rows = [
            (json!(0), None),
            (json!(10), None),
            (json!(15), None),
            (json!(15.0), None),
            (json!("<10"), None),
            (json!(12), OFF),
            (json!(7.5), OFF),
            (json!(-5), OFF),
            (json!(null), CELL),
        ];
        check::<Round>("sdcRound", &base5, &rows);
    }

    #[test]
    fn what_is_no_number_is_a_declared_marker() {
        const UNDECLARED: Option<Reason> = Some(Reason::SdcMarker);
        let schema = json!({
            "sdcMinCount": {"min": 10, "zero": "allow"},
            "sdcSuppressed": [{"marker": "<10", "lo": 1, "hi": 9}, {"marker": "[REDACTED]", "lo": 0, "hi": 99}],
        });
        let rows = [
            (json!(3), None),
            (json!("<10"), None),
            (json!("[REDACTED]"), None),
            (json!("<5"), UNDECLARED),
            (json!(" <10"), UNDECLARED),
            (json!("-"), UNDECLARED),
            (json!(null), UNDECLARED),
            (json!(["<10"]), UNDECLARED),
        ];
        check::<Suppressed>("sdcSuppressed", &schema, &rows);
        let schema = json!({
            "sdcPrecision": {"decimals": 1},
            "sdcSuppressed": [{"marker": null, "lo": 1, "hi": 4}, {"marker": -5, "lo": 1, "hi": 4}],
        });
        let rows = [
            (json!(null), None),
            (json!(-5), None),
            (json!("<5"), UNDECLARED),
        ];
        check::<Suppressed>("sdcSuppressed", &schema, &rows);
    }

    #[test]
    fn digits_are_counted_on_the_canonical_text() {
        const MANY: Option<Reason> = Some(Reason::SdcPrecision);
        let decimals = json!({
            "sdcPrecision": {"decimals": 3},
            "sdcSuppressed": [{"marker": "-", "lo": 0, "hi": 100}],
        });
        let rows = [
            (json!(0.1), None),
            (json!(12), None),
            (json!(-12.5), None),
            (json!(1.234), None),
            (json!(1e-3), None),
            (json!("-"), None),
            (json!(0.1234), MANY),
            (json!(1e-7), MANY),
            (json!(0.1 + 0.2), MANY),
            (json!("0.1"), CELL),
            (json!(null), CELL),
        ];
        check::<Precision>("sdcPrecision", &decimals, &rows);
        let significant = json!({"sdcPrecision": {"significant": 3}});
        let rows = [
            (json!(0), None),
            (json!(1230), None),
            (json!(0.00123), None),
            (json!(1234), MANY),
            (json!(1.234), MANY),
            (json!(-1234), MANY),
        ];
        check::<Precision>("sdcPrecision", &significant, &rows);
        let text = json!({"sdcPrecision": {"decimals": 1, "numeric": "string"}});
        let rows = [
            (json!("12.5"), None),
            (json!("100"), None),
            (json!("12.50"), MANY),
            (json!(12.5), CELL),
        ];
        check::<Precision>("sdcPrecision", &text, &rows);
    }

    #[test]
    fn messages_say_what_passes() {
        let schema = json!({
            "sdcMinCount": {"min": 7, "zero": "allow"},
            "sdcSuppressed": [{"marker": "<7", "lo": 1, "hi": 6}],
            "sdcPrecision": {"decimals": 0},
            "sdcRound": {"base": 6, "mode": "midpoint"},
        });
        fn message<R: Rule>(keyword: &str, schema: &Value) -> String {
            let rule = R::new(&schema[keyword], schema.as_object().unwrap()).unwrap();
            Findings::of(&rule, &json!("secret")).remove(0).message
        }
        let grid = "a multiple of 6 plus 3 or 0 or \"<7\"";
        assert_eq!(message::<MinCount>("sdcMinCount", &schema), grid);
        assert_eq!(message::<Round>("sdcRound", &schema), grid);
        assert_eq!(
            message::<Suppressed>("sdcSuppressed", &schema),
            "a number or \"<7\""
        );
        assert_eq!(
            message::<Precision>("sdcPrecision", &schema),
            "a number with at most 0 decimals or \"<7\""
        );
        let text = json!({"sdcMinCount": {"min": 5, "zero": "deny", "numeric": "string"}});
        assert_eq!(
            message::<MinCount>("sdcMinCount", &text),
            "a whole number that is not below 5, as a text"
        );
    }

    #[test]
    fn broken_values_are_refused() {
        type Make = fn(&Value, &Map<String, Value>) -> Option<String>;
        fn why<R: Rule>(value: &Value, schema: &Map<String, Value>) -> Option<String> {
            R::new(value, schema).err()
        }
        let midpoint = json!({"sdcRound": {"base": 8, "mode": "midpoint"}});
        let (min_count, precision, meta): (Make, Make, Make) =
            (why::<MinCount>, why::<Precision>, why::<Meta>);
        let (suppressed, round): (Make, Make) = (why::<Suppressed>, why::<Round>);
        let rows: &[(Make, Value, Value, Option<&str>)] = &[
            (
                min_count,
                json!(10),
                json!({}),
                Some("needs an object with `min` and `zero`"),
            ),
            (
                min_count,
                json!({"min": 10}),
                json!({}),
                Some("lacks `zero`"),
            ),
            (
                min_count,
                json!({"min": 10, "zero": true}),
                json!({}),
                Some("\"allow\" or \"deny\""),
            ),
            (
                min_count,
                json!({"min": 2, "zero": "allow"}),
                json!({}),
                Some("at least 3"),
            ),
            (
                min_count,
                json!({"min": "10", "zero": "allow"}),
                json!({}),
                Some("whole number"),
            ),
            (
                min_count,
                json!({"min": 10.5, "zero": "allow"}),
                json!({}),
                Some("whole number"),
            ),
            (
                min_count,
                json!({"min": 10, "zero": "allow", "max": 3}),
                json!({}),
                Some("no member `max`"),
            ),
            (
                min_count,
                json!({"min": 10, "zero": "allow", "numeric": 1}),
                json!({}),
                Some("\"string\""),
            ),
            (
                min_count,
                json!({"min": 9, "zero": "allow"}),
                midpoint.clone(),
                None,
            ),
            (
                min_count,
                json!({"min": 10, "zero": "allow"}),
                midpoint,
                Some("at least 9 beside"),
            ),
            (
                precision,
                json!({}),
                json!({}),
                Some("one of `decimals` and `significant`"),
            ),
            (
                precision,
                json!({"decimals": 1, "significant": 1}),
                json!({}),
                Some("one of"),
            ),
            (
                precision,
                json!({"decimals": -1}),
                json!({}),
                Some("from 0 to 17"),
            ),
            (
                precision,
                json!({"significant": 0}),
                json!({}),
                Some("from 1 to 17"),
            ),
            (precision, json!({"decimals": 1.0}), json!({}), None),
            (
                precision,
                json!({"digits": 1}),
                json!({}),
                Some("no member `digits`"),
            ),
            (precision, json!(3), json!({}), Some("needs an object")),
            (
                suppressed,
                json!([{"marker": "x", "lo": 1, "hi": 9}]),
                json!({}),
                Some("stands beside"),
            ),
            (
                round,
                json!({"base": 7, "mode": "midpoint"}),
                json!({}),
                Some("even"),
            ),
            (meta, json!("round number"), json!({}), None),
            (meta, json!(" "), json!({}), Some("needs a text")),
            (meta, json!(true), json!({}), Some("needs a text")),
        ];
        for (make, value, schema, expected) in rows {
            let found = make(value, schema.as_object().unwrap());
            match (expected, &found) {
                (None, None) => {}
                (Some(expected), Some(found)) if found.contains(expected) => {}
                _ => panic!("{value}: {found:?} instead of {expected:?}"),
            }
        }
        assert_eq!(
            codes::<Meta>("sdcMeta", &json!({"sdcMeta": "v"}), &json!(7)),
            Ok(vec![])
        );
    }
}

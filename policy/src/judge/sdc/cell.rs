//! Cells: the numbers and suppression markers of a table, and what each tells about the true value.
//!
//! What a cell may hold is said by the keywords that stand in one schema: markers in `sdcSuppressed`,
//! the grid in `sdcRound`, numbers as texts by `"numeric": "string"`. All rules read cells here, so
//! that none takes for a number what another takes for a marker. A marker goes before a number: a
//! contract may declare a number as a marker.

use serde_json::{Map, Value};

use super::params::{integer, is_text, members};
use super::{Decimal, Pointer};

mod schemas;

pub(crate) use schemas::{schema_at, schemas_at};

/// Two are needed: one for small counts and one for those that would tell them. The choice among
/// more is a channel of its own.
const MAX_MARKERS: usize = 2;

/// What the cells of a schema may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CellRule {
    /// What stands for a suppressed number.
    pub(crate) markers: Vec<Marker>,
    /// The grid of published numbers.
    pub(crate) rounding: Option<Rounding>,
    /// Numbers are texts: `"12"`.
    pub(crate) text: bool,
    /// The least whole number that may be published.
    pub(crate) minimum: Option<i64>,
    /// The greatest whole number that may be published.
    pub(crate) maximum: Option<i64>,
}

/// What stands for a whole number between `lo` and `hi`, both included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) value: Value,
    pub(crate) lo: i64,
    pub(crate) hi: i64,
}

/// A grid of published numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rounding {
    /// The distance of the grid's numbers.
    pub(crate) base: i64,
    pub(crate) mode: RoundingMode,
}

/// How a number comes onto its grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoundingMode {
    /// To the nearest multiple of the base.
    Nearest,
    /// 0 stays; all others to the middle of their class (with 6: 1 to 6 are 3, 7 to 12 are 9).
    Midpoint,
}

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CellValue {
    /// A number of at most 2^53-1 in size.
    Number(Decimal),
    /// A declared marker, for a whole number in this range.
    Marker { lo: i64, hi: i64 },
    /// Neither.
    Invalid,
}

impl CellRule {
    /// Reads the keywords of a schema.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn new(schema: &Map<String, Value>) -> Result<Self, String> {
        Self::merged(&[schema])
    }

    /// Reads the keywords of the cells that a pointer names, from the schema at which it begins.
    ///
    /// # Errors
    /// What is wrong with them, or that no schema is known for these cells.
    pub(crate) fn at(schema: &Map<String, Value>, pointer: &Pointer) -> Result<Self, String> {
        let schemas = schemas_at(schema, pointer.tokens());
        if schemas.is_empty() {
            return Err(format!(
                "`{pointer}` leads to no member that the schema lists"
            ));
        }
        Self::merged(&schemas)
    }

    /// Of schemas that all hold for one cell.
    fn merged(schemas: &[&Map<String, Value>]) -> Result<Self, String> {
        let suppressed = only("sdcSuppressed", schemas)?;
        let round = only("sdcRound", schemas)?;
        let bounds = |name| {
            let bounds = schemas.iter().filter_map(move |schema| schema.get(name));
            bounds.filter_map(|bound| match bound {
                Value::Number(number) => Decimal::from_number(number),
                _ => None,
            })
        };
        Ok(Self {
            markers: suppressed
                .map(Marker::list)
                .transpose()?
                .unwrap_or_default(),
            rounding: round.map(Rounding::new).transpose()?,
            text: text(schemas)?,
            minimum: bounds("minimum").filter_map(Decimal::ceil).max(),
            maximum: bounds("maximum").filter_map(Decimal::floor).min(),
        })
    }

    /// What a cell holds.
    pub(crate) fn read(&self, value: &Value) -> CellValue {
        if let Some(marker) = self.markers.iter().find(|marker| marker.is(value)) {
            let Marker { lo, hi, .. } = *marker;
            return CellValue::Marker { lo, hi };
        }
        let number = match value {
            Value::Number(number) if !self.text => Decimal::from_number(number),
            Value::String(text) if self.text => Decimal::from_text(text),
            _ => None,
        };
        match number.filter(|number| number.is_safe()) {
            Some(number) => CellValue::Number(number),
            None => CellValue::Invalid,
        }
    }

    /// The least and the greatest whole number that may be behind a cell; `None` if it holds a
    /// fraction, or nothing that it may hold.
    pub(crate) fn interval(&self, value: &Value) -> Option<(i64, i64)> {
        let number = match self.read(value) {
            CellValue::Number(number) => number.as_integer()?,
            CellValue::Marker { lo, hi } => return Some((lo, hi)),
            CellValue::Invalid => return None,
        };
        self.rounding
            .map_or(Some((number, number)), |rounding| rounding.interval(number))
    }

    /// The markers as a message lists them: ` or "<10"`.
    pub(crate) fn or_markers(&self) -> String {
        let markers = self.markers.iter().map(|m| format!(" or {}", m.value));
        markers.collect()
    }
}

impl Marker {
    /// Reads the value of `sdcSuppressed`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn list(value: &Value) -> Result<Vec<Self>, String> {
        let list = value.as_array().filter(|list| !list.is_empty());
        let Some(list) = list.filter(|list| list.len() <= MAX_MARKERS) else {
            return Err("`sdcSuppressed` needs a list of one or two markers".into());
        };
        let mut markers: Vec<Self> = Vec::new();
        for marker in list {
            let marker = Self::new(marker)?;
            if markers.iter().any(|other| other.is(&marker.value)) {
                return Err(format!("`sdcSuppressed` has {} twice", marker.value));
            }
            markers.push(marker);
        }
        Ok(markers)
    }

    fn new(value: &Value) -> Result<Self, String> {
        const KEYWORD: &str = "sdcSuppressed";
        let members = members(KEYWORD, value, &["marker", "lo", "hi"], &[])?;
        let marker = &members["marker"];
        if !matches!(marker, Value::String(_) | Value::Number(_) | Value::Null) {
            return Err("a `marker` is a text, a number or null".into());
        }
        let bound = |name: &str| match &members[name] {
            Value::Number(number) => Decimal::from_number(number).filter(|n| n.is_safe()),
            _ => None,
        };
        let range = bound("lo").zip(bound("hi")).filter(|(lo, hi)| lo < hi);
        let whole = range.and_then(|(lo, hi)| lo.ceil().zip(hi.floor()));
        let Some((lo, hi)) = whole.filter(|(lo, hi)| lo <= hi) else {
            let why = "a marker stands for more than one number: `lo` is a number below `hi`";
            return Err(why.into());
        };
        Ok(Self {
            value: marker.clone(),
            lo,
            hi,
        })
    }

    /// JSON equality: `0` is `0.0` is `-0`, and never `"0"`.
    fn is(&self, value: &Value) -> bool {
        match (&self.value, value) {
            (Value::Number(ours), Value::Number(theirs)) => {
                let ours = Decimal::from_number(ours);
                ours.is_some() && ours == Decimal::from_number(theirs)
            }
            (ours, theirs) => ours == theirs,
        }
    }
}

impl Rounding {
    /// Reads the value of `sdcRound`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(value: &Value) -> Result<Self, String> {
        let members = members("sdcRound", value, &["base", "mode"], &[])?;
        let base = integer("sdcRound", "base", &members["base"])?;
        let mode = match members["mode"].as_str() {
            Some("nearest") => RoundingMode::Nearest,
            Some("midpoint") => RoundingMode::Midpoint,
            _ => return Err("`mode` of `sdcRound` is \"nearest\" or \"midpoint\"".into()),
        };
        if base < 2 {
            return Err("`base` of `sdcRound` is at least 2".into());
        }
        if mode == RoundingMode::Midpoint && base % 2 != 0 {
            return Err("`base` of `sdcRound` is even with \"midpoint\"".into());
        }
        Ok(Self { base, mode })
    }

    /// Whether a number is on the grid. None below 0 is: the grid is one of counts.
    pub(crate) fn has(&self, number: Decimal) -> bool {
        if number.is_negative() || number.decimals() > 0 {
            return false;
        }
        match self.mode {
            RoundingMode::Nearest => number.is_multiple_of(self.base),
            RoundingMode::Midpoint => {
                number.is_zero() || number.remainder(self.base) == Some(self.base / 2)
            }
        }
    }

    /// The numbers that may be behind a published one.
    fn interval(&self, number: i64) -> Option<(i64, i64)> {
        let half = self.base / 2;
        let (below, above) = match self.mode {
            RoundingMode::Nearest => (half, half),
            RoundingMode::Midpoint if number == 0 => (0, 0),
            RoundingMode::Midpoint => (half - 1, half),
        };
        let lo = number.checked_sub(below)?.max(0);
        Some((lo, number.checked_add(above)?))
    }
}

/// Whether cells hold their numbers as texts; `sdcMinCount` and `sdcPrecision` must agree.
fn text(schemas: &[&Map<String, Value>]) -> Result<bool, String> {
    let mut said = None;
    for keyword in ["sdcMinCount", "sdcPrecision"] {
        if let Some(Value::Object(members)) = only(keyword, schemas)? {
            let text = is_text(keyword, members)?;
            if said.is_some_and(|said| said != text) {
                let why = "`sdcMinCount` and `sdcPrecision` of one cell need the same `numeric`";
                return Err(why.into());
            }
            said = Some(text);
        }
    }
    Ok(said.unwrap_or(false))
}

/// The one value that a keyword has in schemas that hold together.
fn only<'s>(
    keyword: &str,
    schemas: &[&'s Map<String, Value>],
) -> Result<Option<&'s Value>, String> {
    let mut values = schemas.iter().filter_map(|schema| schema.get(keyword));
    let first = values.next();
    if values.any(|value| Some(value) != first) {
        return Err(format!("one cell has `{keyword}` with different values"));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(schema: Value) -> CellRule {
        CellRule::new(schema.as_object().unwrap()).unwrap()
    }

    #[test]
    fn intervals_are_what_may_be_behind_a_cell() {
        let k10 = json!({"sdcSuppressed": [{"marker": "<10", "lo": 1, "hi": 9}, {"marker": "*", "lo": 0, "hi": 99}]});
        let nearest = json!({"sdcRound": {"base": 5, "mode": "nearest"}});
        let midpoint = json!({"sdcRound": {"base": 6, "mode": "midpoint"}});
        let ehrql = json!({"sdcSuppressed": [{"marker": 0, "lo": 0, "hi": 7}]});
        let negative = json!({"sdcSuppressed": [{"marker": -5, "lo": 1, "hi": 4}]});
        let null = json!({"sdcSuppressed": [{"marker": null, "lo": 1, "hi": 4}]});
        let text = json!({"sdcMinCount": {"min": 5, "zero": "allow", "numeric": "string"}});
        for (schema, value, expected) in [
            (&k10, json!(12), Some((12, 12))),
            (&k10, json!(12.0), Some((12, 12))),
            (&k10, json!(12.5), None),
            (&k10, json!("<10"), Some((1, 9))),
            (&k10, json!("*"), Some((0, 99))),
            (&k10, json!("<5"), None),
            (&k10, json!(" <10"), None),
            (&k10, json!("12"), None),
            (&k10, json!(null), None),
            (&k10, json!(true), None),
            (&k10, json!(["<10"]), None),
            (
                &k10,
                json!(9_007_199_254_740_991_i64),
                Some((9_007_199_254_740_991, 9_007_199_254_740_991)),
            ),
            (&k10, json!(9_007_199_254_740_992_i64), None),
            (&k10, json!(u64::MAX), None),
            (&k10, json!(i64::MIN), None),
            (&nearest, json!(15), Some((13, 17))),
            (&nearest, json!(0), Some((0, 2))),
            (&midpoint, json!(0), Some((0, 0))),
            (&midpoint, json!(3), Some((1, 6))),
            (&midpoint, json!(9), Some((7, 12))),
            (&ehrql, json!(0), Some((0, 7))),
            (&ehrql, json!(-0.0), Some((0, 7))),
            (&ehrql, json!("0"), None),
            (&ehrql, json!(8), Some((8, 8))),
            (&negative, json!(-5), Some((1, 4))),
            (&null, json!(null), Some((1, 4))),
            (&text, json!("12"), Some((12, 12))),
            (&text, json!(12), None),
            (&text, json!("012"), None),
            (&text, json!("9007199254740992"), None),
        ] {
            assert_eq!(
                rule(schema.clone()).interval(&value),
                expected,
                "{value} in {schema}"
            );
        }
    }

    #[test]
    fn broken_keywords_are_refused() {
        let marker = |marker: Value, lo: Value, hi: Value| json!({"sdcSuppressed": [{"marker": marker, "lo": lo, "hi": hi}]});
        for (schema, why) in [
            (json!({"sdcSuppressed": []}), "one or two"),
            (json!({"sdcSuppressed": {}}), "one or two"),
            (json!({"sdcSuppressed": [1, 2, 3]}), "one or two"),
            (
                json!({"sdcSuppressed": [1]}),
                "needs an object with `marker` and `lo` and `hi`",
            ),
            (
                json!({"sdcSuppressed": [{"marker": "x", "lo": 1}]}),
                "lacks `hi`",
            ),
            (
                json!({"sdcSuppressed": [{"marker": "x", "lo": 1, "hi": 9, "high": 9}]}),
                "knows no member `high`",
            ),
            (
                json!({"sdcSuppressed": [{"marker": 0, "lo": 1, "hi": 9}, {"marker": 0.0, "lo": 0, "hi": 9}]}),
                "twice",
            ),
            (
                marker(json!(true), json!(1), json!(9)),
                "a text, a number or null",
            ),
            (marker(json!("x"), json!(3), json!(3)), "below `hi`"),
            (
                marker(json!("x"), json!("1"), json!(3)),
                "is a number below",
            ),
            (
                marker(json!("x"), json!(1), json!(1e300)),
                "is a number below",
            ),
            (
                json!({"sdcRound": {"base": 1, "mode": "nearest"}}),
                "at least 2",
            ),
            (json!({"sdcRound": {"base": 5, "mode": "midpoint"}}), "even"),
            (
                json!({"sdcRound": {"base": 5, "mode": "up"}}),
                "\"nearest\" or \"midpoint\"",
            ),
            (
                json!({"sdcRound": {"base": "5", "mode": "nearest"}}),
                "whole number",
            ),
            (json!({"sdcRound": {"base": 5}}), "lacks `mode`"),
            (
                json!({"sdcMinCount": {"numeric": "string"}, "sdcPrecision": {"decimals": 1}}),
                "the same `numeric`",
            ),
            (
                json!({"sdcMinCount": {"numeric": "number"}}),
                "is \"string\"",
            ),
        ] {
            let error = CellRule::new(schema.as_object().unwrap()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn cells_are_found_along_pointers() {
        let schema = json!({
            "properties": {
                "rows": {"type": "array", "items": {"allOf": [
                    {"properties": {"n": {"minimum": 0, "maximum": 99}}},
                    {"properties": {"n": {"maximum": 50.5, "sdcRound": {"base": 5, "mode": "nearest"}}}},
                ]}},
                "pair": {"prefixItems": [{"minimum": 1}, {"minimum": 2}], "items": {"minimum": 3}},
                "map": {"additionalProperties": {"minimum": 4}},
                "same": {"properties": {"a": {"minimum": 5}, "b": {"minimum": 5}}, "additionalProperties": false},
                "0": {"minimum": 6},
            },
            "additionalProperties": false,
        });
        let at = |pointer: &str| {
            let pointer = Pointer::parse(&json!(pointer)).unwrap();
            CellRule::at(schema.as_object().unwrap(), &pointer)
        };
        for pointer in ["/rows/*/n", "/rows/7/n"] {
            let rule = at(pointer).unwrap();
            assert_eq!((rule.minimum, rule.maximum), (Some(0), Some(50)));
            assert_eq!(rule.interval(&json!(10)), Some((8, 12)));
        }
        for (pointer, minimum) in [
            ("/pair/0", 1),
            ("/pair/1", 2),
            ("/pair/2", 3),
            ("/map/any", 4),
            ("/map/*", 4),
            ("/same/*", 5),
            ("/0", 6),
        ] {
            assert_eq!(at(pointer).unwrap().minimum, Some(minimum), "{pointer}");
        }
        for nowhere in ["/x", "/rows/*/m", "/pair/*", "/same/c"] {
            assert!(at(nowhere).is_err(), "{nowhere}");
        }
        let conflict = json!({"allOf": [
            {"sdcRound": {"base": 5, "mode": "nearest"}},
            {"sdcRound": {"base": 6, "mode": "nearest"}},
        ]});
        let here = Pointer::parse(&json!("")).unwrap();
        let error = CellRule::at(conflict.as_object().unwrap(), &here).unwrap_err();
        assert!(error.contains("different values"), "{error}");
        assert!(schema_at(schema.as_object().unwrap(), here.tokens()).is_some());
    }
}

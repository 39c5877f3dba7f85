//! `sdcRows`: bounded rows, one for each key, in one order, and statistics suppressed with their
//! counts.
//!
//! Two rows of one key are two releases in one payload, whose difference tells. An order that the
//! sender picks is a channel of log2(n!) bits. Sources: DataSHIELD (at most 40 levels, and 0.33 of
//! the people), omopgenerics (`suppress()`: percentages go with their counts).

use serde_json::{Map, Value};

use super::aggregate::{Arguments, Cell, Ratio, missing};
use super::{Decimal, Findings, Pointer, Rule};
use crate::Reason;
use crate::judge::canonical::{canonical, write_canonical};

/// `{"max": m, "key": [q..], "sorted": b, "density": {..}?, "linked": {..}?}`, on an array of rows:
/// at most `max`, no two of one key; if `sorted`, in the ascending order of the canonical texts (RFC
/// 8785) of the parts of their keys, compared in UTF-16 code units.
#[derive(Debug)]
pub(crate) struct Rows {
    max: usize,
    key: Vec<Pointer>,
    sorted: bool,
    density: Option<(Cell, Ratio)>,
    linked: Option<Linked>,
}

/// `{"key": [q..], "role": q, "value": q, "when": "count", "then": ["percentage"], "markers": [..]}`:
/// among rows of one key, those with a role of `then` hold a marker unless those with the role `when`
/// hold numbers.
#[derive(Debug)]
struct Linked {
    key: Vec<Pointer>,
    role: Pointer,
    value: Pointer,
    when: String,
    then: Vec<String>,
    /// Canonical texts.
    markers: Vec<Vec<u8>>,
}

/// The keys of all rows: of each, the canonical texts of its parts in UTF-16, each ended by U+0000,
/// which is in none of them: so they compare part by part.
struct Keys {
    texts: Vec<u16>,
    /// Where each key ends.
    ends: Vec<usize>,
}

/// What the rows of one key say.
#[derive(Default)]
struct Group {
    counts: usize,
    suppressed: bool,
    /// Rows whose statistic is published.
    published: Vec<usize>,
}

impl Rule for Rows {
    fn new(value: &Value, schema: &Map<String, Value>) -> Result<Self, String> {
        let optional = &["density", "linked"];
        let required = &["max", "key", "sorted"];
        let arguments = Arguments::read("sdcRows", value, schema, required, optional)?;
        let sorted = arguments.get("sorted").and_then(Value::as_bool);
        let density = arguments.get("density").map(|value| {
            let density = Arguments::read("sdcRows/density", value, schema, &["n", "ratio"], &[])?;
            Ok::<_, String>((density.cell("n")?, density.ratio("ratio")?))
        });
        let linked = arguments
            .get("linked")
            .map(|value| Linked::new(value, schema));
        Ok(Self {
            max: usize::try_from(arguments.integer("max", 1)?).unwrap_or(usize::MAX),
            key: arguments.pointers("key")?,
            sorted: sorted.ok_or_else(|| arguments.wrong("sorted", "must be true or false"))?,
            density: density.transpose()?,
            linked: linked.transpose()?,
        })
    }

    fn check(&self, value: &Value, found: &mut Findings) {
        let Value::Array(rows) = value else {
            found.push(Reason::SdcRows, "", || "an array of rows");
            return;
        };
        if rows.len() > self.max {
            found.push(Reason::SdcRows, "", || format!("at most {} rows", self.max));
        }
        self.check_density(value, rows.len(), found);
        if let Some(keys) = Keys::of(rows, &self.key, found) {
            // What ascends strictly is in order, and without repetitions.
            if !keys.ascend() {
                self.check_order(&keys, found);
                self.check_unique(&keys, found);
            }
        }
        if let Some(linked) = &self.linked
            && !found.enough()
        {
            linked.check(rows, found);
        }
    }
}

impl Rows {
    fn check_density(&self, value: &Value, rows: usize, found: &mut Findings) {
        if let Some((n, ratio)) = &self.density
            && let Some(people) = n.count(value, "", Reason::SdcRows, found)
            && !ratio.allows(rows, people)
        {
            found.push(Reason::SdcRows, "", || {
                format!("at most {} rows for each of `{}`", ratio.text, n.pointer)
            });
        }
    }

    fn check_order(&self, keys: &Keys, found: &mut Findings) {
        for i in 1..keys.ends.len() {
            if !self.sorted || found.enough() {
                return;
            }
            if keys.at(i - 1) > keys.at(i) {
                found.push(Reason::SdcRowsSorted, format!("/{i}"), || {
                    format!(
                        "rows ascend by the canonical JSON text of {}, in UTF-16 code units",
                        list(&self.key)
                    )
                });
            }
        }
    }

    fn check_unique(&self, keys: &Keys, found: &mut Findings) {
        if found.enough() {
            return;
        }
        let order = keys.order();
        for pair in order.windows(2) {
            if found.enough() {
                return;
            }
            if keys.at(pair[0]) == keys.at(pair[1]) {
                found.push(Reason::SdcRows, format!("/{}", pair[1]), || {
                    format!("no two rows have the same {}", list(&self.key))
                });
            }
        }
    }
}

impl Linked {
    fn new(value: &Value, schema: &Map<String, Value>) -> Result<Self, String> {
        let required = &["key", "role", "value", "when", "then", "markers"];
        let arguments = Arguments::read("sdcRows/linked", value, schema, required, &[])?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let when = arguments.get("when").and_then(text);
        let when = when.ok_or_else(|| arguments.wrong("when", "must be a text"))?;
        let then: Option<Vec<_>> = arguments.list("then")?.iter().map(text).collect();
        let then = then.filter(|then| !then.contains(&when));
        let markers = arguments.list("markers")?;
        let simple =
            |marker: &Value| matches!(marker, Value::String(_) | Value::Number(_) | Value::Null);
        if !markers.iter().all(simple) {
            return Err(arguments.wrong("markers", "must be texts, numbers or null"));
        }
        Ok(Self {
            key: arguments.pointers("key")?,
            role: arguments.pointer("role")?,
            value: arguments.pointer("value")?,
            when,
            then: then
                .ok_or_else(|| arguments.wrong("then", "must be texts, other than `when`"))?,
            markers: markers.iter().map(canonical).collect(),
        })
    }

    fn check(&self, rows: &[Value], found: &mut Findings) {
        let Some(keys) = Keys::of(rows, &self.key, found) else {
            return;
        };
        let order = keys.order();
        for group in order.chunk_by(|a, b| keys.at(*a) == keys.at(*b)) {
            if found.enough() {
                return;
            }
            self.check_group(rows, group, found);
        }
    }

    fn check_group(&self, rows: &[Value], group: &[usize], found: &mut Findings) {
        let mut said = Group::default();
        for &i in group {
            let here = format_args!("/{i}");
            match (self.role.one(&rows[i]), self.value.one(&rows[i])) {
                (None, _) => missing(&self.role, here, found),
                (_, None) => missing(&self.value, here, found),
                (Some(role), Some(value)) => self.read(i, role, value, &mut said),
            }
            if found.enough() {
                return;
            }
        }
        // Without its count a statistic tells it all the same.
        if said.counts > 0 && !said.suppressed {
            return;
        }
        for i in said.published {
            if found.enough() {
                return;
            }
            found.push(Reason::SdcLinked, format!("/{i}{}", self.value), || {
                format!(
                    "a marker, unless the row of role {:?} with the same {} is published",
                    self.when,
                    list(&self.key)
                )
            });
        }
    }

    fn read(&self, i: usize, role: &Value, value: &Value, said: &mut Group) {
        let is_marker = self.markers.contains(&canonical(value));
        let role = role.as_str().unwrap_or_default();
        if role == self.when {
            // Whatever is no number is suppressed, by a marker of the list or another.
            let number = match value {
                Value::Number(_) => true,
                Value::String(text) => Decimal::from_text(text).is_some(),
                _ => false,
            };
            said.counts += 1;
            said.suppressed |= is_marker || !number;
        } else if !is_marker && self.then.iter().any(|then| then == role) {
            said.published.push(i);
        }
    }
}

impl Keys {
    /// The keys of these rows; `None` if one has none, which is reported.
    fn of(rows: &[Value], parts: &[Pointer], found: &mut Findings) -> Option<Self> {
        let mut keys = Self {
            texts: Vec::new(),
            ends: Vec::with_capacity(rows.len()),
        };
        let (mut text, mut complete) = (Vec::new(), true);
        for (i, row) in rows.iter().enumerate() {
            if found.enough() {
                return None;
            }
            for part in parts {
                match part.one(row) {
                    Some(value) => {
                        text.clear();
                        write_canonical(value, &mut text);
                        let text = std::str::from_utf8(&text).expect("canonical texts are UTF-8");
                        keys.texts.extend(text.encode_utf16());
                    }
                    None if part.optional => {}
                    None => {
                        complete = false;
                        missing(part, format_args!("/{i}"), found);
                        break;
                    }
                }
                keys.texts.push(0);
            }
            keys.ends.push(keys.texts.len());
        }
        complete.then_some(keys)
    }

    fn at(&self, i: usize) -> &[u16] {
        let begin = i.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.texts[begin..self.ends[i]]
    }

    fn ascend(&self) -> bool {
        (1..self.ends.len()).all(|i| self.at(i - 1) < self.at(i))
    }

    /// The indices of keys in the order of these; of equal ones, in their own.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.ends.len()).collect();
        order.sort_by(|a, b| self.at(*a).cmp(self.at(*b)));
        order
    }
}

fn list(pointers: &[Pointer]) -> String {
    let quoted: Vec<_> = pointers
        .iter()
        .map(|pointer| format!("`{pointer}`"))
        .collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::testing::{
        assert_strict, codes, example, example_contract, found, found_by, rule,
    };
    use super::*;

    fn schema() -> Value {
        json!({
            "items": {"properties": {"a": {}, "b": {}, "n": {}}},
            "sdcRows": {"max": 4, "key": ["/a", "/b?"], "sorted": true},
        })
    }

    #[test]
    fn rows_are_few_unique_and_sorted() {
        let at = |code, place: &str| (code, place.to_owned());
        let (rows, sorted) = ("sdc-rows", "sdc-rows-sorted");
        for (value, expected) in [
            (json!([]), vec![]),
            (json!([{"a": "x"}]), vec![]),
            (json!([{"a": "x"}, {"a": "y"}, {"a": "z"}]), vec![]),
            (json!([{"a": "x", "b": 2}, {"a": "y", "b": 1}]), vec![]),
            (json!([{"a": "x"}, {"a": "x", "b": 1}]), vec![]),
            (
                json!([{"a": "x", "b": 1}, {"a": "x"}]),
                vec![at(sorted, "/1")],
            ),
            (
                json!([{"a": "y"}, {"a": "x"}, {"a": "z"}]),
                vec![at(sorted, "/1")],
            ),
            (json!([{"a": "x"}, {"a": "x"}]), vec![at(rows, "/1")]),
            (json!([{"a": 1}, {"a": 1.0}]), vec![at(rows, "/1")]),
            (
                json!([{"a": "x"}, {"a": "y"}, {"a": "x"}]),
                vec![at(sorted, "/2"), at(rows, "/2")],
            ),
            (
                json!([{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}, {"a": 5}]),
                vec![at(rows, "")],
            ),
            // By text, not by value.
            (json!([{"a": 10}, {"a": 9}]), vec![]),
            (json!([{"a": 9}, {"a": 10}]), vec![at(sorted, "/1")]),
            // In UTF-16 a pair of surrogates stands before U+FB33.
            (json!([{"a": "\u{1f602}"}, {"a": "\u{fb33}"}]), vec![]),
            (
                json!([{"a": "\u{fb33}"}, {"a": "\u{1f602}"}]),
                vec![at(sorted, "/1")],
            ),
            // Part by part: the first may be longer, and hold any character.
            (json!([{"a": "x", "b": 1}, {"a": "x\u{1}", "b": 0}]), vec![]),
            (json!([{"a": 1, "b": 9}, {"a": 11, "b": 0}]), vec![]),
            (json!([{"b": 1}]), vec![at("sdc-pointer", "/0")]),
            (json!([{"a": 1}, 7]), vec![at("sdc-pointer", "/1")]),
            (json!({}), vec![at(rows, "")]),
        ] {
            assert_eq!(
                found::<Rows>("sdcRows", &schema(), &value),
                expected,
                "{value}"
            );
        }
        let mut free = schema();
        free["sdcRows"]["sorted"] = json!(false);
        for (value, expected) in [
            (json!([{"a": "y"}, {"a": "x"}]), vec![]),
            (
                json!([{"a": "x"}, {"a": "y"}, {"a": "x"}]),
                vec![at(rows, "/2")],
            ),
        ] {
            assert_eq!(found::<Rows>("sdcRows", &free, &value), expected, "{value}");
        }
    }

    #[test]
    fn rows_are_few_for_the_people_behind_them() {
        let mut schema = schema();
        schema["sdcRows"]["density"] = json!({"n": "/0/n", "ratio": 0.33});
        for (n, passes) in [
            (json!(7), true),
            (json!(6), false),
            (json!(0), false),
            (json!("<10"), false),
            (json!(7.5), false),
            (json!(null), false),
        ] {
            let value = json!([{"a": 1, "n": n}, {"a": 2}]);
            let found = found::<Rows>("sdcRows", &schema, &value);
            assert_eq!(found.is_empty(), passes, "{value}: {found:?}");
        }
        let none = found::<Rows>("sdcRows", &schema, &json!([]));
        assert_eq!(none, [("sdc-pointer", String::new())]);
    }

    fn linked() -> Value {
        json!({"sdcRows": {"max": 9, "key": ["/g", "/r"], "sorted": false, "linked": {
            "key": ["/g"], "role": "/r", "value": "/v", "when": "count", "then": ["percentage"],
            "markers": ["<5", "-", 0],
        }}})
    }

    #[test]
    fn statistics_are_suppressed_with_their_counts() {
        let rows = |rows: &[(&str, &str, Value)]| {
            let rows = rows.iter().map(|(g, r, v)| json!({"g": g, "r": r, "v": v}));
            Value::from(rows.collect::<Vec<_>>())
        };
        let at = |place: &str| vec![("sdc-linked", place.to_owned())];
        for (value, expected) in [
            (
                rows(&[
                    ("a", "count", json!("87")),
                    ("a", "percentage", json!("21.1")),
                ]),
                vec![],
            ),
            (
                rows(&[("a", "count", json!("<5")), ("a", "percentage", json!("-"))]),
                vec![],
            ),
            (
                rows(&[("a", "count", json!("87")), ("a", "percentage", json!("-"))]),
                vec![],
            ),
            (
                rows(&[("a", "count", json!("<5")), ("a", "mean", json!(4))]),
                vec![],
            ),
            (rows(&[("a", "count", json!("<5"))]), vec![]),
            (
                rows(&[
                    ("a", "count", json!("<5")),
                    ("a", "percentage", json!("0.8")),
                ]),
                at("/1/v"),
            ),
            (
                rows(&[
                    ("a", "percentage", json!("0.8")),
                    ("a", "count", json!("<5")),
                ]),
                at("/0/v"),
            ),
            (
                rows(&[
                    ("a", "count", json!("<5")),
                    ("b", "count", json!("9")),
                    ("a", "percentage", json!(1)),
                ]),
                at("/2/v"),
            ),
            // The count of another group is not the count of this one.
            (
                rows(&[
                    ("b", "count", json!("87")),
                    ("a", "percentage", json!("0.8")),
                ]),
                at("/1/v"),
            ),
            // A number may be a marker, and what is neither is no count.
            (
                rows(&[("a", "count", json!(-0.0)), ("a", "percentage", json!(1))]),
                at("/1/v"),
            ),
            (
                rows(&[("a", "count", json!(87)), ("a", "percentage", json!(1))]),
                vec![],
            ),
            (
                rows(&[("a", "count", json!("<10")), ("a", "percentage", json!(1))]),
                at("/1/v"),
            ),
            (
                rows(&[("a", "count", json!(null)), ("a", "percentage", json!(1))]),
                at("/1/v"),
            ),
            (
                rows(&[("a", "count", json!("-87")), ("a", "percentage", json!(1))]),
                at("/1/v"),
            ),
            (
                json!([{"g": 1, "r": "count"}]),
                vec![("sdc-pointer", "/0".to_owned())],
            ),
        ] {
            assert_eq!(
                found::<Rows>("sdcRows", &linked(), &value),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn its_value_is_read_strictly() {
        let with = |member: &str, value: Value| {
            let mut linked = linked()["sdcRows"]["linked"].clone();
            linked[member] = value;
            linked
        };
        let mut schema = linked();
        schema["sdcRows"]["density"] = json!({"n": "", "ratio": 0.5});
        assert_strict::<Rows>(
            "sdcRows",
            &schema,
            &["density", "linked"],
            &[
                ("max", json!(0), "at least 1"),
                ("key", json!([]), "not empty"),
                ("key", json!(["/*"]), "cannot hold `*`"),
                ("sorted", json!("yes"), "true or false"),
                ("density", json!({"n": "/n"}), "lacks `ratio`"),
                (
                    "density",
                    json!({"n": "/n", "ratio": 0.33}),
                    "leads to no member",
                ),
                ("density", json!({"n": "", "ratio": 33}), "up to 1"),
                ("linked", json!({}), "lacks `key`"),
                ("linked", with("when", json!(1)), "must be a text"),
                (
                    "linked",
                    with("then", json!(["count"])),
                    "other than `when`",
                ),
                ("linked", with("then", json!([])), "not empty"),
                (
                    "linked",
                    with("markers", json!([[]])),
                    "texts, numbers or null",
                ),
                ("linked", with("role", json!("/r?")), "must not end in `?`"),
                (
                    "linked",
                    with("roles", json!("/r")),
                    "knows no member `roles`",
                ),
            ],
        );
    }

    #[test]
    fn the_examples_are_judged_as_they_should() {
        let (Some(cases), Some(ohdsi)) = (
            example_contract("weekly-cases"),
            example_contract("ohdsi-summarised-result"),
        ) else {
            return;
        };
        let payload = |name: &str| example(&format!("payloads/{name}.json")).unwrap();
        let mut percentage = payload("07-ohdsi-pass");
        percentage[5]["estimate_value"] = json!("0.8");
        let mut twice = payload("24-cases-first-pass");
        twice["rows"][1]["ageGroup"] = json!("0-14");
        for (contract, payload, rule) in [
            (&cases, payload("24-cases-first-pass"), None),
            (&cases, payload("26-cases-revised-pass"), None),
            (
                &cases,
                payload("28-cases-unsorted-deny"),
                Some("sdc-rows-sorted"),
            ),
            (&cases, twice, Some("sdc-rows")),
            (&ohdsi, payload("07-ohdsi-pass"), None),
            (&ohdsi, percentage, Some("sdc-linked")),
        ] {
            let codes = codes(contract, &payload);
            assert_eq!(codes.is_empty(), rule.is_none(), "{codes:?}");
            assert!(rule.is_none_or(|rule| codes.contains(&rule)), "{codes:?}");
        }
    }

    #[test]
    fn many_rows_are_no_trouble() {
        // Long keys with a long common part, in no order, and one group: what compares most.
        let rows = (0..20_000_u64).map(|i| {
            let text = format!("{}{:05}", "x".repeat(40), i * 7_919 % 20_000);
            json!({"g": "all", "r": text, "v": "<5"})
        });
        let value = Value::from(rows.collect::<Vec<_>>());
        let mut schema = linked();
        schema["sdcRows"]["max"] = json!(20_000);
        let rule: Rows = rule("sdcRows", &schema).unwrap();
        assert_eq!(found_by(&rule, &value), []);
        schema["sdcRows"]["sorted"] = json!(true);
        let rule: Rows = super::super::testing::rule("sdcRows", &schema).unwrap();
        assert!(found_by(&rule, &value).len() >= 100);
    }

    fn parts() -> impl Strategy<Value = Value> {
        prop_oneof![
            r#"[a-c !"\\\x01\x{e000}\x{ffff}\x{10000}]{0,3}"#.prop_map(Value::from),
            (-2..12).prop_map(Value::from),
            Just(Value::Null),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn order_is_that_of_the_parts_one_by_one(
            pairs in prop::collection::vec((parts(), parts()), 0..5),
        ) {
            let utf16 = |value: &Value| -> Vec<u16> {
                value.to_string().encode_utf16().collect()
            };
            let naive: Vec<_> = pairs.iter().map(|(a, b)| [utf16(a), utf16(b)]).collect();
            let rows = pairs.iter().map(|(a, b)| json!({"a": a, "b": b}));
            let value = Value::from(rows.collect::<Vec<_>>());
            let found = found::<Rows>("sdcRows", &schema(), &value);
            let sorted = !found.iter().any(|(code, _)| *code == "sdc-rows-sorted");
            let unique = !found.iter().any(|(code, _)| *code == "sdc-rows");
            prop_assert_eq!(sorted, naive.is_sorted());
            let distinct: std::collections::BTreeSet<_> = naive.iter().collect();
            prop_assert_eq!(unique, distinct.len() == naive.len());
        }
    }
}

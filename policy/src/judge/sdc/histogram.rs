//! `sdcHistogram`: open tails, edges from the contract, full bins.
//!
//! ACRO (extreme edges are the minimum and the maximum), DataSHIELD's `histogramDS2` (bins at most
//! 0.33 of the people).

use serde_json::{Map, Value};

use super::aggregate::{Arguments, Cell, Ratio, Seen, items, missing, number};
use super::cell::RoundingMode;
use super::{Decimal, Findings, Pointer, Rule};
use crate::Reason;

/// `{"bins": p, "lo": q, "hi": q, "count": q, "n": p, "min": k, "edges": [..], "openTails": true,
/// "maxDensity": r}`: bins follow each other without a gap, the first from null, the last to null,
/// on edges of the list; each holds nobody or at least `min` people; together they hold `n`, as far
/// as rounding lets it be seen; and none that is suppressed follows from the others.
#[derive(Debug)]
pub(crate) struct Histogram {
    bins: Pointer,
    lo: Pointer,
    hi: Pointer,
    count: Cell,
    n: Cell,
    min: i64,
    edges: Vec<Decimal>,
    max_density: Ratio,
}

/// Where a bin ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Open,
    At(Decimal),
    /// Missing, or not of the list.
    Wrong,
}

/// The least and the greatest that a number may be. Sums of counts below 2^53.
#[derive(Clone, Copy)]
struct Interval {
    lo: i128,
    hi: i128,
}

impl Rule for Histogram {
    fn new(value: &Value, schema: &Map<String, Value>) -> Result<Self, String> {
        const REQUIRED: &[&str] = &[
            "bins",
            "lo",
            "hi",
            "count",
            "n",
            "min",
            "edges",
            "openTails",
            "maxDensity",
        ];
        let arguments = Arguments::read("sdcHistogram", value, schema, REQUIRED, &[])?;
        if arguments.get("openTails") != Some(&Value::Bool(true)) {
            let what = "must be true: a closed tail ends at the value of one person";
            return Err(arguments.wrong("openTails", what));
        }
        let edges = arguments.list("edges")?.iter().map(number);
        let edges: Option<Vec<Decimal>> = edges.collect();
        let rising = |edges: &Vec<Decimal>| edges.is_sorted_by(|a, b| a < b);
        let Some(edges) = edges.filter(rising) else {
            return Err(arguments.wrong("edges", "must be rising numbers"));
        };
        let bins = arguments.pointer("bins")?;
        Ok(Self {
            lo: arguments.pointer("lo")?,
            hi: arguments.pointer("hi")?,
            count: arguments.item_cell(&bins.to_string(), "count")?,
            n: arguments.cell("n")?,
            min: arguments.integer("min", 1)?,
            edges,
            max_density: arguments.ratio("maxDensity")?,
            bins,
        })
    }

    fn check(&self, value: &Value, found: &mut Findings) {
        let bins = items(&self.bins, value, Reason::SdcHistogram, found);
        let n = self.n.count(value, "", Reason::SdcHistogram, found);
        let (Some(bins), Some(n)) = (bins, n) else {
            return;
        };
        if n < self.min || !self.max_density.allows(bins.len(), n) {
            let (at, max) = (&self.n.pointer, &self.max_density.text);
            found.push(Reason::SdcHistogram, self.bins.to_string(), || {
                format!(
                    "at most {max} bins for each of `{at}`, which is at least {}",
                    self.min
                )
            });
        }
        self.check_edges(bins, found);
        if found.enough() {
            return;
        }
        let n = self
            .n
            .pointer
            .one(value)
            .and_then(|n| self.n.rule.interval(n));
        if let Some((lo, hi)) = n
            && let Some(counts) = self.counts(bins, found)
        {
            self.check_sum(&counts, Interval::new(lo, hi), found);
        }
    }
}

impl Histogram {
    fn check_edges(&self, bins: &[Value], found: &mut Findings) {
        let mut before = Edge::Open;
        for (i, bin) in bins.iter().enumerate() {
            if found.enough() {
                return;
            }
            let lo = self.edge(i, bin, &self.lo, found);
            let hi = self.edge(i, bin, &self.hi, found);
            let rises = match (lo, hi) {
                (Edge::At(lo), Edge::At(hi)) => lo < hi,
                (Edge::Wrong, _) | (_, Edge::Wrong) => return,
                _ => true,
            };
            let last = i + 1 == bins.len();
            // Only the first bin follows an open edge: behind any other stands none that is open.
            let fits = lo == before && rises && last == (hi == Edge::Open);
            if !fits {
                found.push(Reason::SdcHistogram, format!("{}/{i}", self.bins), || {
                    let (lo, hi) = (&self.lo, &self.hi);
                    format!(
                        "bins rise without a gap; the first has null as `{lo}`, the last and no \
                         other as `{hi}`"
                    )
                });
                return;
            }
            before = hi;
        }
        if bins.is_empty() {
            found.push(
                Reason::SdcHistogram,
                self.bins.to_string(),
                || "at least one bin",
            );
        }
    }

    fn edge(&self, i: usize, bin: &Value, pointer: &Pointer, found: &mut Findings) -> Edge {
        let edge = match pointer.one(bin) {
            None => {
                missing(pointer, format_args!("{}/{i}", self.bins), found);
                return Edge::Wrong;
            }
            Some(Value::Null) => return Edge::Open,
            Some(value) => number(value),
        };
        match edge.filter(|edge| self.edges.binary_search(edge).is_ok()) {
            Some(edge) => Edge::At(edge),
            None => {
                let place = format!("{}/{i}{pointer}", self.bins);
                found.push(
                    Reason::SdcHistogram,
                    place,
                    || "an edge that the contract lists, or null at the open end",
                );
                Edge::Wrong
            }
        }
    }

    /// What may be behind the count of each bin, and whether that is suppressed.
    fn counts(&self, bins: &[Value], found: &mut Findings) -> Option<Vec<(Interval, bool)>> {
        let mut counts = Vec::with_capacity(bins.len());
        for (i, bin) in bins.iter().enumerate() {
            let here = format_args!("{}/{i}", self.bins);
            let seen = self.count.read(bin, here, found)?;
            let interval = self
                .count
                .pointer
                .one(bin)
                .and_then(|v| self.count.rule.interval(v));
            let published = match seen {
                Seen::Number(number) => Some(number),
                Seen::Marker | Seen::Absent => None,
            };
            let full = published.is_none_or(|number| self.is_full(number));
            let Some((lo, hi)) = interval.filter(|_| full) else {
                let place = format!("{here}{}", self.count.pointer);
                found.push(Reason::SdcHistogram, place, || {
                    let markers = self.count.rule.or_markers();
                    format!("0 or a whole number of at least {}{markers}", self.min)
                });
                return None;
            };
            counts.push((Interval::new(lo, hi), published.is_none()));
        }
        Some(counts)
    }

    /// Whether a bin with this published count holds nobody or enough people. Under midpoint
    /// rounding the count stands for a class, and the one of the smallest must hold all that are
    /// small.
    fn is_full(&self, number: Decimal) -> bool {
        let Some(count) = number.as_integer() else {
            return false;
        };
        count == 0
            || count >= self.min
            || self.count.rule.rounding.is_some_and(|rounding| {
                let whole_class = rounding.base >= self.min - 1;
                rounding.mode == RoundingMode::Midpoint && whole_class && rounding.has(number)
            })
    }

    fn check_sum(&self, counts: &[(Interval, bool)], n: Interval, found: &mut Findings) {
        let sum = counts
            .iter()
            .fold(Interval::new(0, 0), |sum, (count, _)| Interval {
                lo: sum.lo + count.lo,
                hi: sum.hi + count.hi,
            });
        if n.hi < sum.lo || sum.hi < n.lo {
            let at = &self.n.pointer;
            found.push(Reason::SdcHistogram, self.bins.to_string(), || {
                format!("the counts of all bins together are `{at}`")
            });
            return;
        }
        // The bins and their sum are one equation, and what it leaves open of each suppressed count
        // is exact.
        let width = i128::from((self.min + 1) / 2);
        for (i, (count, suppressed)) in counts.iter().enumerate() {
            let lo = count.lo.max(n.lo - (sum.hi - count.hi));
            let hi = count.hi.min(n.hi - (sum.lo - count.lo));
            if *suppressed && hi - lo < width && !found.enough() {
                let place = format!("{}/{i}{}", self.bins, self.count.pointer);
                found.push(Reason::SdcRecoverable, place, || {
                    format!(
                        "a suppressed count that the others leave open by at least {width}: \
                         suppress another bin too, or join bins"
                    )
                });
            }
        }
    }
}

impl Interval {
    fn new(lo: i64, hi: i64) -> Self {
        Self {
            lo: lo.into(),
            hi: hi.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::testing::{assert_strict, codes, example, example_contract, found};
    use super::*;

    fn schema() -> Value {
        let markers =
            json!([{"marker": "<10", "lo": 1, "hi": 9}, {"marker": "*", "lo": 0, "hi": 999}]);
        json!({
            "properties": {
                "n": {"sdcSuppressed": markers},
                "bins": {"items": {"properties": {"lo": {}, "hi": {}, "count": {"sdcSuppressed": markers}}}},
            },
            "sdcHistogram": {
                "bins": "/bins", "lo": "/lo", "hi": "/hi", "count": "/count", "n": "/n", "min": 10,
                "edges": [4.0, 5.0, 6.5, 7.0, 8.0], "openTails": true, "maxDensity": 0.33,
            },
        })
    }

    /// Bins between these edges with these counts.
    fn bins(n: impl Into<Value>, edges: &[f64], counts: Value) -> Value {
        let counts = counts.as_array().expect("counts").iter().enumerate();
        let edge = |i: usize| edges.get(i).map_or(Value::Null, |edge| json!(edge));
        let bins = counts.map(|(i, count)| {
            let lo = i.checked_sub(1).map_or(Value::Null, edge);
            json!({"lo": lo, "hi": edge(i), "count": count})
        });
        json!({"n": n.into(), "bins": bins.collect::<Vec<_>>()})
    }

    #[test]
    fn bins_are_full_and_make_up_the_whole() {
        let at = |code, place: &str| vec![(code, place.to_owned())];
        let three = &[5.0, 6.5];
        for (value, expected) in [
            (
                bins(412, &[5.0, 6.5, 7.0, 8.0], json!([30, 120, 150, 70, 42])),
                vec![],
            ),
            (bins(60, three, json!([20, 30, 10])), vec![]),
            (bins(60, three, json!([0, 50, 10])), vec![]),
            (bins(60, &[], json!([60])), vec![]),
            (
                bins(60, three, json!([20, 38, 2])),
                at("sdc-histogram", "/bins/2/count"),
            ),
            (
                bins(60, three, json!([20, 30.5, 9.5])),
                at("sdc-histogram", "/bins/1/count"),
            ),
            (
                bins(60, three, json!([-20, 70, 10])),
                at("sdc-histogram", "/bins/0/count"),
            ),
            (
                bins(61, three, json!([20, 30, 10])),
                at("sdc-histogram", "/bins"),
            ),
            (
                bins(9, &[], json!([9])),
                [
                    at("sdc-histogram", "/bins"),
                    at("sdc-histogram", "/bins/0/count"),
                ]
                .concat(),
            ),
            // At most 3.3 bins.
            (bins(10, three, json!([10, 0, 0])), vec![]),
            (
                bins(10, &[5.0, 6.5, 7.0], json!([10, 0, 0, 0])),
                at("sdc-histogram", "/bins"),
            ),
            (
                bins(50, &[4.0, 5.0, 6.5], json!([20, 30])),
                at("sdc-histogram", "/bins/1"),
            ),
            (bins("<10", &[], json!(["<10"])), at("sdc-histogram", "/n")),
            (
                bins(60, three, json!([20, 30, null])),
                at("sdc-cell", "/bins/2/count"),
            ),
            (json!({"n": 60, "bins": 7}), at("sdc-histogram", "/bins")),
            (json!({"n": 60}), at("sdc-pointer", "")),
            (json!({"bins": []}), at("sdc-pointer", "")),
        ] {
            let found = found::<Histogram>("sdcHistogram", &schema(), &value);
            assert_eq!(found, expected, "{value}");
        }
        let mut dense = schema();
        let edges: Vec<_> = (0..19).map(f64::from).collect();
        dense["sdcHistogram"]["edges"] = json!(edges);
        for (n, passes) in [(50, false), (60, false), (61, true)] {
            let mut counts = vec![0; 20];
            counts[7] = n;
            let found = found::<Histogram>("sdcHistogram", &dense, &bins(n, &edges, json!(counts)));
            assert_eq!(found.is_empty(), passes, "{n}: {found:?}");
        }
    }

    #[test]
    fn tails_are_open_and_edges_are_fixed() {
        let four = json!([30, 30, 30]);
        let value = |lo: usize, edge: Value, way: &str| {
            let mut value = bins(90, &[5.0, 6.5], four.clone());
            value["bins"][lo][way] = edge;
            value
        };
        for (value, place) in [
            (value(0, json!(4.0), "lo"), "/bins/0"),
            (value(2, json!(8.0), "hi"), "/bins/2"),
            (value(1, json!(null), "lo"), "/bins/1"),
            (value(0, json!(null), "hi"), "/bins/0"),
            (value(1, json!(7.0), "hi"), "/bins/2"),
            (value(1, json!(5.0), "hi"), "/bins/1"),
            (value(1, json!(4), "hi"), "/bins/1"),
            // Of the data, not of the list.
            (value(1, json!(6.4), "hi"), "/bins/1/hi"),
            (value(1, json!("6.5"), "hi"), "/bins/1/hi"),
            (value(0, json!(-1e300), "lo"), "/bins/0/lo"),
            (json!({"n": 90, "bins": []}), "/bins"),
        ] {
            let found = found::<Histogram>("sdcHistogram", &schema(), &value);
            assert_eq!(found[0], ("sdc-histogram", place.to_owned()), "{value}");
        }
        let mut lacking = bins(90, &[5.0, 6.5], four.clone());
        lacking["bins"][1].as_object_mut().unwrap().remove("hi");
        let found = found::<Histogram>("sdcHistogram", &schema(), &lacking);
        assert_eq!(found, [("sdc-pointer", "/bins/1".to_owned())]);
    }

    #[test]
    fn suppressed_bins_do_not_follow_from_the_others() {
        let recoverable = |places: &[&str]| {
            let places = places.iter();
            places
                .map(|place| ("sdc-recoverable", format!("/bins/{place}/count")))
                .collect()
        };
        let three = &[5.0, 6.5];
        for (counts, expected) in [
            (json!([60, 33, "<10"]), recoverable(&["2"])),
            (
                json!([60, "<10", "<10"]),
                vec![("sdc-histogram", "/bins".to_owned())],
            ),
            (json!([90, "<10", "<10"]), recoverable(&[])),
            (json!([96, "<10", "<10"]), recoverable(&["1", "2"])),
            (json!([94, "<10", "<10"]), recoverable(&["1", "2"])),
            (json!([93, "<10", "<10"]), recoverable(&[])),
            (json!(["*", 60, "<10"]), recoverable(&[])),
        ] {
            let value = bins(100, three, counts);
            let found = found::<Histogram>("sdcHistogram", &schema(), &value);
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn rounding_leaves_a_slack() {
        let mut schema = schema();
        let three = &[5.0, 6.5];
        schema["properties"]["bins"]["items"]["properties"]["count"]["sdcRound"] =
            json!({"base": 5, "mode": "nearest"});
        let check = |schema: &Value, n: i64, counts: Value| {
            found::<Histogram>("sdcHistogram", schema, &bins(n, three, counts)).is_empty()
        };
        for (n, passes) in [(60, true), (54, true), (53, false), (66, true), (67, false)] {
            assert_eq!(check(&schema, n, json!([20, 30, 10])), passes, "{n}");
        }
        // Behind 0 may be up to 2, never fewer than none.
        assert!(check(&schema, 51, json!([0, 45, 10])));
        assert!(!check(&schema, 50, json!([0, 45, 10])));
        schema["properties"]["n"]["sdcRound"] = json!({"base": 10, "mode": "nearest"});
        assert!(check(&schema, 50, json!([20, 30, 10])));
        assert!(!check(&schema, 40, json!([20, 30, 10])));
        // With midpoints 3 stands for 1 to 6, which with a minimum of 7 are all that are small.
        schema["properties"]["bins"]["items"]["properties"]["count"]["sdcRound"] =
            json!({"base": 6, "mode": "midpoint"});
        assert!(!check(&schema, 60, json!([21, 33, 3])));
        schema["sdcHistogram"]["min"] = json!(7);
        assert!(check(&schema, 60, json!([21, 33, 3])));
        assert!(!check(&schema, 60, json!([21, 33, 4])));
    }

    #[test]
    fn its_value_is_read_strictly() {
        assert_strict::<Histogram>(
            "sdcHistogram",
            &schema(),
            &[],
            &[
                ("openTails", json!(false), "must be true"),
                ("edges", json!([]), "not empty"),
                ("edges", json!([4, 4.0]), "rising numbers"),
                ("edges", json!([4, null]), "rising numbers"),
                ("maxDensity", json!(2), "up to 1"),
                ("count", json!("/counts"), "leads to no member"),
                ("min", json!(0), "at least 1"),
            ],
        );
    }

    #[test]
    fn the_examples_are_judged_as_they_should() {
        let Some(contract) = example_contract("lab-distribution") else {
            return;
        };
        let pass = example("payloads/29-lab-pass.json").unwrap();
        let mut small_tail = pass.clone();
        small_tail["bins"][4]["count"] = json!(2);
        small_tail["n"] = json!(372);
        let mut closed_tail = pass.clone();
        closed_tail["bins"][0]["lo"] = json!(4.0);
        assert_eq!(codes(&contract, &pass), [""; 0]);
        for payload in [small_tail, closed_tail] {
            assert!(codes(&contract, &payload).contains(&"sdc-histogram"));
        }
    }

    fn counts() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(json!("<4")),
            Just(json!("*")),
            Just(json!(0)),
            (4..12).prop_map(Value::from),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn what_suppressed_bins_leave_open_is_what_trying_all_gives(
            counts in prop::collection::vec(counts(), 1..4),
            n in 6..40_i64,
        ) {
            let mut schema = schema();
            schema["sdcHistogram"]["min"] = json!(4);
            schema["sdcHistogram"]["maxDensity"] = json!(1);
            let markers = json!([{"marker": "<4", "lo": 1, "hi": 3}, {"marker": "*", "lo": 0, "hi": 9}]);
            schema["properties"]["bins"]["items"]["properties"]["count"]["sdcSuppressed"] = markers;

            let range = |count: &Value| match count.as_str() {
                Some("<4") => 1..=3,
                Some(_) => 0..=9,
                None => count.as_i64().unwrap()..=count.as_i64().unwrap(),
            };
            let mut solutions: Vec<Vec<i64>> = vec![vec![]];
            for count in &counts {
                let longer = |solution: &Vec<i64>| {
                    range(count).map(|c| [solution.as_slice(), &[c]].concat()).collect::<Vec<_>>()
                };
                solutions = solutions.iter().flat_map(longer).collect();
            }
            solutions.retain(|solution| solution.iter().sum::<i64>() == n);
            let mut expected = Vec::new();
            if solutions.is_empty() {
                expected.push(("sdc-histogram", "/bins".to_owned()));
            }
            for (i, _) in counts.iter().enumerate().filter(|(_, count)| count.is_string()) {
                let of = || solutions.iter().map(|solution| solution[i]);
                if let (Some(lo), Some(hi)) = (of().min(), of().max())
                    && hi - lo < 2
                {
                    expected.push(("sdc-recoverable", format!("/bins/{i}/count")));
                }
            }
            let edges = [5.0, 6.5];
            let edges = &edges[..counts.len() - 1];
            let value = bins(n, edges, Value::from(counts));
            prop_assert_eq!(found::<Histogram>("sdcHistogram", &schema, &value), expected);
        }
    }
}

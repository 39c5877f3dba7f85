//! `sdcDominance`: no sum that a few contributors make up.
//!
//! Whoever knows his own part of a sum can tell the others' too well if few make up most of it: the
//! (n, k) rule (ACRO 2 and 0.90, ABS DataLab, sdcTable and Bundesbank 2 and 0.85) and the p% rule
//! (ACRO 0.10). Both need the largest contributions, which must never leave. So they stand in the
//! member [`EVIDENCE`] of the object that holds the sum, and are taken out of what is released.

use serde_json::{Map, Value};

use super::aggregate::{Arguments, Cell, MAX_DECIMALS, Ratio, Seen, number};
use super::evidence::EVIDENCE;
use super::pointer::Token;
use super::{Decimal, Findings, Pointer, Rule};
use crate::Reason;

/// The most contributions that are looked at; it keeps sums within an `i128`.
const MAX_TOP: usize = 8;

/// `{"n": p, "total": p, "top": [p1, p2..], "nk": {"n": 2, "k": 0.9}, "p": 0.1}`: the largest
/// contributions, falling, none negative, and at most the total together; the `nk.n` largest below
/// `nk.k` of the total, and all others but the two largest at least `p` of the largest.
#[derive(Debug)]
pub(crate) struct Dominance {
    n: Cell,
    total: Cell,
    top: Vec<Pointer>,
    few: usize,
    max_share: Ratio,
    min_rest: Ratio,
}

impl Rule for Dominance {
    fn new(value: &Value, schema: &Map<String, Value>) -> Result<Self, String> {
        let required = &["n", "total", "top", "nk", "p"];
        let arguments = Arguments::read("sdcDominance", value, schema, required, &[])?;
        let nk = arguments.get("nk").unwrap_or(&Value::Null);
        let nk = Arguments::read("sdcDominance/nk", nk, schema, &["n", "k"], &[])?;
        let few = usize::try_from(nk.integer("n", 1)?).unwrap_or(usize::MAX);
        let top = arguments.pointers("top")?;
        if !(few.max(2)..=MAX_TOP).contains(&top.len()) {
            let least = few.max(2);
            let what = format_args!("must name the {least} to {MAX_TOP} largest contributions");
            return Err(arguments.wrong("top", what));
        }
        let evidence = Token::Name(EVIDENCE.into());
        let inside = |pointer: &Pointer| {
            pointer.tokens().first() == Some(&evidence) && pointer.tokens().len() > 1
        };
        if !top
            .iter()
            .all(|pointer| inside(pointer) && !pointer.optional)
        {
            let what = format_args!(
                "must name members of `/{EVIDENCE}`, as in `/{EVIDENCE}/top1`, and without `?`: \
                 contributions of single people are only taken out of what leaves from there"
            );
            return Err(arguments.wrong("top", what));
        }
        Ok(Self {
            n: arguments.cell("n")?,
            total: arguments.cell("total")?,
            top,
            few,
            max_share: nk.ratio("k")?,
            min_rest: arguments.ratio("p")?,
        })
    }

    fn check(&self, value: &Value, found: &mut Findings) {
        let n = self.n.count(value, "", Reason::SdcDominance, found);
        let total = self.total.read(value, "", found);
        let (Some(n), Some(total)) = (n, total) else {
            return;
        };
        let Some(top) = self.top(value, found) else {
            return;
        };
        let total = match total {
            Seen::Number(total) => amount(total),
            Seen::Marker | Seen::Absent => None,
        };
        let Some(total) = total else {
            found.push(Reason::SdcDominance, self.total.pointer.to_string(), || {
                format!("a number from 0 on of at most {MAX_DECIMALS} decimals")
            });
            return;
        };
        if !is_consistent(n, total, &top) {
            found.push(Reason::SdcDominance, format!("/{EVIDENCE}"), || {
                let (n, total) = (&self.n.pointer, &self.total.pointer);
                format!(
                    "the largest contributions, the largest first, no more than `{n}` of them above \
                     0, together at most `{total}`, and none only where that is 0"
                )
            });
        } else if total > 0 && self.is_dominated(total, &top) != Some(false) {
            found.push(Reason::SdcDominance, self.total.pointer.to_string(), || {
                self.message()
            });
        }
    }
}

impl Dominance {
    fn top(&self, value: &Value, found: &mut Findings) -> Option<Vec<i128>> {
        let mut top = Vec::with_capacity(self.top.len());
        for pointer in &self.top {
            let Some(one) = pointer.one(value).and_then(number).and_then(amount) else {
                // Not the place of what is missing: the evidence as a whole may be.
                found.push(Reason::SdcDominance, "", || {
                    format!(
                        "`{pointer}` must be a number from 0 on of at most {MAX_DECIMALS} decimals; \
                         it is taken out of what leaves"
                    )
                });
                return None;
            };
            top.push(one);
        }
        Some(top)
    }

    /// `None` if it is out of reach.
    fn is_dominated(&self, total: i128, top: &[i128]) -> Option<bool> {
        let few: i128 = top[..self.few].iter().sum();
        let concentrated = self.max_share.cmp_part(few, total)?.is_ge();
        let rest = total - top[0] - top[1];
        let exposed = top[0] > 0 && self.min_rest.cmp_part(rest, top[0])?.is_lt();
        Some(concentrated || exposed)
    }

    fn message(&self) -> String {
        let (total, few) = (&self.total.pointer, self.few);
        let (share, rest) = (&self.max_share.text, &self.min_rest.text);
        format!(
            "a `{total}` of which the {few} largest contributions are less than {share}, and all but \
             the two largest at least {rest} of the largest"
        )
    }
}

/// A number from 0 on, in units of its last possible decimal.
fn amount(number: Decimal) -> Option<i128> {
    number.scaled(MAX_DECIMALS).filter(|amount| *amount >= 0)
}

fn is_consistent(n: i64, total: i128, top: &[i128]) -> bool {
    let falling = top.is_sorted_by(|a, b| a >= b);
    let people = top.iter().filter(|one| **one > 0).count();
    let people = i64::try_from(people).is_ok_and(|people| people <= n);
    let sum: i128 = top.iter().sum();
    // Evidence of zeros beside a sum is none.
    falling && people && sum <= total && (total == 0 || top[0] > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::evidence::{evidence_pointers, strip};
    use super::super::testing::{assert_strict, codes, example, example_contract, found};
    use super::*;

    fn schema() -> Value {
        json!({
            "properties": {
                "n": {}, "sum": {"sdcSuppressed": [{"marker": "-", "lo": 0, "hi": 99}]},
                "evidence": {"properties": {"top1": {}, "top2": {}}},
            },
            "sdcDominance": {
                "n": "/n", "total": "/sum", "top": ["/evidence/top1", "/evidence/top2"],
                "nk": {"n": 2, "k": 0.9}, "p": 0.1,
            },
        })
    }

    #[test]
    fn few_contributors_do_not_make_up_a_sum() {
        let dominance = |place: &str| vec![("sdc-dominance", place.to_owned())];
        let max = 9_007_199_254_740_991_i64;
        for (n, sum, top1, top2, expected) in [
            (
                json!(120),
                json!(840_000),
                json!(45_000),
                json!(35_000),
                vec![],
            ),
            (
                json!(12),
                json!(840_000),
                json!(700_000),
                json!(80_000),
                dominance("/sum"),
            ),
            (json!(12), json!(1000), json!(500), json!(399), vec![]),
            (
                json!(12),
                json!(1000),
                json!(500),
                json!(400),
                dominance("/sum"),
            ),
            (json!(12), json!(0.3), json!(0.2), json!(0.069), vec![]),
            (
                json!(12),
                json!(0.3),
                json!(0.2),
                json!(0.07),
                dominance("/sum"),
            ),
            (
                json!(12),
                json!(max),
                json!(max - 1),
                json!(1),
                dominance("/sum"),
            ),
            (json!(12), json!(max), json!(1e-15), json!(0), vec![]),
            (json!(12), json!(0), json!(0), json!(0), vec![]),
            (json!(0), json!(0), json!(0), json!(0), vec![]),
            // Evidence that cannot be true.
            (
                json!(12),
                json!(1000),
                json!(0),
                json!(0),
                dominance("/evidence"),
            ),
            (
                json!(12),
                json!(1000),
                json!(100),
                json!(101),
                dominance("/evidence"),
            ),
            (
                json!(12),
                json!(1000),
                json!(600),
                json!(401),
                dominance("/evidence"),
            ),
            (
                json!(1),
                json!(1000),
                json!(100),
                json!(100),
                dominance("/evidence"),
            ),
            (json!(12), json!(1000), json!(-5), json!(-6), dominance("")),
            (json!(12), json!(1000), json!(100), json!(-6), dominance("")),
            (
                json!(12),
                json!(1000),
                json!("100"),
                json!(100),
                dominance(""),
            ),
            (
                json!(12),
                json!(1000),
                json!(100),
                json!(null),
                dominance(""),
            ),
            (
                json!(12),
                json!(1000),
                json!(100),
                json!(1e-16),
                dominance(""),
            ),
            (
                json!(12),
                json!(-1000),
                json!(0),
                json!(0),
                dominance("/sum"),
            ),
            (json!(12), json!("-"), json!(0), json!(0), dominance("/sum")),
            (
                json!(12.5),
                json!(1000),
                json!(100),
                json!(100),
                dominance("/n"),
            ),
            (
                json!(12),
                json!(null),
                json!(0),
                json!(0),
                vec![("sdc-cell", "/sum".into())],
            ),
        ] {
            let value = json!({"n": n, "sum": sum, "evidence": {"top1": top1, "top2": top2}});
            let found = found::<Dominance>("sdcDominance", &schema(), &value);
            assert_eq!(found, expected, "{value}");
        }
        for (value, expected) in [
            (json!({"n": 12, "sum": 1000}), dominance("")),
            (
                json!({"n": 12, "sum": 1000, "evidence": {"top1": 1}}),
                dominance(""),
            ),
            (
                json!({"n": 12, "evidence": {}}),
                vec![("sdc-pointer", String::new())],
            ),
            (
                json!({"sum": 12, "evidence": {}}),
                vec![("sdc-pointer", String::new())],
            ),
        ] {
            let found = found::<Dominance>("sdcDominance", &schema(), &value);
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn the_p_percent_rule_stands_alone() {
        let mut schema = schema();
        schema["sdcDominance"]["nk"]["k"] = json!(1);
        for (sum, top1, top2, passes) in [
            (1000, 800, 120, true),
            (1000, 800, 121, false),
            (1000, 1000, 0, false),
            (1000, 500, 500, false),
        ] {
            let value = json!({"n": 12, "sum": sum, "evidence": {"top1": top1, "top2": top2}});
            let found = found::<Dominance>("sdcDominance", &schema, &value);
            assert_eq!(found.is_empty(), passes, "{value}");
        }
    }

    #[test]
    fn its_value_is_read_strictly() {
        let only_in_evidence = "must name members of `/evidence`";
        assert_strict::<Dominance>(
            "sdcDominance",
            &schema(),
            &[],
            &[
                ("top", json!(["/evidence/top1", "/top2"]), only_in_evidence),
                (
                    "top",
                    json!(["/evidence/top1", "/evidence"]),
                    only_in_evidence,
                ),
                (
                    "top",
                    json!(["/evidence/top1", "/evidences/top2"]),
                    only_in_evidence,
                ),
                (
                    "top",
                    json!(["/evidence/top1", "/x/evidence/top2"]),
                    only_in_evidence,
                ),
                (
                    "top",
                    json!(["/evidence/top1", "/evidence/top2?"]),
                    only_in_evidence,
                ),
                (
                    "top",
                    json!(["/evidence/top1", "/evidence/*"]),
                    "cannot hold `*`",
                ),
                ("top", json!(["/evidence/top1"]), "the 2 to 8 largest"),
                ("top", json!([]), "not empty"),
                ("nk", json!({"n": 3, "k": 0.9}), "the 3 to 8 largest"),
                ("nk", json!({"n": 0, "k": 0.9}), "at least 1"),
                ("nk", json!({"n": 2, "k": 1.1}), "up to 1"),
                ("nk", json!({"n": 2}), "lacks `k`"),
                (
                    "nk",
                    json!({"n": 2, "k": 0.9, "p": 1}),
                    "knows no member `p`",
                ),
                ("nk", json!(2), "needs an object"),
                ("p", json!(0), "above 0"),
                ("p", json!(80), "up to 1"),
            ],
        );
    }

    #[test]
    fn the_examples_are_judged_and_lose_their_evidence() {
        let Some(contract) = example_contract("costs") else {
            return;
        };
        let schema = example("contracts/costs.schema.json").unwrap();
        let payload = |name: &str| example(&format!("payloads/{name}.json")).unwrap();
        let mut pass = payload("34-costs-pass");
        assert_eq!(codes(&contract, &pass), [""; 0]);
        assert!(codes(&contract, &payload("35-costs-dominated-deny")).contains(&"sdc-dominance"));
        let mut few = pass.clone();
        few["rows"][0]["n"] = json!(3);
        assert!(codes(&contract, &few).contains(&"sdc-contributors"));

        let evidence = evidence_pointers(&schema);
        assert_eq!(
            evidence.iter().map(Pointer::to_string).collect::<Vec<_>>(),
            ["/rows/*/evidence"]
        );
        strip(&mut pass, &evidence);
        let stripped =
            json!({"rows": [{"dept": "cardiology", "n": 120, "sum": 840_000, "mean": 7000}]});
        assert_eq!(pass, stripped);
    }
}

//! The decision: a release against all before it.

use std::collections::BTreeSet;

use super::cells::violation;
use super::{Cell, DENIED_WINDOW, History, MAX_SEEN, ReleaseFacts, ReleaseRule, Repeat};
use super::{Seen, Spent, linked};
use crate::Reason;
use crate::judge::{MAX_VIOLATIONS, Violation};

/// Decides whether a payload may be released, given what was released before.
///
/// Whoever asks must make sure that nothing is released between the reading of the history and the
/// remembering of this release.
///
/// # Errors
/// Everything that is in the way, up to [`MAX_VIOLATIONS`].
pub fn decide(
    rule: &ReleaseRule,
    facts: &ReleaseFacts,
    history: &History,
) -> Result<(), Vec<Violation>> {
    let mut found = budgets(rule, facts, &history.spent);
    found.extend(epsilon(rule, facts, history.epsilon));
    if !(history.repeated && rule.repeat == Repeat::Identical) {
        if history.seen_cut {
            let message = format!("at most {MAX_SEEN} earlier figures to be held against");
            found.push(violation(Reason::LedgerLimit, String::new(), message));
        } else {
            cells(rule, facts, &history.seen, &mut found);
        }
        if rule.linked_audit {
            found.extend(linked::audit(rule, facts, history).err());
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// Says no, whatever the payload, when so many attempts have been denied that another answer may
/// not be given. Asked before [`decide`], so that the answer tells nothing of what it would say;
/// for the same reason it is not counted as a denied attempt itself, and ends by waiting.
pub fn denied_too_often(rule: &ReleaseRule, history: &History) -> Option<Violation> {
    let most = rule.max_denied;
    let message = || {
        format!(
            "at most {most} attempts that earlier releases are against in any {DENIED_WINDOW} \
             seconds; then none is looked at until the first of them is so long ago"
        )
    };
    let reason = Reason::SdcBudgetDenied;
    (history.denied >= most).then(|| violation(reason, String::new(), message()))
}

/// Why a ledger cannot take in a release: what it would have to remember is too long.
pub fn entry_too_large(bytes: usize, most: usize) -> Violation {
    let message = format!(
        "fewer figures, or fewer sums of them: the ledger's entry would have {bytes} bytes, and \
         has at most {most}"
    );
    violation(Reason::LedgerLimit, String::new(), message)
}

fn budgets(rule: &ReleaseRule, facts: &ReleaseFacts, spent: &Spent) -> Vec<Violation> {
    let window = rule.window;
    let bits = rule.bits.unwrap_or(u64::MAX);
    let budgets = [
        (
            Reason::SdcBudgetReleases,
            rule.max_releases,
            spent.releases,
            1,
            "releases",
        ),
        (
            Reason::SdcBudgetBytes,
            rule.max_bytes,
            spent.bytes,
            facts.bytes,
            "canonical bytes",
        ),
        (
            Reason::SdcBudgetBits,
            rule.max_bits,
            spent.bits,
            bits,
            "bits",
        ),
    ];
    let over = budgets
        .into_iter()
        .filter_map(|(reason, most, spent, more, what)| {
            let most = most?;
            let fits = spent.checked_add(more).is_some_and(|sum| sum <= most);
            let message = || format!("at most {most} {what} in any {window} seconds");
            (!fits).then(|| violation(reason, String::new(), message()))
        });
    over.collect()
}

fn epsilon(rule: &ReleaseRule, facts: &ReleaseFacts, spent: u64) -> Option<Violation> {
    let rule_ = rule.epsilon.as_ref()?;
    let (budget, horizon) = (rule_.budget, rule.horizon);
    let sum = (facts.epsilon).and_then(|claim| spent.checked_add(claim.billionths()));
    if sum.is_some_and(|sum| sum <= budget.billionths()) {
        return None;
    }
    let message = format!("at most {budget} in all of any {horizon} seconds");
    Some(violation(
        Reason::SdcEpsilon,
        rule_.claim.to_string(),
        message,
    ))
}

fn cells(rule: &ReleaseRule, facts: &ReleaseFacts, seen: &[Seen], found: &mut Vec<Violation>) {
    let mut of_cell: Vec<Vec<&Seen>> = vec![Vec::new(); facts.cells.len()];
    for seen in seen {
        if let Some(list) = of_cell.get_mut(seen.cell) {
            list.push(seen);
        }
    }
    for (cell, seen) in facts.cells.iter().zip(of_cell) {
        if found.len() >= MAX_VIOLATIONS {
            return;
        }
        if let Some((reason, message)) = objection(rule, cell, &seen) {
            found.push(violation(reason, cell.pointer.clone(), message));
        }
    }
}

fn objection(rule: &ReleaseRule, cell: &Cell, seen: &[&Seen]) -> Option<(Reason, String)> {
    let horizon = rule.horizon;
    if rule.noisy {
        let same = |seen: &&Seen| cell.same_value(seen) && cell.stats == seen.stats;
        let message = || {
            format!(
                "a noisy figure that was released in the last {horizon} seconds is repeated as \
                 it was"
            )
        };
        return (!seen.iter().all(same)).then(|| (Reason::SdcAveraging, message()));
    }
    let near = |k: u64| {
        (seen.iter()).any(|seen| !cell.same_value(seen) && cell.interval.too_near(seen.interval, k))
    };
    if let Some(k) = rule.differencing
        && near(k.get())
    {
        let message = format!(
            "a figure that was released in the last {horizon} seconds stays as it was, or \
             changes by at least {k}"
        );
        return Some((Reason::SdcDifferencing, message));
    }
    let versions: BTreeSet<_> = (seen.iter())
        .filter(|seen| cell.same_value(seen))
        .map(|seen| seen.stats)
        .collect();
    if versions.contains(&cell.stats) || versions.len() as u64 <= rule.revisions {
        return None;
    }
    let message = format!(
        "the statistics of an unchanged count may be revised {} times in any {horizon} seconds",
        rule.revisions
    );
    Some((Reason::SdcRevision, message))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::judge::canonical::canonical;

    /// The simplest ledger: it keeps all and looks through all.
    struct Naive {
        rule: ReleaseRule,
        released: Vec<(u64, ReleaseFacts)>,
    }

    impl Naive {
        fn new(rule: Value) -> Self {
            let count = json!({"sdcSuppressed": [{"marker": "<8", "lo": 1, "hi": 7}]});
            let schema = json!({
                "properties": {"week": {"enum": [1, 2]}, "n": count, "mean": {}, "eps": {}, "rows": {"items": {"properties": {
                    "region": {"enum": ["a", "b"]}, "n": count}}}},
                "sdcRelease": rule
            });
            let rule = ReleaseRule::of_contract(&schema, "t").unwrap().unwrap();
            Self {
                rule,
                released: Vec::new(),
            }
        }

        fn history(&self, facts: &ReleaseFacts, now: u64) -> History {
            let mut history = History::default();
            for (at, old) in &self.released {
                if at + self.rule.window > now {
                    history.spent.releases += 1;
                    history.spent.bytes += old.bytes;
                    history.spent.bits += self.rule.bits.unwrap_or(0);
                }
                if at + self.rule.horizon > now {
                    history.epsilon += old.epsilon.map_or(0, |e| e.billionths());
                    history.repeated |= old.payload == facts.payload;
                    for (index, cell) in facts.cells.iter().enumerate() {
                        history
                            .seen
                            .extend((old.cells.iter()).filter(|o| o.key == cell.key).map(|o| {
                                Seen {
                                    cell: index,
                                    interval: o.interval,
                                    value: o.value,
                                    stats: o.stats,
                                }
                            }));
                    }
                    if old.scope == facts.scope {
                        history.linked.push(old.linked());
                    }
                }
            }
            history
        }

        fn ask(&mut self, now: u64, payload: &Value) -> Vec<Reason> {
            let bytes = canonical(payload);
            let facts = match self.rule.facts(payload, &bytes) {
                Ok(facts) => facts,
                Err(found) => return found.into_iter().map(|v| v.reason).collect(),
            };
            let history = self.history(&facts, now);
            match decide(&self.rule, &facts, &history) {
                Ok(()) => {
                    self.released.push((now, facts));
                    Vec::new()
                }
                Err(found) => found.into_iter().map(|v| v.reason).collect(),
            }
        }
    }

    #[test]
    fn differencing_is_as_specified() {
        use Reason::SdcDifferencing as D;
        for (first, second, expected) in [
            (json!(120), json!(120), vec![]),
            (json!(120), json!(123), vec![D]),
            (json!(120), json!(127), vec![D]),
            (json!(120), json!(128), vec![]),
            (json!(120), json!(113), vec![D]),
            (json!(120), json!(112), vec![]),
            (json!("<8"), json!("<8"), vec![]),
            (json!("<8"), json!(12), vec![D]),
            (json!("<8"), json!(15), vec![]),
            (json!("<8"), json!(14), vec![D]),
            (json!(0), json!("<8"), vec![D]),
            (json!("<8"), json!(0), vec![D]),
            (json!(12), json!("<8"), vec![D]),
            (json!(120), json!(120.0), vec![]),
        ] {
            let rule = json!({"cell": ["/week"], "value": "/n", "differencing": {"min": 8}});
            let mut ledger = Naive::new(rule);
            let payload = |n: &Value| json!({"week": 1, "n": n});
            assert_eq!(ledger.ask(0, &payload(&first)), []);
            assert_eq!(
                ledger.ask(1, &payload(&second)),
                expected,
                "{first} {second}"
            );
            // Another key has no past.
            assert_eq!(ledger.ask(1, &json!({"week": 2, "n": second})), []);
        }
    }

    #[test]
    fn the_horizon_ends() {
        let rule = json!({"cell": ["/week"], "value": "/n", "differencing": {"min": 8},
                          "horizon": "PT10S"});
        let mut ledger = Naive::new(rule);
        assert_eq!(ledger.ask(100, &json!({"week": 1, "n": 50})), []);
        assert_eq!(
            ledger.ask(109, &json!({"week": 1, "n": 51})),
            [Reason::SdcDifferencing]
        );
        assert_eq!(ledger.ask(110, &json!({"week": 1, "n": 51})), []);
    }

    #[test]
    fn after_so_many_denials_none_is_looked_at() {
        let mut rule = Naive::new(json!({"cell": ["/week"], "maxDenied": 3})).rule;
        let asked = |rule: &ReleaseRule, denied| {
            let history = History {
                denied,
                ..History::default()
            };
            denied_too_often(rule, &history).map(|v| v.reason)
        };
        for (denied, expected) in [
            (0, None),
            (2, None),
            (3, Some(Reason::SdcBudgetDenied)),
            (u64::MAX, Some(Reason::SdcBudgetDenied)),
        ] {
            assert_eq!(asked(&rule, denied), expected, "{denied}");
        }
        rule.max_denied = 4;
        assert_eq!(asked(&rule, 3), None);
    }

    #[test]
    fn budgets_are_of_windows() {
        let rule = json!({"cell": ["/week"], "window": "PT10S", "maxReleases": 2, "maxBytes": 30,
                          "maxBits": 100});
        let mut ledger = Naive::new(rule);
        let small = json!({"week": 1});
        assert_eq!(
            ledger.ask(0, &small),
            [Reason::SdcBudgetBits],
            "the capacity is not known"
        );
        ledger.rule.bits = Some(50);
        assert_eq!(ledger.ask(0, &small), []);
        let large = json!({"week": "0123456789"});
        assert_eq!(ledger.ask(1, &large), [Reason::SdcBudgetBytes]);
        assert_eq!(ledger.ask(1, &small), []);
        assert_eq!(
            ledger.ask(9, &small),
            [Reason::SdcBudgetReleases, Reason::SdcBudgetBits]
        );
        assert_eq!(ledger.ask(10, &small), []);
        ledger.rule.max_bytes = Some(u64::MAX);
        ledger.rule.bits = Some(u64::MAX);
        assert!(ledger.ask(100, &small).contains(&Reason::SdcBudgetBits));
    }

    #[test]
    fn statistics_of_an_unchanged_count_are_revised_as_often_as_allowed() {
        let rule = json!({"cell": ["/week"], "value": "/n", "stats": ["/mean"],
                          "differencing": {"min": 8}, "revisions": 1});
        let mut ledger = Naive::new(rule);
        let payload = |n: u64, mean: f64| json!({"week": 1, "n": n, "mean": mean});
        for (n, mean, expected) in [
            (50, 6.4, vec![]),
            (50, 6.4, vec![]),
            (50, 6.5, vec![]),
            (50, 6.4, vec![]),
            (50, 6.6, vec![Reason::SdcRevision]),
            (58, 6.6, vec![]),
            (51, 6.6, vec![Reason::SdcDifferencing]),
        ] {
            assert_eq!(ledger.ask(0, &payload(n, mean)), expected, "{n} {mean}");
        }
        assert_eq!(
            ledger.ask(0, &json!({"week": 1, "n": 50})),
            [Reason::SdcPointer]
        );
    }

    #[test]
    fn noisy_figures_are_repeated_as_they_were() {
        let rule = json!({"cell": ["/week"], "value": "/n", "noisy": true,
                          "epsilon": {"claim": "/eps", "budget": 0.3}});
        let mut ledger = Naive::new(rule);
        let payload = |n: f64, eps: f64| json!({"week": 1, "n": n, "eps": eps});
        assert_eq!(ledger.ask(0, &payload(11.25, 0.1)), []);
        assert_eq!(ledger.ask(0, &payload(11.5, 0.1)), [Reason::SdcAveraging]);
        assert_eq!(ledger.ask(0, &payload(1e6, 0.1)), [Reason::SdcAveraging]);
        assert_eq!(ledger.ask(0, &payload(11.25, 0.1)), []);
        assert_eq!(
            ledger.ask(0, &payload(11.25, 0.1)),
            [],
            "0.1 three times is 0.3 exactly"
        );
        assert_eq!(ledger.ask(0, &payload(11.25, 1e-9)), [Reason::SdcEpsilon]);
        assert_eq!(ledger.ask(0, &payload(11.25, -0.1)), [Reason::SdcEpsilon]);
        assert_eq!(
            ledger.ask(0, &json!({"week": 1, "n": 11.25})),
            [Reason::SdcEpsilon]
        );
    }

    #[test]
    fn an_identical_payload_passes_again_and_spends() {
        let base = json!({"cell": ["/week"], "value": "/n", "differencing": {"min": 8},
                          "window": "P1D", "maxReleases": 2});
        for (repeat, expected) in [
            ("identical", vec![]),
            ("any", vec![Reason::SdcDifferencing]),
        ] {
            let mut rule = base.clone();
            rule["repeat"] = json!(repeat);
            let mut ledger = Naive::new(rule);
            assert_eq!(ledger.ask(0, &json!({"week": 1, "n": 50})), []);
            // An earlier version of the contract let a neighbour out.
            let mut old = ledger.released[0].clone();
            old.1.cells[0].interval = crate::release::Interval::exactly(52);
            old.1.cells[0].value = [7; 16];
            old.1.payload = [7; 32];
            old.0 = 0;
            ledger.rule.max_releases = Some(3);
            ledger.released.push(old);
            assert_eq!(ledger.ask(1, &json!({"week": 1, "n": 50})), expected);
            if repeat == "identical" {
                let again = json!({"week": 1, "n": 50});
                assert_eq!(ledger.ask(2, &again), [Reason::SdcBudgetReleases]);
            }
        }
    }

    #[test]
    fn rows_are_known_by_their_labels() {
        let rule = json!({"cell": ["/week", "/rows/*/region"], "value": "/rows/*/n",
                          "differencing": {"min": 8}});
        let mut ledger = Naive::new(rule);
        let rows = |rows: &[(&str, u64)]| {
            let rows = rows.iter().map(|(r, n)| json!({"region": r, "n": n}));
            json!({"week": 1, "rows": rows.collect::<Vec<_>>()})
        };
        assert_eq!(ledger.ask(0, &rows(&[("a", 50), ("b", 60)])), []);
        // Moved, and one more.
        assert_eq!(ledger.ask(0, &rows(&[("c", 51), ("b", 60), ("a", 50)])), []);
        assert_eq!(ledger.ask(0, &rows(&[("b", 50)])), []);
        assert_eq!(
            ledger.ask(0, &rows(&[("a", 51), ("b", 61)])),
            [Reason::SdcDifferencing, Reason::SdcDifferencing]
        );
        assert_eq!(
            ledger.ask(0, &rows(&[("a", 90), ("a", 90)])),
            [Reason::SdcRows]
        );
        assert_eq!(
            ledger.ask(0, &json!({"week": 1, "rows": []})),
            [Reason::SdcPointer]
        );
        assert_eq!(
            ledger.ask(0, &json!({"rows": [{"region": "a", "n": 50}]})),
            [Reason::SdcPointer]
        );
        let text = json!({"week": 1, "rows": [{"region": "a", "n": "x"}]});
        assert_eq!(ledger.ask(0, &text), [Reason::SdcCell]);
    }

    #[test]
    fn findings_tell_nothing_of_what_was_released() {
        let rule = json!({"cell": ["/week"], "value": "/n", "differencing": {"min": 8}});
        let mut ledger = Naive::new(rule);
        ledger.ask(0, &json!({"week": 1, "n": 4711}));
        let payload = json!({"week": 1, "n": 4712});
        let facts = ledger.rule.facts(&payload, b"").unwrap();
        let found = decide(&ledger.rule, &facts, &ledger.history(&facts, 0)).unwrap_err();
        assert_eq!((found.len(), found[0].pointer.as_str()), (1, "/n"));
        assert_eq!(found[0].keyword.as_deref(), Some("sdcRelease"));
        assert!(!found[0].message.contains("471"), "{}", found[0].message);
    }

    #[test]
    fn tables_that_contradict_each_other_do_not_pass_together() {
        let star = json!({"sdcSuppressed": [{"marker": "*", "lo": 0, "hi": 999}]});
        let schema = json!({
            "properties": {"week": {"enum": [1, 2]}, "a": star, "b": star, "sum": {}},
            "sdcTable": {"lines": [{"total": "/sum", "parts": ["/a", "/b"]}], "min": 10},
            "sdcRelease": {"cell": ["/week"], "value": ["/a", "/b", "/sum"], "linkedAudit": true}
        });
        let rule = ReleaseRule::of_contract(&schema, "t").unwrap().unwrap();
        let mut ledger = Naive {
            rule,
            released: Vec::new(),
        };
        let table = |a: u64, b: u64, sum: u64| json!({"week": 1, "a": a, "b": b, "sum": sum});
        assert_eq!(ledger.ask(0, &table(20, 30, 50)), []);
        assert_eq!(ledger.ask(0, &table(20, 40, 60)), [Reason::SdcLinkedAudit]);
        assert_eq!(ledger.ask(0, &table(20, 30, 51)), [Reason::SdcLinkedAudit]);
        // One suppressed figure can be had from the others, two cannot; but the two of this
        // release can be had from those that an earlier one published.
        let hidden = |a: Value, b: Value| json!({"week": 3, "a": a, "b": b, "sum": 60});
        assert_eq!(
            ledger.ask(0, &hidden(json!("*"), json!(40))),
            [Reason::SdcLinkedAudit]
        );
        assert_eq!(ledger.ask(0, &hidden(json!("*"), json!("*"))), []);
        assert_eq!(
            ledger.ask(0, &hidden(json!(20), json!("*"))),
            [Reason::SdcLinkedAudit]
        );
        let mut other = table(20, 40, 60);
        other["week"] = json!(2);
        assert_eq!(ledger.ask(0, &other), []);
    }

    proptest! {
        /// Whatever passes obeys the rules, looked at afterwards and two by two.
        #[test]
        fn what_passes_is_apart_and_within_budget(
            asked in proptest::collection::vec((0_u64..4, 0_u64..3, 0_i64..60), 1..60),
        ) {
            let rule = json!({"cell": ["/week"], "value": "/n", "differencing": {"min": 8},
                              "horizon": "PT20S", "window": "PT7S", "maxReleases": 3,
                              "maxBytes": 50, "repeat": "identical"});
            let mut ledger = Naive::new(rule);
            let mut now = 0;
            for (step, week, n) in asked {
                now += step;
                let n = if n < 8 { json!("<8") } else { json!(n) };
                ledger.ask(now, &json!({"week": week, "n": n}));
            }
            for (i, (at, one)) in ledger.released.iter().enumerate() {
                let before = &ledger.released[..i];
                for (_, other) in before.iter().filter(|(t, _)| t + 20 > *at) {
                    let (a, b) = (&one.cells[0], &other.cells[0]);
                    let same = a.key != b.key || a.value == b.value;
                    prop_assert!(same || !a.interval.too_near(b.interval, 8));
                }
                let window: Vec<_> = ledger.released[..=i].iter().filter(|(t, _)| t + 7 > *at).collect();
                prop_assert!(window.len() <= 3);
                prop_assert!(window.iter().map(|(_, f)| f.bytes).sum::<u64>() <= 50);
            }
        }
    }
}

//! What both stores do alike, held against the simplest ledger there is: one that keeps all and
//! looks through all.

use std::sync::Arc;

use lazaret::ledger::{
    Ledger, LedgerError, LedgerHandle, Location, NotReserved, Ticket, open, verify,
};
use lazaret_policy::Reason;
use lazaret_policy::release::{
    Epsilon, History, Interval, ReleaseFacts, ReleaseRule, Seen, decide,
};
use serde_json::json;

use super::common::Random;
use super::postgres::Server;
use super::{T0, asked, count, differencing, fresh, reason, reserve, rule, time, wait};

/// Runs a test with each store.
fn with_both(test: impl Fn(&Location)) {
    let (_dir, location) = fresh();
    test(&location);
    let server = Server::start(false);
    test(&server.database("alike").parse().unwrap());
}

#[test]
fn differences_are_refused_and_remembered_over_restarts() {
    with_both(|location| {
        let rule = differencing();
        let ledger = LedgerHandle::open(location).unwrap();
        assert_eq!(reason(&ledger, &rule, &count(40, 120), 0), None);
        let near = Some(Reason::SdcDifferencing);
        assert_eq!(reason(&ledger, &rule, &count(40, 123), 1), near);
        drop(ledger);
        let ledger = LedgerHandle::open(location).unwrap();
        assert_eq!(reason(&ledger, &rule, &count(40, 123), 1), near);
        assert_eq!(reason(&ledger, &rule, &count(40, 120), 1), None);
        assert_eq!(reason(&ledger, &rule, &count(40, 128), 1), None);
        assert_eq!(
            reason(&ledger, &rule, &json!({"week": 40, "n": "<8"}), 1),
            None
        );
        assert_eq!(reason(&ledger, &rule, &count(40, 9), 1), near);
        // Another family, and another consumer, have no past.
        let mut other = (*rule).clone();
        other.family = "other".into();
        assert_eq!(reason(&ledger, &Arc::new(other), &count(40, 123), 1), None);
        let mut elsewhere = asked(&rule, &count(40, 123), 1);
        elsewhere.consumer = "clinic-y".into();
        assert!(wait(ledger.reserve(elsewhere)).is_ok());
        // After the horizon there is no past either.
        assert_eq!(
            reason(&ledger, &rule, &count(40, 123), 100 * 86_400 + 2),
            None
        );
        drop(ledger);
        verify(&mut *open(location).unwrap(), None).unwrap();
    });
}

#[test]
fn windows_slide_and_do_not_jump_back() {
    with_both(|location| {
        let rule = rule(
            json!({"cell": ["/week"], "window": "PT10S", "horizon": "PT20S",
                               "maxReleases": 2, "maxBytes": 24, "maxBits": 250}),
        );
        let ledger = LedgerHandle::open(location).unwrap();
        let payload = json!({"week": 1});
        let spent = Some(Reason::SdcBudgetReleases);
        for (at, expected) in [
            (0, None),
            (5, None),
            (5, spent),
            (9, spent),
            (10, None),
            (11, spent),
            (3, spent),
            (14, spent),
            (15, None),
            (100, None),
            (0, None),
            (0, spent),
            (109, spent),
            (110, None),
        ] {
            assert_eq!(reason(&ledger, &rule, &payload, at), expected, "at {at}");
        }
        let large = json!({"week": "0123456789abcdef"});
        assert_eq!(
            reason(&ledger, &rule, &large, 200),
            Some(Reason::SdcBudgetBytes)
        );
    });
}

#[test]
fn what_was_taken_back_is_not_spent_and_not_remembered() {
    with_both(|location| {
        let rule = rule(
            json!({"cell": ["/week"], "value": "/n", "differencing": {"min": 8},
                               "window": "P7D", "maxReleases": 3}),
        );
        let ledger = LedgerHandle::open(location).unwrap();
        let first = reserve(&ledger, &rule, &count(1, 50), 0).unwrap();
        let second = reserve(&ledger, &rule, &count(2, 50), 0).unwrap();
        let third = reserve(&ledger, &rule, &count(1, 50), 0).unwrap();
        let spent = Some(Reason::SdcBudgetReleases);
        assert_eq!(reason(&ledger, &rule, &count(3, 50), 0), spent);
        wait(ledger.cancel(second, time(1))).unwrap();
        assert_eq!(
            wait(ledger.cancel(second, time(1))),
            Err(LedgerError::NotOpen(second.seq))
        );
        // Its figure is gone, its unit is back, once.
        assert_eq!(reason(&ledger, &rule, &count(2, 51), 1), None);
        assert_eq!(reason(&ledger, &rule, &count(3, 50), 1), spent);
        // A figure that was released before stays.
        wait(ledger.cancel(third, time(1))).unwrap();
        assert_eq!(
            reason(&ledger, &rule, &count(1, 51), 1),
            Some(Reason::SdcDifferencing)
        );
        // What was sent stays spent.
        ledger.commit(first);
        assert_eq!(
            wait(ledger.cancel(first, time(1))),
            Err(LedgerError::NotOpen(first.seq))
        );
        assert_eq!(
            wait(ledger.cancel(Ticket { seq: 99 }, time(1))),
            Err(LedgerError::NotOpen(99))
        );
        drop(ledger);
        verify(&mut *open(location).unwrap(), None).unwrap();
    });
}

/// Who may try as often as he likes finds out by bisection what others released.
#[test]
fn denied_attempts_have_a_limit_that_restarts_do_not_lift() {
    with_both(|location| {
        let rule = rule(
            json!({"cell": ["/week"], "value": "/n", "differencing": {"min": 8},
                               "maxDenied": 3}),
        );
        let ledger = LedgerHandle::open(location).unwrap();
        let ask = |ledger: &LedgerHandle, n, at| reason(ledger, &rule, &count(1, n), at);
        let near = Some(Reason::SdcDifferencing);
        let denied = Some(Reason::SdcBudgetDenied);
        assert_eq!(ask(&ledger, 120, 0), None);
        assert_eq!(ask(&ledger, 121, 0), near);
        assert_eq!(
            ask(&ledger, 120, 5),
            None,
            "a good one does not wipe them out"
        );
        assert_eq!(ask(&ledger, 122, 10), near);
        assert_eq!(ask(&ledger, 123, 10), near);
        drop(ledger);
        let ledger = LedgerHandle::open(location).unwrap();
        for n in [124, 120, 500] {
            assert_eq!(ask(&ledger, n, 10), denied, "whatever it is: {n}");
            assert_eq!(ask(&ledger, n, 3599), denied, "{n}");
        }
        assert_eq!(
            ask(&ledger, 500, 0),
            denied,
            "also by a clock that went back"
        );
        // Neither other families nor other consumers are hit.
        let mut other = (*rule).clone();
        other.family = "other".into();
        assert_eq!(reason(&ledger, &Arc::new(other), &count(1, 121), 20), None);
        let mut elsewhere = asked(&rule, &count(1, 121), 20);
        elsewhere.consumer = "clinic-y".into();
        assert!(wait(ledger.reserve(elsewhere)).is_ok());
        // The window slides: one is an hour ago, then two more; the attempts in between are none.
        assert_eq!(ask(&ledger, 124, 3600), near);
        assert_eq!(ask(&ledger, 500, 3600), denied);
        assert_eq!(ask(&ledger, 500, 3609), denied);
        assert_eq!(ask(&ledger, 500, 3610), None);
        drop(ledger);
        let mut ledger = open(location).unwrap();
        assert_eq!(verify(&mut *ledger, None).unwrap().entries, 5);
        lazaret::ledger::reset(&mut *ledger, "a test", "nobody", time(3610)).unwrap();
        drop(ledger);
        let ledger = LedgerHandle::open(location).unwrap();
        for n in [120, 121, 122] {
            assert_eq!(ask(&ledger, n, 3611), if n == 120 { None } else { near });
        }
    });
}

/// Those who share its transaction must not be refused with it.
#[test]
fn what_is_too_much_is_refused_alone() {
    with_both(|location| {
        let rule = differencing();
        let mut ledger = open(location).unwrap();
        let mut large = asked(&rule, &count(2, 50), 0);
        large.facts.lines = vec![(0, vec![0; 4096]); 200];
        let good = |week| asked(&rule, &count(week, 50), 0);
        let answers = lazaret::ledger::reserve(&mut *ledger, &[good(1), large, good(3)]).unwrap();
        let reasons: Vec<_> = answers
            .iter()
            .map(|a| a.as_ref().err().map(|e| e.reason()))
            .collect();
        assert_eq!(reasons, [None, Some(Reason::LedgerLimit), None]);
        let report = verify(&mut *ledger, None).unwrap();
        assert_eq!((report.entries, report.families[0].releases), (2, 2));
        // It was not counted as an attempt to find something out, and left nothing.
        assert_eq!(
            lazaret::ledger::reserve(&mut *ledger, &[good(2)])
                .unwrap()
                .len(),
            1
        );
    });
}

/// One family's tables take long to decide, and it sends many of them at once.
#[test]
fn audits_of_one_family_do_not_keep_others_waiting() {
    with_both(|location| {
        let easy = differencing();
        let ledger = LedgerHandle::open(location).unwrap();
        let started = std::time::Instant::now();
        let _ = wait(ledger.reserve(large_table(0))).unwrap();
        let one = started.elapsed();
        wait(async {
            let large: Vec<_> = (1..=60).map(large_table).collect();
            let mut many: Vec<_> = large
                .into_iter()
                .map(|t| Box::pin(ledger.reserve(t)))
                .collect();
            // They are all under way before the other family comes.
            std::future::poll_fn(|cx| {
                for one in &mut many {
                    assert!(one.as_mut().poll(cx).is_pending());
                }
                std::task::Poll::Ready(())
            })
            .await;
            let started = std::time::Instant::now();
            let _ = ledger
                .reserve(asked(&easy, &count(1, 50), 0))
                .await
                .unwrap();
            let took = started.elapsed();
            // One is being decided; the others are not in the way.
            assert!(took < 10 * one, "{took:?}, where one takes {one:?}");
        });
    });
}

/// A table of 40 rows and columns with as many suppressed cells as there may be.
fn large_table(week: u64) -> lazaret::ledger::Reservation {
    const SIDE: usize = 40;
    let schema = json!({
        "properties": {"week": {"enum": [1]}, "a": {}, "b": {}, "sum": {}},
        "sdcTable": {"lines": [{"total": "/sum", "parts": ["/a", "/b"]}], "min": 10},
        "sdcRelease": {"cell": ["/week"], "value": ["/a", "/b", "/sum"], "linkedAudit": true}
    });
    let rule = Arc::new(ReleaseRule::of_contract(&schema, "large").unwrap().unwrap());
    let mut table = asked(
        &rule,
        &json!({"week": week, "a": 20, "b": 30, "sum": 50}),
        0,
    );
    let facts = &mut table.facts;
    let like = facts.cells[0].clone();
    let value = |i: usize| 11 + (i % 89) as i64;
    let number = |i: usize, j: usize| i * SIDE + j;
    let mut values: Vec<i64> = (0..SIDE * SIDE).map(value).collect();
    facts.lines.clear();
    for i in 0..SIDE {
        for parts in [
            (0..SIDE).map(|j| number(i, j)).collect::<Vec<_>>(),
            (0..SIDE).map(|j| number(j, i)).collect(),
        ] {
            facts.lines.push((values.len(), parts.clone()));
            values.push(parts.iter().map(|part| value(*part)).sum());
        }
    }
    let cell = |(i, n): (usize, &i64)| {
        let mut cell = like.clone();
        cell.key[..8].copy_from_slice(&(i as u64).to_be_bytes());
        cell.suppressed = i < SIDE * SIDE && (i / SIDE * 3 + i % SIDE) % SIDE < 5;
        cell.interval = match cell.suppressed {
            true => Interval { lo: 0, hi: 999_999 },
            false => Interval::exactly(*n),
        };
        cell
    };
    facts.cells = values.iter().enumerate().map(cell).collect();
    table
}

#[test]
fn eight_threads_race_for_the_last_unit() {
    with_both(|location| {
        let ledger = LedgerHandle::open(location).unwrap();
        for round in 0..20 {
            let rule = rule(json!({"cell": ["/week"], "window": "P7D", "maxReleases": 1,
                                   "family": format!("round {round}")}));
            let won: usize = std::thread::scope(|scope| {
                let all: Vec<_> = (0..8)
                    .map(|_| {
                        let (ledger, rule) = (&ledger, &rule);
                        scope.spawn(move || reserve(ledger, rule, &json!({"week": 1}), 0).is_ok())
                    })
                    .collect();
                all.into_iter()
                    .map(|t| usize::from(t.join().unwrap()))
                    .sum()
            });
            assert_eq!(won, 1, "round {round}");
        }
    });
}

#[test]
fn old_entries_are_pruned_and_the_chain_stays_whole() {
    with_both(|location| {
        let rule = rule(
            json!({"cell": ["/week"], "value": "/n", "differencing": {"min": 8},
                               "horizon": "PT10S"}),
        );
        let ledger = LedgerHandle::open(location).unwrap();
        for at in 0..100 {
            assert_eq!(reason(&ledger, &rule, &count(at, 50), at), None);
        }
        drop(ledger);
        let mut ledger = open(location).unwrap();
        let report = verify(&mut *ledger, None).unwrap();
        assert_eq!((report.last_seq, report.entries), (100, 10));
        let mut tx = ledger.begin_read().unwrap();
        let index = tx.index().unwrap();
        assert_eq!((index.cells.len(), index.widths.len()), (10, 10));
        assert_eq!((index.sums.len(), index.payloads.len()), (10, 10));
        assert_eq!((index.scopes.len(), index.open.len()), (10, 10));
    });
}

#[test]
fn tables_of_one_period_are_looked_at_together() {
    let schema = json!({
        "properties": {"week": {"enum": [1, 2]}, "a": {}, "b": {}, "sum": {}},
        "sdcTable": {"lines": [{"total": "/sum", "parts": ["/a", "/b"]}], "min": 10},
        "sdcRelease": {"cell": ["/week"], "value": ["/a", "/b", "/sum"], "linkedAudit": true}
    });
    let rule = Arc::new(ReleaseRule::of_contract(&schema, "t").unwrap().unwrap());
    let table = |week: u64, a: u64, b: u64| json!({"week": week, "a": a, "b": b, "sum": a + b});
    with_both(|location| {
        let ledger = LedgerHandle::open(location).unwrap();
        assert_eq!(reason(&ledger, &rule, &table(1, 20, 30), 0), None);
        assert_eq!(reason(&ledger, &rule, &table(1, 20, 30), 0), None);
        let linked = Some(Reason::SdcLinkedAudit);
        assert_eq!(reason(&ledger, &rule, &table(1, 20, 40), 0), linked);
        assert_eq!(reason(&ledger, &rule, &table(2, 20, 40), 0), None);
    });
}

#[test]
fn random_histories_are_judged_as_by_the_simplest_ledger() {
    with_both(|location| {
        let is_file = matches!(location, Location::File(_));
        for seed in 0..if is_file { 12 } else { 4 } {
            random_history(location, seed);
        }
    });
}

fn random_history(location: &Location, seed: u64) {
    let mut random = Random::new(seed + 1);
    let noisy = seed % 4 == 3;
    let rule = rule(json!({
        "cell": ["/week"], "value": "/n", "stats": ["/mean"], "differencing": {"min": 8},
        "horizon": "PT60S", "window": "PT20S", "maxReleases": 9, "maxBytes": 300,
        "maxBits": 850, "revisions": 1, "maxDenied": 40, "repeat": if seed.is_multiple_of(2) { "identical" } else { "any" },
        "noisy": noisy, "epsilon": {"claim": "/eps", "budget": 2.5},
        "family": format!("seed {seed}")
    }));
    let ledger = LedgerHandle::open(location).unwrap();
    let mut simple = Simple::new(Arc::clone(&rule));
    let mut now = 100_000 * seed;
    let mut open: Vec<(Ticket, u64)> = Vec::new();
    let (mut passed, mut refused) = (0, 0);
    for step in 0..150 {
        now += random.below(5) as u64;
        let n = match random.below(40) {
            0..8 if !noisy => json!("<8"),
            n => json!(n + 8 * random.below(3)),
        };
        let payload = json!({"week": random.below(4), "n": n, "mean": random.below(2),
                             "eps": 0.1 * (1 + random.below(3)) as f64});
        let Ok(facts) = rule.facts(
            &payload,
            &lazaret_policy::judge::canonical::canonical(&payload),
        ) else {
            // 0.1 * 3 has too many digits.
            continue;
        };
        let expected = simple.ask(&facts, now);
        let got = match reserve(&ledger, &rule, &payload, now) {
            Ok(ticket) => {
                open.push((ticket, now));
                passed += 1;
                Vec::new()
            }
            Err(NotReserved::Refused(found)) => {
                refused += 1;
                found.into_iter().map(|v| v.reason).collect()
            }
            Err(error) => panic!("{error}"),
        };
        if got == [Reason::SdcBudgetDenied] {
            // Only time goes on.
            now += 600;
        }
        assert_eq!(got, expected, "seed {seed}, step {step}: {payload}");
        if random.below(6) == 0
            && let Some((ticket, at)) = open.pop()
            && at + 20 > now
            && simple.may_cancel()
        {
            wait(ledger.cancel(ticket, time(now))).unwrap();
            simple.released.pop();
        }
    }
    assert!(passed > 10 && refused > 10, "{passed} {refused}");
    drop(ledger);
    verify(&mut *lazaret::ledger::open(location).unwrap(), None).unwrap();
}

/// Keeps all, looks through all.
struct Simple {
    rule: Arc<ReleaseRule>,
    denied: Vec<u64>,
    released: Vec<(u64, ReleaseFacts)>,
}

impl Simple {
    fn new(rule: Arc<ReleaseRule>) -> Self {
        Self {
            rule,
            denied: Vec::new(),
            released: Vec::new(),
        }
    }

    /// Whether the last release brought nothing that an earlier one had: then the stores stay
    /// stricter than this one when it is taken back.
    fn may_cancel(&self) -> bool {
        let Some(((_, last), before)) = self.released.split_last() else {
            return false;
        };
        let known = |facts: &ReleaseFacts| {
            facts.payload == last.payload
                || (facts.cells.iter()).any(|c| last.cells.iter().any(|l| same(c, l)))
        };
        !before.iter().any(|(_, facts)| known(facts))
    }

    fn ask(&mut self, facts: &ReleaseFacts, now: u64) -> Vec<Reason> {
        if self.denied.iter().filter(|at| *at + 3600 > now).count() >= 40 {
            return vec![Reason::SdcBudgetDenied];
        }
        let history = self.history(facts, now);
        match decide(&self.rule, facts, &history) {
            Ok(()) => {
                self.released.push((now, facts.clone()));
                Vec::new()
            }
            Err(found) => {
                self.denied.push(now);
                found.into_iter().map(|v| v.reason).collect()
            }
        }
    }

    fn history(&self, facts: &ReleaseFacts, now: u64) -> History {
        let mut history = History::default();
        for (at, old) in &self.released {
            if at + self.rule.window > now {
                history.spent.releases += 1;
                history.spent.bytes += old.bytes;
                history.spent.bits += self.rule.bits.unwrap();
            }
            if at + self.rule.horizon > now {
                history.epsilon += old.epsilon.map_or(0, Epsilon::billionths);
                history.repeated |= old.payload == facts.payload;
                for (cell, new) in facts.cells.iter().enumerate() {
                    let old = old.cells.iter().filter(|old| old.key == new.key);
                    history.seen.extend(old.map(|old| Seen {
                        cell,
                        interval: old.interval,
                        value: old.value,
                        stats: old.stats,
                    }));
                }
                history.linked.push(old.linked());
            }
        }
        history
    }
}

fn same(a: &lazaret_policy::release::Cell, b: &lazaret_policy::release::Cell) -> bool {
    (a.key, a.interval, a.value, a.stats) == (b.key, b.interval, b.value, b.stats)
}

#[test]
fn entries_hold_no_label() {
    with_both(|location| {
        let rule = differencing();
        let ledger = LedgerHandle::open(location).unwrap();
        let payload = json!({"week": super::common::CANARY, "n": 4711});
        let _ = reserve(&ledger, &rule, &payload, 0).unwrap();
        drop(ledger);
        let mut ledger = open(location).unwrap();
        let text = exported(&mut *ledger);
        assert!(text.contains("4711") && !text.contains("CANARY"), "{text}");
        assert!(text.contains(&(T0 + rule.horizon).to_string()));
    });
}

/// All lines.
pub fn exported(ledger: &mut dyn Ledger) -> String {
    let mut tx = ledger.begin_read().unwrap();
    let mut text = Vec::new();
    let mut add = |_: u64, line: &[u8]| {
        text.extend_from_slice(line);
        Ok(())
    };
    lazaret::ledger::lines(&mut *tx, &mut add).unwrap();
    String::from_utf8(text).unwrap()
}

/// Figures of a week, and their revisions.
#[test]
fn successive_releases_of_the_shared_fixtures() {
    let fixtures = super::common::repository("../shared/fixtures/disclosure");
    let read = |path: &str| -> Option<serde_json::Value> {
        let text = std::fs::read_to_string(fixtures.join(path)).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    };
    let Some(contract) = read("contracts/weekly-cases.schema.json") else {
        println!("{} is absent", fixtures.display());
        return;
    };
    let rule = ReleaseRule::of_contract(&contract, "weekly-cases").unwrap();
    let rule = Arc::new(rule.unwrap());
    with_both(|location| {
        let ledger = LedgerHandle::open(location).unwrap();
        for (name, expected) in [
            ("24-cases-first-pass", None),
            ("25-cases-revised-deny", Some(Reason::SdcDifferencing)),
            ("26-cases-revised-pass", None),
            ("24-cases-first-pass", None),
            ("24-cases-first-pass", Some(Reason::SdcBudgetReleases)),
        ] {
            let payload = read(&format!("payloads/{name}.json")).unwrap();
            assert_eq!(reason(&ledger, &rule, &payload, 0), expected, "{name}");
        }
    });
    let mut report = read("contracts/fhir-measurereport-summary.schema.json").unwrap();
    // The counts of its strata have no place of their own.
    assert!(ReleaseRule::of_contract(&report, "report").is_err());
    let count = |i| format!("/group/0/population/{i}/count");
    report["sdcRelease"]["value"] = json!([count(0), count(1), count(2)]);
    let rule = ReleaseRule::of_contract(&report, "report")
        .unwrap()
        .unwrap();
    let payload = read("payloads/01-measurereport-pass.json").unwrap();
    let facts = rule.facts(&payload, b"").unwrap();
    assert_eq!(facts.cells.len(), 3, "every value is a figure");
}

//! How many arrays: positions that are told apart one by one, then items that are all alike.

use serde_json::{Map, Value};

use super::count::Count;
use super::object::{EVIDENCE, evaluators};
use super::place::{Counter, Here};
use super::series::{Distinct, rows};
use super::table;
use super::tally::{At, Tally};
use super::text::whole;
use crate::judge::sdc::{Pointer, Token};

type Schema = Map<String, Value>;

impl Counter {
    /// The arrays that all these schemas allow.
    pub(super) fn array(&mut self, here: &[&Schema], at: &At) -> Tally {
        let mut at = at.clone();
        if at.derived.is_empty() {
            at.derived = table::derived(here);
        }
        let (least, mut most) = lengths(here);
        let first = here.iter().map(|s| prefix(s).len()).max().unwrap_or(0) as u64;
        let mut tally = Tally::of(Count::zero());
        let mut product = Count::one();
        for index in 0..first.min(most.unwrap_or(first)) {
            if index >= least {
                tally.n = tally.n.add(&product);
            }
            let item = self.place(&position(here, Some(index)), &at.member(&index.to_string()));
            product = product.mul(&item.n);
            if item.n.is_zero() {
                most = Some(index);
                break;
            }
            tally.beside(item);
        }
        if most.is_some_and(|most| most < first) {
            tally.n = tally.n.add(&if least <= most.unwrap_or(0) {
                product
            } else {
                Count::zero()
            });
            return tally;
        }
        let here_after = position(here, None);
        let (low, high) = (least.saturating_sub(first), most.map(|most| most - first));
        let distinct = if first == 0 {
            self.distinct(here, &here_after, &at)
        } else {
            Vec::new()
        };
        let keys = distinct.iter().filter_map(|d| d.keys.small()).min();
        let times = [high, keys].into_iter().flatten().min();
        let item = if high == Some(0) {
            Tally::none()
        } else {
            self.place(&here_after, &at.every(times))
        };
        let after = repeated(&item, &distinct, low, high, is_unique(here));
        tally.n = tally.n.add(&product.mul(&after));
        if !item.n.is_zero() {
            tally.beside(item);
        }
        tally
    }

    /// What tells the items of an array apart by their keys.
    fn distinct(&mut self, here: &[&Schema], items: &Here<'_>, at: &At) -> Vec<Distinct> {
        let mut all = Vec::new();
        for schema in here {
            let rows = schema.get("sdcRows").and_then(|rule| {
                let keys = rule.get("key")?.as_array()?.iter().collect();
                Some((keys, rule.get("sorted") == Some(&Value::Bool(true))))
            });
            // Times increase strictly from row to row.
            let survival = schema
                .get("sdcSurvival")
                .and_then(|rule| Some((vec![rule.get("time")?], true)));
            for (keys, sorted) in [rows, survival].into_iter().flatten() {
                let keys: Vec<&Value> = keys;
                all.extend(
                    self.keys(&keys, items, at)
                        .map(|keys| Distinct { keys, sorted }),
                );
            }
        }
        all
    }

    /// How many keys there can be; `None` if rows need not differ in what leaves.
    fn keys(&mut self, keys: &[&Value], items: &Here<'_>, at: &At) -> Option<Count> {
        let ways: Vec<Pointer> = keys
            .iter()
            .map(|key| Pointer::parse(key).ok())
            .collect::<Option<_>>()?;
        let into_evidence =
            |way: &Pointer| way.tokens().contains(&Token::Name(EVIDENCE.to_owned()));
        if ways.is_empty()
            || ways
                .iter()
                .any(|w| w.optional || w.is_plural() || into_evidence(w))
        {
            return None;
        }
        let mut count = self.combined(&ways, &items.schemas, at);
        for group in &items.groups {
            let branches = group.iter().map(|branch| {
                let branch = Here::new(branch, Vec::new());
                let mut all = items.schemas.clone();
                all.extend(branch.schemas);
                all
            });
            let branches: Vec<_> = branches.collect();
            let sum = (branches.iter()).fold(Count::zero(), |sum, b| {
                sum.add(&self.combined(&ways, b, at))
            });
            count = count.min(sum);
        }
        Some(count)
    }

    fn combined(&mut self, ways: &[Pointer], here: &[&Schema], at: &At) -> Count {
        let mut at = at.every(Some(1));
        at.derived.clear();
        ways.iter().fold(Count::one(), |product, way| {
            let mut place = Here::from(here);
            for token in way.tokens() {
                place = below(&place.schemas, token);
            }
            product.mul(&self.place(&place, &at).n)
        })
    }
}

/// In how many ways items can follow each other.
fn repeated(
    item: &Tally,
    distinct: &[Distinct],
    low: u64,
    high: Option<u64>,
    unique: bool,
) -> Count {
    let most = distinct.iter().filter_map(|d| d.keys.small()).min();
    let high = [high, most].into_iter().flatten().min();
    let Some(high) = high else {
        return if item.n.is_zero() {
            item.n.powers(low, low)
        } else {
            unbounded(item, low, unique)
        };
    };
    if high < low {
        return Count::zero();
    }
    let mut count = item.n.powers(low, high);
    // Values that differ only in what is not counted are one value here, but not to the rules.
    if item.derived {
        return count;
    }
    let whole = Distinct {
        keys: Count::Infinite,
        sorted: false,
    };
    let whole = (unique && !item.stripped).then_some(whole);
    for distinct in distinct.iter().chain(&whole) {
        if let Some(fewer) = rows(&item.n, distinct, low, high) {
            count = count.min(fewer);
        }
    }
    count
}

/// The same without a bound on their number: items that must differ run out.
fn unbounded(item: &Tally, low: u64, unique: bool) -> Count {
    match item.n.small() {
        Some(values) if unique && !item.derived && !item.stripped => {
            repeated(item, &[], low, Some(values), unique)
        }
        _ => Count::Infinite,
    }
}

fn is_unique(here: &[&Schema]) -> bool {
    here.iter()
        .any(|s| s.get("uniqueItems") == Some(&Value::Bool(true)))
}

/// The least and the largest number of items.
fn lengths(here: &[&Schema]) -> (u64, Option<u64>) {
    let (mut least, mut most) = (0, None);
    for schema in here {
        let number = |keyword: &str| schema.get(keyword).and_then(whole);
        least = least.max(number("minItems").unwrap_or(0));
        let rows = schema
            .get("sdcRows")
            .and_then(|rule| rule.get("max")?.as_u64());
        let mut bounds = vec![most, number("maxItems"), rows];
        let first = prefix(schema).len() as u64;
        if schema.get("items") == Some(&Value::Bool(false)) {
            bounds.push(Some(first));
        }
        if schema.get("unevaluatedItems") == Some(&Value::Bool(false)) {
            let all = evaluators(schema);
            let more = ["items", "contains", "unevaluatedItems"];
            let open = |s: &&Schema| {
                more.iter()
                    .any(|k| s.get(*k).is_some_and(|v| v != &Value::Bool(false)))
            };
            if !all.iter().any(open) {
                bounds.push(all.iter().map(|s| prefix(s).len() as u64).max());
            }
        }
        most = bounds.into_iter().flatten().min();
    }
    (least, most)
}

fn prefix(schema: &Schema) -> &[Value] {
    let items = schema.get("prefixItems").and_then(Value::as_array);
    items.map_or(&[], Vec::as_slice)
}

/// The schemas for the item at this index, or for all that come after those told apart.
fn position<'s>(here: &[&'s Schema], index: Option<u64>) -> Here<'s> {
    let own = |schema: &&'s Schema| {
        let listed = index.and_then(|i| prefix(schema).get(usize::try_from(i).ok()?));
        listed.or_else(|| schema.get("items"))
    };
    let schemas: Vec<&Value> = here.iter().filter_map(own).collect();
    Here::new(&schemas, Vec::new())
}

/// What holds one step below.
fn below<'s>(here: &[&'s Schema], token: &Token) -> Here<'s> {
    let Token::Name(name) = token else {
        return Here::default();
    };
    let own = |schema: &&'s Schema| -> Option<&'s Value> {
        let index = name.parse::<usize>().ok();
        let item = index
            .and_then(|i| prefix(schema).get(i))
            .or_else(|| index.and(schema.get("items")));
        schema
            .get("properties")
            .and_then(|all| all.get(name))
            .or(item)
    };
    let schemas: Vec<&Value> = here.iter().filter_map(own).collect();
    Here::new(&schemas, Vec::new())
}

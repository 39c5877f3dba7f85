//! How many objects: members that are listed by name one by one, all others by how many names and
//! how many values each of them may have.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::count::Count;
use super::place::{Counter, Group, Here};
use super::series::Choice;
use super::table;
use super::tally::{At, Tally};
use super::text::whole;

/// The member that is judged by `sdcDominance` and taken out before a release.
pub(super) const EVIDENCE: &str = "evidence";

type Schema = Map<String, Value>;

/// Members that are not listed by name: how many names there can be, and what each may hold.
struct Others {
    names: Count,
    values: Tally,
}

impl Counter {
    /// The objects that all these schemas allow.
    pub(super) fn object(&mut self, here: &[&Schema], at: &At) -> Tally {
        let mut at = at.clone();
        if at.derived.is_empty() {
            at.derived = table::derived(here);
        }
        let evidence = at.sure
            && here
                .iter()
                .any(|schema| schema.contains_key("sdcDominance"));
        let required: BTreeSet<&str> = here.iter().flat_map(|schema| required(schema)).collect();
        let mut tally = Tally::of(Count::one());
        let mut always = Count::one();
        let mut choice = Choice::default();
        let mut known = HashMap::new();
        let allowed: Vec<_> = here
            .iter()
            .filter_map(|schema| names_listed(schema))
            .collect();
        for name in names(here, &required) {
            if allowed.iter().any(|listed| !listed.contains(name)) {
                if required.contains(name) {
                    return Tally::none();
                }
                continue;
            }
            if evidence && name == EVIDENCE {
                tally.stripped = true;
                tally.beside(Tally::leaf(&at.member(name), "taken out", Count::one()));
                continue;
            }
            let member = self.member(here, name, &at, &mut known);
            if required.contains(name) {
                always = always.mul(&member.n);
            } else {
                choice.add(member.n.clone());
            }
            if !member.n.is_zero() {
                tally.beside(member);
            }
        }
        let bound = |keyword: &'static str| {
            here.iter()
                .filter_map(move |s| s.get(keyword).and_then(whole))
        };
        // Evidence is a member before it is taken out, so that one more may have been there.
        let least = bound("minProperties").max().unwrap_or(0);
        let least = least.saturating_sub(u64::from(evidence) + required.len() as u64);
        let most = bound("maxProperties").min();
        let most = match most.map(|most| most.checked_sub(required.len() as u64)) {
            Some(None) => return Tally::none(),
            most => most.flatten(),
        };
        if most != Some(0) && !always.is_zero() {
            let others = self.others(here, &at.every(most));
            if !others.names.is_zero() && !others.values.n.is_zero() {
                choice.others = Some((others.names.clone(), others.values.n.clone()));
                tally.beside(if others.names.is_infinite() {
                    Tally::leaf(&at.every(most), "unlisted members", Count::Infinite)
                } else {
                    others.values
                });
            }
        }
        tally.n = always.mul(&choice.count(least, most));
        tally
    }

    /// What the member with this name may hold.
    fn member(
        &mut self,
        here: &[&Schema],
        name: &str,
        at: &At,
        known: &mut HashMap<Vec<*const Value>, Tally>,
    ) -> Tally {
        let Some((schemas, groups)) = self.schemas_of(here, name) else {
            return Tally::none();
        };
        let listed = here.iter().any(|schema| property(schema, name).is_some());
        if listed || !groups.is_empty() || !at.derived.is_empty() {
            return self.place(&Here::new(&schemas, groups), &at.member(name));
        }
        // Names of a map share their values: one count for all of them.
        let key: Vec<*const Value> = schemas
            .iter()
            .map(|schema| std::ptr::from_ref(*schema))
            .collect();
        if let Some(tally) = known.get(&key) {
            return tally.clone();
        }
        let tally = self.place(&Here::new(&schemas, groups), &at.every(Some(1)));
        known.insert(key, tally.clone());
        tally
    }

    /// The schemas that hold for the member with this name; `None` if it cannot be there.
    fn schemas_of<'s>(
        &mut self,
        here: &[&'s Schema],
        name: &str,
    ) -> Option<(Vec<&'s Value>, Vec<Group<'s>>)> {
        let mut schemas = Vec::new();
        let mut groups = Vec::new();
        for schema in here {
            let before = schemas.len();
            schemas.extend(property(schema, name));
            let mut unknown = false;
            for (pattern, value) in patterns(schema) {
                match self.texts.is_match(pattern, name) {
                    Some(true) => schemas.push(value),
                    Some(false) => {}
                    None => unknown = true,
                }
            }
            if unknown || schemas.len() > before {
                continue;
            }
            if let Some(other) = schema.get("additionalProperties") {
                schemas.push(other);
            } else if let Some(other) = schema.get("unevaluatedProperties") {
                groups.push(unevaluated(schema, name, other)?);
            }
        }
        (!schemas.contains(&&Value::Bool(false))).then_some((schemas, groups))
    }

    fn others(&mut self, here: &[&Schema], at: &At) -> Others {
        let mut others = Others {
            names: Count::Infinite,
            values: Tally::leaf(at, "unlisted members", Count::Infinite),
        };
        let mut longest = None;
        for schema in here {
            let Some(names) = schema.get("propertyNames") else {
                continue;
            };
            let rules = Here::new(&[names], Vec::new());
            // Those are known by name, and counted as such.
            if names_listed(schema).is_some() {
                others.names = Count::zero();
            }
            let lengths = rules
                .schemas
                .iter()
                .filter_map(|s| s.get("maxLength").and_then(whole));
            longest = lengths.chain(longest).min();
            others.names = others.names.min(self.texts.count(&rules.schemas));
        }
        for schema in here {
            let unevaluated = || {
                let value = schema.get("unevaluatedProperties")?;
                let open = evaluators(schema).iter().skip(1).any(|s| is_open(s));
                (!open).then_some(value)
            };
            let Some(value) = schema.get("additionalProperties").or_else(unevaluated) else {
                continue;
            };
            let mut values = self.place(&Here::new(&[value], Vec::new()), at);
            let mut names = if values.n.is_zero() {
                Count::zero()
            } else {
                Count::Infinite
            };
            for (pattern, value) in patterns(schema) {
                names = names.add(&self.texts.matching(pattern, 0, longest));
                let more = self.place(&Here::new(&[value], Vec::new()), at);
                values = values.larger(more);
            }
            others.names = others.names.min(names);
            if values.n.at_most(&others.values.n) {
                others.values = values;
            }
        }
        others
    }
}

/// Alternatives for a member that none of the schema's own keywords speaks of; `None` if it cannot
/// be there. One of the schemas that apply at the same place may have evaluated it, which of them
/// depends on the payload.
fn unevaluated<'s>(schema: &'s Schema, name: &str, other: &'s Value) -> Option<Group<'s>> {
    let inner = evaluators(schema);
    let inner = &inner[1..];
    if inner.iter().any(|s| is_open(s)) {
        return Some(vec![Vec::new()]);
    }
    let mut group: Group<'s> = (inner.iter())
        .filter_map(|s| Some(vec![property(s, name)?]))
        .collect();
    if other != &Value::Bool(false) {
        group.push(vec![other]);
    }
    (!group.is_empty()).then_some(group)
}

/// The schema, and those within that apply at the same place and may evaluate members or items.
pub(super) fn evaluators(schema: &Schema) -> Vec<&Schema> {
    let mut all = vec![schema];
    let mut next = 0;
    while let Some(schema) = all.get(next).copied() {
        next += 1;
        let lists = ["allOf", "anyOf", "oneOf"].map(|k| schema.get(k).and_then(Value::as_array));
        let listed = lists.into_iter().flatten().flatten();
        let single = ["if", "then", "else"]
            .map(|k| schema.get(k))
            .into_iter()
            .flatten();
        let dependent = schema.get("dependentSchemas").and_then(Value::as_object);
        let dependent = dependent.into_iter().flat_map(|all| all.values());
        all.extend(
            listed
                .chain(single)
                .chain(dependent)
                .filter_map(Value::as_object),
        );
    }
    all
}

/// Whether a schema evaluates members that it does not list.
fn is_open(schema: &Schema) -> bool {
    let more = ["additionalProperties", "unevaluatedProperties"].map(|k| schema.get(k));
    let more = more
        .into_iter()
        .flatten()
        .any(|value| value != &Value::Bool(false));
    more || schema.contains_key("patternProperties")
}

fn property<'s>(schema: &'s Schema, name: &str) -> Option<&'s Value> {
    schema.get("properties")?.get(name)
}

fn properties(schema: &Schema) -> impl Iterator<Item = &str> {
    let all = schema.get("properties").and_then(Value::as_object);
    all.into_iter()
        .flat_map(|all| all.keys())
        .map(String::as_str)
}

fn patterns(schema: &Schema) -> impl Iterator<Item = (&str, &Value)> {
    let all = schema.get("patternProperties").and_then(Value::as_object);
    all.into_iter()
        .flatten()
        .map(|(pattern, value)| (&**pattern, value))
}

fn required(schema: &Schema) -> impl Iterator<Item = &str> {
    let names = schema.get("required").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str)
}

/// All names that can be told apart.
fn names<'s>(here: &[&'s Schema], required: &BTreeSet<&'s str>) -> BTreeSet<&'s str> {
    let mut names = required.clone();
    for schema in here {
        let inner = evaluators(schema);
        // What alternatives list is only of interest where it closes the object.
        let closing = usize::from(!schema.contains_key("unevaluatedProperties"));
        let count = if closing == 1 { 1 } else { inner.len() };
        names.extend(inner[..count].iter().flat_map(|s| properties(s)));
        names.extend(names_listed(schema).into_iter().flatten());
    }
    names
}

/// The names to which a schema restricts members, if it lists them.
fn names_listed(schema: &Schema) -> Option<BTreeSet<&str>> {
    let names = schema.get("propertyNames")?;
    if names == &Value::Bool(false) {
        return Some(BTreeSet::new());
    }
    Here::new(&[names], Vec::new())
        .schemas
        .iter()
        .find_map(|rule| {
            let one = rule.get("const").map(std::slice::from_ref);
            let many = || {
                rule.get("enum")
                    .and_then(Value::as_array)
                    .map(Vec::as_slice)
            };
            let list = one.or_else(many)?;
            Some(list.iter().filter_map(Value::as_str).collect())
        })
}

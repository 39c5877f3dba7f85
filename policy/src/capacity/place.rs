//! One place of a payload: the schemas that hold there, their alternatives, and the values that
//! are left by all of them.
//!
//! What is counted is never less than there is: a constraint that is not understood is left out,
//! which lets more through; a part of a schema that could let anything through is infinite.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::count::Count;
use super::numeric::Numbers;
use super::tally::{At, Tally};
use super::text::Texts;
use crate::judge::canonical::canonical;

/// No more places than this are looked at: alternatives within alternatives multiply.
const MAX_STEPS: usize = 20_000;

/// Places and alternatives within each other are looked at to this depth.
const MAX_DEPTH: usize = 64;

/// Alternatives at one place are told apart up to this many combinations.
const MAX_COMBINATIONS: usize = 64;

/// The types of JSON; whole numbers are numbers.
const TYPES: [&str; 6] = ["null", "boolean", "number", "string", "array", "object"];

/// Counts the values of places.
#[derive(Default)]
pub(super) struct Counter {
    pub(super) texts: Texts,
    steps: usize,
}

/// Alternatives, of each of which all schemas hold.
pub(super) type Group<'s> = Vec<Vec<&'s Value>>;

/// What holds at a place.
#[derive(Clone, Default)]
pub(super) struct Here<'s> {
    pub(super) schemas: Vec<&'s Map<String, Value>>,
    pub(super) groups: Vec<Group<'s>>,
    /// One of the schemas lets nothing through.
    closed: bool,
    /// One of the schemas says something that is not known here.
    strange: Option<&'static str>,
}

impl<'s> Here<'s> {
    pub(super) fn new(schemas: &[&'s Value], groups: Vec<Group<'s>>) -> Self {
        let mut here = Self {
            groups,
            ..Self::default()
        };
        for schema in schemas {
            here.gather(schema, 0);
        }
        here
    }

    fn gather(&mut self, schema: &'s Value, depth: usize) {
        let map = match schema {
            Value::Bool(true) => return,
            Value::Bool(false) => return self.closed = true,
            Value::Object(map) if depth < MAX_DEPTH => map,
            _ => return self.strange = Some("a schema that is not understood"),
        };
        if ["$ref", "$dynamicRef", "$recursiveRef"]
            .iter()
            .any(|k| map.contains_key(*k))
        {
            self.strange = Some("a reference that was not replaced");
        }
        if map.get("$schema").is_some_and(|dialect| !is_known(dialect)) {
            self.strange = Some("another dialect than 2020-12");
        }
        if map.get("type").is_some_and(|written| !is_type(written)) {
            self.strange = Some("a type that is not known");
        }
        self.schemas.push(map);
        for keyword in ["anyOf", "oneOf"] {
            let branches = map.get(keyword).and_then(Value::as_array);
            self.groups
                .extend(branches.map(|all| all.iter().map(|one| vec![one]).collect()));
        }
        if let Some(condition) = map.get("if") {
            let then = [Some(condition), map.get("then")];
            self.groups.push(vec![
                then.into_iter().flatten().collect(),
                map.get("else").into_iter().collect(),
            ]);
        }
        for part in map
            .get("allOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            self.gather(part, depth + 1);
        }
    }

    /// These schemas as they are, without their alternatives.
    pub(super) fn from(schemas: &[&'s Map<String, Value>]) -> Self {
        Self {
            schemas: schemas.to_vec(),
            ..Self::default()
        }
    }

    fn with(&self, branch: &[&'s Value]) -> Self {
        let mut here = self.clone();
        for schema in branch {
            here.gather(schema, 0);
        }
        here
    }
}

impl Counter {
    /// How many values a place can hold, and where in it the choices are.
    pub(super) fn place(&mut self, here: &Here<'_>, at: &At) -> Tally {
        self.steps += 1 + here.schemas.len();
        if self.steps > MAX_STEPS {
            return Tally::leaf(at, "too many combinations to be counted", Count::Infinite);
        }
        if at.is_derived() {
            let mut tally = Tally::leaf(at, "follows from others", Count::one());
            tally.derived = true;
            return tally;
        }
        self.alternatives(here, at, 1)
    }

    fn alternatives(&mut self, here: &Here<'_>, at: &At, combinations: usize) -> Tally {
        self.steps += 1;
        if at.depth > MAX_DEPTH {
            return Tally::leaf(at, "nested too deeply", Count::Infinite);
        }
        if here.closed {
            return Tally::none();
        }
        if let Some(what) = here.strange {
            return Tally::leaf(at, what, Count::Infinite);
        }
        let all = self.values(&here.schemas, at);
        let mut rest = here.clone();
        let few = |group: &Group<'_>| combinations * group.len().max(1) <= MAX_COMBINATIONS;
        let group = match rest.groups.iter().position(few) {
            Some(index) if !all.n.is_zero() && self.steps <= MAX_STEPS => rest.groups.remove(index),
            _ => return all,
        };
        let at = At {
            sure: false,
            depth: at.depth + 1,
            ..at.clone()
        };
        let mut sum = Tally::none();
        for branch in &group {
            let branch = self.alternatives(&rest.with(branch), &at, combinations * group.len());
            sum.or(branch);
        }
        if sum.n.at_most(&all.n) { sum } else { all }
    }

    /// The values that all these schemas allow, alternatives apart.
    fn values(&mut self, here: &[&Map<String, Value>], at: &At) -> Tally {
        let types = Types::new(here);
        if let Some(listed) = self.listed(here, &types) {
            let what = if listed > 1 {
                "one of a list"
            } else {
                "constant"
            };
            return Tally::leaf(at, what, Count::from(listed));
        }
        let mut tally = Tally::none();
        if let Some((what, n)) = self.scalars(here, &types) {
            tally = Tally::leaf(at, what, n);
        }
        if types.has("array") {
            tally.or(self.array(here, at));
        }
        if types.has("object") {
            tally.or(self.object(here, at));
        }
        tally
    }

    fn scalars(
        &mut self,
        here: &[&Map<String, Value>],
        types: &Types,
    ) -> Option<(&'static str, Count)> {
        let mut kinds = Vec::new();
        let mut sum = Count::zero();
        if types.has("null") {
            sum = sum.add(&Count::one());
        }
        if types.has("boolean") {
            sum = sum.add(&Count::from(2u8));
            kinds.push("boolean");
        }
        if types.has("number") {
            sum = sum.add(&Numbers::new(here, types.whole).count(here));
            kinds.push(if types.whole { "integer" } else { "number" });
        }
        if types.has("string") {
            let texts = self.texts.count(here);
            kinds.extend((!texts.is_zero()).then_some("text"));
            sum = sum.add(&texts);
        }
        let what = match kinds[..] {
            [] if types.has("null") => "null",
            [] => return None,
            [one] => one,
            ["integer", "text"] => "integer or marker",
            ["number", "text"] => "number or text",
            _ => "several types",
        };
        Some((what, sum))
    }

    /// How many of the listed values may be there; `None` if there is no list.
    fn listed(&mut self, here: &[&Map<String, Value>], types: &Types) -> Option<usize> {
        let lists = here.iter().flat_map(|schema| {
            let one = schema.get("const").map(std::slice::from_ref);
            let many = schema
                .get("enum")
                .and_then(Value::as_array)
                .map(Vec::as_slice);
            [one, many].into_iter().flatten()
        });
        let spelled = |list: &[Value]| -> BTreeMap<Vec<u8>, Value> {
            list.iter()
                .map(|value| (canonical(value), value.clone()))
                .collect()
        };
        let all: Vec<BTreeMap<_, _>> = lists.map(spelled).collect();
        let (first, others) = all.split_first()?;
        let fits = |(text, value): &(&Vec<u8>, &Value)| {
            let known = others.iter().all(|list| list.contains_key(*text));
            known
                && types.allow(value)
                && match value {
                    Value::Number(_) => Numbers::admits(here, value),
                    Value::String(text) => self.texts.admits(here, text),
                    _ => true,
                }
        };
        Some(first.iter().filter(fits).count())
    }
}

/// The types that a place allows.
struct Types {
    names: BTreeSet<&'static str>,
    /// Of numbers, only whole ones.
    whole: bool,
}

impl Types {
    fn new(here: &[&Map<String, Value>]) -> Self {
        let mut types = Self {
            names: TYPES.into(),
            whole: false,
        };
        for schema in here {
            if let Some(written) = schema.get("type") {
                types.restrict(written);
            }
            // A cell is a number or a marker, and markers are numbers, strings or null.
            if schema.contains_key("sdcMinCount") || schema.contains_key("sdcSuppressed") {
                let markers = schema.get("sdcSuppressed").and_then(Value::as_array);
                let null = (markers.into_iter().flatten())
                    .any(|marker| marker.get("marker") == Some(&Value::Null));
                types.names.retain(|name| match *name {
                    "number" | "string" => true,
                    "null" => null,
                    _ => false,
                });
            }
        }
        types
    }

    fn restrict(&mut self, written: &Value) {
        let names: Vec<&str> = match written {
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        let whole = names.contains(&"integer") && !names.contains(&"number");
        self.whole |= whole;
        self.names
            .retain(|name| names.contains(name) || (*name == "number" && whole));
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    fn allow(&self, value: &Value) -> bool {
        self.has(match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        })
    }
}

fn is_type(written: &Value) -> bool {
    let known = |name: &Value| {
        name.as_str()
            .is_some_and(|n| n == "integer" || TYPES.contains(&n))
    };
    match written {
        Value::Array(names) => names.iter().all(known),
        one => known(one),
    }
}

/// Whether these rules are written in a dialect whose keywords are known here.
fn is_known(dialect: &Value) -> bool {
    let known = [
        "https://json-schema.org/draft/2020-12/schema",
        "urn:lazaret:meta:sdc:1",
    ];
    dialect
        .as_str()
        .is_some_and(|text| known.contains(&text.trim_end_matches('#')))
}

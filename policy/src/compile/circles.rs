//! How schemas lead to each other, and so how much work a payload can make of them. References that
//! lead back to themselves without going deeper into the payload are refused: a validator takes
//! such a circle for valid, and the schema would hold nothing back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Schemas;
use super::references::walk;
use crate::contract::Shape;
use crate::source::join;

/// How many schemas may hold at one place of a payload, one reached through the other.
const MAX_CHAIN: usize = 64;

/// How many schemas may be applied to one place of a payload, counting each way to them.
const MAX_APPLIED: u64 = 10_000;

/// How deep schemas are followed into a payload before they count as endless.
const MAX_DEPTH: usize = 256;

/// In how many ways schemas may lead to one place of a payload, within one round of a schema that
/// refers to itself. The validator remembers results from round to round only, so that its work
/// may grow with the square of this.
const MAX_WAYS: u64 = 4096;

/// Keywords whose schemas hold at the same place of the payload, by the form of their value.
const HERE_ONE: &[&str] = &["not", "if", "then", "else"];
const HERE_LIST: &[&str] = &["allOf", "anyOf", "oneOf"];
const HERE_MAP: &[&str] = &["dependentSchemas", "dependencies"];

/// Keywords whose schemas hold for any member or item, and for those of a name or at an index.
const BELOW_ANY: &[&str] = &[
    "items",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
];
const BELOW_ANY_MAP: &[&str] = &["patternProperties"];
const BELOW_LIST: &[&str] = &["prefixItems", "items"];
const BELOW_MAP: &[&str] = &["properties"];

/// A place where references lead back to where they came from, or are too many.
pub(super) struct Circle {
    pub(super) file: PathBuf,
    pub(super) pointer: String,
    pub(super) what: &'static str,
}

type Place = (PathBuf, String);

/// Follows schemas, each once.
pub(super) struct Circles<'s> {
    schemas: &'s Schemas,
    /// How many schemas are applied from here on at the same place of the payload; `None` while
    /// that is being found out.
    applied: BTreeMap<Place, Option<u64>>,
    /// In how many ways schemas lead from here to any one place of a payload; `None` while that is
    /// being found out.
    ways: BTreeMap<Place, Option<u64>>,
    /// Whether some schema is reached again from within itself.
    endless: bool,
}

impl<'s> Circles<'s> {
    pub(super) fn new(schemas: &'s Schemas) -> Self {
        Self {
            schemas,
            applied: BTreeMap::new(),
            ways: BTreeMap::new(),
            endless: false,
        }
    }

    /// Looks through a file.
    ///
    /// # Errors
    /// The first circle.
    pub(super) fn search(&mut self, file: &Path) -> Result<(), Circle> {
        let root = self.schemas.root(file).unwrap_or(&Value::Null);
        let mut pointers = Vec::new();
        walk(root, String::new(), &mut |pointer, _| {
            pointers.push(pointer.to_owned());
        });
        for pointer in pointers {
            self.applied(&(file.to_owned(), pointer), 0)?;
        }
        Ok(())
    }

    /// What bounds the work of explaining a refusal, once no circle was found.
    ///
    /// # Errors
    /// More combinations than can be judged.
    pub(super) fn shape(&mut self, root: &Path, used: &BTreeSet<PathBuf>) -> Result<Shape, Circle> {
        let mut branching = false;
        let mut overlapping = 1_u64;
        for file in used {
            let root = self.schemas.root(file).unwrap_or(&Value::Null);
            walk(root, String::new(), &mut |_, object| {
                branching |= object.contains_key("anyOf") || object.contains_key("oneOf");
                // These hold for a member or an item besides what else does.
                let patterns = object.get("patternProperties").and_then(Value::as_object);
                overlapping += patterns.map_or(0, |p| p.len() as u64);
                overlapping += u64::from(object.contains_key("contains"));
            });
        }
        if self.ways(&(root.to_owned(), String::new()), 0) > MAX_WAYS {
            return Err(Circle {
                file: root.to_owned(),
                pointer: String::new(),
                what: "too many combinations of schemas",
            });
        }
        let applied = self.applied.values().flatten().copied().max().unwrap_or(1);
        let depth = if self.endless {
            let each_level = applied.saturating_mul(overlapping).max(2);
            MAX_WAYS.ilog(each_level) as usize
        } else {
            usize::MAX
        };
        Ok(Shape {
            branching,
            applied,
            depth,
        })
    }

    fn applied(&mut self, place: &Place, chain: usize) -> Result<u64, Circle> {
        let circle = |what| {
            let (file, pointer) = place.clone();
            Err(Circle {
                file,
                pointer,
                what,
            })
        };
        if chain > MAX_CHAIN {
            return circle("too many references in a row");
        }
        match self.applied.get(place) {
            Some(Some(applied)) => return Ok(*applied),
            Some(None) => return circle("this schema refers to itself without end"),
            None => drop(self.applied.insert(place.clone(), None)),
        }
        let mut applied = 1_u64;
        for next in self.here(place) {
            applied = applied.saturating_add(self.applied(&next, chain + 1)?);
        }
        if applied > MAX_APPLIED {
            return circle("too many combinations of schemas");
        }
        self.applied.insert(place.clone(), Some(applied));
        Ok(applied)
    }

    fn ways(&mut self, place: &Place, depth: usize) -> u64 {
        let place = &self.behind_references(place);
        match self.ways.get(place) {
            Some(Some(ways)) => return *ways,
            Some(None) => {
                self.endless = true;
                return 1;
            }
            None if depth > MAX_DEPTH => {
                self.endless = true;
                return 1;
            }
            None => drop(self.ways.insert(place.clone(), None)),
        }
        // Each way to a schema counts, so one may be in here more than once.
        let mut here = vec![place.clone()];
        let mut next = 0;
        while let Some(one) = here.get(next) {
            here.extend(self.here(one));
            next += 1;
        }
        let mut by_key: BTreeMap<String, u64> = BTreeMap::new();
        let mut any = 0_u64;
        for (file, pointer) in &here {
            let schema = self.schema(&(file.clone(), pointer.clone()));
            for (key, pointer) in below(schema, pointer) {
                let ways = self.ways(&(file.clone(), pointer), depth + 1);
                let sum = key.map_or(&mut any, |key| by_key.entry(key).or_insert(0));
                *sum = sum.saturating_add(ways);
            }
        }
        let most = by_key.values().copied().max().unwrap_or(0);
        let ways = most.saturating_add(any).max(1);
        self.ways.insert(place.clone(), Some(ways));
        ways
    }

    /// Where a schema that is a reference and nothing else leads, so that all references to one
    /// schema count as that schema.
    fn behind_references(&self, place: &Place) -> Place {
        let mut place = place.clone();
        // That references in a row end was found out before.
        for _ in 0..MAX_CHAIN {
            let schema = self.schema(&place).as_object();
            let reference = schema
                .filter(|s| {
                    s.keys()
                        .all(|k| ["$ref", "title", "description"].contains(&k.as_str()))
                })
                .and_then(|s| s.get("$ref")?.as_str());
            match reference.and_then(|r| self.schemas.resolve(&place.0, r)) {
                Some((file, pointer, _)) => place = (file, pointer),
                None => break,
            }
        }
        place
    }

    /// The schemas that hold at the same place of the payload because this one does.
    fn here(&self, place: &Place) -> Vec<Place> {
        let schema = self.schema(place);
        let mut next = Vec::new();
        for keyword in ["$ref", "$dynamicRef", "$recursiveRef"] {
            if let Some(reference) = schema.get(keyword).and_then(Value::as_str) {
                let to = self.schemas.resolve(&place.0, reference);
                next.extend(to.map(|(file, pointer, _)| (file, pointer)));
            }
        }
        let parts = parts(schema, &place.1, HERE_ONE, HERE_LIST, HERE_MAP);
        next.extend(parts.into_iter().map(|p| (place.0.clone(), p)));
        next
    }

    fn schema(&self, (file, pointer): &Place) -> &'s Value {
        let root = self.schemas.root(file).unwrap_or(&Value::Null);
        root.pointer(pointer).unwrap_or(&Value::Null)
    }
}

/// The schemas that hold one level deeper, each with its name or index if it is for that one only.
fn below(schema: &Value, pointer: &str) -> Vec<(Option<String>, String)> {
    let any = parts(schema, pointer, BELOW_ANY, &[], BELOW_ANY_MAP);
    let one = parts(schema, pointer, &[], BELOW_LIST, BELOW_MAP);
    let key = |p: &String| p.rsplit('/').next().map(str::to_owned);
    let one = one.into_iter().map(|p| (key(&p), p));
    any.into_iter().map(|p| (None, p)).chain(one).collect()
}

/// The pointers to the schemas under these keywords, by the form of their value.
fn parts(schema: &Value, pointer: &str, one: &[&str], list: &[&str], map: &[&str]) -> Vec<String> {
    let mut parts = Vec::new();
    for keyword in one {
        if schema.get(keyword).is_some_and(|s| !s.is_array()) {
            parts.push(join(pointer, keyword));
        }
    }
    for keyword in list {
        let items = schema.get(keyword).and_then(Value::as_array);
        let pointer = join(pointer, keyword);
        parts.extend((0..items.map_or(0, Vec::len)).map(|i| join(&pointer, i)));
    }
    for keyword in map {
        let members = schema.get(keyword).and_then(Value::as_object);
        let pointer = join(pointer, keyword);
        parts.extend(
            members
                .into_iter()
                .flat_map(|m| m.keys())
                .map(|k| join(&pointer, k)),
        );
    }
    parts
}

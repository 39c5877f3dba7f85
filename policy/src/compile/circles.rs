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
const MAX_UNROLLED_DEPTH: usize = 256;

/// How many schemas there may be when each way to one counts, for a payload of any depth to be
/// explained in full.
const MAX_UNROLLED: u64 = 10_000;

/// How often one place of a payload may be explained.
const MAX_WAYS: u64 = 4096;

/// Keywords whose schemas hold at the same place of the payload, by the form of their value.
const HERE_ONE: &[&str] = &["not", "if", "then", "else"];
const HERE_LIST: &[&str] = &["allOf", "anyOf", "oneOf"];
const HERE_MAP: &[&str] = &["dependentSchemas", "dependencies"];

/// Keywords whose schemas hold one level deeper.
const BELOW_ONE: &[&str] = &[
    "items",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
];
const BELOW_LIST: &[&str] = &["prefixItems", "items"];
const BELOW_MAP: &[&str] = &["properties", "patternProperties"];

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
    /// How many schemas are applied from here on in all, each way to one counting; `None` when
    /// there is no end to it, or while that is being found out.
    unrolled: BTreeMap<Place, Option<u64>>,
}

impl<'s> Circles<'s> {
    pub(super) fn new(schemas: &'s Schemas) -> Self {
        Self {
            schemas,
            applied: BTreeMap::new(),
            unrolled: BTreeMap::new(),
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
    pub(super) fn shape(&mut self, root: &Path, used: &BTreeSet<PathBuf>) -> Shape {
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
        let applied = self.applied.values().flatten().copied().max().unwrap_or(1);
        let unrolled = self.unrolled(&(root.to_owned(), String::new()), 0);
        let depth = if unrolled.is_some_and(|n| n <= MAX_UNROLLED) {
            usize::MAX
        } else {
            let each_level = applied.saturating_mul(overlapping).max(2);
            MAX_WAYS.ilog(each_level) as usize
        };
        Shape {
            branching,
            applied,
            depth,
        }
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

    fn unrolled(&mut self, place: &Place, depth: usize) -> Option<u64> {
        if depth > MAX_UNROLLED_DEPTH {
            return None;
        }
        if let Some(known) = self.unrolled.get(place) {
            return *known;
        }
        self.unrolled.insert(place.clone(), None);
        let mut unrolled = 1_u64;
        let below = parts(
            self.schema(place),
            &place.1,
            BELOW_ONE,
            BELOW_LIST,
            BELOW_MAP,
        );
        let below = below.into_iter().map(|p| (place.0.clone(), p));
        for next in self.here(place).into_iter().chain(below) {
            unrolled = unrolled.saturating_add(self.unrolled(&next, depth + 1)?);
        }
        self.unrolled.insert(place.clone(), Some(unrolled));
        Some(unrolled)
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

//! A schema without references: each `$ref` is replaced by what it leads to, `$defs` and
//! annotations are dropped. What is compiled, linted and counted is this one document.
//!
//! It allows exactly what the files allow. A reference and the keywords beside it become one schema
//! where that keeps the meaning of both ([`merge`]), else the target goes into `allOf`. A schema
//! that leads back to itself has no such form, nor one that would be too large.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use jsonschema::Draft;
use serde_json::{Map, Value};

use super::Schemas;
pub(crate) use origin::{Origins, Spot};
pub(crate) use why::{Unflat, Why};

mod merge;
mod origin;
mod why;

/// The most values in a flattened schema.
const MAX_VALUES: usize = 100_000;

/// The most text in a flattened schema, in bytes, code lists included.
const MAX_TEXT: usize = 16 * 1024 * 1024;

/// The most bytes of pointers to all schemas in a flattened schema: what walking it may cost.
const MAX_WAYS: usize = 32 * 1024 * 1024;

/// How deep schemas may be within each other, references followed.
const MAX_DEPTH: usize = 128;

/// Keywords whose value is one schema.
pub(crate) const ONE: &[&str] = &[
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// Keywords whose value is a list of schemas.
pub(crate) const LIST: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];

/// Keywords whose value has a schema for each of its names.
pub(crate) const BY_NAME: &[&str] = &[
    "dependencies",
    "dependentSchemas",
    "patternProperties",
    "properties",
];

/// Keywords whose value is no schema and asserts something.
pub(crate) const PLAIN: &[&str] = &[
    "const",
    "contentEncoding",
    "contentMediaType",
    "dependentRequired",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "required",
    "type",
    "uniqueItems",
];

/// A schema without references, and where its parts came from.
#[derive(Debug)]
pub(crate) struct Flat {
    pub(crate) value: Value,
    pub(crate) origins: Origins,
}

impl Flat {
    /// The file and the pointer that a part came from.
    pub(crate) fn origin(&self, pointer: &str) -> (PathBuf, String) {
        let spot = self.origins.find(pointer);
        (spot.file().to_owned(), spot.pointer())
    }
}

/// Flattens the schema in this file.
///
/// # Errors
/// Why it has no such form.
pub(crate) fn flatten(schemas: &Schemas, path: &Path) -> Result<Flat, Unflat> {
    let mut work = Work {
        schemas,
        targets: HashMap::new(),
        open: Vec::new(),
        values: 0,
        text: 0,
        ways: 0,
    };
    let spot = Spot::root(path);
    let root = schemas.root(path).unwrap_or(&Value::Null);
    let (value, origins) = work.schema(&spot, root, 0)?;
    Ok(Flat { value, origins })
}

struct Work<'s> {
    schemas: &'s Schemas,
    /// Where references lead, by file and text.
    targets: HashMap<(Rc<Path>, &'s str), Option<Target<'s>>>,
    /// The targets of the references that are being replaced.
    open: Vec<&'s Value>,
    values: usize,
    text: usize,
    /// Bytes of pointers so far.
    ways: usize,
}

type Part = (Value, Origins);

/// Where a reference leads.
type Target<'s> = (Spot, &'s Value);

impl<'s> Work<'s> {
    fn schema(&mut self, spot: &Spot, schema: &'s Value, way: usize) -> Result<Part, Unflat> {
        self.ways += way;
        self.spend(spot, 1, 0)?;
        let object = match schema {
            Value::Object(object) => object,
            Value::Bool(_) => return Ok((schema.clone(), Origins::at(spot))),
            _ => return Err(spot.refuse(Why::Broken)),
        };
        if spot.is_root() && self.schemas.draft(spot.file()) != Draft::Draft202012 {
            return Err(spot.below("$schema").refuse(Why::Draft));
        }
        for keyword in ["$dynamicRef", "$recursiveRef"] {
            if object.contains_key(keyword) {
                return Err(spot.below(keyword).refuse(Why::Dynamic));
            }
        }
        if self.open.len() + spot.depth() > MAX_DEPTH * 2 {
            return Err(spot.refuse(Why::Deep));
        }
        let own = self.keywords(spot, object, way)?;
        match object.get("$ref") {
            None => Ok((Value::Object(own.0), own.1)),
            Some(reference) => {
                let (target, origins) = self.target(spot, reference, way)?;
                Ok(merge::merge(own, target, origins))
            }
        }
    }

    /// What a reference leads to.
    fn target(&mut self, spot: &Spot, reference: &'s Value, way: usize) -> Result<Part, Unflat> {
        let broken = || spot.below("$ref").refuse(Why::Broken);
        let reference = reference.as_str().ok_or_else(broken)?;
        let key = (spot.shared_file(), reference);
        let schemas = self.schemas;
        let found = self.targets.entry(key).or_insert_with(|| {
            let (file, pointer, target) = schemas.resolve(spot.file(), reference)?;
            Some((Spot::new(&file, &pointer), target))
        });
        let (to, target) = found.clone().ok_or_else(broken)?;
        if self.schemas.draft(to.file()) != Draft::Draft202012 {
            return Err(Spot::root(to.file()).below("$schema").refuse(Why::Draft));
        }
        if self.open.iter().any(|open| std::ptr::eq(*open, target)) {
            return Err(spot.below("$ref").refuse(Why::Recursive));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(spot.refuse(Why::Deep));
        }
        self.open.push(target);
        let part = self.schema(&to, target, way);
        self.open.pop();
        part
    }

    /// The keywords of a schema but for its reference.
    fn keywords(
        &mut self,
        spot: &Spot,
        object: &'s Map<String, Value>,
        way: usize,
    ) -> Result<(Map<String, Value>, Origins), Unflat> {
        let mut out = Map::new();
        let mut origins = Origins::at(spot);
        for (keyword, value) in object {
            let name = keyword.as_str();
            let at = spot.below(name);
            let way = way + name.len() + 1;
            let (value, below) = match value {
                _ if ONE.contains(&name) => self.schema(&at, value, way)?,
                Value::Array(list) if LIST.contains(&name) => self.list(&at, list, way)?,
                Value::Object(members) if BY_NAME.contains(&name) => {
                    self.by_name(&at, members, way)?
                }
                _ if PLAIN.contains(&name) || name.starts_with("sdc") => {
                    (self.plain(&at, name, value)?, Origins::at(&at))
                }
                _ => continue,
            };
            out.insert(keyword.clone(), value);
            origins.add(name, below);
        }
        Ok((out, origins))
    }

    fn list(&mut self, spot: &Spot, list: &'s [Value], way: usize) -> Result<Part, Unflat> {
        let mut out = Vec::with_capacity(list.len());
        let mut origins = Origins::at(spot);
        for (i, schema) in list.iter().enumerate() {
            let i = i.to_string();
            let (value, below) = self.schema(&spot.below(&i), schema, way + i.len() + 1)?;
            out.push(value);
            origins.add(&i, below);
        }
        Ok((Value::Array(out), origins))
    }

    fn by_name(
        &mut self,
        spot: &Spot,
        members: &'s Map<String, Value>,
        way: usize,
    ) -> Result<Part, Unflat> {
        let mut out = Map::new();
        let mut origins = Origins::at(spot);
        for (name, schema) in members {
            let at = spot.below(name);
            let (value, below) = match schema {
                // The names that `dependencies` asks for.
                Value::Array(_) => (self.plain(&at, name, schema)?, Origins::at(&at)),
                schema => self.schema(&at, schema, way + name.len() + 1)?,
            };
            self.spend(&at, 0, name.len())?;
            out.insert(name.clone(), value);
            origins.add(name, below);
        }
        Ok((Value::Object(out), origins))
    }

    fn plain(&mut self, spot: &Spot, keyword: &str, value: &'s Value) -> Result<Value, Unflat> {
        let (values, text) = size(value);
        self.spend(spot, values, text)?;
        let mut value = value.clone();
        if keyword == "sdcCodelist"
            && let Value::Object(rule) = &mut value
            && let Some(Ok(codes)) = self.schemas.codes(spot.file(), rule)
        {
            let codes: Vec<Value> = codes.iter().map(|c| Value::String(c.clone())).collect();
            self.spend(spot, 1, codes.iter().map(|c| size(c).1).sum())?;
            rule.insert("codes".into(), Value::Array(codes));
        }
        Ok(value)
    }

    fn spend(&mut self, spot: &Spot, values: usize, text: usize) -> Result<(), Unflat> {
        self.values += values;
        self.text += text;
        if self.values > MAX_VALUES || self.text > MAX_TEXT || self.ways > MAX_WAYS {
            return Err(spot.refuse(Why::Large));
        }
        Ok(())
    }
}

/// How many values there are in a value, and how much text.
fn size(value: &Value) -> (usize, usize) {
    let mut size = (0, 0);
    let mut todo = vec![value];
    while let Some(value) = todo.pop() {
        size.0 += 1;
        match value {
            Value::String(text) => size.1 += text.len(),
            Value::Array(items) => todo.extend(items),
            Value::Object(members) => {
                size.1 += members.keys().map(String::len).sum::<usize>();
                todo.extend(members.values());
            }
            _ => {}
        }
    }
    size
}

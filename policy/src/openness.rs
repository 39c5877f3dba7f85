//! Where a schema lets more through than it need: objects with unlisted members, strings, arrays
//! and numbers without bounds, places of any type. Such a place can carry any data at all.
//!
//! The search errs on one side only: it may name a place that some other part of the schema closes
//! after all, but it must not miss one. A keyword counts only in the versions of JSON Schema that
//! know it, since validators ignore the others.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use self::node::Node;
use crate::compile::Schemas;

mod node;

/// How many schemas are looked at before the search gives up and says so: with alternatives within
/// alternatives, the number of combinations is not bounded by the size of a schema.
const MAX_STEPS: usize = 200_000;

/// What carries the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// A body: any JSON value.
    Body,
    /// A parameter or a header: never an object or an array.
    Text,
}

/// An open place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Open {
    pub(crate) file: PathBuf,
    pub(crate) pointer: String,
    what: &'static str,
    instead: &'static str,
}

impl Open {
    pub(crate) fn message(&self) -> String {
        format!("open schema: {}", self.what)
    }

    pub(crate) fn help(&self) -> String {
        format!("give {}", self.instead)
    }
}

/// All open places that are reached from the root of this file.
pub(crate) fn find(path: &Path, schemas: &Schemas, carrier: Carrier) -> BTreeSet<Open> {
    let mut search = Search {
        schemas,
        carrier,
        seen: BTreeSet::new(),
        todo: Vec::new(),
        steps: 0,
        open: BTreeSet::new(),
    };
    if let Some(root) = schemas.root(path) {
        search.todo.push(vec![Node {
            file: path.to_owned(),
            pointer: String::new(),
            schema: root,
            draft: schemas.draft(path),
        }]);
    }
    while let Some(roots) = search.todo.pop() {
        search.place(&roots, &[]);
        if search.steps > MAX_STEPS {
            search.open.insert(Open {
                file: path.to_owned(),
                pointer: String::new(),
                what: "too many combinations to be searched",
                instead: "fewer alternatives within alternatives",
            });
            break;
        }
    }
    search.open
}

struct Search<'s> {
    schemas: &'s Schemas,
    carrier: Carrier,
    /// Places already looked at, each by the schemas that hold there: schemas may be recursive.
    seen: BTreeSet<Vec<(PathBuf, String)>>,
    /// Places to look at, each by schemas that hold there.
    todo: Vec<Vec<Node<'s>>>,
    steps: usize,
    open: BTreeSet<Open>,
}

impl<'s> Search<'s> {
    /// Looks at one place of the payload: the schemas there, and those that hold there as well.
    fn place(&mut self, roots: &[Node<'s>], outer: &[Node<'s>]) {
        let mut here = outer.to_vec();
        for root in roots {
            self.gather(root, &mut here);
        }
        self.steps += here.len();
        let mut key: Vec<_> = (here.iter())
            .map(|n| (n.file.clone(), n.pointer.clone()))
            .collect();
        key.sort();
        key.dedup();
        if self.steps > MAX_STEPS || !self.seen.insert(key) {
            return;
        }
        if here.iter().any(|n| n.schema == &Value::Bool(false)) {
            return;
        }
        let mut branched = false;
        for part in &here[outer.len()..] {
            for keyword in ["anyOf", "oneOf"] {
                let branches = part.get(keyword).and_then(Value::as_array);
                for (i, branch) in branches.into_iter().flatten().enumerate() {
                    branched = true;
                    let branch = part.child(&[keyword, &i.to_string()], branch);
                    self.place(&[branch], &here);
                }
            }
        }
        if let Some(node) = roots.first()
            && !branched
        {
            self.check(node, &here);
            self.members(&here);
            self.items(&here);
        }
    }

    /// The schema and all that `$ref` and `allOf` add to it at the same place. That this ends was
    /// made sure when the schema was checked for circles.
    fn gather(&self, node: &Node<'s>, here: &mut Vec<Node<'s>>) {
        here.push(node.clone());
        if let Some(reference) = node.get("$ref").and_then(Value::as_str)
            && let Some((file, pointer, schema)) = self.schemas.resolve(&node.file, reference)
        {
            let draft = self.schemas.draft(&file);
            let target = Node {
                file,
                pointer,
                schema,
                draft,
            };
            self.gather(&target, here);
        }
        let parts = node.get("allOf").and_then(Value::as_array);
        for (i, part) in parts.into_iter().flatten().enumerate() {
            self.gather(&node.child(&["allOf", &i.to_string()], part), here);
        }
    }

    fn check(&mut self, node: &Node<'s>, here: &[Node<'s>]) {
        let has = |keyword: &str| here.iter().any(|n| n.has(keyword));
        if has("const") || has("enum") {
            return;
        }
        let typed: Vec<&Value> = here.iter().filter_map(|n| n.get("type")).collect();
        if typed.is_empty() {
            self.report(node, "a value of any type", "`type`, `const` or `enum`");
            return;
        }
        // Every `type` must hold, so a type that one of them leaves out is closed.
        let may_be = |name: &str| {
            let is = |t: &Value| {
                let t = t.as_str().unwrap_or_default();
                t == name || (t == "number" && name == "integer")
            };
            typed.iter().all(|t| match t {
                Value::Array(names) => names.iter().any(is),
                one => is(one),
            })
        };
        let body = self.carrier == Carrier::Body;
        if body && may_be("object") && !self.is_closed(here) && !self.is_bounded_map(here) {
            self.report(
                node,
                "an object with unlisted members",
                "`additionalProperties: false` or `unevaluatedProperties: false`; for a map, \
                 `additionalProperties`, `maxProperties` and bounded `propertyNames`",
            );
        }
        if may_be("string") && !has("maxLength") {
            self.report(
                node,
                "a string of any length",
                "`enum`, or `pattern` and `maxLength`",
            );
        }
        if body && may_be("array") {
            self.check_array(node, here);
        }
        let low = has("minimum") || has("exclusiveMinimum");
        let high = has("maximum") || has("exclusiveMaximum");
        if may_be("integer") && !(low && high) {
            self.report(node, "a number of any size", "`minimum` and `maximum`");
        }
    }

    /// Whether only members that are listed by name may be there.
    fn is_closed(&mut self, here: &[Node<'s>]) -> bool {
        let closed_itself =
            |n: &Node<'_>| n.is_false("additionalProperties") && !n.has("patternProperties");
        if here.iter().any(closed_itself) {
            return true;
        }
        if !here.iter().any(|n| n.is_false("unevaluatedProperties")) {
            return false;
        }
        // Whatever is evaluated anywhere at this place is allowed, in conditions too.
        let Some(all) = self.with_conditions(here) else {
            return false;
        };
        self.members(&all[here.len()..]);
        !all.iter()
            .any(|n| n.admits("additionalProperties") || n.has("patternProperties"))
    }

    /// Whether members are free, but few, with bounded names; their values are looked at as such.
    fn is_bounded_map(&self, here: &[Node<'s>]) -> bool {
        let has = |keyword: &str| here.iter().any(|n| n.has(keyword));
        let bounded_names = here.iter().any(|n| {
            let names = n.get("propertyNames");
            let mut parts = Vec::new();
            if let Some(names) = names {
                self.gather(&n.child(&["propertyNames"], names), &mut parts);
            }
            (parts.iter()).any(|p| p.has("const") || p.has("enum") || p.has("maxLength"))
        });
        let values = has("additionalProperties") || has("unevaluatedProperties");
        values && has("maxProperties") && bounded_names
    }

    fn check_array(&mut self, node: &Node<'s>, here: &[Node<'s>]) {
        let has = |keyword: &str| here.iter().any(|n| n.has(keyword));
        // `contains` evaluates as well; then `unevaluatedItems` says little.
        let unevaluated = (here.iter())
            .find_map(|n| n.get("unevaluatedItems"))
            .filter(|_| !has("contains"))
            .filter(|_| !here.iter().any(|n| n.admits("items")));
        let conditions = self.with_conditions(here);
        let unevaluated = unevaluated.filter(|_| conditions.is_some_and(|c| c.len() == here.len()));
        let tuple = here.iter().filter_map(|n| Some(n.tuple()?.1.len())).max();
        let ends = here.iter().any(|n| n.is_false(n.rest_of_items()))
            || unevaluated == Some(&Value::Bool(false));
        let longest = here
            .iter()
            .filter_map(|n| n.get("maxItems")?.as_u64())
            .min();
        if longest.is_none() && !ends {
            self.report(node, "an array of any length", "`maxItems`");
        }
        let listed = longest.is_some_and(|longest| tuple.unwrap_or(0) as u64 >= longest);
        let described = here.iter().any(|n| n.has(n.rest_of_items())) || unevaluated.is_some();
        if !described && !listed {
            self.report(node, "items of any type", "`items`");
        }
    }

    /// These schemas and those that conditions may add; `None` when that is not known.
    fn with_conditions(&self, here: &[Node<'s>]) -> Option<Vec<Node<'s>>> {
        let mut all = here.to_vec();
        let mut next = 0;
        while let Some(node) = all.get(next).cloned() {
            next += 1;
            if node.has("$dynamicRef") || node.has("$recursiveRef") || all.len() > MAX_STEPS {
                return None;
            }
            for keyword in ["if", "then", "else"] {
                if let Some(schema) = node.get(keyword) {
                    self.gather(&node.child(&[keyword], schema), &mut all);
                }
            }
            let dependent = node.get("dependentSchemas").and_then(Value::as_object);
            for (name, schema) in dependent.into_iter().flatten() {
                self.gather(&node.child(&["dependentSchemas", name], schema), &mut all);
            }
            // The alternatives of what holds anyway are places of their own.
            for keyword in ["anyOf", "oneOf"] {
                let branches = node.get(keyword).and_then(Value::as_array);
                let branches = branches.filter(|_| next > here.len());
                for (i, schema) in branches.into_iter().flatten().enumerate() {
                    self.gather(&node.child(&[keyword, &i.to_string()], schema), &mut all);
                }
            }
        }
        Some(all)
    }

    /// Goes on with the members of an object: one that several schemas list is one place.
    fn members(&mut self, here: &[Node<'s>]) {
        let mut names = BTreeSet::new();
        for node in here {
            let properties = node.get("properties").and_then(Value::as_object);
            names.extend(properties.into_iter().flat_map(|p| p.keys()));
        }
        for name in names {
            let of = |node: &Node<'s>| {
                let schema = node.get("properties")?.get(name)?;
                Some(node.child(&["properties", name], schema))
            };
            self.todo.push(here.iter().filter_map(of).collect());
        }
        for node in here {
            let patterns = node.get("patternProperties").and_then(Value::as_object);
            for (name, schema) in patterns.into_iter().flatten() {
                let child = node.child(&["patternProperties", name], schema);
                self.todo.push(vec![child]);
            }
            for keyword in ["additionalProperties", "unevaluatedProperties"] {
                let schema = node.get(keyword);
                self.todo
                    .extend(schema.map(|s| vec![node.child(&[keyword], s)]));
            }
        }
    }

    /// Goes on with the items of an array.
    fn items(&mut self, here: &[Node<'s>]) {
        let mut all = Vec::new();
        for node in here {
            let rest = node.rest_of_items();
            let schema = node.get(rest).filter(|s| !s.is_array());
            all.extend(schema.map(|s| node.child(&[rest], s)));
            if let Some((keyword, tuple)) = node.tuple() {
                for (i, schema) in tuple.iter().enumerate() {
                    let child = node.child(&[keyword, &i.to_string()], schema);
                    self.todo.push(vec![child]);
                }
            }
            let schema = node.get("unevaluatedItems");
            (self.todo).extend(schema.map(|s| vec![node.child(&["unevaluatedItems"], s)]));
        }
        // Behind tuples of different lengths the same item is not under all of them.
        if here.iter().any(|n| n.tuple().is_some()) {
            self.todo.extend(all.into_iter().map(|node| vec![node]));
        } else if !all.is_empty() {
            self.todo.push(all);
        }
    }

    fn report(&mut self, node: &Node<'s>, what: &'static str, instead: &'static str) {
        self.open.insert(Open {
            file: node.file.clone(),
            pointer: node.pointer.clone(),
            what,
            instead,
        });
    }
}

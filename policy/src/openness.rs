//! Where a schema lets more through than it need: objects with unlisted members, strings, arrays
//! and numbers without bounds, places of any type. Such a place can carry any data at all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::compile::Schemas;
use crate::source::join;

/// An open place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) file: PathBuf,
    pub(crate) pointer: String,
    what: &'static str,
    instead: &'static str,
}

impl Open {
    pub(crate) fn message(&self) -> String {
        format!("open schema: {}; give {}", self.what, self.instead)
    }
}

/// All open places that are reached from the root of this file.
pub(crate) fn find(path: &Path, schemas: &Schemas) -> Vec<Open> {
    let mut search = Search {
        schemas,
        seen: BTreeSet::new(),
        open: Vec::new(),
    };
    if let Some(root) = schemas.root(path) {
        let node = Node {
            file: path.to_owned(),
            pointer: String::new(),
            schema: root,
        };
        search.place(&node, &[]);
    }
    search.open
}

struct Search<'s> {
    schemas: &'s Schemas,
    /// Places already looked at: schemas may be recursive, and definitions shared.
    seen: BTreeSet<(PathBuf, String)>,
    open: Vec<Open>,
}

#[derive(Clone)]
struct Node<'s> {
    file: PathBuf,
    pointer: String,
    schema: &'s Value,
}

impl<'s> Node<'s> {
    fn child(&self, tokens: &[&str], schema: &'s Value) -> Self {
        let pointer = tokens.iter().fold(self.pointer.clone(), |p, t| join(&p, t));
        Self {
            file: self.file.clone(),
            pointer,
            schema,
        }
    }

    fn get(&self, key: &str) -> Option<&'s Value> {
        self.schema.get(key)
    }
}

impl<'s> Search<'s> {
    /// Looks at one place of the payload: the schema there, and those that hold there as well.
    fn place(&mut self, node: &Node<'s>, outer: &[Node<'s>]) {
        // A branch of `anyOf` is another place for each outer schema, but a place of its own is
        // visited once.
        if outer.is_empty() && !self.seen.insert((node.file.clone(), node.pointer.clone())) {
            return;
        }
        let mut here: Vec<Node<'s>> = outer.to_vec();
        self.gather(node, &mut here, 0);
        if here.iter().any(|n| n.schema == &Value::Bool(false)) {
            return;
        }
        let own = here[outer.len()..].to_vec();
        let mut branched = false;
        for part in &own {
            for keyword in ["anyOf", "oneOf"] {
                let branches = part.get(keyword).and_then(Value::as_array);
                for (i, branch) in branches.into_iter().flatten().enumerate() {
                    branched = true;
                    self.place(&part.child(&[keyword, &i.to_string()], branch), &here);
                }
            }
        }
        if !branched {
            self.check(node, &here);
        }
        for part in &own {
            self.children(part);
        }
    }

    /// The schema and all that `$ref` and `allOf` add to it at the same place.
    fn gather(&self, node: &Node<'s>, here: &mut Vec<Node<'s>>, depth: usize) {
        if depth > 32 {
            return;
        }
        here.push(node.clone());
        if let Some(reference) = node.get("$ref").and_then(Value::as_str)
            && let Some((file, pointer, schema)) = self.schemas.resolve(&node.file, reference)
        {
            let target = Node {
                file,
                pointer,
                schema,
            };
            self.gather(&target, here, depth + 1);
        }
        let parts = node.get("allOf").and_then(Value::as_array);
        for (i, part) in parts.into_iter().flatten().enumerate() {
            self.gather(
                &node.child(&["allOf", &i.to_string()], part),
                here,
                depth + 1,
            );
        }
    }

    fn check(&mut self, node: &Node<'s>, here: &[Node<'s>]) {
        let has = |keys: &[&str]| here.iter().any(|n| keys.iter().any(|k| n.get(k).is_some()));
        let is_false = |key: &str| here.iter().any(|n| n.get(key) == Some(&Value::Bool(false)));
        if has(&["const", "enum"]) {
            return;
        }
        let typed: Vec<&Value> = here.iter().filter_map(|n| n.get("type")).collect();
        if typed.is_empty() {
            self.report(node, "a value of any type", "`type`, `const` or `enum`");
            return;
        }
        // Every `type` must hold, so a type that one of them leaves out is closed.
        let may_be = |name: &str| {
            typed.iter().all(|t| match t {
                Value::Array(names) => names.iter().any(|n| n.as_str() == Some(name)),
                one => one.as_str() == Some(name),
            })
        };
        let closed = is_false("additionalProperties") || is_false("unevaluatedProperties");
        let map = has(&["maxProperties"]) && has(&["propertyNames"]);
        if may_be("object") && !closed && !map {
            self.report(
                node,
                "an object with unlisted members",
                "`additionalProperties: false` or `unevaluatedProperties: false`",
            );
        }
        if may_be("string") && !has(&["maxLength"]) {
            self.report(
                node,
                "a string of any length",
                "`enum`, or `pattern` and `maxLength`",
            );
        }
        let fixed = has(&["prefixItems"]) && (is_false("items") || is_false("unevaluatedItems"));
        if may_be("array") && !has(&["maxItems"]) && !fixed {
            self.report(node, "an array of any length", "`maxItems`");
        }
        if may_be("array") && !has(&["items"]) && !fixed {
            self.report(node, "items of any type", "`items`");
        }
        let low = has(&["minimum", "exclusiveMinimum"]);
        let high = has(&["maximum", "exclusiveMaximum"]);
        if (may_be("number") || may_be("integer")) && !(low && high) {
            self.report(node, "a number of any size", "`minimum` and `maximum`");
        }
    }

    fn children(&mut self, node: &Node<'s>) {
        for keyword in ["properties", "patternProperties"] {
            let members = node.get(keyword).and_then(Value::as_object);
            for (name, schema) in members.into_iter().flatten() {
                self.place(&node.child(&[keyword, name], schema), &[]);
            }
        }
        let items = node.get("prefixItems").and_then(Value::as_array);
        for (i, schema) in items.into_iter().flatten().enumerate() {
            self.place(&node.child(&["prefixItems", &i.to_string()], schema), &[]);
        }
        for keyword in [
            "items",
            "additionalProperties",
            "unevaluatedProperties",
            "unevaluatedItems",
        ] {
            if let Some(schema) = node
                .get(keyword)
                .filter(|s| s.is_object() || s.is_boolean())
            {
                self.place(&node.child(&[keyword], schema), &[]);
            }
        }
    }

    fn report(&mut self, node: &Node<'s>, what: &'static str, instead: &'static str) {
        let open = Open {
            file: node.file.clone(),
            pointer: node.pointer.clone(),
            what,
            instead,
        };
        if !self.open.contains(&open) {
            self.open.push(open);
        }
    }
}

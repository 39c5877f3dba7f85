//! Where a schema lets more through than it need: objects with unlisted members, strings, arrays
//! and numbers without bounds, places of any type. Such a place can carry any data at all.
//!
//! The search errs on one side only: it may name a place that some other part of the schema closes
//! after all, but it must not miss one. A keyword counts only in the versions of JSON Schema that
//! know it, since validators ignore the others.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub(crate) use self::covered::Covered;
use self::node::Node;
use crate::compile::Schemas;

mod check;
mod covered;
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

/// What is said of a number that no rule judges.
const UNCOVERED: &str = "a number without a disclosure rule";

impl Open {
    /// The code of the finding in a contract with disclosure rules.
    pub(crate) fn code(&self) -> &'static str {
        match self.what {
            UNCOVERED => "sdc-uncovered",
            _ => "sdc-open",
        }
    }

    pub(crate) fn message(&self) -> String {
        match self.what {
            UNCOVERED => format!("{UNCOVERED}: a cell of one person would pass"),
            what => format!("open schema: {what}"),
        }
    }

    pub(crate) fn help(&self) -> String {
        format!("give {}", self.instead)
    }
}

/// All open places that are reached from the root of this file. With disclosure rules, numbers that
/// none of them judges count as well, and so do numbers of any precision and free text.
pub(crate) fn find<'s>(
    path: &Path,
    schemas: &'s Schemas,
    carrier: Carrier,
    covered: Option<&'s Covered>,
) -> BTreeSet<Open> {
    let mut search = Search {
        schemas,
        carrier,
        covered,
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
    covered: Option<&'s Covered>,
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

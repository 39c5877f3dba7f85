//! A schema as its own version of JSON Schema reads it.

use std::path::PathBuf;

use jsonschema::Draft;
use serde_json::Value;

use crate::source::join;

/// A schema, with where it stands and the version of JSON Schema that it is written in.
#[derive(Clone)]
pub(super) struct Node<'s> {
    pub(super) file: PathBuf,
    pub(super) pointer: String,
    pub(super) schema: &'s Value,
    pub(super) draft: Draft,
}

impl<'s> Node<'s> {
    pub(super) fn child(&self, tokens: &[&str], schema: &'s Value) -> Self {
        let pointer = tokens.iter().fold(self.pointer.clone(), |p, t| join(&p, t));
        Self {
            pointer,
            schema,
            ..self.clone()
        }
    }

    /// The value of a keyword, if it is one in this version of JSON Schema.
    pub(super) fn get(&self, keyword: &str) -> Option<&'s Value> {
        let known = match keyword {
            "const" | "propertyNames" | "contains" => self.draft >= Draft::Draft6,
            "if" | "then" | "else" => self.draft >= Draft::Draft7,
            "unevaluatedProperties" | "unevaluatedItems" | "dependentSchemas" => {
                self.draft >= Draft::Draft201909
            }
            "prefixItems" => self.draft >= Draft::Draft202012,
            "additionalItems" => self.draft < Draft::Draft202012,
            _ => true,
        };
        // Up to draft-07 a `$ref` makes everything beside it void.
        let void = self.draft <= Draft::Draft7 && keyword != "$ref";
        if !known || (void && self.schema.get("$ref").is_some()) {
            return None;
        }
        self.schema.get(keyword)
    }

    pub(super) fn has(&self, keyword: &str) -> bool {
        self.get(keyword).is_some()
    }

    pub(super) fn is_false(&self, keyword: &str) -> bool {
        self.get(keyword) == Some(&Value::Bool(false))
    }

    /// A keyword whose value is a schema, unless that schema allows nothing.
    pub(super) fn admits(&self, keyword: &str) -> bool {
        self.get(keyword)
            .is_some_and(|s| s.is_object() || s == &Value::Bool(true))
    }

    /// The schemas of the first items, and the keyword they stand under.
    pub(super) fn tuple(&self) -> Option<(&'static str, &'s Vec<Value>)> {
        let keyword = if self.draft >= Draft::Draft202012 {
            "prefixItems"
        } else {
            "items"
        };
        Some((keyword, self.get(keyword)?.as_array()?))
    }

    /// The keyword for all items, or for those behind the tuple.
    pub(super) fn rest_of_items(&self) -> &'static str {
        let has_tuple = self.tuple().is_some();
        if has_tuple && self.draft < Draft::Draft202012 {
            "additionalItems"
        } else {
            "items"
        }
    }
}

//! Every schema within a flattened schema.

use serde_json::{Map, Value};

use crate::compile::flatten::{BY_NAME, LIST, ONE};
use crate::source::join;

/// Keywords under which a schema asserts nothing about the payload: it only picks, negates or
/// names.
const SILENT: &[&str] = &["contains", "if", "not", "propertyNames"];

/// One schema.
pub(super) struct Place<'f> {
    pub(super) pointer: String,
    pub(super) schema: &'f Map<String, Value>,
    /// The keyword above it that keeps it from asserting.
    pub(super) silent: Option<&'static str>,
}

/// Every schema that is an object, the outer before the inner.
pub(super) fn of(flat: &Value) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    let mut todo = vec![(String::new(), flat, None)];
    while let Some((pointer, schema, silent)) = todo.pop() {
        let Value::Object(schema) = schema else {
            continue;
        };
        for (keyword, value) in schema {
            let name = keyword.as_str();
            let below = SILENT.iter().find(|k| **k == name).copied().or(silent);
            let at = join(&pointer, name);
            match value {
                value if ONE.contains(&name) => todo.push((at, value, below)),
                Value::Array(list) if LIST.contains(&name) => {
                    todo.extend((list.iter().enumerate()).map(|(i, s)| (join(&at, i), s, below)));
                }
                Value::Object(members) if BY_NAME.contains(&name) => {
                    todo.extend(members.iter().map(|(n, s)| (join(&at, n), s, below)));
                }
                _ => {}
            }
        }
        places.push(Place {
            pointer,
            schema,
            silent,
        });
    }
    places
}

//! References between schema files. They go by file name, relative to the file they stand in;
//! nothing is ever fetched.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value};

use super::{beside, codelists, flatten, read_file};
use crate::source::{Document, join};

/// The most files that one policy reads.
const MAX_FILES: usize = 64;

/// Keywords whose value is data, not a schema: a `$ref` in there is only a name.
const DATA: &[&str] = &["const", "enum", "default", "examples"];

/// Keywords whose value has one schema for each of its names.
const BY_NAME: &[&str] = &[
    "properties",
    "patternProperties",
    "dependentSchemas",
    "dependencies",
    "$defs",
    "definitions",
];

/// Reads a schema file, the files it refers to, and the code lists that they name.
pub(super) fn read_closure(
    path: &Path,
    files: &mut BTreeMap<PathBuf, Result<String, String>>,
    lists: &mut BTreeMap<PathBuf, Result<String, String>>,
) {
    let mut todo = vec![normal(path)];
    while let Some(path) = todo.pop() {
        if files.contains_key(&path) {
            continue;
        }
        if files.len() + lists.len() >= MAX_FILES {
            let message = format!("is not read: a policy has at most {MAX_FILES} files");
            files.insert(path, Err(message));
            // One is enough to refuse the policy, and to bound the work.
            return;
        }
        let text = read_file(&path);
        if let Ok(text) = &text
            && let Ok(document) = Document::parse(text)
        {
            for (reference, _) in references(&document.value) {
                todo.extend(target(&path, &reference).ok().flatten());
            }
            for list in codelists::named(&path, &document.value) {
                if files.len() + lists.len() < MAX_FILES && !lists.contains_key(&list) {
                    let codes = read_file(&list);
                    lists.insert(list, codes);
                }
            }
        }
        files.insert(path, text);
    }
}

/// The file that a reference leads to; `None` for the one it stands in.
///
/// # Errors
/// Why it leads to no file that may be read.
pub(super) fn target(from: &Path, reference: &str) -> Result<Option<PathBuf>, &'static str> {
    let file = reference
        .split_once('#')
        .map_or(reference, |(file, _)| file);
    if file.is_empty() {
        return Ok(None);
    }
    if file.contains(':') || file.starts_with("//") {
        return Err("is remote: nothing is ever fetched");
    }
    if file.starts_with('/') {
        return Err("is not relative to its file");
    }
    match percent_decode_str(file).decode_utf8() {
        Ok(name) if !file.contains('?') && !name.contains('\0') => Ok(Some(beside(from, &name))),
        _ => Err("is no file name"),
    }
}

/// Every reference in a document, with the pointer to it.
pub(super) fn references(value: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(value, String::new(), &mut |pointer, object| {
        for keyword in ["$ref", "$dynamicRef", "$recursiveRef"] {
            if let Some(Value::String(reference)) = object.get(keyword) {
                found.push((reference.clone(), format!("{pointer}/{keyword}")));
            }
        }
    });
    found
}

/// The subschema with this `$anchor` or `$dynamicAnchor`.
pub(super) fn anchor<'v>(root: &'v Value, name: &str) -> Option<(String, &'v Value)> {
    let mut place = None;
    walk(root, String::new(), &mut |pointer, object| {
        let is = |key| object.get(key).and_then(Value::as_str) == Some(name);
        if place.is_none() && (is("$anchor") || is("$dynamicAnchor")) {
            place = Some(pointer.to_owned());
        }
    });
    let place = place?;
    root.pointer(&place).map(|schema| (place, schema))
}

/// Whether a pointer leads, by keywords alone, to a schema of the document. What stands anywhere
/// else is a remark or data: no check looks there, and a `$ref` must not make it assert.
pub(super) fn is_schema(root: &Value, pointer: &str) -> bool {
    let mut tokens = pointer.split('/').skip(1);
    let mut schema = root;
    while let Some(keyword) = tokens.next() {
        let Some(next) = step(schema, keyword, &mut tokens) else {
            return false;
        };
        schema = next;
    }
    schema.is_object() || schema.is_boolean()
}

/// The schema that a keyword has, or one of those that it has.
fn step<'v, 't>(
    schema: &'v Value,
    keyword: &str,
    tokens: &mut impl Iterator<Item = &'t str>,
) -> Option<&'v Value> {
    let value = schema.as_object()?.get(keyword)?;
    let several = match value {
        // Up to draft 2019-09 `items` may be a list.
        Value::Array(_) => keyword == "items" || flatten::LIST.contains(&keyword),
        Value::Object(_) => BY_NAME.contains(&keyword),
        _ => false,
    };
    if several {
        return value.pointer(&format!("/{}", tokens.next()?));
    }
    flatten::ONE.contains(&keyword).then_some(value)
}

/// Whether any object of a document, schema or not, has a key of which this holds.
pub(crate) fn any_key(value: &Value, is: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(key, member)| is(key) || any_key(member, is)),
        Value::Array(items) => items.iter().any(|item| any_key(item, is)),
        _ => false,
    }
}

/// Visits every object that may be a schema, with its pointer.
pub(super) fn walk(
    value: &Value,
    pointer: String,
    visit: &mut impl FnMut(&str, &Map<String, Value>),
) {
    match value {
        Value::Object(object) => {
            visit(&pointer, object);
            for (key, child) in object {
                match child {
                    _ if DATA.contains(&key.as_str()) => {}
                    Value::Object(members) if BY_NAME.contains(&key.as_str()) => {
                        let pointer = join(&pointer, key);
                        for (name, member) in members {
                            walk(member, join(&pointer, name), visit);
                        }
                    }
                    Value::Object(_) | Value::Array(_) => {
                        walk(child, join(&pointer, key), visit);
                    }
                    _ => {}
                }
            }
        }
        Value::Array(items) => {
            for (i, child) in items.iter().enumerate() {
                walk(child, join(&pointer, i), visit);
            }
        }
        _ => {}
    }
}

/// The path without `.` and `..`, so that one file has one name.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for component in path.components() {
        match (component, parts.components().next_back()) {
            (Component::CurDir, _) | (Component::ParentDir, Some(Component::RootDir)) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => drop(parts.pop()),
            (other, _) => parts.push(other),
        }
    }
    parts
}

/// The path of a file as seen from a folder.
pub(super) fn relative(folder: &Path, path: &Path) -> PathBuf {
    let mut base = folder.components().peekable();
    let mut rest = path.components().peekable();
    while base.peek().is_some() && base.peek() == rest.peek() {
        base.next();
        rest.next();
    }
    let up = base.map(|_| Component::ParentDir);
    up.chain(rest).collect()
}

/// A URI that stands for a file; only the schemas of this policy are read by it.
pub(super) fn uri(path: &Path) -> String {
    const SET: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~')
        .remove(b'/');
    let path = absolute(path).to_string_lossy().into_owned();
    format!("lazaret://{}", utf8_percent_encode(&path, SET))
}

/// The file that a URI made by [`uri`], or resolved against one, stands for.
pub(super) fn path_of(uri: &str) -> Option<PathBuf> {
    let path = uri.strip_prefix("lazaret://")?;
    let path = path.split_once('#').map_or(path, |(path, _)| path);
    let path = percent_decode_str(path).decode_utf8().ok()?;
    Some(normal(Path::new(&*path)))
}

/// Absolute, since a URI has no way to say a leading `..`. Without a working directory the path
/// serves from the root as well, as long as no reference climbs out of it.
pub(super) fn absolute(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| Path::new("/").join(path));
    normal(&absolute)
}

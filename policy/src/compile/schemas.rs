//! Contract schemas: read with the local files that they refer to, checked, compiled. Nothing is
//! ever fetched: a reference that does not lead to a file beside the schema is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use jsonschema::{PatternOptions, Retrieve, Uri, ValidationOptions, Validator};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use super::{Report, beside, read_file};
use crate::diagnostic::Severity;
use crate::openness;
use crate::source::{Document, Place};

/// The most references between files that are followed.
const MAX_SCHEMA_FILES: usize = 64;

/// All schema files of a policy, parsed.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    files: BTreeMap<PathBuf, SchemaFile>,
}

#[derive(Debug)]
struct SchemaFile {
    document: Document,
    error: Option<(Place, String)>,
}

/// A schema, compiled.
pub(crate) struct SchemaParts {
    pub(crate) validator: Validator,
    pub(crate) known_names: BTreeSet<String>,
}

/// How every schema is compiled: `format` asserts, an unknown `format` is an error, patterns run
/// on an engine whose time is linear in the input, nothing is fetched.
pub(super) fn options() -> ValidationOptions<'static> {
    jsonschema::options()
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .with_pattern_options(PatternOptions::regex())
        .offline()
}

/// Reads a schema file and the files it refers to.
pub(super) fn read_closure(path: &Path, files: &mut BTreeMap<PathBuf, Result<String, String>>) {
    let mut todo = vec![normal(path)];
    while let Some(path) = todo.pop() {
        if files.contains_key(&path) || files.len() >= MAX_SCHEMA_FILES {
            continue;
        }
        let text = read_file(&path);
        if let Ok(text) = &text
            && let Ok(document) = Document::parse(text)
        {
            for (reference, _) in references(&document.value) {
                let (file, _) = reference.split_once('#').unwrap_or((&reference, ""));
                if !file.is_empty() && !file.contains(':') {
                    todo.push(beside(&path, file));
                }
            }
        }
        files.insert(path, text);
    }
}

impl Schemas {
    pub(crate) fn new(files: &BTreeMap<PathBuf, Result<String, String>>) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| (path.clone(), SchemaFile::new(text)))
            .collect();
        Self { files }
    }

    /// Compiles the schema in this file, or reports why not.
    pub(crate) fn contract(
        &self,
        path: &Path,
        report: &mut Report,
        strict: bool,
    ) -> Option<SchemaParts> {
        let path = normal(path);
        let used = self.closure(&path);
        let mut broken = false;
        for path in &used {
            broken |= self.report_broken(path, report);
        }
        if broken {
            return None;
        }
        let schema = &self.files.get(&path)?.document.value;
        let built = options()
            .with_base_uri(uri(&path))
            .with_retriever(self.retriever())
            .build(schema);
        let validator = match built {
            Ok(validator) => validator,
            Err(error) => {
                let pointer = error.instance_path().to_string();
                self.report_at(&path, &pointer, report, Severity::Error, {
                    format!("not a usable JSON Schema: {error}")
                });
                return None;
            }
        };
        let severity = if strict {
            Severity::Error
        } else {
            Severity::Warning
        };
        for open in openness::find(&path, self) {
            self.report_at(&open.file, &open.pointer, report, severity, open.message());
        }
        let mut known_names = BTreeSet::new();
        for path in &used {
            collect_names(&self.files[path].document.value, &mut known_names);
        }
        Some(SchemaParts {
            validator,
            known_names,
        })
    }

    /// The subschema that a reference leads to, with the file it is in and its pointer there.
    pub(crate) fn resolve(
        &self,
        from: &Path,
        reference: &str,
    ) -> Option<(PathBuf, String, &Value)> {
        let (file, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let path = if file.is_empty() {
            from.to_owned()
        } else {
            beside(from, file)
        };
        let root = &self.files.get(&path)?.document.value;
        if fragment.is_empty() || fragment.starts_with('/') {
            let pointer = percent_decode_str(fragment).decode_utf8().ok()?;
            let target = root.pointer(&pointer)?;
            return Some((path, pointer.into_owned(), target));
        }
        let (pointer, target) = find_anchor(root, fragment, String::new())?;
        Some((path, pointer, target))
    }

    pub(crate) fn root(&self, path: &Path) -> Option<&Value> {
        self.files.get(path).map(|file| &file.document.value)
    }

    fn closure(&self, path: &Path) -> BTreeSet<PathBuf> {
        let mut used = BTreeSet::new();
        let mut todo = vec![path.to_owned()];
        while let Some(path) = todo.pop() {
            let Some(file) = self.files.get(&path) else {
                continue;
            };
            if used.insert(path.clone()) {
                for (reference, _) in references(&file.document.value) {
                    let (name, _) = reference.split_once('#').unwrap_or((&reference, ""));
                    if !name.is_empty() && !name.contains(':') {
                        todo.push(beside(&path, name));
                    }
                }
            }
        }
        used
    }

    fn report_broken(&self, path: &Path, report: &mut Report) -> bool {
        let file = &self.files[path];
        if let Some((place, message)) = &file.error {
            let path = path.to_owned();
            report.at_place(path, *place, "", Severity::Error, message.clone(), None);
            return true;
        }
        let mut broken = false;
        for (reference, pointer) in references(&file.document.value) {
            let (name, _) = reference.split_once('#').unwrap_or((&reference, ""));
            let message = if name.contains(':') {
                format!("the reference `{reference}` is remote: nothing is ever fetched")
            } else if self.resolve(path, &reference).is_none() {
                format!("the reference `{reference}` leads nowhere")
            } else {
                continue;
            };
            self.report_at(path, &pointer, report, Severity::Error, message);
            broken = true;
        }
        broken
    }

    fn report_at(
        &self,
        path: &Path,
        pointer: &str,
        report: &mut Report,
        severity: Severity,
        message: String,
    ) {
        let place = self
            .files
            .get(path)
            .map(|f| f.document.place(pointer))
            .unwrap_or_default();
        report.at_place(path.to_owned(), place, pointer, severity, message, None);
    }

    fn retriever(&self) -> Local {
        let documents = self
            .files
            .iter()
            .map(|(path, file)| (uri(path), file.document.value.clone()))
            .collect();
        Local { documents }
    }
}

impl SchemaFile {
    fn new(text: &Result<String, String>) -> Self {
        let broken = |place, message| Self {
            document: Document::default(),
            error: Some((place, message)),
        };
        let text = match text {
            Ok(text) => text,
            Err(error) => return broken(Place::default(), error.clone()),
        };
        match Document::parse(text) {
            Ok(mut document) => {
                // References go by file. An `$id` would move the base of the references to where
                // nothing can be read.
                if let Value::Object(root) = &mut document.value {
                    root.remove("$id");
                }
                Self {
                    document,
                    error: None,
                }
            }
            Err(error) => broken(error.place, error.message),
        }
    }
}

struct Local {
    documents: BTreeMap<String, Value>,
}

impl Retrieve for Local {
    fn retrieve(
        &self,
        uri: &Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let found = self.documents.get(uri.as_str()).cloned();
        found.ok_or_else(|| format!("`{uri}` is no file of this policy").into())
    }
}

/// The path without `.` and `..`, so that one file has one name.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(parts.components().next_back(), Some(Component::Normal(_))) =>
            {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts
}

/// A URI that stands for a file; only [`Local`] reads it.
fn uri(path: &Path) -> String {
    const SET: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    // Absolute, since a URI has no way to say a leading `..`. Without a working directory the
    // relative path serves as well, as long as no reference climbs out of it.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let path = normal(&absolute).to_string_lossy().into_owned();
    let encoded: Vec<String> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| utf8_percent_encode(segment, SET).to_string())
        .collect();
    format!("lazaret:///{}", encoded.join("/"))
}

fn references(value: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(value, String::new(), &mut |pointer, object| {
        for keyword in ["$ref", "$dynamicRef"] {
            if let Some(Value::String(reference)) = object.get(keyword) {
                found.push((reference.clone(), format!("{pointer}/{keyword}")));
            }
        }
    });
    found
}

fn find_anchor<'v>(value: &'v Value, name: &str, pointer: String) -> Option<(String, &'v Value)> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(object) => {
            let here = ["$anchor", "$dynamicAnchor"]
                .iter()
                .any(|k| object.get(*k).and_then(Value::as_str) == Some(name));
            if here {
                return Some((pointer, value));
            }
            object
                .iter()
                .map(|(k, v)| (crate::source::join(&pointer, k), v))
                .collect()
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, v)| (crate::source::join(&pointer, i), v))
            .collect(),
        _ => Vec::new(),
    };
    children
        .into_iter()
        .find_map(|(pointer, child)| find_anchor(child, name, pointer))
}

fn walk(
    value: &Value,
    pointer: String,
    visit: &mut impl FnMut(&str, &serde_json::Map<String, Value>),
) {
    match value {
        Value::Object(object) => {
            visit(&pointer, object);
            for (key, child) in object {
                // Data, not schemas: a `$ref` in there is only a name.
                if !matches!(key.as_str(), "const" | "enum" | "default" | "examples") {
                    walk(child, crate::source::join(&pointer, key), visit);
                }
            }
        }
        Value::Array(items) => {
            for (i, child) in items.iter().enumerate() {
                walk(child, crate::source::join(&pointer, i), visit);
            }
        }
        _ => {}
    }
}

fn collect_names(value: &Value, names: &mut BTreeSet<String>) {
    walk(value, String::new(), &mut |_, object| {
        if let Some(Value::Object(properties)) = object.get("properties") {
            names.extend(
                properties
                    .keys()
                    .map(|k| k.replace('~', "~0").replace('/', "~1")),
            );
        }
    });
}

//! Contract schemas: read with the local files that they refer to, checked, compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jsonschema::{Draft, PatternOptions, Retrieve, Uri, ValidationOptions, Validator};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::Report;
use super::circles::{Circle, Circles};
use super::defects::{self, Defect};
use super::references::{absolute, anchor, normal, path_of, references, target, uri, walk};
use crate::contract::Shape;
use crate::diagnostic::Severity;
use crate::judge::unique;
use crate::openness::{self, Carrier};
use crate::source::{Document, Place};
use crate::value::TextRule;

/// The largest compiled pattern, in bytes: what one may cost in memory, and with that in time for
/// each byte of a payload.
const MAX_PATTERN_BYTES: usize = 8 * 1024 * 1024;

/// The largest cache that a pattern may fill while it runs, in bytes.
const MAX_PATTERN_CACHE_BYTES: usize = 2 * 1024 * 1024;

/// All schema files of a policy, parsed.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    files: BTreeMap<PathBuf, SchemaFile>,
    /// For a schema that stands in the policy itself: its pointer there.
    inline: Option<String>,
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
    pub(crate) shape: Shape,
}

/// How every schema is compiled: `format` asserts, an unknown `format` is an error, patterns run
/// on an engine whose time is linear in the input, nothing is fetched.
pub(super) fn options() -> ValidationOptions<'static> {
    let patterns = PatternOptions::regex()
        .size_limit(MAX_PATTERN_BYTES)
        .dfa_size_limit(MAX_PATTERN_CACHE_BYTES);
    jsonschema::options()
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .with_pattern_options(patterns)
        .with_keyword("uniqueItems", unique::keyword)
        .offline()
}

/// Compiles a schema for a short text that stands in the policy itself, or reports why not.
pub(super) fn text_rule(
    name: &str,
    schema: &Value,
    pointer: &str,
    strict: bool,
    report: &mut Report,
) -> Option<TextRule> {
    if !schema.is_object() {
        let message = format!("`{name}` needs a JSON Schema");
        let help = Some("`{ enum: [a, b] }`".into());
        report.error(pointer, message, help);
        return None;
    }
    let schemas = Schemas::inline(schema, pointer);
    let parts = schemas.compile(Path::new(""), report, strict, Carrier::Text)?;
    Some(TextRule::new(parts.validator))
}

impl Schemas {
    pub(crate) fn new(files: &BTreeMap<PathBuf, Result<String, String>>) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| (path.clone(), SchemaFile::new(text)))
            .collect();
        let inline = None;
        Self { files, inline }
    }

    fn inline(schema: &Value, pointer: &str) -> Self {
        let document = Document::from(schema.clone());
        let file = SchemaFile::parsed(document);
        Self {
            files: BTreeMap::from([(PathBuf::new(), file)]),
            inline: Some(pointer.to_owned()),
        }
    }

    /// Compiles the schema in this file, or reports why not.
    pub(crate) fn contract(
        &self,
        path: &Path,
        report: &mut Report,
        strict: bool,
    ) -> Option<SchemaParts> {
        self.compile(&normal(path), report, strict, Carrier::Body)
    }

    fn compile(
        &self,
        path: &Path,
        report: &mut Report,
        strict: bool,
        carrier: Carrier,
    ) -> Option<SchemaParts> {
        let used = self.closure(path);
        let mut broken = false;
        for path in &used {
            broken |= self.report_broken(path, report);
        }
        // Circles are only looked for where every reference leads somewhere.
        let mut circles = Circles::new(self);
        if broken || self.report_circles(&mut circles, &used, report) {
            return None;
        }
        let shape = match circles.shape(path, &used) {
            Ok(shape) => shape,
            Err(circle) => {
                self.report_circle(&circle, report);
                return None;
            }
        };
        let schema = self.root(path)?;
        let built = options()
            .with_base_uri(uri(path))
            .with_retriever(self.retriever())
            .build(schema);
        let validator = match built {
            Ok(validator) => validator,
            Err(error) => {
                let Defect {
                    pointer,
                    message,
                    help,
                } = defects::describe(&error);
                self.report_at(path, &pointer, report, Severity::Error, message, help);
                return None;
            }
        };
        let severity = if strict {
            Severity::Error
        } else {
            Severity::Warning
        };
        for open in openness::find(path, self, carrier) {
            let (message, help) = (open.message(), Some(open.help()));
            self.report_at(&open.file, &open.pointer, report, severity, message, help);
        }
        let mut known_names = BTreeSet::new();
        for path in &used {
            collect_names(&self.files[path].document.value, &mut known_names);
        }
        Some(SchemaParts {
            validator,
            known_names,
            shape,
        })
    }

    /// The subschema that a reference leads to, with the file it is in and its pointer there.
    pub(crate) fn resolve(
        &self,
        from: &Path,
        reference: &str,
    ) -> Option<(PathBuf, String, &Value)> {
        let path = target(from, reference).ok()?;
        let path = path.unwrap_or_else(|| from.to_owned());
        let root = self.root(&path)?;
        let fragment = reference.split_once('#').map_or("", |(_, f)| f);
        let fragment = percent_decode_str(fragment).decode_utf8().ok()?;
        if fragment.is_empty() || fragment.starts_with('/') {
            let target = root.pointer(&fragment)?;
            return Some((path, fragment.into_owned(), target));
        }
        let (pointer, target) = anchor(root, &fragment)?;
        Some((path, pointer, target))
    }

    pub(crate) fn root(&self, path: &Path) -> Option<&Value> {
        self.files.get(path).map(|file| &file.document.value)
    }

    /// The version of JSON Schema that a file is written in.
    pub(crate) fn draft(&self, path: &Path) -> Draft {
        let root = self.root(path).unwrap_or(&Value::Null);
        Draft::default().detect(root)
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
                    todo.extend(target(&path, &reference).ok().flatten());
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
            let leads_to = target(path, &reference);
            let what = match &leads_to {
                Err(why) => why,
                Ok(Some(_)) if self.inline.is_some() => "leads out of the policy",
                Ok(Some(to)) if self.files.get(to).is_none_or(|f| f.error.is_some()) => {
                    "leads to a file that is not usable"
                }
                Ok(_) if self.resolve(path, &reference).is_none() => "leads nowhere",
                Ok(_) => continue,
            };
            let message = format!("the reference `{reference}` {what}");
            self.report_at(path, &pointer, report, Severity::Error, message, None);
            broken = true;
        }
        for defect in defects::find(&file.document.value) {
            let (pointer, message) = (&defect.pointer, defect.message);
            self.report_at(path, pointer, report, Severity::Error, message, defect.help);
            broken = true;
        }
        broken
    }

    fn report_circles(
        &self,
        circles: &mut Circles<'_>,
        used: &BTreeSet<PathBuf>,
        report: &mut Report,
    ) -> bool {
        let found = used.iter().find_map(|path| circles.search(path).err());
        if let Some(circle) = &found {
            self.report_circle(circle, report);
        }
        found.is_some()
    }

    fn report_circle(&self, circle: &Circle, report: &mut Report) {
        let (pointer, what) = (&circle.pointer, circle.what.to_owned());
        self.report_at(&circle.file, pointer, report, Severity::Error, what, None);
    }

    fn report_at(
        &self,
        path: &Path,
        pointer: &str,
        report: &mut Report,
        severity: Severity,
        message: String,
        help: Option<String>,
    ) {
        if let Some(base) = &self.inline {
            report.at(&format!("{base}{pointer}"), severity, message, help);
            return;
        }
        let place = self
            .files
            .get(path)
            .map(|f| f.document.place(pointer))
            .unwrap_or_default();
        report.at_place(path.to_owned(), place, pointer, severity, message, help);
    }

    fn retriever(&self) -> Local {
        let documents = self
            .files
            .iter()
            .map(|(path, file)| (absolute(path), file.document.value.clone()))
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
        match text.as_ref().map(|text| Document::parse(text)) {
            Ok(Ok(document)) => Self::parsed(document),
            Ok(Err(error)) => broken(error.place, error.message),
            Err(error) => broken(Place::default(), error.clone()),
        }
    }

    fn parsed(mut document: Document) -> Self {
        // References go by file. An `$id` would move the base of the references to where nothing
        // can be read. Elsewhere than here it is refused.
        if let Value::Object(root) = &mut document.value {
            root.remove("$id");
            if root.get("id").is_some_and(Value::is_string) {
                root.remove("id");
            }
        }
        Self {
            document,
            error: None,
        }
    }
}

struct Local {
    documents: BTreeMap<PathBuf, Value>,
}

impl Retrieve for Local {
    fn retrieve(
        &self,
        uri: &Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let found = path_of(uri.as_str()).and_then(|path| self.documents.get(&path));
        found
            .cloned()
            .ok_or_else(|| format!("`{uri}` is no file of this policy").into())
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

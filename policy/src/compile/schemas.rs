//! Contract schemas: read with the local files that they refer to, checked, compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jsonschema::{Draft, PatternOptions, Retrieve, Uri, ValidationOptions, Validator};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::Report;
use super::circles::Circles;
use super::codelists::{self, Codelists};
use super::defects;
use super::flatten::flatten;
use super::references::{
    absolute, anchor, any_key, is_schema, normal, path_of, references, target, uri, walk,
};
use crate::contract::Shape;
use crate::judge::{sdc, unique};
use crate::lint::{self, Linted, Terms};
use crate::openness::Carrier;
use crate::site::Site;
use crate::source::{Document, Place};
use crate::value::TextRule;

mod reporting;

/// The largest compiled pattern, in bytes: what one may cost in memory, and with that in time for
/// each byte of a payload.
const MAX_PATTERN_BYTES: usize = 8 * 1024 * 1024;

/// The largest cache that a pattern may fill while it runs, in bytes.
const MAX_PATTERN_CACHE_BYTES: usize = 2 * 1024 * 1024;

/// All schema files of a policy, parsed.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    files: BTreeMap<PathBuf, SchemaFile>,
    lists: Codelists,
    /// For a schema that stands in the policy itself: its pointer there.
    inline: Option<String>,
}

#[derive(Debug)]
struct SchemaFile {
    document: Document,
    /// Whether it says that it is in the dialect of the vocabulary.
    declared: bool,
    error: Option<(Place, String)>,
}

/// A schema, compiled.
pub(crate) struct SchemaParts {
    pub(crate) validator: Validator,
    pub(crate) known_names: BTreeSet<String>,
    pub(crate) shape: Shape,
    pub(crate) flat: Value,
    /// Whether disclosure rules are asked for.
    pub(crate) disclosure: bool,
    /// Whether a rule about releases is written anywhere in it, or in a file that it uses.
    pub(crate) releases: bool,
}

/// How every schema is compiled: `format` asserts, an unknown `format` is an error, patterns run
/// on an engine whose time is linear in the input, nothing is fetched.
pub(super) fn options() -> ValidationOptions<'static> {
    let patterns = PatternOptions::regex()
        .size_limit(MAX_PATTERN_BYTES)
        .dfa_size_limit(MAX_PATTERN_CACHE_BYTES);
    let options = jsonschema::options()
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .with_pattern_options(patterns)
        .with_keyword("uniqueItems", unique::keyword)
        .offline();
    sdc::register(options)
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
    let terms = Terms {
        strict,
        every: false,
        site: &Site::default(),
        max_bytes: usize::MAX,
    };
    let parts = schemas.compile(Path::new(""), report, &terms, Carrier::Text)?;
    Some(TextRule::new(parts.validator, parts.flat))
}

impl Schemas {
    pub(crate) fn new(
        files: &BTreeMap<PathBuf, Result<String, String>>,
        lists: &BTreeMap<PathBuf, Result<String, String>>,
    ) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| (path.clone(), SchemaFile::new(text)))
            .collect();
        Self {
            files,
            lists: codelists::parse_all(lists),
            inline: None,
        }
    }

    /// One schema without a file, under the empty path.
    pub(crate) fn single(schema: Value) -> Self {
        let file = SchemaFile::parsed(Document::from(schema));
        Self {
            files: BTreeMap::from([(PathBuf::new(), file)]),
            ..Self::default()
        }
    }

    fn inline(schema: &Value, pointer: &str) -> Self {
        Self {
            inline: Some(pointer.to_owned()),
            ..Self::single(schema.clone())
        }
    }

    /// Compiles the schema in this file, or reports why not.
    pub(crate) fn contract(
        &self,
        path: &Path,
        report: &mut Report,
        terms: &Terms<'_>,
    ) -> Option<SchemaParts> {
        self.compile(&normal(path), report, terms, Carrier::Body)
    }

    fn compile(
        &self,
        path: &Path,
        report: &mut Report,
        terms: &Terms<'_>,
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
        let flat = flatten(self, path);
        // First, since it says more of a rule than that it cannot be made.
        let Linted {
            disclosure,
            refused,
        } = lint::lint(self, path, &used, &flat, terms, carrier, report);
        let built = match &flat {
            Ok(flat) => options().build(&flat.value),
            Err(_) => options()
                .with_base_uri(uri(path))
                .with_retriever(self.retriever())
                .build(self.root(path)?),
        };
        let validator = match built {
            Ok(validator) => validator,
            Err(_) if refused => return None,
            Err(error) => {
                let defect = defects::describe(&error);
                let (file, pointer) = match &flat {
                    Ok(flat) => flat.origin(&defect.pointer),
                    Err(_) => (path.to_owned(), defect.pointer),
                };
                self.report_defect(&file, &pointer, report, defect.message, defect.help);
                return None;
            }
        };
        let flat = match flat {
            Ok(flat) => flat.value,
            // Of a schema that stands for all, no rule would be kept. The checks have said why.
            Err(_) if disclosure || self.any_key(&used, |key| key.starts_with("sdc")) => {
                return None;
            }
            Err(_) => Value::Bool(true),
        };
        if !disclosure {
            self.report_open(path, carrier, terms, report);
        }
        let mut known_names = BTreeSet::new();
        for path in &used {
            collect_names(&self.files[path].document.value, &mut known_names);
        }
        Some(SchemaParts {
            validator,
            known_names,
            shape,
            releases: self.any_key(&used, |key| key == crate::release::KEYWORD)
                || any_key(&flat, &|key| key == crate::release::KEYWORD),
            flat,
            disclosure,
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

    /// Whether this is a place of a file where a schema stands.
    fn is_schema(&self, path: &Path, pointer: &str) -> bool {
        self.root(path).is_some_and(|root| is_schema(root, pointer))
    }

    /// Whether a key of any object in these files is such a one, whatever place it has.
    pub(crate) fn any_key(&self, used: &BTreeSet<PathBuf>, is: impl Fn(&str) -> bool) -> bool {
        let mut roots = used.iter().filter_map(|path| self.root(path));
        roots.any(|root| any_key(root, &is))
    }

    /// The version of JSON Schema that a file is written in.
    pub(crate) fn draft(&self, path: &Path) -> Draft {
        let root = self.root(path).unwrap_or(&Value::Null);
        Draft::default().detect(root)
    }

    /// Whether a file says that it is in the dialect of the vocabulary.
    pub(crate) fn is_declared(&self, path: &Path) -> bool {
        self.files.get(path).is_some_and(|file| file.declared)
    }

    /// The codes of the list that a rule names; `None` where it names no file of ours.
    pub(crate) fn codes(
        &self,
        from: &Path,
        rule: &Map<String, Value>,
    ) -> Option<&Result<Vec<String>, String>> {
        self.lists.get(&codelists::file(from, rule)?)
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
            declared: false,
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
        let mut declared = false;
        if let Value::Object(root) = &mut document.value {
            root.remove("$id");
            // The dialect is 2020-12 with more keywords; the validator knows them all the same.
            if root.get("$schema").and_then(Value::as_str) == Some(lint::DIALECT) {
                root.remove("$schema");
                declared = true;
            }
            if root.get("id").is_some_and(Value::is_string) {
                root.remove("id");
            }
        }
        Self {
            document,
            declared,
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

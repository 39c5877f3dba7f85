//! Whether a policy file has the right keys with values of the right JSON type: checked by the
//! schema that is generated from [`PolicyFile`], so that every error is found at once and an editor
//! that uses the published schema says the same.

use std::sync::LazyLock;

use jsonschema::Validator;
use jsonschema::error::{ValidationError, ValidationErrorKind as Kind};
use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use super::Report;
use crate::file::PolicyFile;
use crate::judge::explain;
use crate::site::SiteFile;
use crate::source::join;

/// More errors than anyone reads at once: what is wrong then is the file.
const MAX_ERRORS: usize = 200;

/// The JSON Schema of the policy file.
pub fn policy_schema() -> Value {
    schema_of::<PolicyFile>("urn:lazaret:policy:v1", "Lazaret policy")
}

/// The JSON Schema of the site policy.
pub fn site_schema() -> Value {
    schema_of::<SiteFile>("urn:lazaret:site:v1", "Lazaret site policy")
}

fn schema_of<T: JsonSchema>(id: &str, title: &str) -> Value {
    let mut schema = schemars::schema_for!(T);
    // What may be left out has no value then; `null` is not one that could be written.
    RecursiveTransform(|schema: &mut Schema| {
        if schema.get("default") == Some(&Value::Null) {
            schema.remove("default");
        }
    })
    .transform(&mut schema);
    schema.insert("$id".into(), id.into());
    schema.insert("title".into(), title.into());
    schema.to_value()
}

/// What a kind of file must look like.
pub(super) struct Form {
    schema: Value,
    validator: Validator,
}

impl Form {
    fn new(schema: Value) -> Self {
        let validator = jsonschema::options()
            .offline()
            .build(&schema)
            .expect("the generated schema is a schema: a test builds it");
        Self { schema, validator }
    }
}

pub(super) static POLICY: LazyLock<Form> = LazyLock::new(|| Form::new(policy_schema()));
pub(super) static SITE: LazyLock<Form> = LazyLock::new(|| Form::new(site_schema()));

/// Reports what does not fit, and takes it out of the document: an unknown key goes, a broken or
/// missing value becomes `null`, which the schema allows nowhere and
/// [`Written`](crate::file::Written) reads as "broken". Indices stay, so that pointers stay right.
pub(super) fn mend(form: &Form, value: &mut Value, report: &mut Report) {
    let Form { schema, validator } = form;
    let mut broken = Vec::new();
    let mut uncertain = Vec::new();
    let mut found = 0;
    let mut list = |pointer: &str, message: String, help: Option<String>| {
        found += 1;
        match found {
            ..=MAX_ERRORS => report.error(pointer, message, help),
            n if n == MAX_ERRORS + 1 => {
                let message = format!("more than {MAX_ERRORS} errors: the rest is not listed");
                report.error("", message, None);
            }
            _ => {}
        }
    };
    for error in validator.iter_errors(value) {
        let pointer = error.instance_path().to_string();
        match error.kind() {
            Kind::AdditionalProperties { unexpected } => {
                let known = known_keys(schema, &error);
                for key in unexpected {
                    let help = suggestion(key, &known);
                    let message = format!("unknown key `{key}`");
                    list(&join(&pointer, key), message, Some(help));
                    broken.push((pointer.clone(), Defect::Unknown(key.clone())));
                }
                let absent = known.iter().filter(|k| error.instance().get(*k).is_none());
                uncertain.extend(absent.map(|key| join(&pointer, key)));
            }
            Kind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                list(&pointer, format!("the key `{key}` is missing"), None);
                broken.push((pointer, Defect::Missing(key.to_owned())));
            }
            kind => {
                let (message, help) = message(kind);
                list(&pointer, message, help);
                broken.push((pointer, Defect::Wrong));
            }
        }
    }
    report.uncertain.extend(uncertain);
    for (pointer, defect) in broken {
        report.broken = true;
        // What is gone with its parent needs no mending.
        let Some(place) = value.pointer_mut(&pointer) else {
            continue;
        };
        match (defect, place) {
            (Defect::Unknown(key), Value::Object(object)) => drop(object.remove(&key)),
            (Defect::Missing(key), Value::Object(object)) => {
                drop(object.insert(key, Value::Null));
            }
            (Defect::Unknown(_) | Defect::Missing(_), _) => {}
            (Defect::Wrong, place) => {
                *place = Value::Null;
                report.uncertain.insert(pointer);
            }
        }
    }
}

/// What is wrong with the value at a place.
enum Defect {
    /// It has this key, which means nothing.
    Unknown(String),
    /// It lacks this key.
    Missing(String),
    /// It is not a value that can be here.
    Wrong,
}

/// What is wrong with a value, and what would be right.
pub(crate) fn message(kind: &Kind) -> (String, Option<String>) {
    let (Kind::OneOfNotValid { context } | Kind::AnyOf { context }) = kind else {
        return (format!("{} here", explain(kind)), None);
    };
    let mut allowed = Vec::new();
    for error in context.iter().flatten() {
        match error.kind() {
            Kind::Constant { expected_value } => allowed.push(expected_value.to_string()),
            Kind::Enum { options } => match options.as_array() {
                Some(options) => allowed.extend(options.iter().map(Value::to_string)),
                None => allowed.push(options.to_string()),
            },
            _ => {}
        }
    }
    let help = (!allowed.is_empty()).then(|| format!("one of {}", allowed.join(", ")));
    ("not a value that is known here".into(), help)
}

/// The keys of the object schema whose `additionalProperties` failed.
fn known_keys(schema: &Value, error: &ValidationError<'_>) -> Vec<String> {
    // Behind a `$ref` only the absolute location names the place in the document.
    let place = match error.absolute_keyword_location() {
        Some(location) => location.to_string(),
        None => format!("#{}", error.schema_path()),
    };
    let path = place.split_once('#').map_or("", |(_, path)| path);
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let properties = schema.pointer(parent).and_then(|s| s.get("properties"));
    properties
        .and_then(Value::as_object)
        .map(|p| p.keys().cloned().collect())
        .unwrap_or_default()
}

pub(crate) fn suggestion(key: &str, known: &[String]) -> String {
    let nearest = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(k, key), k))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    match nearest {
        Some((_, near)) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "remove it".into(),
        None => format!("the keys here are: {}", known.join(", ")),
    }
}

//! Whether a policy file has the right keys with values of the right JSON type: checked by the
//! schema that is generated from [`PolicyFile`], so that every error is found at once and an editor
//! that uses the published schema says the same.

use std::sync::LazyLock;

use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

use super::Report;
use crate::file::PolicyFile;
use crate::judge::explain;
use crate::source::join;

/// The JSON Schema of the policy file.
pub fn policy_schema() -> Value {
    schemars::schema_for!(PolicyFile).to_value()
}

static SCHEMA: LazyLock<(Value, Validator)> = LazyLock::new(|| {
    let schema = policy_schema();
    let validator = jsonschema::options()
        .offline()
        .build(&schema)
        .expect("the generated schema is a schema: a test builds it");
    (schema, validator)
});

pub(super) fn check(value: &Value, report: &mut Report) {
    let (schema, validator) = &*SCHEMA;
    for error in validator.iter_errors(value) {
        let pointer = error.instance_path().to_string();
        match error.kind() {
            Kind::AdditionalProperties { unexpected } => {
                let place = error.schema_path().to_string();
                let known = known_keys(schema, &place, error.absolute_keyword_location());
                for key in unexpected {
                    report.error(
                        &join(&pointer, key),
                        format!("unknown key `{key}`"),
                        Some(suggestion(key, &known)),
                    );
                }
            }
            Kind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                let message = format!("the key `{key}` is missing");
                report.error(&pointer, message, None);
            }
            Kind::OneOfNotValid { context } | Kind::AnyOf { context } => {
                let allowed: Vec<String> = context
                    .iter()
                    .flatten()
                    .filter_map(|e| match e.kind() {
                        Kind::Constant { expected_value } => Some(expected_value.to_string()),
                        Kind::Enum { options } => Some(options.to_string()),
                        _ => None,
                    })
                    .collect();
                report.error(
                    &pointer,
                    "not a value that is known here".into(),
                    Some(format!("one of {}", allowed.join(", "))),
                );
            }
            kind => report.error(&pointer, format!("{} here", explain(kind)), None),
        }
    }
}

/// The keys of the object schema whose `additionalProperties` failed.
fn known_keys(
    schema: &Value,
    schema_path: &str,
    location: Option<&impl std::fmt::Display>,
) -> Vec<String> {
    // Behind a `$ref` only the absolute location names the place in the document.
    let location = location.map(ToString::to_string).unwrap_or_default();
    let path = location.split_once('#').map_or(schema_path, |(_, p)| p);
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let properties = schema.pointer(parent).and_then(|s| s.get("properties"));
    properties
        .and_then(Value::as_object)
        .map(|p| p.keys().cloned().collect())
        .unwrap_or_default()
}

fn suggestion(key: &str, known: &[String]) -> String {
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

//! Why a payload does not fit a schema, in the terms of the schema.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

/// The keyword that failed. Where a schema is just `false`, or a member is only sometimes required,
/// that is the keyword it stands under.
pub(super) fn keyword(error: &ValidationError<'_>) -> String {
    const UNDER_FALSE: &[&str] = &[
        "additionalItems",
        "additionalProperties",
        "contains",
        "items",
        "patternProperties",
        "prefixItems",
        "properties",
        "propertyNames",
        "unevaluatedItems",
        "unevaluatedProperties",
    ];
    let (under, otherwise) = match error.kind() {
        ValidationErrorKind::FalseSchema => (UNDER_FALSE, "false"),
        ValidationErrorKind::Required { .. } => {
            (["dependentRequired", "dependencies"].as_slice(), "required")
        }
        kind => return kind.keyword().to_owned(),
    };
    let place = error.schema_path().as_str();
    let found = place
        .rsplit('/')
        .take(3)
        .find(|token| under.contains(token));
    found.unwrap_or(otherwise).to_owned()
}

/// How large a payload is, as far as that matters.
pub(super) struct Size {
    /// How many values there are.
    pub(super) values: usize,
    /// How deep the deepest is.
    pub(super) depth: usize,
    /// How long the names on the ways to all values are, in bytes.
    pub(super) names: usize,
}

impl Size {
    pub(super) fn of(value: &Value) -> Self {
        let mut size = Self {
            values: 0,
            depth: 0,
            names: 0,
        };
        let mut todo = vec![(value, 0, 0_usize)];
        while let Some((value, depth, way)) = todo.pop() {
            size.values += 1;
            size.depth = size.depth.max(depth);
            size.names = size.names.saturating_add(way);
            match value {
                Value::Array(items) => todo.extend(items.iter().map(|v| (v, depth + 1, way))),
                Value::Object(members) => {
                    let members = members.iter();
                    todo.extend(members.map(|(k, v)| (v, depth + 1, way + k.len())));
                }
                _ => {}
            }
        }
        size
    }
}

/// What the schema wants, in its own terms. The crate's own messages hold the instance, which must
/// not get into answers and records.
pub(crate) fn explain(kind: &ValidationErrorKind) -> String {
    use ValidationErrorKind as K;
    match kind {
        K::AdditionalItems { limit } => format!("at most {limit} items"),
        K::MaxItems { limit } => format!("at most {limit} items"),
        K::AnyOf { .. } | K::OneOfNotValid { .. } => "none of the allowed forms fits".into(),
        K::OneOfMultipleValid { .. } => "more than one of the exclusive forms fits".into(),
        K::Constant { expected_value } => format!("must be {expected_value}"),
        K::Enum { options } => format!("must be one of {options}"),
        K::Minimum { limit } => format!("at least {limit}"),
        K::Maximum { limit } => format!("at most {limit}"),
        K::ExclusiveMinimum { limit } => format!("more than {limit}"),
        K::ExclusiveMaximum { limit } => format!("less than {limit}"),
        K::MinItems { limit } => format!("at least {limit} items"),
        K::MinLength { limit } => format!("at least {limit} characters"),
        K::MaxLength { limit } => format!("at most {limit} characters"),
        K::MinProperties { limit } => format!("at least {limit} members"),
        K::MaxProperties { limit } => format!("at most {limit} members"),
        K::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        K::Pattern { pattern } => format!("must match {pattern}"),
        K::Format { format } => format!("must have the format {format}"),
        K::Required { property } => format!("the member {property} is missing"),
        K::Type { kind } => format!("must be of type {}", types(kind)),
        K::UniqueItems => "items must differ from each other".into(),
        K::FalseSchema => "nothing is allowed here".into(),
        K::Contains => "no item fits what one of them must be".into(),
        K::PropertyNames { .. } => "a member name is not allowed".into(),
        // Only our own keywords, which say nothing of the value.
        K::Custom { message, .. } => message.clone(),
        other => format!("the keyword `{}` failed", other.keyword()),
    }
}

fn types(kind: &jsonschema::error::TypeKind) -> String {
    use jsonschema::error::TypeKind;
    match kind {
        TypeKind::Single(one) => one.to_string(),
        TypeKind::Multiple(set) => {
            let names: Vec<String> = set.iter().map(|t| t.to_string()).collect();
            names.join(" or ")
        }
    }
}

//! What keeps a schema from being used, all of it at once: a version that is not known, keywords
//! with wrong values, patterns that the engine cannot run in linear time, unknown formats.

use std::collections::BTreeSet;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, ValidationError};
use serde_json::{Map, Value, json};

use super::references::walk;
use super::schemas::options;
use super::structure::message;
use crate::source::join;

/// More than this is not listed for one file.
const MAX_DEFECTS: usize = 100;

/// How much of a text is repeated in a message, in characters.
const MAX_SHOWN: usize = 80;

/// Something wrong in one schema file.
pub(super) struct Defect {
    pub(super) pointer: String,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// All that is wrong within a file, but for its references.
pub(super) fn find(root: &Value) -> Vec<Defect> {
    let mut defects = Vec::new();
    let draft = Draft::default().detect(root);
    if draft == Draft::Unknown {
        defects.push(Defect {
            pointer: "/$schema".into(),
            message: "this version of JSON Schema is not known".into(),
            help: Some("`https://json-schema.org/draft/2020-12/schema`".into()),
        });
        return defects;
    }
    for error in meta(draft).iter_errors(root).take(MAX_DEFECTS) {
        defects.push(describe(&error));
    }
    let mut patterns = BTreeSet::new();
    walk(root, String::new(), &mut |pointer, object| {
        if defects.len() < MAX_DEFECTS {
            moved_base(pointer, object, &mut defects);
            bad_patterns(pointer, object, &mut patterns, &mut defects);
            unknown_format(draft, pointer, object, &mut defects);
        }
    });
    defects
}

/// Where in the schema something is wrong, and what.
pub(super) fn describe(error: &ValidationError<'_>) -> Defect {
    // An error of the schema of schemas has its place in the instance, one of the compiler in the
    // schema.
    let place = if error.instance_path().is_empty() {
        error.schema_path()
    } else {
        error.instance_path()
    };
    let (what, help) = match error.kind() {
        ValidationErrorKind::Referencing(error) => (error.to_string(), None),
        kind => message(kind),
    };
    Defect {
        pointer: place.to_string(),
        message: format!("not a usable JSON Schema: {what}"),
        help,
    }
}

fn meta(draft: Draft) -> jsonschema::meta::MetaValidator<'static> {
    match draft {
        Draft::Draft4 => jsonschema::draft4::meta::validator(),
        Draft::Draft6 => jsonschema::draft6::meta::validator(),
        Draft::Draft7 => jsonschema::draft7::meta::validator(),
        Draft::Draft201909 => jsonschema::draft201909::meta::validator(),
        _ => jsonschema::draft202012::meta::validator(),
    }
}

fn moved_base(pointer: &str, object: &Map<String, Value>, defects: &mut Vec<Defect>) {
    if pointer.is_empty() {
        return;
    }
    for keyword in ["$id", "$schema"] {
        if object.get(keyword).is_some_and(Value::is_string) {
            defects.push(Defect {
                pointer: format!("{pointer}/{keyword}"),
                message: format!("`{keyword}` within a schema changes how references are read"),
                help: Some("remove it, or give this schema a file of its own".into()),
            });
        }
    }
}

fn bad_patterns(
    pointer: &str,
    object: &Map<String, Value>,
    good: &mut BTreeSet<String>,
    defects: &mut Vec<Defect>,
) {
    let pattern = object.get("pattern").and_then(Value::as_str);
    let pattern = pattern.map(|pattern| (pattern, format!("{pointer}/pattern")));
    let members = object.get("patternProperties").and_then(Value::as_object);
    let names = members.into_iter().flat_map(Map::keys).map(|pattern| {
        let at = join(&format!("{pointer}/patternProperties"), pattern);
        (pattern.as_str(), at)
    });
    for (pattern, pointer) in pattern.into_iter().chain(names) {
        if good.contains(pattern) {
            continue;
        }
        if options().build(&json!({ "pattern": pattern })).is_ok() {
            good.insert(pattern.to_owned());
            continue;
        }
        defects.push(Defect {
            pointer,
            message: format!("the pattern `{}` cannot be used", shortened(pattern)),
            help: Some(
                "a regular expression that runs in linear time: without look-around and \
                 back-references, and of moderate size"
                    .into(),
            ),
        });
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn unknown_format(
    draft: Draft,
    pointer: &str,
    object: &Map<String, Value>,
    defects: &mut Vec<Defect>,
) {
    let Some(format) = object.get("format").and_then(Value::as_str) else {
        return;
    };
    if !options().is_known_format(draft, format) {
        defects.push(Defect {
            pointer: format!("{pointer}/format"),
            message: format!("the format `{}` is not known", shortened(format)),
            help: Some("use `pattern`".into()),
        });
    }
}

//! Keywords that mean nothing: a validator takes an unknown keyword for a remark, so that a rule
//! with a typing error lets everything through. And rules whose value is not what it can be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind as Kind;
use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use super::{Finding, Lint, META};
use crate::compile::Schemas;
use crate::compile::flatten::{BY_NAME, LIST, ONE, PLAIN};
use crate::compile::structure::{message, suggestion};
use crate::diagnostic::Severity;
use crate::source::join;

/// Keywords of 2020-12 that assert nothing.
const REMARKS: &[&str] = &[
    "$anchor",
    "$comment",
    "$defs",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$recursiveAnchor",
    "$recursiveRef",
    "$ref",
    "$schema",
    "$vocabulary",
    "contentSchema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];

/// How many letters a keyword may differ from a rule's to be taken for it.
const MAX_DISTANCE: usize = 3;

/// The rules of the vocabulary, each with a validator of its value.
static RULES: LazyLock<BTreeMap<String, Rule>> = LazyLock::new(|| {
    let meta: Value = serde_json::from_str(META).expect("the meta-schema is JSON: a test reads it");
    let rules = meta["properties"].as_object().cloned().unwrap_or_default();
    let rule = |(keyword, reference): (String, Value)| {
        let place = reference["$ref"].as_str().unwrap_or_default();
        let schema = meta.pointer(place.trim_start_matches('#'));
        let keys = schema.and_then(|s| s["properties"].as_object());
        let validator = jsonschema::options()
            .offline()
            .build(&json!({ "$ref": place, "$defs": meta["$defs"] }))
            .expect("the meta-schema is a schema: a test builds it");
        let keys = keys.into_iter().flat_map(Map::keys).cloned().collect();
        (keyword, Rule { validator, keys })
    };
    rules.into_iter().map(rule).collect()
});

struct Rule {
    validator: Validator,
    /// The keys of its value.
    keys: Vec<String>,
}

/// Whether any file has a rule, or what is most likely meant for one. A key that begins like a rule
/// counts wherever it stands: what is no schema here may be taken for one elsewhere.
pub(super) fn uses_vocabulary(schemas: &Schemas, used: &BTreeSet<PathBuf>) -> bool {
    let mut found = schemas.any_key(used, |key| key.starts_with("sdc"));
    for file in used {
        each(schemas.root(file), &mut |_, schema| {
            found |= schema.keys().any(|key| is_rule(key));
        });
    }
    found
}

/// Reports keywords that are none, and values that a rule cannot have.
pub(super) fn check(lint: &mut Lint<'_>, used: &BTreeSet<PathBuf>, disclosure: bool) {
    let schemas = lint.schemas;
    for file in used {
        if schemas.draft(file) != Draft::Draft202012 {
            continue;
        }
        let declared = schemas.is_declared(file);
        each(schemas.root(file), &mut |pointer, schema| {
            for (keyword, value) in schema {
                let at = join(pointer, keyword);
                if let Some(rule) = RULES.get(keyword) {
                    values(lint, file, &at, rule, value);
                    if keyword == "sdcCodelist" {
                        codelist(lint, file, &at, value);
                    }
                } else if !is_standard(keyword) {
                    unknown(lint, file, &at, keyword, declared, disclosure);
                }
            }
        });
    }
}

fn unknown(
    lint: &mut Lint<'_>,
    file: &Path,
    at: &str,
    keyword: &str,
    declared: bool,
    disclosure: bool,
) {
    let rule = is_rule(keyword);
    // Remarks of one's own are usual outside the dialect, which has no place for them.
    if !rule && !declared && keyword.starts_with("x-") {
        return;
    }
    let severity = match rule || declared {
        true => Severity::Error,
        false if disclosure => lint.terms.severity(),
        false => Severity::Warning,
    };
    let message = format!(
        "unknown keyword `{}`: it holds back nothing",
        shortened(keyword)
    );
    let help = match nearest(keyword) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "remove it, or write it as `$comment`".into(),
    };
    let finding = Finding::error("sdc-unknown-keyword", message, help).with(severity);
    lint.at_source(file, at, finding);
}

fn values(lint: &mut Lint<'_>, file: &Path, at: &str, rule: &Rule, value: &Value) {
    for error in rule.validator.iter_errors(value) {
        let at = format!("{at}{}", error.instance_path().as_str());
        let wrong = |message, help: Option<String>| {
            let help = help.unwrap_or_else(|| "see `docs/disclosure.md`".into());
            Finding::error("sdc-value", message, help)
        };
        match error.kind() {
            Kind::AdditionalProperties { unexpected } => {
                for key in unexpected {
                    let help = suggestion(key, &rule.keys);
                    let message = format!("unknown key `{}`", shortened(key));
                    lint.at_source(file, &join(&at, key), wrong(message, Some(help)));
                }
            }
            Kind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                let message = format!("the key `{key}` is missing");
                lint.at_source(file, &at, wrong(message, None));
            }
            kind => {
                let (what, help) = message(kind);
                lint.at_source(
                    file,
                    &at,
                    wrong(format!("not a usable value: {what}"), help),
                );
            }
        }
    }
}

/// Reports a code list that cannot be read.
fn codelist(lint: &mut Lint<'_>, file: &Path, at: &str, value: &Value) {
    let Some(rule) = value.as_object() else {
        return;
    };
    let schemas = lint.schemas;
    let why = match schemas.codes(file, rule) {
        Some(Ok(_)) | None => return,
        Some(Err(why)) => why,
    };
    let message = format!("the code list {why}");
    let help = "a file beside the schema, one code in a line, each line ended by a line feed";
    let finding = Finding::error("sdc-codelist", message, help);
    lint.at_source(file, &join(at, "list"), finding);
}

/// Visits every schema as it is written, used or not.
fn each(root: Option<&Value>, visit: &mut impl FnMut(&str, &Map<String, Value>)) {
    let mut todo: Vec<(String, &Value)> = root.map(|r| (String::new(), r)).into_iter().collect();
    while let Some((pointer, schema)) = todo.pop() {
        let Value::Object(schema) = schema else {
            continue;
        };
        visit(&pointer, schema);
        for (keyword, value) in schema {
            let name = keyword.as_str();
            let at = join(&pointer, name);
            match value {
                Value::Object(members)
                    if BY_NAME.contains(&name) || ["$defs", "definitions"].contains(&name) =>
                {
                    todo.extend(members.iter().map(|(name, s)| (join(&at, name), s)));
                }
                Value::Array(list) if LIST.contains(&name) => {
                    todo.extend(list.iter().enumerate().map(|(i, s)| (join(&at, i), s)));
                }
                value if ONE.contains(&name) => todo.push((at, value)),
                _ => {}
            }
        }
    }
}

fn is_standard(keyword: &str) -> bool {
    let lists = [ONE, LIST, BY_NAME, PLAIN, REMARKS];
    lists.iter().any(|list| list.contains(&keyword))
}

/// Whether a keyword is a rule's, or meant for one.
fn is_rule(keyword: &str) -> bool {
    if keyword.len() > 2 * MAX_SHOWN {
        return false;
    }
    keyword.starts_with("sdc")
        || keyword.to_lowercase().starts_with("sdc")
        || (!is_standard(keyword) && RULES.contains_key(nearest(keyword).unwrap_or_default()))
}

/// The keyword that another one was most likely meant for.
fn nearest(keyword: &str) -> Option<&'static str> {
    if keyword.len() > 2 * MAX_SHOWN {
        return None;
    }
    let lists = [ONE, LIST, BY_NAME, PLAIN, REMARKS];
    let standard = lists.into_iter().flatten().copied();
    let all = standard.chain(RULES.keys().map(String::as_str));
    let lower = keyword.to_lowercase();
    all.map(|known| {
        let distance = strsim::damerau_levenshtein(&known.to_lowercase(), &lower);
        (distance, known)
    })
    .min()
    .filter(|(distance, known)| *distance <= MAX_DISTANCE && distance * 3 <= known.len())
    .map(|(_, known)| known)
}

/// How much of a name is repeated, in characters.
const MAX_SHOWN: usize = 40;

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

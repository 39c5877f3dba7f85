//! What tests of the rules share: a rule alone against a value, and the example contracts and
//! payloads of the folder `../shared/fixtures/disclosure` (or below what `LAZARET_SHARED` names).

use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::{Value, json};

use super::{Finding, Findings, Rule, register};
use crate::Reason;

/// Makes a rule from its keyword in a schema.
pub(super) fn rule<R: Rule>(keyword: &str, schema: &Value) -> Result<R, String> {
    let keywords = schema.as_object().expect("a schema is an object");
    R::new(&schema[keyword], keywords)
}

/// What the keyword in a schema finds: the code and the place of each finding.
pub(super) fn found<R: Rule>(
    keyword: &str,
    schema: &Value,
    value: &Value,
) -> Vec<(&'static str, String)> {
    let rule: R = rule(keyword, schema).unwrap_or_else(|why| panic!("{why}"));
    found_by(&rule, value)
}

/// What a rule finds. That both ways to ask agree, and that each finding says what would pass, holds
/// for all of them.
pub(super) fn found_by(rule: &dyn Rule, value: &Value) -> Vec<(&'static str, String)> {
    let found = Findings::of(rule, value);
    assert_eq!(Findings::any(rule, value), !found.is_empty(), "{value}");
    let pair = |Finding {
                    reason,
                    pointer,
                    message,
                }| {
        assert!(!String::is_empty(&message), "{reason} at {pointer:?}");
        (Reason::code(reason), pointer)
    };
    found.into_iter().map(pair).collect()
}

/// Why a keyword cannot be used, for each value of it that lacks, changes or adds a member.
pub(super) fn assert_strict<R: Rule>(
    keyword: &str,
    schema: &Value,
    optional: &[&str],
    wrong: &[(&str, Value, &str)],
) {
    let why = |schema: &Value| rule::<R>(keyword, schema).err().unwrap_or_default();
    assert_eq!(why(schema), "");
    let names: Vec<String> = schema[keyword]
        .as_object()
        .expect("members")
        .keys()
        .cloned()
        .collect();
    for name in names
        .iter()
        .filter(|name| !optional.contains(&name.as_str()))
    {
        let mut broken = schema.clone();
        broken[keyword]
            .as_object_mut()
            .expect("members")
            .remove(name);
        assert!(
            why(&broken).contains(&format!("lacks `{name}`")),
            "{name}: {}",
            why(&broken)
        );
    }
    let unknown = ("surplus", json!(1), "knows no member `surplus`");
    for (name, value, expected) in wrong.iter().chain([&unknown]) {
        let mut broken = schema.clone();
        broken[keyword][*name] = value.clone();
        let why = why(&broken);
        assert!(why.contains(expected), "{name} = {value}: {why:?}");
    }
    for value in [json!([]), json!("x"), json!(null)] {
        let mut broken = schema.clone();
        broken[keyword] = value;
        assert!(why(&broken).contains(&format!("`{keyword}` needs an object")));
    }
}

/// One of the example contracts, compiled with all rules; `None` if the folder is absent.
pub(super) fn example_contract(name: &str) -> Option<Validator> {
    let contract = example(&format!("contracts/{name}.schema.json"))?;
    let options = register(jsonschema::options());
    Some(
        options
            .build(&contract)
            .unwrap_or_else(|why| panic!("{name}: {why}")),
    )
}

/// One of the example files; `None`, and a note, if the folder is absent.
pub(super) fn example(name: &str) -> Option<Value> {
    let folder = std::env::var_os("LAZARET_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let folder = folder.join("fixtures/disclosure");
    if !folder.is_dir() {
        eprintln!("{} is absent: nothing is tested", folder.display());
        return None;
    }
    let text = fs::read_to_string(folder.join(name)).expect("the folder is whole");
    Some(serde_json::from_str(&text).expect("an example is JSON"))
}

/// The codes of what a contract's rules find in a payload.
pub(super) fn codes(contract: &Validator, payload: &Value) -> Vec<&'static str> {
    let of = |error: ValidationError<'_>| match error.kind() {
        ValidationErrorKind::Custom { message, .. } => {
            let found = Finding::read_all(message).into_iter();
            let codes: Vec<_> = found.map(|finding| finding.reason.code()).collect();
            assert!(!codes.is_empty(), "{message}");
            codes
        }
        _ => vec![Reason::SchemaMismatch.code()],
    };
    let codes: Vec<_> = contract.iter_errors(payload).flat_map(of).collect();
    assert_eq!(contract.is_valid(payload), codes.is_empty());
    codes
}

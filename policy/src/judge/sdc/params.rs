//! Reading the value of a keyword: what is missing, unknown or of another type keeps a contract from
//! loading.

use serde_json::{Map, Value};

use crate::judge::json::MAX_SAFE_INTEGER;

/// The members of a keyword's value, if it is an object that has all of `required`, and nothing but
/// those and `optional`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn members<'v>(
    keyword: &str,
    value: &'v Value,
    required: &[&str],
    optional: &[&str],
) -> Result<&'v Map<String, Value>, String> {
    let Some(members) = value.as_object() else {
        let (names, between) = match required {
            [] => (optional, " or "),
            _ => (required, " and "),
        };
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        let names = names.join(between);
        return Err(format!("`{keyword}` needs an object with {names}"));
    };
    for name in required {
        if !members.contains_key(*name) {
            return Err(format!("`{keyword}` lacks `{name}`"));
        }
    }
    for name in members.keys() {
        if !required.contains(&name.as_str()) && !optional.contains(&name.as_str()) {
            return Err(format!("`{keyword}` knows no member `{name}`"));
        }
    }
    Ok(members)
}

/// A whole number of at most 2^53-1 in size: `12`, not `12.5`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn integer(keyword: &str, name: &str, value: &Value) -> Result<i64, String> {
    let integer = match value {
        Value::Number(number) => super::Decimal::from_number(number).and_then(|n| n.as_integer()),
        _ => None,
    };
    integer
        .filter(|integer| integer.unsigned_abs() <= MAX_SAFE_INTEGER)
        .ok_or_else(|| format!("`{name}` of `{keyword}` must be a whole number"))
}

/// Whether `numeric` says that the cell holds its number as a text.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn is_text(keyword: &str, members: &Map<String, Value>) -> Result<bool, String> {
    match members.get("numeric").map(Value::as_str) {
        None => Ok(false),
        Some(Some("string")) => Ok(true),
        Some(_) => Err(format!(
            "`numeric` of `{keyword}` is \"string\", or left out where the cell holds numbers"
        )),
    }
}

//! Code lists: the files that `sdcCodelist` names, beside the schema that it stands in. One code in
//! a line, each line ended by a line feed, so that the digest that the contract gives is the one of
//! the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::beside;
use super::references::walk;

/// The most codes in a list: above the whole of ICD-10-CM.
const MAX_CODES: usize = 100_000;

/// The longest name of a list, in bytes.
const MAX_NAME: usize = 128;

/// The codes of each file, or why it is no code list.
pub(crate) type Codelists = BTreeMap<PathBuf, Result<Vec<String>, String>>;

/// Reads all files.
pub(super) fn parse_all(files: &BTreeMap<PathBuf, Result<String, String>>) -> Codelists {
    let parsed =
        |text: &Result<String, String>| text.as_deref().map_err(Clone::clone).and_then(parse);
    files
        .iter()
        .map(|(path, text)| (path.clone(), parsed(text)))
        .collect()
}

/// The file that a rule names.
pub(super) fn file(schema: &Path, rule: &Map<String, Value>) -> Option<PathBuf> {
    let (name, _) = rule.get("list")?.as_str()?.rsplit_once("@sha256:")?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let local = !name.starts_with('.') && name.len() <= MAX_NAME && name.bytes().all(plain);
    (local && !name.is_empty()).then(|| beside(schema, name))
}

/// The files that the rules of a schema name.
pub(super) fn named(path: &Path, schema: &Value) -> Vec<PathBuf> {
    let mut files = Vec::new();
    walk(schema, String::new(), &mut |_, object| {
        let rule = object.get("sdcCodelist").and_then(Value::as_object);
        files.extend(rule.and_then(|rule| file(path, rule)));
    });
    files
}

fn parse(text: &str) -> Result<Vec<String>, String> {
    let lines = text.strip_suffix('\n');
    let codes: Vec<String> = (lines.ok_or("does not end with a line feed")?.split('\n'))
        .map(str::to_owned)
        .collect();
    if codes.len() > MAX_CODES {
        return Err(format!("has more than {MAX_CODES} codes"));
    }
    let broken = |code: &String| {
        code.is_empty() || code.trim() != code || code.chars().any(char::is_control)
    };
    match codes.iter().position(broken) {
        Some(i) => Err(format!(
            "line {} is empty, or begins or ends with a blank, or holds a control character",
            i + 1
        )),
        None => Ok(codes),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_code_in_a_line() {
        assert_eq!(parse("I\nII\nIX\n").unwrap(), ["I", "II", "IX"]);
        assert_eq!(parse("two words\n").unwrap(), ["two words"]);
        for text in [
            "",
            "I",
            "I\n\nII\n",
            "\n",
            "I\r\nII\r\n",
            " I\n",
            "I \n",
            "I\tb\n",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse(&"x\n".repeat(MAX_CODES + 1)).is_err());
    }

    #[test]
    fn names_are_files_beside_the_schema() {
        let file = |list: &str| {
            let rule = json!({ "list": list });
            super::file(Path::new("/a/c.json"), rule.as_object().unwrap())
        };
        assert_eq!(file("icd10@sha256:00"), Some("/a/icd10".into()));
        for list in [
            "icd10",
            "../x@sha256:00",
            "/x@sha256:00",
            "a/b@sha256:00",
            "@sha256:00",
            "..@sha256:00",
        ] {
            assert_eq!(file(list), None, "{list}");
        }
    }
}

//! `sdcCodelist`: a label is a code of a list that is shipped beside the contract.
//!
//! A contract names its list by file and digest, `icd10-chapter@sha256:…`. A keyword cannot read files:
//! the loader puts the codes of the file beside `list`, as `codes`, before rules are made. They are
//! checked here, wherever they come from. The digest is that of all codes, in their order and each
//! with a line feed behind it; so it is what `sha256sum` says of the file.

use std::collections::HashSet;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::params::members;
use super::{Findings, Rule};
use crate::Reason;
use crate::judge::text::is_clean;

/// The most codes of a list: more than ICD-10-CM has.
const MAX_CODES: usize = 100_000;

/// The longest code, in bytes.
const MAX_CODE: usize = 256;

/// The longest name of a list, in bytes.
const MAX_NAME: usize = 128;

/// `sdcCodelist`.
#[derive(Debug)]
pub(crate) struct Codelist {
    name: String,
    codes: HashSet<String>,
}

/// Reads `name@sha256:hex`.
fn name_and_digest(list: &Value) -> Option<(&str, &str)> {
    let (name, sha256) = list.as_str()?.split_once("@sha256:")?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let named = (1..=MAX_NAME).contains(&name.len()) && !name.starts_with('.');
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let digest = sha256.len() == 64 && sha256.bytes().all(hex);
    (named && name.bytes().all(plain) && digest).then_some((name, sha256))
}

fn check(codes: &[&str]) -> Result<(), String> {
    if codes.is_empty() || codes.len() > MAX_CODES {
        return Err(format!("a code list has from 1 to {MAX_CODES} codes"));
    }
    let mut seen = HashSet::with_capacity(codes.len());
    for (i, code) in codes.iter().enumerate() {
        let why = if code.trim().is_empty() || code.trim() != *code {
            "is empty, or has blanks around it"
        } else if code.len() > MAX_CODE {
            "is too long"
        } else if !is_clean(code) {
            "is not in Unicode normal form C, or holds control or format characters"
        } else if !seen.insert(code) {
            "is there twice"
        } else {
            continue;
        };
        return Err(format!("code {} of the list {why}", i + 1));
    }
    Ok(())
}

fn digest(codes: &[&str]) -> String {
    let mut hash = Sha256::new();
    for code in codes {
        hash.update(code);
        hash.update("\n");
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

impl Rule for Codelist {
    fn new(value: &Value, _: &Map<String, Value>) -> Result<Self, String> {
        let members = members("sdcCodelist", value, &["list"], &["codes"])?;
        let Some((name, sha256)) = name_and_digest(&members["list"]) else {
            let wanted = "`list` of `sdcCodelist` is a file name of ASCII letters, digits, `-`, `_` \
                          and `.`, then `@sha256:` and 64 hexadecimal digits in lower case";
            return Err(wanted.into());
        };
        let Some(codes) = members.get("codes") else {
            return Err(format!(
                "the codes of the list `{name}` could not be read: they are in a file of that name \
                 beside the schema, one in a line"
            ));
        };
        let texts = codes.as_array().into_iter().flatten();
        let texts: Option<Vec<&str>> = texts.map(Value::as_str).collect();
        let codes = texts.ok_or("`codes` of `sdcCodelist` is a list of texts")?;
        check(&codes)?;
        let found = digest(&codes);
        if found != sha256 {
            return Err(format!(
                "the list `{name}` is another than `sdcCodelist` names: its digest is sha256:{found}"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            codes: codes.into_iter().map(str::to_owned).collect(),
        })
    }

    fn check(&self, value: &Value, found: &mut Findings) {
        if !value
            .as_str()
            .is_some_and(|label| self.codes.contains(label))
        {
            let message = || format!("a code of the list `{}`", self.name);
            found.push(Reason::SdcLabel, "", message);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `printf 'I\nII\nIX\n' | sha256sum`
    const SHA256: &str = "376bf14e470c1a37feb95f4acd95944f48d445a4c545184b0be3c397fe11f090";

    fn keyword(codes: Value) -> Value {
        json!({"list": format!("icd10-chapter@sha256:{SHA256}"), "codes": codes})
    }

    fn why(value: &Value) -> String {
        Codelist::new(value, &Map::new()).unwrap_err()
    }

    #[test]
    fn labels_are_codes_of_the_list() {
        let rule = Codelist::new(&keyword(json!(["I", "II", "IX"])), &Map::new()).unwrap();
        for (value, passes) in [
            (json!("IX"), true),
            (json!("I21.4"), false),
            (json!("ix"), false),
            (json!("IX "), false),
            (json!(""), false),
            (json!(9), false),
            (json!(null), false),
            (json!(["IX"]), false),
        ] {
            let found = Findings::of(&rule, &value);
            assert_eq!(found.is_empty(), passes, "{value}");
            for finding in found {
                assert_eq!(finding.reason, Reason::SdcLabel);
                assert_eq!(finding.message, "a code of the list `icd10-chapter`");
            }
        }
    }

    #[test]
    fn codes_are_told_apart_by_people() {
        for (codes, expected) in [
            (json!([]), "from 1 to"),
            (json!(["I", "", "IX"]), "code 2 of the list is empty"),
            (
                json!(["I", " II"]),
                "code 2 of the list is empty, or has blanks",
            ),
            (json!(["I", "II", "I"]), "code 3 of the list is there twice"),
            (json!(["e\u{301}"]), "code 1 of the list is not in Unicode"),
            (json!(["I\tV"]), "code 1 of the list is not in Unicode"),
            (json!(["x".repeat(MAX_CODE + 1)]), "too long"),
            (json!(vec!["x"; MAX_CODES + 1]), "from 1 to"),
        ] {
            let error = why(&keyword(codes));
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_list_is_what_its_digest_says() {
        let digest = why(&keyword(json!(["I", "IX", "II"])));
        assert!(digest.contains("its digest is sha256:"), "{digest}");
        for (value, expected) in [
            (json!("icd10"), "needs an object"),
            (json!({"list": "icd10"}), "64 hexadecimal digits"),
            (
                json!({"list": format!("../x@sha256:{SHA256}")}),
                "64 hexadecimal digits",
            ),
            (
                json!({"list": format!(".x@sha256:{SHA256}")}),
                "64 hexadecimal digits",
            ),
            (
                json!({"list": format!("x@sha256:{}", SHA256.to_uppercase())}),
                "in lower case",
            ),
            (
                json!({"list": format!("x@sha256:{SHA256}")}),
                "a file of that name beside",
            ),
            (keyword(json!("I")), "from 1 to"),
            (keyword(json!([1])), "a list of texts"),
            (
                keyword(json!(["I", "I"])),
                "code 2 of the list is there twice",
            ),
        ] {
            let error = why(&value);
            assert!(error.contains(expected), "{error}");
        }
    }
}

//! Policies and schemas from text, and their findings as lines.

use std::path::Path;

use lazaret_policy::compile::load_schema;
use lazaret_policy::{Contract, Diagnostics, Policy, load};
use serde_json::Value;
use tempfile::TempDir;

/// The first four lines of a policy that lets plain text go anywhere; what a test adds begins at
/// line 5.
pub(crate) const HEAD: &str = "apiVersion: lazaret/v1\nkind: Policy\n\
    metadata: { name: p, producer: a, consumer: b }\nrequire_encryption: false\n";

/// A closed schema, for policies that need one.
pub(crate) const CLOSED: &str = r#"{"type":"object","properties":{"n":{"type":"integer","minimum":10,"maximum":99}},"required":["n"],"additionalProperties":false}"#;

/// A folder with these files.
pub(crate) fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it is in the folder")).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// Loads `policy.yaml` out of a folder with these files beside it.
pub(crate) fn load_with(
    text: &str,
    files: &[(&str, &str)],
) -> Result<(Policy, Vec<String>), Vec<String>> {
    let folder = folder(files);
    let path = folder.path().join("policy.yaml");
    std::fs::write(&path, text).unwrap();
    match load(&path) {
        Ok((policy, warnings)) => Ok((policy, lines(&warnings, folder.path()))),
        Err(errors) => Err(lines(&errors, folder.path())),
    }
}

/// What is found in a policy, one line for each finding:
/// `[file:]line:column severity: message | help`.
pub(crate) fn findings(text: &str, files: &[(&str, &str)]) -> Vec<String> {
    match load_with(text, files) {
        Ok((_, findings)) | Err(findings) => findings,
    }
}

/// A policy that loads without findings.
pub(crate) fn sound(text: &str, files: &[(&str, &str)]) -> Policy {
    let (policy, findings) = load_with(text, files).unwrap_or_else(|e| panic!("{}", e.join("\n")));
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    policy
}

/// Loads a bare schema.
pub(crate) fn contract_of(schema: &Value) -> Result<(Contract, Diagnostics), Diagnostics> {
    let folder = folder(&[("schema.json", &schema.to_string())]);
    load_schema(&folder.path().join("schema.json"), 1 << 20, 32)
}

/// A contract from a schema that is usable, open or not.
pub(crate) fn contract(schema: &Value) -> Contract {
    match contract_of(schema) {
        Ok((contract, _)) => contract,
        Err(errors) => panic!("{schema}\n{errors}"),
    }
}

pub(crate) fn lines(findings: &Diagnostics, folder: &Path) -> Vec<String> {
    (findings.iter())
        .map(|d| {
            let file = d.file.strip_prefix(folder).unwrap_or(&d.file);
            let file = match file.to_str() {
                Some("policy.yaml") => String::new(),
                _ => format!("{}:", file.display()),
            };
            let help = d.help.iter().map(|help| format!(" | {help}"));
            format!(
                "{file}{}:{} {}: {}{}",
                d.line,
                d.column,
                d.severity,
                d.message,
                help.collect::<String>()
            )
        })
        .collect()
}

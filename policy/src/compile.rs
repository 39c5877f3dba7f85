//! From files to a [`Policy`]: reads the policy and every schema it uses, and reports all errors
//! at once. What compiles cannot fail later.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::file::PolicyFile;
use crate::source::{Document, Place};
use crate::{Contract, Policy};

mod circles;
mod contracts;
mod defects;
mod exchanges;
mod overlap;
mod references;
mod rules;
mod schemas;
mod structure;
mod text;

pub(crate) use schemas::Schemas;
pub use structure::policy_schema;

/// No policy or schema file is larger than this, in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The bytes of a policy and of every schema file it uses: what is compiled, and what the digest
/// is taken of. Reading and compiling are apart so that a change can be noticed without compiling.
#[derive(Clone, Debug)]
pub struct Bundle {
    path: PathBuf,
    files: BTreeMap<PathBuf, Result<String, String>>,
}

/// Loads a policy. The findings that came with it are warnings.
///
/// # Errors
/// All that is wrong with the policy and its schemas.
pub fn load(path: &Path) -> Result<(Policy, Diagnostics), Diagnostics> {
    Bundle::read(path).compile()
}

/// Loads a bare contract schema, as `lazaret judge --schema` does, with these limits.
///
/// # Errors
/// All that is wrong with the schema.
pub fn load_schema(
    path: &Path,
    max_bytes: usize,
    max_depth: u16,
) -> Result<(Contract, Diagnostics), Diagnostics> {
    let mut files = BTreeMap::new();
    references::read_closure(path, &mut files);
    let schemas = Schemas::new(&files);
    let mut report = Report::new(path.to_owned(), Document::default());
    let contract = schemas
        .contract(path, &mut report, false)
        .map(|parts| Contract {
            name: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into(),
            media_type: "application/json".into(),
            max_bytes,
            max_depth,
            validator: parts.validator,
            known_names: parts.known_names,
            shape: parts.shape,
        });
    report.finish(contract)
}

impl Bundle {
    /// Reads the policy file and the schema files it names. What cannot be read is remembered as
    /// such and reported by [`Bundle::compile`].
    pub fn read(path: &Path) -> Self {
        let mut files = BTreeMap::new();
        let text = read_file(path);
        if let Ok(text) = &text
            && let Ok(document) = Document::parse(text)
        {
            let contracts = document.value.get("contracts").and_then(|c| c.as_object());
            for contract in contracts.into_iter().flat_map(|c| c.values()) {
                if let Some(schema) = contract.get("schema").and_then(|s| s.as_str())
                    && is_local(schema)
                {
                    references::read_closure(&beside(path, schema), &mut files);
                }
            }
        }
        files.insert(path.to_owned(), text);
        Self {
            path: path.to_owned(),
            files,
        }
    }

    /// SHA-256 over all files, lower-case hex. File names count relative to the policy, so that a
    /// policy keeps its digest wherever it is mounted.
    pub fn digest(&self) -> String {
        let policy = references::normal(&self.path);
        let folder = policy.parent().unwrap_or(Path::new(""));
        let files: BTreeMap<PathBuf, _> = (self.files.iter())
            .map(|(path, text)| {
                (
                    references::relative(folder, &references::normal(path)),
                    text,
                )
            })
            .collect();
        let mut hash = Sha256::new();
        hash.update(b"lazaret policy bundle v1\n");
        for (name, text) in files {
            let (found, text) = match text {
                Ok(text) => (1u8, text),
                Err(error) => (0, error),
            };
            for part in [name.as_os_str().as_encoded_bytes(), text.as_bytes()] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            hash.update([found]);
        }
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Compiles what was read. The findings that come with a policy are warnings.
    ///
    /// # Errors
    /// All that is wrong with the policy and its schemas.
    pub fn compile(&self) -> Result<(Policy, Diagnostics), Diagnostics> {
        let file = |place: Place, message: String| {
            let mut report = Report::new(self.path.clone(), Document::default());
            report.at_place(self.path.clone(), place, "", Severity::Error, message, None);
            report.finish::<Policy>(None)
        };
        let text = match &self.files[&self.path] {
            Ok(text) => text,
            Err(error) => return file(Place::default(), error.clone()),
        };
        let document = match Document::parse(text) {
            Ok(document) => document,
            Err(error) => return file(error.place, error.message),
        };
        let mut value = document.value.clone();
        let mut report = Report::new(self.path.clone(), document);
        structure::mend(&mut value, &mut report);
        if value.is_null() {
            return report.finish(None);
        }
        let policy = match serde_json::from_value::<PolicyFile>(value) {
            Ok(file) => rules::policy(&file, self, &mut report),
            Err(error) => {
                // The generated schema and the types come from one source; this is for the case
                // that they ever differ.
                report.error("", format!("not a policy: {error}"), None);
                None
            }
        };
        report.finish(policy)
    }
}

/// Collects findings about one policy file and the schemas beside it.
pub(crate) struct Report {
    path: PathBuf,
    document: Document,
    findings: Diagnostics,
    /// Whether a key or a value of the policy is not what can be there.
    broken: bool,
    /// Where something may be missing only because it is broken, or its key is written wrongly.
    uncertain: BTreeSet<String>,
}

impl Report {
    fn new(path: PathBuf, document: Document) -> Self {
        Self {
            path,
            document,
            findings: Diagnostics::default(),
            broken: false,
            uncertain: BTreeSet::new(),
        }
    }

    pub(crate) fn error(&mut self, pointer: &str, message: String, help: Option<String>) {
        self.at(pointer, Severity::Error, message, help);
    }

    /// Reports that one of these is missing, unless that only follows from what is reported anyway.
    fn lack(
        &mut self,
        absent: &[&str],
        pointer: &str,
        severity: Severity,
        message: String,
        help: Option<String>,
    ) {
        if !absent.iter().any(|p| self.uncertain.contains(*p)) {
            self.at(pointer, severity, message, help);
        }
    }

    pub(crate) fn at(
        &mut self,
        pointer: &str,
        severity: Severity,
        message: String,
        help: Option<String>,
    ) {
        let place = self.document.place(pointer);
        self.at_place(self.path.clone(), place, pointer, severity, message, help);
    }

    pub(crate) fn at_place(
        &mut self,
        file: PathBuf,
        place: Place,
        pointer: &str,
        severity: Severity,
        message: String,
        help: Option<String>,
    ) {
        self.findings.push(Diagnostic {
            severity,
            file,
            line: place.line,
            column: place.column,
            pointer: pointer.to_owned(),
            message,
            help,
        });
    }

    fn finish<T>(mut self, value: Option<T>) -> Result<(T, Diagnostics), Diagnostics> {
        self.findings.sort();
        match value {
            Some(value) if !self.findings.has_errors() => Ok((value, self.findings)),
            _ => Err(self.findings),
        }
    }
}

pub(crate) fn beside(policy: &Path, name: &str) -> PathBuf {
    let joined = policy.parent().unwrap_or(Path::new("")).join(name);
    references::normal(&joined)
}

/// Whether a name can only mean a file that is found from the policy's own place.
fn is_local(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('/') && !name.contains([':', '\0'])
}

fn read_file(path: &Path) -> Result<String, String> {
    let describe = |error: std::io::Error| format!("cannot be read: {error}");
    // A pipe or a device may never end.
    if !std::fs::metadata(path).map_err(describe)?.is_file() {
        return Err("cannot be read: it is no file".into());
    }
    let file = std::fs::File::open(path).map_err(describe)?;
    let mut bytes = Vec::new();
    (file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)).map_err(describe)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("is larger than {MAX_FILE_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        format!("is not UTF-8, in line {}", line + 1)
    })
}

#[cfg(test)]
pub(crate) fn text_rule_for_tests(schema: serde_json::Value) -> crate::value::TextRule {
    crate::value::TextRule::new(schemas::options().build(&schema).unwrap())
}

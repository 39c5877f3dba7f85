//! From files to a [`Policy`]: reads the policy and every schema it uses, and reports all errors
//! at once. What compiles cannot fail later.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::diagnostic::{Diagnostics, Severity};
use crate::file::PolicyFile;
use crate::lint::Terms;
use crate::site::Site;
use crate::source::{Document, Place};
use crate::{Contract, Policy};

mod circles;
mod codelists;
mod contracts;
mod defects;
mod encryption;
mod exchanges;
pub(crate) mod flatten;
mod overlap;
mod pem;
mod references;
mod report;
mod rules;
mod schemas;
mod site;
pub(crate) mod structure;
mod text;
mod tls;

use contracts::{Limits, assemble};
pub(crate) use references::any_key;
pub(crate) use report::Report;
pub(crate) use schemas::Schemas;
pub use site::load_site;
pub use structure::{policy_schema, site_schema};

/// No policy or schema file is larger than this, in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The most files of roots and revocation lists that one policy reads.
const MAX_PEM_FILES: usize = 64;

/// The bytes of a policy and of every schema and PEM file it uses: what is compiled, and what the digest
/// is taken of. Reading and compiling are apart so that a change can be noticed without compiling.
#[derive(Clone, Debug)]
pub struct Bundle {
    path: PathBuf,
    files: BTreeMap<PathBuf, Result<String, String>>,
    /// The code lists that the schemas name.
    lists: BTreeMap<PathBuf, Result<String, String>>,
    /// The roots and revocation lists that the rules name.
    pems: BTreeMap<PathBuf, Result<String, String>>,
    site: Option<(PathBuf, Result<String, String>)>,
}

/// Loads a policy. The findings that came with it are warnings.
///
/// # Errors
/// All that is wrong with the policy and its schemas.
pub fn load(path: &Path) -> Result<(Policy, Diagnostics), Diagnostics> {
    load_with_site(path, None)
}

/// Loads a policy that must hold to a site policy. The findings that came with it are warnings.
///
/// # Errors
/// All that is wrong with the policy, its schemas and the site policy.
pub fn load_with_site(
    path: &Path,
    site: Option<&Path>,
) -> Result<(Policy, Diagnostics), Diagnostics> {
    Bundle::read_with_site(path, site).compile()
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
    let site = Site::default();
    let terms = Terms {
        strict: false,
        every: false,
        site: &site,
        max_bytes,
    };
    load_schema_on(path, &terms, max_depth)
}

/// Loads a bare contract schema on these terms.
///
/// # Errors
/// All that is wrong with the schema.
pub fn load_schema_on(
    path: &Path,
    terms: &Terms<'_>,
    max_depth: u16,
) -> Result<(Contract, Diagnostics), Diagnostics> {
    let (mut files, mut lists) = (BTreeMap::new(), BTreeMap::new());
    references::read_closure(path, &mut files, &mut lists);
    let schemas = Schemas::new(&files, &lists);
    let mut report = Report::new(path.to_owned(), Document::default());
    let contract = schemas
        .contract(path, &mut report, terms)
        .and_then(|parts| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let limits = Limits {
                media_type: "application/json".into(),
                max_bytes: terms.max_bytes,
                max_depth,
                horizon: terms.site.horizon,
            };
            assemble(&name, limits, parts, &schemas, path, &mut report)
        });
    report.finish(contract)
}

impl Bundle {
    /// Reads the policy file and the schema files it names. What cannot be read is remembered as
    /// such and reported by [`Bundle::compile`].
    pub fn read(path: &Path) -> Self {
        Self::read_with_site(path, None)
    }

    /// As [`Bundle::read`], with the site policy that the policy must hold to.
    pub fn read_with_site(path: &Path, site: Option<&Path>) -> Self {
        let (mut files, mut lists) = (BTreeMap::new(), BTreeMap::new());
        let mut pems = BTreeMap::new();
        let text = read_file(path);
        if let Ok(text) = &text
            && let Ok(document) = Document::parse(text)
        {
            let contracts = document.value.get("contracts").and_then(|c| c.as_object());
            for contract in contracts.into_iter().flat_map(|c| c.values()) {
                if let Some(schema) = contract.get("schema").and_then(|s| s.as_str())
                    && is_local(schema)
                {
                    references::read_closure(&beside(path, schema), &mut files, &mut lists);
                }
            }
            for name in tls::named(&document.value) {
                read_pem(beside(path, name), &mut pems);
            }
        }
        files.insert(path.to_owned(), text);
        Self {
            path: path.to_owned(),
            files,
            lists,
            pems,
            site: site.map(|site| (site.to_owned(), read_file(site))),
        }
    }

    /// The site policy; the usual one when none was given, or when it is broken, which is reported.
    fn site(&self, report: &mut Report) -> Site {
        let Some((path, text)) = &self.site else {
            return Site::default();
        };
        site::compile(path, text).unwrap_or_else(|errors| {
            report.findings.extend(errors);
            Site::default()
        })
    }

    /// SHA-256 over all files, lower-case hex. File names count relative to the policy, so that a
    /// policy keeps its digest wherever it is mounted.
    pub fn digest(&self) -> String {
        let policy = references::normal(&self.path);
        let folder = policy.parent().unwrap_or(Path::new(""));
        let files = self.files.iter().chain(&self.lists).chain(&self.pems);
        let files: BTreeMap<PathBuf, _> = files
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
        // Its name is the operator's affair. Without one, the digest is that of the policy alone.
        if let Some((_, text)) = &self.site {
            let text = text.as_ref().unwrap_or_else(|error| error);
            hash.update(b"site");
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
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
        structure::mend(&structure::POLICY, &mut value, &mut report);
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

pub(crate) fn beside(policy: &Path, name: &str) -> PathBuf {
    let joined = policy.parent().unwrap_or(Path::new("")).join(name);
    references::normal(&joined)
}

/// Whether a name can only mean a file that is found from the policy's own place.
fn is_local(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('/') && !name.contains([':', '\0'])
}

fn read_pem(path: PathBuf, pems: &mut BTreeMap<PathBuf, Result<String, String>>) {
    let full = pems.len() >= MAX_PEM_FILES;
    pems.entry(path).or_insert_with_key(|path| match full {
        true => Err(format!(
            "is not read: a policy has at most {MAX_PEM_FILES} PEM files"
        )),
        false => read_file(path),
    });
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
    crate::value::TextRule::new(schemas::options().build(&schema).unwrap(), schema)
}

#[cfg(test)]
pub(crate) fn validator_for_tests(schema: &serde_json::Value) -> jsonschema::Validator {
    schemas::options().build(schema).unwrap()
}

//! Whether a contract keeps what its disclosure rules promise: checked once, when it is loaded.
//!
//! A rule holds back nothing where it is misspelt, where a keyword does not assert, where a pointer
//! leads nowhere, or where a number has no rule at all. Each of these is a finding with a stable
//! code, its place in the file, and what to write instead. The checks work on the schema without
//! references ([`flatten`](crate::compile)), but for those of names, which look at every file as
//! it is written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::compile::flatten::{Flat, Unflat};
use crate::compile::{Report, Schemas};
use crate::diagnostic::{Diagnostic, Severity};
use crate::openness::{self, Carrier};
use crate::site::Site;

mod capacity;
pub(crate) mod floor;
mod markers;
mod names;
mod patterns;
mod places;
mod pointers;
mod positions;

pub(crate) use patterns::longest;

/// The dialect of JSON Schema that has the disclosure rules: 2020-12 and `urn:lazaret:sdc:1`.
pub const DIALECT: &str = "urn:lazaret:meta:sdc:1";

/// The meta-schema of [`DIALECT`], as published for editors.
pub const META: &str = include_str!("../../schemas/sdc.meta.schema.json");

/// More findings than anyone reads at once.
const MAX_FINDINGS: usize = 200;

/// What a contract is held to.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'t> {
    /// Open and uncovered places are errors.
    pub strict: bool,
    /// A contract needs disclosure rules even if it has none.
    pub every: bool,
    /// What no contract may be looser than.
    pub site: &'t Site,
    /// The largest body, in bytes.
    pub max_bytes: usize,
}

impl Terms<'_> {
    /// How bad an open place is.
    pub(crate) fn severity(&self) -> Severity {
        if self.strict {
            Severity::Error
        } else {
            Severity::Warning
        }
    }
}

/// One finding, but for its place.
struct Finding {
    severity: Severity,
    code: &'static str,
    message: String,
    help: String,
}

impl Finding {
    fn error(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            help: help.into(),
        }
    }

    fn with(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }
}

/// A run over one contract.
struct Lint<'l> {
    schemas: &'l Schemas,
    report: &'l mut Report,
    terms: Terms<'l>,
    found: usize,
    refused: bool,
}

impl Lint<'_> {
    /// Adds a finding about a place in a schema file.
    fn at_source(&mut self, file: &Path, pointer: &str, finding: Finding) {
        self.found += 1;
        self.refused |= finding.severity == Severity::Error;
        if self.found > MAX_FINDINGS {
            return;
        }
        let (file, place, pointer) = self.schemas.place(file, pointer, self.report);
        let Finding {
            severity,
            code,
            message,
            help,
        } = finding;
        self.report.push(Diagnostic {
            severity,
            code: Some(code),
            file,
            line: place.line,
            column: place.column,
            pointer,
            message,
            help: Some(help),
        });
    }

    /// Adds a finding about a place in the flattened schema.
    fn at_flat(&mut self, flat: &Flat, pointer: &str, finding: Finding) {
        let (file, pointer) = flat.origin(pointer);
        self.at_source(&file, &pointer, finding);
    }
}

/// What came of the checks.
pub(crate) struct Linted {
    /// Whether disclosure rules are asked of the contract. If not, it was not checked for open
    /// places.
    pub(crate) disclosure: bool,
    /// Whether there was an error.
    pub(crate) refused: bool,
}

/// Checks a contract.
pub(crate) fn lint(
    schemas: &Schemas,
    root: &Path,
    used: &BTreeSet<PathBuf>,
    flat: &Result<Flat, Unflat>,
    terms: &Terms<'_>,
    carrier: Carrier,
    report: &mut Report,
) -> Linted {
    let uses = names::uses_vocabulary(schemas, used);
    let declared = used.iter().any(|file| schemas.is_declared(file));
    let mut lint = Lint {
        schemas,
        report,
        terms: Terms {
            strict: terms.strict || declared,
            ..*terms
        },
        found: 0,
        refused: false,
    };
    let disclosure = run(&mut lint, root, used, flat, carrier, uses || declared);
    if lint.found > MAX_FINDINGS {
        let message = format!("more than {MAX_FINDINGS} findings: the rest is not listed");
        lint.found = 0;
        lint.at_source(
            root,
            "",
            Finding::error("sdc-too-many", message, "mend these first"),
        );
    }
    Linted {
        disclosure,
        refused: lint.refused,
    }
}

/// All checks. Whether disclosure rules are asked of the contract.
fn run(
    lint: &mut Lint<'_>,
    root: &Path,
    used: &BTreeSet<PathBuf>,
    flat: &Result<Flat, Unflat>,
    carrier: Carrier,
    uses: bool,
) -> bool {
    if carrier == Carrier::Text {
        if uses {
            let message = "disclosure rules hold for bodies, not for parameters or headers";
            let help = "`enum`, or `pattern` and `maxLength`";
            lint.at_source(root, "", Finding::error("sdc-not-here", message, help));
        }
        return false;
    }
    let disclosure = uses || lint.terms.every;
    names::check(lint, used, disclosure);
    if !disclosure {
        return false;
    }
    match flat {
        Ok(flat) => check(lint, flat),
        Err(Unflat { file, pointer, why }) => {
            let finding = Finding::error(why.code(), why.message(), why.help());
            lint.at_source(file, pointer, finding);
        }
    }
    true
}

fn check(lint: &mut Lint<'_>, flat: &Flat) {
    let places = places::of(&flat.value);
    positions::check(lint, flat, &places);
    let covered = pointers::check(lint, flat, &places);
    for place in &places {
        floor::check(lint, flat, place);
        markers::check(lint, flat, place);
        patterns::check(lint, flat, place);
    }
    open(lint, flat, &covered);
    capacity::check(lint, flat);
}

/// Places that are open, and numbers without a rule.
fn open(lint: &mut Lint<'_>, flat: &Flat, covered: &openness::Covered) {
    let schemas = Schemas::single(flat.value.clone());
    let severity = lint.terms.severity();
    for open in openness::find(Path::new(""), &schemas, Carrier::Body, Some(covered)) {
        let finding = Finding::error(open.code(), open.message(), open.help()).with(severity);
        lint.at_flat(flat, &open.pointer, finding);
    }
}

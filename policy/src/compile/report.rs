//! Findings, as they are collected.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::source::{Document, Place};

/// Collects findings about one policy file and the schemas beside it.
pub(crate) struct Report {
    path: PathBuf,
    document: Document,
    pub(super) findings: Diagnostics,
    /// Whether a key or a value of the policy is not what can be there.
    pub(super) broken: bool,
    /// Where something may be missing only because it is broken, or its key is written wrongly.
    pub(super) uncertain: BTreeSet<String>,
}

impl Report {
    pub(super) fn new(path: PathBuf, document: Document) -> Self {
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
    pub(super) fn lack(
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
            code: None,
            file,
            line: place.line,
            column: place.column,
            pointer: pointer.to_owned(),
            message,
            help,
        });
    }

    /// Adds a finding of another kind of check.
    pub(crate) fn push(&mut self, finding: Diagnostic) {
        self.findings.push(finding);
    }

    /// The place of a member of the file.
    pub(crate) fn place(&self, pointer: &str) -> (PathBuf, Place) {
        (self.path.clone(), self.document.place(pointer))
    }

    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<(T, Diagnostics), Diagnostics> {
        self.findings.sort();
        match value {
            Some(value) if !self.findings.has_errors() => Ok((value, self.findings)),
            _ => Err(self.findings),
        }
    }
}

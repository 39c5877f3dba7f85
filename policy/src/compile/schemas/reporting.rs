//! What is wrong with schemas, reported where it stands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Schemas;
use crate::compile::circles::{Circle, Circles};
use crate::compile::references::{references, target};
use crate::compile::{Report, defects};
use crate::diagnostic::{Diagnostic, Severity};
use crate::lint::Terms;
use crate::openness::{self, Carrier};
use crate::source::Place;

impl Schemas {
    pub(super) fn report_open(
        &self,
        path: &Path,
        carrier: Carrier,
        terms: &Terms<'_>,
        report: &mut Report,
    ) {
        let severity = terms.severity();
        for open in openness::find(path, self, carrier, None) {
            let (message, help) = (open.message(), Some(open.help()));
            self.report_at(&open.file, &open.pointer, report, severity, message, help);
        }
    }

    pub(super) fn report_broken(&self, path: &Path, report: &mut Report) -> bool {
        let file = &self.files[path];
        if let Some((place, message)) = &file.error {
            let path = path.to_owned();
            report.at_place(path, *place, "", Severity::Error, message.clone(), None);
            return true;
        }
        let mut broken = false;
        for (reference, pointer) in references(&file.document.value) {
            let leads_to = target(path, &reference);
            let what = match &leads_to {
                Err(why) => why,
                Ok(Some(_)) if self.inline.is_some() => "leads out of the policy",
                Ok(Some(to)) if self.files.get(to).is_none_or(|f| f.error.is_some()) => {
                    "leads to a file that is not usable"
                }
                Ok(_) => match self.resolve(path, &reference) {
                    None => "leads nowhere",
                    Some((to, at, _)) if !self.is_schema(&to, &at) => {
                        "leads to a place that has no schema: write it under `$defs`"
                    }
                    Some(_) => continue,
                },
            };
            let message = format!("the reference `{reference}` {what}");
            self.report_at(path, &pointer, report, Severity::Error, message, None);
            broken = true;
        }
        for defect in defects::find(&file.document.value) {
            let (pointer, message) = (&defect.pointer, defect.message);
            self.report_at(path, pointer, report, Severity::Error, message, defect.help);
            broken = true;
        }
        broken
    }

    pub(super) fn report_circles(
        &self,
        circles: &mut Circles<'_>,
        used: &BTreeSet<PathBuf>,
        report: &mut Report,
    ) -> bool {
        let found = used.iter().find_map(|path| circles.search(path).err());
        if let Some(circle) = &found {
            self.report_circle(circle, report);
        }
        found.is_some()
    }

    pub(super) fn report_circle(&self, circle: &Circle, report: &mut Report) {
        let (pointer, what) = (&circle.pointer, circle.what.to_owned());
        self.report_at(&circle.file, pointer, report, Severity::Error, what, None);
    }

    /// Reports why a schema cannot be compiled; of a rule, as the value that it cannot have.
    pub(super) fn report_defect(
        &self,
        path: &Path,
        pointer: &str,
        report: &mut Report,
        message: String,
        help: Option<String>,
    ) {
        let (file, place, pointer) = self.place(path, pointer, report);
        let keyword = pointer.rsplit('/').next().unwrap_or_default();
        report.push(Diagnostic {
            severity: Severity::Error,
            code: keyword.starts_with("sdc").then_some("sdc-value"),
            file,
            line: place.line,
            column: place.column,
            pointer,
            message,
            help,
        });
    }

    pub(super) fn report_at(
        &self,
        path: &Path,
        pointer: &str,
        report: &mut Report,
        severity: Severity,
        message: String,
        help: Option<String>,
    ) {
        let (file, place, pointer) = self.place(path, pointer, report);
        report.at_place(file, place, &pointer, severity, message, help);
    }

    /// The file, place and pointer that a finding in a schema names.
    pub(crate) fn place(
        &self,
        path: &Path,
        pointer: &str,
        report: &Report,
    ) -> (PathBuf, Place, String) {
        if let Some(base) = &self.inline {
            let pointer = format!("{base}{pointer}");
            let (file, place) = report.place(&pointer);
            return (file, place, pointer);
        }
        let file = self.files.get(path);
        let place = file.map(|f| f.document.place(pointer)).unwrap_or_default();
        (path.to_owned(), place, pointer.to_owned())
    }
}

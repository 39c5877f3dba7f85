//! From a written site policy to a typed one.

use std::path::Path;

use super::contracts::size;
use super::{Report, read_file, structure};
use crate::diagnostic::{Diagnostics, Severity};
use crate::site::{LEGAL_FLOOR, Nk, Site, SiteFile};
use crate::source::{Document, Place};

/// Loads a site policy.
///
/// # Errors
/// All that is wrong with it.
pub fn load_site(path: &Path) -> Result<Site, Diagnostics> {
    compile(path, &read_file(path))
}

pub(super) fn compile(path: &Path, text: &Result<String, String>) -> Result<Site, Diagnostics> {
    let fail = |place: Place, message: String| {
        let mut report = Report::new(path.to_owned(), Document::default());
        report.at_place(path.to_owned(), place, "", Severity::Error, message, None);
        report.finish::<Site>(None)
    };
    let parsed = match text {
        Ok(text) => Document::parse(text).map_err(|error| (error.place, error.message)),
        Err(error) => Err((Place::default(), error.clone())),
    };
    let finished = match parsed {
        Ok(document) => site(path, document),
        Err((place, message)) => fail(place, message),
    };
    finished.map(|(site, _)| site)
}

fn site(path: &Path, document: Document) -> Result<(Site, Diagnostics), Diagnostics> {
    let mut value = document.value.clone();
    let mut report = Report::new(path.to_owned(), document);
    structure::mend(&structure::SITE, &mut value, &mut report);
    if value.is_null() {
        return report.finish(None);
    }
    let site = match serde_json::from_value::<SiteFile>(value) {
        Ok(file) => typed(&file, &mut report),
        Err(error) => {
            report.error("", format!("not a site policy: {error}"), None);
            None
        }
    };
    report.finish(site)
}

fn typed(file: &SiteFile, report: &mut Report) -> Option<Site> {
    let nk = file.nk.sound();
    let max_bytes =
        (file.max_bytes.sound()).and_then(|written| size(written, "/max_bytes", report));
    let k_floor = *file.k_floor.sound()?;
    let k = *file.k.sound()?;
    if k < k_floor {
        let message = format!("the usual minimum is below the lowest one, {k_floor}");
        report.error("/k", message, Some("write `k_floor` or more".into()));
    }
    if k_floor < LEGAL_FLOOR {
        report.error("/k_floor", format!("at least {LEGAL_FLOOR} here"), None);
    }
    Some(Site {
        k_floor,
        k,
        zero: *file.zero.sound()?,
        df_floor: *file.df_floor.sound()?,
        param_ratio: *file.param_ratio.sound()?,
        nk: Nk {
            n: *nk?.n.sound()?,
            k: *nk?.k.sound()?,
        },
        p: *file.p.sound()?,
        max_bits: *file.max_bits.sound()?,
        max_bytes: max_bytes? as u64,
        horizon: file.horizon.sound()?.span()?,
    })
}

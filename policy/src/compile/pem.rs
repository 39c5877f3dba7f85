//! PEM files (RFC 7468) of what others must be: roots and revocation lists. Each section is held
//! against what the gateway reads it with, so that it cannot fail there later.
//!
//! Text between sections is a remark, as OpenSSL writes it; a line of it that could be meant as a
//! border is an error, because a revocation list that is skipped would revoke nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use webpki::{OwnedCertRevocationList, anchor_from_trusted_cert};

/// More than this is not listed for one file.
const MAX_DEFECTS: usize = 100;

/// What a file must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Certificates that are trusted.
    Roots,
    /// Certificate revocation lists.
    Crls,
}

/// Something wrong in a file.
#[derive(Debug)]
pub(super) struct Defect {
    /// From 1.
    pub(super) line: usize,
    pub(super) message: String,
    pub(super) help: String,
}

/// What is between a border and the next.
struct Section<'t> {
    /// The line of its border.
    line: usize,
    label: &'t str,
    base64: String,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::Roots => "CERTIFICATE",
            Self::Crls => "X509 CRL",
        }
    }

    /// What to do about a file or a section that is no such thing.
    fn help(self) -> String {
        let label = self.label();
        format!("PEM: sections between `-----BEGIN {label}-----` and `-----END {label}-----`")
    }
}

/// All that the file holds, in DER; at least one.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn parse(text: &str, kind: Kind) -> Result<Vec<Vec<u8>>, Vec<Defect>> {
    let (sections, mut defects) = sections(text, kind);
    if sections.is_empty() && defects.is_empty() {
        let message = format!("there is no `{}` here", kind.label());
        defects.push(defect(1, message, kind));
    }
    let mut all = Vec::new();
    for section in sections {
        match section.der(kind) {
            Ok(der) => all.push(der),
            Err(message) => defects.push(defect(section.line, message, kind)),
        }
    }
    defects.truncate(MAX_DEFECTS);
    defects.sort_by_key(|defect| defect.line);
    if defects.is_empty() {
        Ok(all)
    } else {
        Err(defects)
    }
}

fn defect(line: usize, message: String, kind: Kind) -> Defect {
    Defect {
        line,
        message,
        help: kind.help(),
    }
}

fn sections(text: &str, kind: Kind) -> (Vec<Section<'_>>, Vec<Defect>) {
    let (mut sections, mut defects) = (Vec::new(), Vec::new());
    let mut open: Option<Section<'_>> = None;
    let unended = |section: &Section<'_>| {
        let message = format!("`{}` begins here and does not end", section.label);
        defect(section.line, message, kind)
    };
    for (i, line) in text.lines().enumerate() {
        if defects.len() >= MAX_DEFECTS {
            return (sections, defects);
        }
        let (number, line) = (i + 1, line.trim());
        let begins = border(line, "BEGIN");
        match open.take() {
            Some(mut section) if !line.contains("--") => {
                section.base64.push_str(line);
                open = Some(section);
                continue;
            }
            Some(section) if border(line, "END") == Some(section.label) => sections.push(section),
            Some(section) => defects.push(unended(&section)),
            None if begins.is_none() && line.contains("----") => {
                let message = "this line neither begins nor ends anything".to_owned();
                defects.push(defect(number, message, kind));
            }
            None => {}
        }
        open = begins.map(|label| Section {
            line: number,
            label,
            base64: String::new(),
        });
    }
    defects.extend(open.iter().map(unended));
    (sections, defects)
}

/// The label of a line that begins or ends a section.
fn border<'t>(line: &'t str, which: &str) -> Option<&'t str> {
    let label = line.strip_prefix("-----")?.strip_prefix(which)?;
    let label = label.strip_prefix(' ')?.strip_suffix("-----")?;
    (!label.is_empty() && !label.contains('-')).then_some(label)
}

impl Section<'_> {
    fn der(&self, kind: Kind) -> Result<Vec<u8>, String> {
        let label = kind.label();
        if self.label != label {
            return Err(format!("`{}` does not belong here", self.label));
        }
        let der = STANDARD
            .decode(&self.base64)
            .map_err(|_| format!("this `{label}` is not Base64"))?;
        let usable = match kind {
            Kind::Roots => anchor_from_trusted_cert(&CertificateDer::from(&*der)).map(drop),
            Kind::Crls => {
                let list = CertificateRevocationListDer::from(&*der);
                OwnedCertRevocationList::from_der(&list).map(drop)
            }
        };
        match usable {
            Ok(()) => Ok(der),
            Err(error) => Err(format!("this `{label}` cannot be used: {error}")),
        }
    }
}

//! Why a schema has no form without references.

use std::path::PathBuf;

use super::{MAX_DEPTH, MAX_TEXT, MAX_VALUES};

/// Why a schema has no form without references, and where that shows.
#[derive(Clone, Debug)]
pub(crate) struct Unflat {
    pub(crate) file: PathBuf,
    pub(crate) pointer: String,
    pub(crate) why: Why,
}

/// See [`Unflat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// A part is not in draft 2020-12.
    Draft,
    /// It leads back to itself.
    Recursive,
    /// It has a reference that depends on how it was reached.
    Dynamic,
    /// It would be larger than a limit.
    Large,
    /// It would be nested deeper than a limit.
    Deep,
    /// A reference leads to what is no schema.
    Broken,
}

impl Why {
    /// What is wrong, as a sentence.
    pub(crate) fn message(self) -> String {
        match self {
            Self::Draft => "disclosure rules need JSON Schema 2020-12: older versions ignore what \
                            stands beside a `$ref`"
                .into(),
            Self::Recursive => "this schema refers to itself, so that what it lets through has no \
                                bound"
                .into(),
            Self::Dynamic => "a `$dynamicRef` leads elsewhere from place to place, so that it \
                              cannot be checked"
                .into(),
            Self::Large => format!(
                "with every `$ref` written out, the schema has more than {MAX_VALUES} values or \
                 {MAX_TEXT} bytes of text"
            ),
            Self::Deep => {
                format!("with every `$ref` written out, schemas are nested deeper than {MAX_DEPTH}")
            }
            Self::Broken => "this reference leads to what is no schema".into(),
        }
    }

    /// What would be right.
    pub(crate) fn help(self) -> &'static str {
        match self {
            Self::Draft => "`\"$schema\": \"https://json-schema.org/draft/2020-12/schema\"`",
            Self::Recursive => "write out as many levels as are needed",
            Self::Dynamic => "`$ref`",
            Self::Large => "fewer references to large schemas within each other",
            Self::Deep => "fewer levels",
            Self::Broken => "a `$ref` to an object or to `true` or `false`",
        }
    }

    /// The code of the finding.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Draft => "sdc-draft",
            Self::Recursive => "sdc-recursion",
            Self::Dynamic => "sdc-dynamic-ref",
            Self::Large | Self::Deep | Self::Broken => "sdc-expansion",
        }
    }
}

//! Rules of statistical disclosure control as keywords of JSON Schema: the vocabulary
//! `urn:lazaret:sdc:1`.
//!
//! One module per family of rules. Each rule is a [`Rule`]: made once from its value in a contract,
//! asked for each value that it stands at, pure, exact, and without state. What it finds names a
//! [`Reason`], the place below its own, and what would pass, and holds no value of the payload. A
//! contract whose rules cannot be made does not load.
//!
//! A keyword sees the value at which it stands and all schemas below it, not what is around it. So
//! a rule about several members stands on the lowest object or array that holds all of them, and
//! names them by [`Pointer`]s below itself. References have been replaced by what they refer to
//! before rules are made, so that a rule can look at the schemas of the members that it names.

use jsonschema::paths::Location;
use jsonschema::{Keyword, ValidationError, ValidationOptions};
use serde_json::{Map, Value};

use crate::Reason;

mod aggregate;
mod cell;
mod codelist;
mod contributors;
mod decimal;
mod dominance;
mod evidence;
mod histogram;
mod leaf;
mod model;
mod params;
pub(crate) mod pointer;
mod quantiles;
mod rate;
mod rows;
mod survival;
pub(crate) mod table;
#[cfg(test)]
mod testing;
mod text;

pub(crate) use cell::{CellRule, CellValue, schemas_at};
pub(crate) use decimal::Decimal;
pub(crate) use evidence::{evidence_pointers, strip};
pub(crate) use pointer::{Pointer, Token};

/// Between the parts of what a keyword tells the validator, which knows only one text.
const SEPARATOR: char = '\u{1f}';

/// Between the findings of one keyword, which are one error: the validator copies the value at which
/// a keyword stands into each error, so many errors about a large value would be many such values.
const NEXT: char = '\u{1e}';

/// A rule of disclosure control, compiled.
pub(crate) trait Rule: Send + Sync {
    /// Makes the rule from the value of its keyword, and from the schema that the keyword stands
    /// in, for the keywords beside it and the schemas below.
    ///
    /// # Errors
    /// What is wrong with the value.
    fn new(value: &Value, schema: &Map<String, Value>) -> Result<Self, String>
    where
        Self: Sized;

    /// Looks at a value for which the rule stands.
    fn check(&self, value: &Value, found: &mut Findings);
}

/// What a rule has found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The verdict alone is asked for: one finding is enough.
    first_only: bool,
    found: Vec<Finding>,
}

/// One thing that a rule objects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What is wrong.
    pub(crate) reason: Reason,
    /// Where, from the place of the rule on (RFC 6901).
    pub(crate) pointer: String,
    /// What would pass; written from the contract alone.
    pub(crate) message: String,
}

/// Adds all keywords of the vocabulary.
pub(crate) fn register(options: ValidationOptions<'static>) -> ValidationOptions<'static> {
    options
        .with_keyword("sdcMinCount", make::<leaf::MinCount>)
        .with_keyword("sdcSuppressed", make::<leaf::Suppressed>)
        .with_keyword("sdcRound", make::<leaf::Round>)
        .with_keyword("sdcPrecision", make::<leaf::Precision>)
        .with_keyword("sdcMeta", make::<leaf::Meta>)
        .with_keyword("sdcText", make::<text::Text>)
        .with_keyword("sdcCodelist", make::<codelist::Codelist>)
        .with_keyword("sdcContributors", make::<contributors::Contributors>)
        .with_keyword("sdcRate", make::<rate::Rate>)
        .with_keyword("sdcModel", make::<model::Model>)
        .with_keyword("sdcDominance", make::<dominance::Dominance>)
        .with_keyword("sdcQuantiles", make::<quantiles::Quantiles>)
        .with_keyword("sdcHistogram", make::<histogram::Histogram>)
        .with_keyword("sdcSurvival", make::<survival::Survival>)
        .with_keyword("sdcRows", make::<rows::Rows>)
        .with_keyword("sdcTable", make::<table::Table>)
}

impl Findings {
    /// All that a rule objects to in a value.
    pub(crate) fn of(rule: &dyn Rule, value: &Value) -> Vec<Finding> {
        let mut findings = Self::default();
        rule.check(value, &mut findings);
        findings.found
    }

    /// Whether a rule objects to anything in a value.
    pub(crate) fn any(rule: &dyn Rule, value: &Value) -> bool {
        let mut findings = Self {
            first_only: true,
            found: Vec::new(),
        };
        rule.check(value, &mut findings);
        !findings.found.is_empty()
    }

    /// Whether a rule need look no further.
    pub(crate) fn enough(&self) -> bool {
        (self.first_only && !self.found.is_empty()) || self.found.len() >= super::MAX_VIOLATIONS
    }

    /// Adds a finding. `message` is only asked for when somebody reads it.
    pub(crate) fn push<M: Into<String>>(
        &mut self,
        reason: Reason,
        pointer: impl Into<String>,
        message: impl FnOnce() -> M,
    ) {
        let message = if self.first_only {
            String::new()
        } else {
            message().into()
        };
        self.found.push(Finding {
            reason,
            pointer: pointer.into(),
            message,
        });
    }
}

/// A rule as the validator knows it.
struct Adapter<R>(R);

impl<'i, R: Rule> Keyword<'i> for Adapter<R> {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        match Findings::of(&self.0, instance).into_iter().next() {
            None => Ok(()),
            Some(finding) => Err(finding.into_error()),
        }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        !Findings::any(&self.0, instance)
    }

    fn iter_errors(
        &self,
        instance: &'i Value,
    ) -> Box<dyn Iterator<Item = ValidationError<'i>> + 'i> {
        let found = Findings::of(&self.0, instance);
        let texts: Vec<_> = found.into_iter().map(Finding::into_text).collect();
        let error = (!texts.is_empty()).then(|| texts.join(&NEXT.to_string()));
        Box::new(error.map(ValidationError::custom).into_iter())
    }
}

impl Finding {
    fn into_error<'i>(self) -> ValidationError<'i> {
        ValidationError::custom(self.into_text())
    }

    fn into_text(self) -> String {
        let Self {
            reason,
            pointer,
            message,
        } = self;
        let code = reason.code();
        // Names in a pointer are the sender's own, and must not end it.
        let pointer = pointer.replace([SEPARATOR, NEXT], "*");
        let message = message.replace(NEXT, "*");
        format!("{code}{SEPARATOR}{pointer}{SEPARATOR}{message}")
    }

    /// Reads all that a keyword has found; nothing if another keyword wrote the message.
    pub(crate) fn read_all(message: &str) -> Vec<Self> {
        message.split(NEXT).filter_map(Self::read).collect()
    }

    /// Reads what [`Finding::into_error`] has written; `None` if another keyword wrote it.
    pub(crate) fn read(message: &str) -> Option<Self> {
        let mut parts = message.splitn(3, SEPARATOR);
        let reason = Reason::from_code(parts.next()?)?;
        let pointer = parts.next()?.to_owned();
        let message = parts.next()?.to_owned();
        Some(Self {
            reason,
            pointer,
            message,
        })
    }
}

/// The factory of a rule, as the validator wants it.
fn make<'s, R: Rule + 'static>(
    schema: &'s Map<String, Value>,
    value: &'s Value,
    _: Location,
) -> Result<Box<dyn for<'i> Keyword<'i>>, ValidationError<'s>> {
    match R::new(value, schema) {
        Ok(rule) => Ok(Box::new(Adapter(rule))),
        Err(why) => Err(ValidationError::schema(why)),
    }
}

#[cfg(test)]
mod tests {
    use jsonschema::error::ValidationErrorKind;
    use serde_json::json;

    use super::*;

    #[test]
    fn all_findings_of_a_keyword_are_one_error() {
        let schema = json!({
            "properties": {"n": {}, "stats": {"additionalProperties": {}}},
            "sdcContributors": {"n": "/n", "min": 10, "stats": ["/stats/*"]},
        });
        let contract = register(jsonschema::options()).build(&schema).unwrap();
        let value = json!({"n": 3, "stats": {"a": 1, "b\u{1e}c\u{1f}d": 2, "e": 3}});
        let mut errors = contract.iter_errors(&value);
        let error = errors.next().unwrap();
        assert!(errors.next().is_none());
        let ValidationErrorKind::Custom { message, .. } = error.kind() else {
            panic!("{error}");
        };
        let found = Finding::read_all(message);
        let pointers: Vec<_> = found
            .iter()
            .map(|finding| finding.pointer.as_str())
            .collect();
        assert_eq!(pointers, ["/stats/a", "/stats/b*c*d", "/stats/e"]);
        assert!(
            found
                .iter()
                .all(|finding| finding.reason == Reason::SdcContributors)
        );
        assert!(
            found
                .iter()
                .all(|finding| finding.message == found[0].message)
        );
        assert_eq!(Finding::read_all("items must differ from each other"), []);
    }
}

//! From the bytes of a body to a verdict: a pure function.
//!
//! size → media type → content encoding → strict I-JSON (RFC 7493) → schema → RFC 8785. What is
//! validated is the value of the canonical form, and the canonical form is what leaves, so judge
//! and receiver see the same value, and white space, key order, escapes and the spelling of
//! numbers carry nothing.

use jsonschema::error::ValidationErrorKind;
use serde::Serialize;
use serde_json::Value;

use crate::source::join;
use crate::{Contract, Reason};

pub mod canonical;
pub mod json;

/// No more violations than this are looked for: enough to mend a payload, and a bound on the work
/// that a hostile one can cause.
pub const MAX_VIOLATIONS: usize = 100;

/// One thing that keeps a payload from leaving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// What is wrong.
    #[serde(serialize_with = "reason_code")]
    pub reason: Reason,
    /// RFC 6901 pointer to the place in the payload; empty for all of it.
    pub pointer: String,
    /// The schema keyword that failed, if it was the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyword: Option<String>,
    /// What would be right. Written from the policy alone: it holds no value of the payload.
    pub message: String,
}

/// What the head of a message says about its body.
#[derive(Clone, Copy, Debug, Default)]
pub struct BodyHead<'h> {
    /// The `Content-Type` field.
    pub content_type: Option<&'h str>,
    /// The `Content-Encoding` field.
    pub content_encoding: Option<&'h str>,
}

impl Contract {
    /// Judges a body: the canonical bytes that may leave, or everything that is wrong with it.
    ///
    /// # Errors
    /// At least one violation. Only schema violations come in numbers: whatever else is wrong ends
    /// the judgement.
    pub fn judge(&self, head: BodyHead<'_>, body: &[u8]) -> Result<Vec<u8>, Vec<Violation>> {
        self.judge_head(head).map_err(|v| vec![v])?;
        if body.len() > self.max_bytes {
            return Err(vec![self.too_large()]);
        }
        self.judge_body(body)
    }

    /// Judges what the head says of the body, so that a body need not be read in vain.
    ///
    /// # Errors
    /// [`Reason::MediaType`] or [`Reason::ContentEncoding`].
    pub fn judge_head(&self, head: BodyHead<'_>) -> Result<(), Violation> {
        let violation = |reason, message| Violation {
            reason,
            pointer: String::new(),
            keyword: None,
            message,
        };
        if let Some(coding) = head.content_encoding
            && !coding.trim().eq_ignore_ascii_case("identity")
        {
            let message = "send the body without a content encoding".to_owned();
            return Err(violation(Reason::ContentEncoding, message));
        }
        if !head
            .content_type
            .is_some_and(|given| self.has_media_type(given))
        {
            let message = format!("send the body as `{}`", self.media_type);
            return Err(violation(Reason::MediaType, message));
        }
        Ok(())
    }

    /// Judges the bytes of a body.
    ///
    /// # Errors
    /// See [`Contract::judge`].
    pub fn judge_body(&self, body: &[u8]) -> Result<Vec<u8>, Vec<Violation>> {
        let value = json::parse(body, self.max_depth).map_err(|error| {
            vec![Violation {
                reason: error.reason,
                pointer: error.pointer,
                keyword: None,
                message: error.reason.text().to_owned(),
            }]
        })?;
        if !self.validator.is_valid(&value) {
            return Err(self.violations(&value));
        }
        Ok(canonical::canonical(&value))
    }

    /// The violation of a body over [`Contract::max_bytes`].
    pub fn too_large(&self) -> Violation {
        Violation {
            reason: Reason::BodyTooLarge,
            pointer: String::new(),
            keyword: None,
            message: format!("at most {} bytes", self.max_bytes),
        }
    }

    fn violations(&self, value: &Value) -> Vec<Violation> {
        let mut violations = Vec::new();
        for error in self.validator.iter_errors(value) {
            let pointer = error.instance_path().to_string();
            let keyword = error.kind().keyword().to_owned();
            let violation = |pointer, message| Violation {
                reason: Reason::SchemaMismatch,
                pointer,
                keyword: Some(keyword.clone()),
                message,
            };
            match unexpected(error.kind()) {
                Some(names) => violations.extend(names.iter().map(|name| {
                    let message = "the contract does not list this member".to_owned();
                    violation(join(&pointer, name), message)
                })),
                None => violations.push(violation(pointer, explain(error.kind()))),
            }
            if violations.len() >= MAX_VIOLATIONS {
                violations.truncate(MAX_VIOLATIONS);
                break;
            }
        }
        if violations.is_empty() {
            // The fast check and the thorough one must agree; if ever they do not, refuse.
            violations.push(Violation {
                reason: Reason::SchemaMismatch,
                pointer: String::new(),
                keyword: None,
                message: Reason::SchemaMismatch.text().to_owned(),
            });
        }
        violations
    }

    fn has_media_type(&self, given: &str) -> bool {
        let (essence, parameters) = given.split_once(';').unwrap_or((given, ""));
        // RFC 8259 §8.1: the only charset is UTF-8; anything else is another reading of the bytes.
        let charset_ok = parameters
            .split(';')
            .map(str::trim)
            .filter(|p| !p.is_empty())
            .all(|p| p.replace('"', "").eq_ignore_ascii_case("charset=utf-8"));
        charset_ok && essence.trim().eq_ignore_ascii_case(&self.media_type)
    }
}

fn unexpected(kind: &ValidationErrorKind) -> Option<&[String]> {
    match kind {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => Some(unexpected),
        _ => None,
    }
}

/// What the schema wants, in its own terms. The crate's own messages hold the instance, which must
/// not get into answers and records.
pub(crate) fn explain(kind: &ValidationErrorKind) -> String {
    use ValidationErrorKind as K;
    match kind {
        K::AdditionalItems { limit } => format!("at most {limit} items"),
        K::MaxItems { limit } => format!("at most {limit} items"),
        K::AnyOf { .. } | K::OneOfNotValid { .. } => "none of the allowed forms fits".into(),
        K::OneOfMultipleValid { .. } => "more than one of the exclusive forms fits".into(),
        K::Constant { expected_value } => format!("must be {expected_value}"),
        K::Enum { options } => format!("must be one of {options}"),
        K::Minimum { limit } => format!("at least {limit}"),
        K::Maximum { limit } => format!("at most {limit}"),
        K::ExclusiveMinimum { limit } => format!("more than {limit}"),
        K::ExclusiveMaximum { limit } => format!("less than {limit}"),
        K::MinItems { limit } => format!("at least {limit} items"),
        K::MinLength { limit } => format!("at least {limit} characters"),
        K::MaxLength { limit } => format!("at most {limit} characters"),
        K::MinProperties { limit } => format!("at least {limit} members"),
        K::MaxProperties { limit } => format!("at most {limit} members"),
        K::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        K::Pattern { pattern } => format!("must match {pattern}"),
        K::Format { format } => format!("must have the format {format}"),
        K::Required { property } => format!("the member {property} is missing"),
        K::Type { kind } => format!("must be of type {}", types(kind)),
        K::UniqueItems => "items must differ from each other".into(),
        K::FalseSchema => "nothing is allowed here".into(),
        K::Contains => "no item fits what one of them must be".into(),
        K::PropertyNames { .. } => "a member name is not allowed".into(),
        other => format!("the keyword `{}` failed", other.keyword()),
    }
}

fn types(kind: &jsonschema::error::TypeKind) -> String {
    use jsonschema::error::TypeKind;
    match kind {
        TypeKind::Single(one) => one.to_string(),
        TypeKind::Multiple(set) => {
            let names: Vec<String> = set.iter().map(|t| t.to_string()).collect();
            names.join(" or ")
        }
    }
}

fn reason_code<S: serde::Serializer>(reason: &Reason, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(reason.code())
}

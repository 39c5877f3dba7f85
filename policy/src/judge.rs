//! From the bytes of a body to a verdict: a pure function.
//!
//! size → media type → content encoding → strict I-JSON (RFC 7493) → schema → RFC 8785. What is
//! validated is the value of the canonical form, and the canonical form is what leaves, so judge
//! and receiver see the same value, and white space, key order, escapes and the spelling of
//! numbers carry nothing.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde::Serialize;
use serde_json::Value;

use crate::contract::{Shape, is_index};
use crate::release::ReleaseFacts;
use crate::{Contract, Reason};

pub mod canonical;
mod explain;
pub mod json;
pub(crate) mod sdc;
pub(crate) mod text;
pub(crate) mod unique;

pub(crate) use explain::explain;
use explain::{Size, keyword};

/// No more violations than this are looked for: enough to mend a payload, and a bound on the work
/// that a hostile one can cause.
pub const MAX_VIOLATIONS: usize = 100;

/// A payload of more values than this is refused with its first violation only, in bounded memory.
const MAX_EXPLAINED_VALUES: u64 = 4096;

/// So is one for whose values more schemas than this are tried.
const MAX_EXPLAINED_SCHEMAS: u64 = 65_536;

/// And one that has longer names than this on the ways to its values, in bytes in all: each error
/// comes with its way.
const MAX_EXPLAINED_NAMES: usize = 1024 * 1024;

/// The longest member name of the sender's own that is repeated in a pointer, in bytes.
const MAX_FOREIGN_NAME: usize = 64;

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

/// A payload that may leave, unless earlier releases are against it.
#[derive(Clone, Debug)]
pub struct Cleared {
    /// The canonical bytes.
    pub bytes: Vec<u8>,
    /// What the ledger must know of it; there if the contract has a rule about releases.
    pub facts: Option<Box<ReleaseFacts>>,
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
    pub fn judge(&self, head: BodyHead<'_>, body: &[u8]) -> Result<Cleared, Vec<Violation>> {
        self.judge_head(head).map_err(|v| vec![v])?;
        if body.len() > self.max_bytes {
            return Err(vec![self.too_large()]);
        }
        self.clear(body)
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

    /// The bytes that may leave of a body, as far as it alone can tell.
    ///
    /// # Errors
    /// See [`Contract::judge`].
    pub fn judge_body(&self, body: &[u8]) -> Result<Vec<u8>, Vec<Violation>> {
        self.clear(body).map(|cleared| cleared.bytes)
    }

    /// Judges the bytes of a body.
    ///
    /// # Errors
    /// See [`Contract::judge`].
    pub fn clear(&self, body: &[u8]) -> Result<Cleared, Vec<Violation>> {
        let mut value = json::parse(body, self.max_depth).map_err(|error| {
            vec![Violation {
                reason: error.reason,
                pointer: self.shortened(&error.pointer),
                keyword: None,
                message: error.reason.text().to_owned(),
            }]
        })?;
        if self.disclosure
            && let Some(place) = text::first_unclean(&value)
        {
            return Err(vec![Violation {
                reason: Reason::JsonText,
                pointer: self.pointer(&place, &value),
                keyword: None,
                message: Reason::JsonText.text().to_owned(),
            }]);
        }
        if !self.validator.is_valid(&value) {
            return Err(self.violations(&value));
        }
        sdc::strip(&mut value, &self.evidence);
        let bytes = canonical::canonical(&value);
        let facts = match &self.release {
            Some(rule) => Some(Box::new(rule.facts(&value, &bytes)?)),
            None => None,
        };
        Ok(Cleared { bytes, facts })
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

    /// What of the schema a payload does not fit, with bounded work: a validator lists errors only
    /// all at once, explains every alternative, and follows a schema that refers to itself along
    /// every way there is.
    fn violations(&self, value: &Value) -> Vec<Violation> {
        let Shape {
            branching,
            applied,
            depth,
        } = self.shape;
        let size = Size::of(value);
        let explicable = size.depth <= depth && size.names <= MAX_EXPLAINED_NAMES;
        let small = size.values as u64 <= MAX_EXPLAINED_VALUES.min(MAX_EXPLAINED_SCHEMAS / applied);
        let mut violations = Vec::new();
        if explicable && small {
            for error in self.validator.iter_errors(value) {
                violations.extend(self.explained(&error, value));
                if violations.len() >= MAX_VIOLATIONS {
                    violations.truncate(MAX_VIOLATIONS);
                    break;
                }
            }
        } else if size.depth <= depth
            && !branching
            && let Err(error) = self.validator.validate(value)
        {
            violations.extend(self.explained(&error, value));
        }
        if violations.is_empty() {
            violations.push(Violation {
                reason: Reason::SchemaMismatch,
                pointer: String::new(),
                keyword: None,
                message: Reason::SchemaMismatch.text().to_owned(),
            });
        }
        violations
    }

    fn explained(&self, error: &ValidationError<'_>, payload: &Value) -> Vec<Violation> {
        let path = error.instance_path().as_str();
        let pointer = self.pointer(path, payload);
        let keyword = keyword(error);
        if let ValidationErrorKind::Custom { message, .. } = error.kind() {
            let found = sdc::Finding::read_all(message).into_iter();
            let violations: Vec<_> = (found.map(|finding| Violation {
                reason: finding.reason,
                pointer: self.pointer(&format!("{path}{}", finding.pointer), payload),
                keyword: Some(keyword.clone()),
                message: finding.message,
            }))
            .collect();
            if !violations.is_empty() {
                return violations;
            }
        }
        let (pointers, message) = match error.kind() {
            ValidationErrorKind::Custom { message, .. } => (vec![pointer], message.clone()),
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                let pointers = (unexpected.iter().take(MAX_VIOLATIONS))
                    .map(|name| format!("{pointer}/{}", self.member(name)))
                    .collect();
                let message = "the contract does not list this member".to_owned();
                (pointers, message)
            }
            ValidationErrorKind::FalseSchema if keyword == "additionalProperties" => {
                let message = "the contract lists no members here".to_owned();
                (vec![pointer], message)
            }
            kind => (vec![pointer], explain(kind)),
        };
        let violation = |pointer| Violation {
            reason: Reason::SchemaMismatch,
            pointer,
            keyword: Some(keyword.clone()),
            message: message.clone(),
        };
        pointers.into_iter().map(violation).collect()
    }

    /// The place of an error in the payload. Only the payload tells indices and names apart.
    fn pointer(&self, path: &str, payload: &Value) -> String {
        let mut pointer = String::new();
        let mut at = Some(payload);
        for token in path.split('/').skip(1) {
            let name = token.replace("~1", "/").replace("~0", "~");
            pointer.push('/');
            match at {
                Some(Value::Array(items)) => {
                    pointer.push_str(token);
                    at = name.parse().ok().and_then(|i: usize| items.get(i));
                }
                other => {
                    pointer.push_str(&self.member(&name));
                    at = other.and_then(|value| value.get(&name));
                }
            }
        }
        pointer
    }

    /// A member name in a pointer (RFC 6901 §3). One that the contract does not have is written
    /// `*` when it is long, or when it could be taken for an index by who redacts the pointer.
    fn member(&self, name: &str) -> String {
        let token = name.replace('~', "~0").replace('/', "~1");
        let shown = self.known_names.contains(&token)
            || (token.len() <= MAX_FOREIGN_NAME && !is_index(&token));
        if shown { token } else { "*".into() }
    }

    /// A pointer of the reader's, in which names and indices look alike.
    fn shortened(&self, pointer: &str) -> String {
        let shown =
            |token: &&str| self.known_names.contains(*token) || token.len() <= MAX_FOREIGN_NAME;
        let tokens = pointer.split('/');
        let tokens: Vec<&str> = tokens
            .map(|token| Some(token).filter(shown).unwrap_or("*"))
            .collect();
        tokens.join("/")
    }

    fn has_media_type(&self, given: &str) -> bool {
        let (essence, parameters) = given.split_once(';').unwrap_or((given, ""));
        let ows = [' ', '\t'];
        // RFC 8259 §11 has no parameters. `charset=utf-8` is often sent, and true; any other
        // parameter may mean another reading of the bytes.
        let parameters_ok = match parameters.trim_matches(ows).split_once('=') {
            None => parameters.trim_matches(ows).is_empty(),
            Some((name, value)) => {
                let value = (value.strip_prefix('"'))
                    .and_then(|v| v.strip_suffix('"'))
                    .unwrap_or(value);
                name.eq_ignore_ascii_case("charset") && value.eq_ignore_ascii_case("utf-8")
            }
        };
        parameters_ok && (essence.trim_matches(ows)).eq_ignore_ascii_case(&self.media_type)
    }
}

fn reason_code<S: serde::Serializer>(reason: &Reason, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(reason.code())
}

//! What one line of the audit log says. The types leave no room for a value of a payload: texts
//! come from the policy or are constants of ours, and of a body there are its size and digest.

use std::net::SocketAddr;
use std::sync::Arc;

use lazaret_policy::{Direction, Reason};
use serde::{Serialize, Serializer};

use super::{AuditError, Digest};
use crate::tls::{PeerId, Session};

/// The largest record. Far above any real one; a larger one is refused, so that readers can rely
/// on a limit.
pub(super) const MAX_RECORD: usize = 64 << 10;

/// A text longer than this is cut off: a text must not blow up the log.
const MAX_TEXT: usize = 256;

/// Violations beyond these are only counted.
const MAX_VIOLATIONS: usize = 16;

/// How much of the policy's digest a record repeats: enough to tell policies apart.
const POLICY_DIGITS: usize = 16;

/// One line of the audit log. Members stand in the line in this order; those that are `None` are
/// left out.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// What happened.
    pub kind: Kind,
    /// Which way the connection was opened.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "direction")]
    pub direction: Option<Direction>,
    /// The rule of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Text>,
    /// The exchange as the policy writes it (`POST /v1/results/{cohort}`), never the path that
    /// was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Text>,
    /// The contract of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract: Option<Text>,
    /// What was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Whether the verdict was carried out; `false` when the policy only observes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforced: Option<bool>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "reason")]
    pub reason: Option<Reason>,
    /// What is wrong with the body; two members, `violations` and `violations_total`.
    #[serde(flatten)]
    pub violations: Violations,
    /// Who opened the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<SocketAddr>,
    /// Where the client meant it to lead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<SocketAddr>,
    /// Where the gateway connected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<SocketAddr>,
    /// The TLS that the client's connection ended with at the gateway.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shared")]
    pub client_tls: Option<Arc<Session>>,
    /// The TLS of the gateway's own connection.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shared")]
    pub upstream_tls: Option<Arc<Session>>,
    /// Whose certificate was not accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_peer: Option<Box<PeerId>>,
    /// The method; see [`Text::method`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Text>,
    /// The status that the client got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes of the body, or of the tunnel, that came from the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    /// Bytes of the body, or of the tunnel, that were released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// The digest of the canonical bytes that were released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_sha256: Option<Digest>,
    /// The digest of the policy; the line holds its first 16 digits.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "policy")]
    pub policy: Option<Arc<str>>,
    /// `metadata.name` of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_name: Option<Text>,
    /// The version of the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Text>,
    /// From the first byte of the request to this record, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// Headers that the policy does not list and that were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped_headers: Option<u32>,
    /// Bytes of a half-written line that a restart removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_bytes: Option<u64>,
    /// Records before this one that could not be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_records: Option<u64>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The gateway started.
    Start,
    /// A policy came into force.
    Policy,
    /// A request or a response was judged.
    Exchange,
    /// A released request had no good end: what became of it after its `exchange` record.
    Outcome,
    /// A connection was judged.
    Connection,
    /// A tunnel ended.
    TunnelEnd,
    /// The gateway stopped.
    Stop,
    /// The log works again after a crash or a failure. Written by the log itself.
    Recovery,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A payload was let out.
    Released,
    /// Something was not let through.
    Refused,
    /// A connection was let through.
    Allowed,
}

/// A text that costs no allocation: a constant, or part of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// A constant.
    Static(&'static str),
    /// Shared, as the names of a policy are.
    Shared(Arc<str>),
}

/// One thing that is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Why it was refused.
    #[serde(serialize_with = "one_reason")]
    pub reason: Reason,
    /// Where, as JSON Pointer. Whoever makes it answers for it holding no name of a member that
    /// the payload, and not the contract, has chosen.
    pub pointer: Text,
    /// The keyword of the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyword: Option<Text>,
}

/// The first violations, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Violations {
    #[serde(rename = "violations", skip_serializing_if = "Vec::is_empty")]
    first: Vec<Violation>,
    #[serde(rename = "violations_total", skip_serializing_if = "is_zero")]
    total: u64,
}

impl Record {
    /// A record that says nothing but its kind.
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            direction: None,
            rule: None,
            exchange: None,
            contract: None,
            verdict: None,
            enforced: None,
            reason: None,
            violations: Violations::NONE,
            client: None,
            destination: None,
            upstream: None,
            client_tls: None,
            upstream_tls: None,
            refused_peer: None,
            method: None,
            status: None,
            bytes_in: None,
            bytes_out: None,
            body_sha256: None,
            policy: None,
            policy_name: None,
            version: None,
            duration_us: None,
            dropped_headers: None,
            removed_bytes: None,
            lost_records: None,
        }
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>, AuditError> {
        // Most records fit, so that there is one allocation.
        let mut json = Vec::with_capacity(640);
        serde_json::to_writer(&mut json, self).expect("a record has string keys and no maps");
        if json.len() > MAX_RECORD {
            return Err(AuditError::RecordTooLarge {
                bytes: json.len(),
                max: MAX_RECORD,
            });
        }
        Ok(json)
    }
}

impl Text {
    /// A method that is known, or `other`: an unknown method is a text of the client's choice,
    /// which has no place in the log.
    pub fn method(method: &str) -> Self {
        const KNOWN: [&str; 9] = [
            "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE",
        ];
        Self::Static(KNOWN.into_iter().find(|m| *m == method).unwrap_or("other"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Static(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self::Static(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Self::Shared(text)
    }
}

impl From<&Arc<str>> for Text {
    fn from(text: &Arc<str>) -> Self {
        Self::Shared(Arc::clone(text))
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(cut(self.as_str(), MAX_TEXT))
    }
}

impl Violations {
    /// None.
    pub const NONE: Self = Self {
        first: Vec::new(),
        total: 0,
    };

    /// How many there are.
    pub const fn total(&self) -> u64 {
        self.total
    }
}

impl FromIterator<Violation> for Violations {
    fn from_iter<I: IntoIterator<Item = Violation>>(violations: I) -> Self {
        let mut all = violations.into_iter();
        let first: Vec<_> = all.by_ref().take(MAX_VIOLATIONS).collect();
        let total = first.len() as u64 + all.count() as u64;
        Self { first, total }
    }
}

fn direction<S: Serializer>(direction: &Option<Direction>, to: S) -> Result<S::Ok, S::Error> {
    direction.map(Direction::as_str).serialize(to)
}

fn reason<S: Serializer>(reason: &Option<Reason>, to: S) -> Result<S::Ok, S::Error> {
    reason.map(Reason::code).serialize(to)
}

fn one_reason<S: Serializer>(reason: &Reason, to: S) -> Result<S::Ok, S::Error> {
    reason.code().serialize(to)
}

fn policy<S: Serializer>(digest: &Option<Arc<str>>, to: S) -> Result<S::Ok, S::Error> {
    digest
        .as_deref()
        .map(|d| cut(d, POLICY_DIGITS))
        .serialize(to)
}

fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let at = (0..=max).rev().find(|at| text.is_char_boundary(*at));
    &text[..at.unwrap_or(0)]
}

fn shared<S: Serializer>(session: &Option<Arc<Session>>, serializer: S) -> Result<S::Ok, S::Error> {
    session.as_deref().serialize(serializer)
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(record: &Record) -> String {
        String::from_utf8(record.to_json().unwrap()).unwrap()
    }

    #[test]
    fn members_have_a_fixed_order_and_only_those_that_apply_are_there() {
        let digest: Arc<str> = "0123456789abcdef0123".into();
        let record = Record {
            direction: Some(Direction::Egress),
            rule: Some("collector".into()),
            verdict: Some(Verdict::Refused),
            enforced: Some(true),
            reason: Some(Reason::SchemaMismatch),
            violations: [Violation {
                reason: Reason::SchemaMismatch,
                pointer: "/a\"b".into(),
                keyword: Some("maximum".into()),
            }]
            .into_iter()
            .collect(),
            client: Some("10.0.0.1:4711".parse().unwrap()),
            destination: Some("[2001:db8::1]:443".parse().unwrap()),
            method: Some(Text::method("POST")),
            body_sha256: Some(Digest([0xab; 32])),
            policy: Some(digest),
            duration_us: Some(12),
            ..Record::new(Kind::TunnelEnd)
        };
        let expected = concat!(
            r#"{"kind":"tunnel-end","direction":"egress","rule":"collector","verdict":"refused","#,
            r#""enforced":true,"reason":"schema-mismatch","violations":[{"reason":"schema-mismatch","#,
            r#""pointer":"/a\"b","keyword":"maximum"}],"violations_total":1,"client":"10.0.0.1:4711","#,
            r#""destination":"[2001:db8::1]:443","method":"POST","body_sha256":""#,
            "abababababababababababababababababababababababababababababababab",
            r#"","policy":"0123456789abcdef","duration_us":12}"#,
        );
        assert_eq!(json(&record), expected);
        assert_eq!(json(&Record::new(Kind::Stop)), r#"{"kind":"stop"}"#);
    }

    #[test]
    fn what_the_client_chooses_is_bounded() {
        assert_eq!(Text::method("X-SECRET").as_str(), "other");
        let long = Text::from("é".repeat(1000));
        assert_eq!(serde_json::to_string(&long).unwrap().len(), MAX_TEXT + 2);
        let many: Violations = std::iter::repeat_n(
            Violation {
                reason: Reason::JsonSyntax,
                pointer: long,
                keyword: None,
            },
            1000,
        )
        .collect();
        let record = Record {
            violations: many,
            ..Record::new(Kind::Exchange)
        };
        let text = json(&record);
        assert_eq!(text.matches("json-syntax").count(), MAX_VIOLATIONS);
        assert!(text.contains(r#""violations_total":1000"#));
    }
}

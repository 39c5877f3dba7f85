//! What a payload must be to leave.

use std::collections::BTreeSet;
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::Value;

use crate::capacity::{self, Capacity};
use crate::judge::sdc::Pointer;
use crate::release::ReleaseRule;

/// Digits of the largest index into an array of 64 MiB, at two bytes for each item.
const MAX_INDEX_DIGITS: usize = 8;

/// What a payload must be to leave: compiled, so that judging it cannot fail for any other reason
/// than the payload.
#[derive(Debug)]
pub struct Contract {
    /// Its name in the policy.
    pub name: Arc<str>,
    /// The media type, lower case, without parameters.
    pub media_type: Arc<str>,
    /// The largest body in bytes, as the sender sends it.
    pub max_bytes: usize,
    /// How deep objects and arrays may be nested.
    pub max_depth: u16,
    /// What may follow what was released before; needs a ledger.
    pub release: Option<Arc<ReleaseRule>>,
    pub(crate) validator: Validator,
    /// Every member name that the schema itself uses: what a record may repeat of a pointer.
    pub(crate) known_names: BTreeSet<String>,
    pub(crate) shape: Shape,
    /// The schema without references; `true` where it has no such form in draft 2020-12.
    pub(crate) flat: Value,
    /// Its rules of disclosure control hold for every text in a payload.
    pub(crate) disclosure: bool,
    /// Members that are judged and never leave.
    pub(crate) evidence: Vec<Pointer>,
}

/// What of a schema bounds the work of explaining why a payload does not fit it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// It has alternatives: each of them is explained.
    pub(crate) branching: bool,
    /// The most schemas that are applied to one value.
    pub(crate) applied: u64,
    /// The deepest payload that may be explained: below, a schema that refers to itself is applied
    /// in too many ways.
    pub(crate) depth: usize,
}

impl Contract {
    /// What its schema can carry in one message.
    pub fn capacity(&self) -> Capacity {
        capacity::count(&self.flat, Some(self.max_bytes))
    }

    /// What its schema says that it carries at most, in bits (`sdcCapacity`).
    pub fn allowed_bits(&self) -> Option<u64> {
        self.flat.pointer("/sdcCapacity/maxBits")?.as_u64()
    }

    /// The pointer with every member name that is not the schema's own replaced by `*`: a name
    /// that the sender chose could carry data into the records.
    pub fn redact_pointer(&self, pointer: &str) -> String {
        pointer
            .split('/')
            .map(|token| {
                if is_index(token) || token.is_empty() || self.known_names.contains(token) {
                    token
                } else {
                    "*"
                }
            })
            .collect::<Vec<_>>()
            .join("/")
    }
}

/// Whether a token of a pointer can be an array index (RFC 6901 §4) of a payload that some contract
/// allows: no payload is long enough for one of more digits. A member name that looks like this
/// tells no more than the index that its sender could have chosen instead.
pub(crate) fn is_index(token: &str) -> bool {
    (1..=MAX_INDEX_DIGITS).contains(&token.len())
        && token.bytes().all(|b| b.is_ascii_digit())
        && (token == "0" || !token.starts_with('0'))
}

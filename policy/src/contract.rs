//! What a payload must be to leave.

use std::collections::BTreeSet;
use std::sync::Arc;

use jsonschema::Validator;

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
    pub(crate) validator: Validator,
    /// Every member name that the schema itself uses: what a record may repeat of a pointer.
    pub(crate) known_names: BTreeSet<String>,
}

impl Contract {
    /// The pointer with every member name that is not the schema's own replaced by `*`: a name
    /// that the sender chose could carry data into the records.
    pub fn redact_pointer(&self, pointer: &str) -> String {
        pointer
            .split('/')
            .map(|token| {
                let is_index = token.bytes().all(|b| b.is_ascii_digit());
                if is_index || self.known_names.contains(token) {
                    token
                } else {
                    "*"
                }
            })
            .collect::<Vec<_>>()
            .join("/")
    }
}

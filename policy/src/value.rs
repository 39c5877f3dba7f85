//! A short text from the head of a message (path segment, query value, header value), allowed by
//! a JSON Schema and re-emitted in one form only.

use jsonschema::Validator;
use serde_json::Value;

use crate::judge::{canonical, json};

/// What one parameter or header may hold.
#[derive(Debug)]
pub struct TextRule {
    validator: Validator,
    /// What the validator was made from, without references: what capacity is counted of.
    pub(crate) flat: Value,
}

impl TextRule {
    pub(crate) fn new(validator: Validator, flat: Value) -> Self {
        Self { validator, flat }
    }

    /// Whether the text is allowed: as a string, or as a number, boolean or null written in its
    /// RFC 8785 form. An allowed text has one spelling only, so it can go on as it is.
    pub fn allows(&self, text: &str) -> bool {
        if self.validator.is_valid(&Value::String(text.to_owned())) {
            return true;
        }
        match json::parse(text.as_bytes(), 0) {
            Ok(scalar) => {
                !scalar.is_string()
                    && canonical::canonical(&scalar) == text.as_bytes()
                    && self.validator.is_valid(&scalar)
            }
            Err(_) => false,
        }
    }
}

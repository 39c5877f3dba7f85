//! `uniqueItems` in time that does not depend on which items the sender picks.
//!
//! The validator's own compares items by hashes of their contents that take no note of where an
//! array ends and that have no secret in objects, so a sender can make all items meet in one place
//! and every item be compared with every other. The canonical form has neither weakness, and two
//! values are equal exactly when their canonical forms are.

use std::collections::HashSet;

use jsonschema::paths::Location;
use jsonschema::{Keyword, ValidationError};
use serde_json::{Map, Value};

use super::canonical::write_canonical;

/// Makes the keyword from its value in a schema.
///
/// # Errors
/// None: another value than a boolean is refused by the schema of schemas.
#[expect(clippy::unnecessary_wraps, reason = "the signature is the validator's")]
pub(crate) fn keyword<'s>(
    _: &'s Map<String, Value>,
    value: &'s Value,
    _: Location,
) -> Result<Box<dyn for<'i> Keyword<'i>>, ValidationError<'s>> {
    let wanted = value == &Value::Bool(true);
    Ok(Box::new(UniqueItems { wanted }))
}

struct UniqueItems {
    wanted: bool,
}

impl<'i> Keyword<'i> for UniqueItems {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) {
            return Ok(());
        }
        Err(ValidationError::custom("items must differ from each other"))
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        let (true, Value::Array(items)) = (self.wanted, instance) else {
            return true;
        };
        let mut seen = HashSet::with_capacity(items.len());
        items.iter().all(|item| {
            let mut form = Vec::new();
            write_canonical(item, &mut form);
            seen.insert(form)
        })
    }
}

//! Which of the numbers that a pointer leads to its rule judges. What another schema may allow at the
//! same place does not matter: a number counts only by what the schema at its own place says.

use serde_json::{Map, Value};

use super::{Covers, around};
use crate::judge::sdc::{Pointer, Token, schemas_at};
use crate::source::join;

/// The most decimals of a point of a curve: a tenth of a per cent.
const SHARE_DECIMALS: u64 = 3;

/// Whether the number at a place is under the rule whose pointer leads there.
pub(super) fn is(flat: &Value, rule: &Value, covers: Covers, place: &str) -> bool {
    let schema = || flat.pointer(place).and_then(Value::as_object);
    match covers {
        Covers::Nothing => false,
        Covers::Number => true,
        Covers::Estimate => schema().is_some_and(is_estimate),
        Covers::Share => schema().is_some_and(is_share),
        Covers::Linked => is_linked(flat, rule, place).unwrap_or(false),
    }
}

/// A rounded fraction. Whole numbers are counts or values of people, which need their own rule.
fn is_estimate(schema: &Map<String, Value>) -> bool {
    let fraction = schema.get("type").and_then(Value::as_str) == Some("number")
        && !["multipleOf", "sdcRound"]
            .iter()
            .any(|k| schema.contains_key(*k));
    let precision = schema.get("sdcPrecision").and_then(Value::as_object);
    fraction && precision.is_some_and(|rule| decimals(rule) != Some(0))
}

/// A share of those at risk: between 0 and 1, with few decimals.
fn is_share(schema: &Map<String, Value>) -> bool {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let precision = schema.get("sdcPrecision").and_then(Value::as_object);
    let few = precision
        .and_then(decimals)
        .is_some_and(|n| n <= SHARE_DECIMALS);
    let least = bound("minimum").is_some_and(|least| least >= 0.0);
    let most = bound("maximum").is_some_and(|most| most <= 1.0);
    is_estimate(schema) && few && least && most
}

fn decimals(rule: &Map<String, Value>) -> Option<u64> {
    rule.get("decimals")?.as_u64()
}

/// Whether a row with this value has, by the same schema, a role of `then`: values of other roles
/// are not looked at, and that of a count is only read.
fn is_linked(flat: &Value, rule: &Value, place: &str) -> Option<bool> {
    let linked = rule.get("linked")?;
    let role = Pointer::parse(linked.get("role")?).ok()?;
    let then = linked.get("then")?.as_array()?;
    let mut row = place.to_owned();
    for token in Pointer::parse(linked.get("value")?)
        .ok()?
        .tokens()
        .iter()
        .rev()
    {
        let Token::Name(name) = token else {
            return None;
        };
        row = row.strip_suffix(&join("/properties", name))?.to_owned();
    }
    let row = flat.pointer(around(&row))?.as_object()?;
    let is_then = |schema: &&Map<String, Value>| {
        let listed = schema.get("enum").and_then(Value::as_array);
        schema.get("const").is_some_and(|one| then.contains(one))
            || listed.is_some_and(|all| all.iter().all(|one| then.contains(one)))
    };
    // Where the role may be missing, no value of it is certain.
    Some(!role.optional && schemas_at(row, role.tokens()).iter().any(is_then))
}

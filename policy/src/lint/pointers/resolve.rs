//! What a pointer into a payload means in a schema: the schemas of the member that it leads to, and
//! whether every payload has that member.

use serde_json::Value;

use crate::judge::sdc::Token;
use crate::source::join;

/// The most schemas that all pointers of a contract are followed through.
const MAX_STEPS: usize = 100_000;

/// How deep alternatives within alternatives are followed.
const MAX_BRANCHES: usize = 32;

/// How many schemas may still be looked at.
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(MAX_STEPS)
    }
}

/// The budget is spent.
pub(super) struct Spent;

/// Where a pointer leads.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The schemas that may hold there.
    pub(super) places: Vec<String>,
    /// Whether the member is always there.
    pub(super) required: bool,
}

/// A schema, with its pointer.
type Node<'f> = (String, &'f Value);

/// What one step leads to.
#[derive(Default)]
struct Step<'f> {
    nodes: Vec<Node<'f>>,
    /// Every alternative describes the member.
    described: bool,
    /// Every alternative requires it.
    required: bool,
}

/// Follows a pointer from the schema with this pointer; `None` when it leads nowhere.
///
/// # Errors
/// The budget is spent.
pub(super) fn resolve(
    flat: &Value,
    start: &str,
    tokens: &[Token],
    budget: &mut Budget,
) -> Result<Option<Found>, Spent> {
    let Some(root) = flat.pointer(start) else {
        return Ok(None);
    };
    let mut nodes = vec![(start.to_owned(), root)];
    let mut required = true;
    for token in tokens {
        let step = step(&nodes, token, budget, 0)?;
        if !step.described {
            return Ok(None);
        }
        required &= step.required;
        nodes = step.nodes;
    }
    let places = nodes.into_iter().map(|(pointer, _)| pointer).collect();
    Ok(Some(Found { places, required }))
}

/// One step from schemas that hold at the same place.
fn step<'f>(
    nodes: &[Node<'f>],
    token: &Token,
    budget: &mut Budget,
    depth: usize,
) -> Result<Step<'f>, Spent> {
    let mut here = nodes.to_vec();
    let mut step = Step::default();
    let mut next = 0;
    while let Some((pointer, schema)) = here.get(next).cloned() {
        next += 1;
        budget.0 = budget.0.checked_sub(1).ok_or(Spent)?;
        let parts = schema.get("allOf").and_then(Value::as_array);
        for (i, part) in parts.into_iter().flatten().enumerate() {
            here.push((join(&join(&pointer, "allOf"), i), part));
        }
        let members = members(&pointer, schema, token);
        step.described |= !members.is_empty();
        step.nodes.extend(members);
        step.required |= requires(schema, token);
        for keyword in ["anyOf", "oneOf"] {
            let branches = schema.get(keyword).and_then(Value::as_array);
            let Some(branches) = branches.filter(|_| depth < MAX_BRANCHES) else {
                continue;
            };
            let mut all = (true, true);
            for (i, branch) in branches.iter().enumerate() {
                let at = join(&join(&pointer, keyword), i);
                let inner = self::step(&[(at, branch)], token, budget, depth + 1)?;
                all = (all.0 & inner.described, all.1 & inner.required);
                step.nodes.extend(inner.nodes);
            }
            step.described |= all.0;
            step.required |= all.1;
        }
    }
    Ok(step)
}

/// The schemas that a schema itself has for a member or an item.
fn members<'f>(pointer: &str, schema: &'f Value, token: &Token) -> Vec<Node<'f>> {
    let at = |keyword: &str, name: &str| join(&join(pointer, keyword), name);
    let in_map = |keyword: &'static str| {
        let members = schema.get(keyword).and_then(Value::as_object);
        (members.into_iter().flatten())
            .map(move |(name, s)| (join(&join(pointer, keyword), name), s))
    };
    let tuple = schema.get("prefixItems").and_then(Value::as_array);
    let one = |keyword: &str| {
        let schema = schema.get(keyword).filter(|s| !s.is_boolean());
        schema.map(|s| (join(pointer, keyword), s))
    };
    match token {
        Token::Name(name) => {
            let member = schema.get("properties").and_then(|p| p.get(name));
            if let Some(member) = member {
                return vec![(at("properties", name), member)];
            }
            let Ok(index) = name.parse::<usize>() else {
                return Vec::new();
            };
            match tuple.and_then(|tuple| tuple.get(index)) {
                Some(item) => vec![(at("prefixItems", name), item)],
                None => one("items").into_iter().collect(),
            }
        }
        Token::Every => {
            let tuple = tuple.into_iter().flatten().enumerate();
            let mut all: Vec<Node<'f>> = tuple
                .map(|(i, s)| (at("prefixItems", &i.to_string()), s))
                .collect();
            all.extend(one("items"));
            all.extend(in_map("properties"));
            all.extend(in_map("patternProperties"));
            all.extend(one("additionalProperties"));
            all
        }
    }
}

/// Whether a schema itself makes a member necessary.
fn requires(schema: &Value, token: &Token) -> bool {
    let Token::Name(name) = token else {
        // All that are there: none need be.
        return true;
    };
    let listed = schema.get("required").and_then(Value::as_array);
    let few = || schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
    listed.is_some_and(|names| names.iter().any(|n| n == name))
        || name.parse::<u64>().is_ok_and(|index| index < few())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::judge::sdc::Pointer;

    /// The schemas that a pointer leads to, and whether the member is always there.
    fn follow(schema: &Value, pointer: &str) -> Option<(Vec<String>, bool)> {
        let pointer = Pointer::parse(&json!(pointer)).unwrap();
        let found = resolve(schema, "", pointer.tokens(), &mut Budget::default());
        let found = found.unwrap_or_else(|_| panic!("the budget is spent"));
        found.map(|found| (found.places, found.required))
    }

    #[test]
    fn members_of_alternatives_must_be_in_each() {
        let m = |required: Value| json!({"properties": {"m": {}}, "required": required});
        let both = json!({"oneOf": [m(json!(["m"])), m(json!(["m"]))]});
        let places = ["/oneOf/0/properties/m", "/oneOf/1/properties/m"].map(String::from);
        assert_eq!(follow(&both, "/m"), Some((places.to_vec(), true)));
        let one = json!({"oneOf": [m(json!(["m"])), m(json!([]))]});
        assert_eq!(follow(&one, "/m"), Some((places.to_vec(), false)));
        let none = json!({"oneOf": [m(json!(["m"])), {"required": ["m"]}]});
        assert_eq!(follow(&none, "/m"), None);
        let outside = json!({"properties": {"m": {}}, "required": ["m"], "anyOf": [{}, {}]});
        assert_eq!(
            follow(&outside, "/m"),
            Some((vec!["/properties/m".into()], true))
        );
    }

    #[test]
    fn items_are_there_where_there_are_enough() {
        let tuple = json!({"prefixItems": [{}, {}], "items": {}, "minItems": 2});
        let at = |place: &str, required| Some((vec![place.to_owned()], required));
        assert_eq!(follow(&tuple, "/1"), at("/prefixItems/1", true));
        assert_eq!(follow(&tuple, "/2"), at("/items", false));
        assert_eq!(follow(&tuple, "/x"), None);
        assert_eq!(
            follow(&json!({"prefixItems": [{}], "items": false}), "/1"),
            None
        );
        let all = follow(&tuple, "/*").unwrap();
        assert_eq!((all.0.len(), all.1), (3, true));
        let parts = json!({"allOf": [{"minItems": 3}, {"items": {}}]});
        assert_eq!(follow(&parts, "/2"), at("/allOf/1/items", true));
    }
}

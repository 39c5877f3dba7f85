//! Reads `sdcRelease` strictly: a member that is unknown or mistaken would be a rule that no one
//! keeps.

use std::num::NonZeroU64;

use serde_json::{Map, Value};

use super::cells::Value as Guarded;
use super::duration::seconds;
use super::linked::Lines;
use super::{DEFAULT_DENIED, DEFAULT_HORIZON, Epsilon, EpsilonRule, MOST_DENIED};
use super::{ReleaseRule, Repeat};
use crate::judge::sdc::pointer::Token;
use crate::judge::sdc::{CellRule, Pointer};

/// The most pointers in one list.
const MAX_POINTERS: usize = 64;

const MEMBERS: [&str; 16] = [
    "cell",
    "value",
    "stats",
    "horizon",
    "window",
    "maxReleases",
    "maxBytes",
    "maxBits",
    "differencing",
    "repeat",
    "revisions",
    "noisy",
    "linkedAudit",
    "epsilon",
    "family",
    "maxDenied",
];

impl ReleaseRule {
    /// Reads the rule of a contract from its root schema, in which references have been replaced
    /// by what they refer to; `None` when it has none. `name` is the contract's name in the policy.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence for its author.
    pub fn of_contract(schema: &Value, name: &str) -> Result<Option<Self>, String> {
        let Some(schema) = schema.as_object() else {
            return Ok(None);
        };
        let rule = schema.get(super::KEYWORD);
        rule.map(|value| Self::read(value, schema, name))
            .transpose()
    }

    /// Reads the rule from its value and the schema that it stands in.
    pub(crate) fn read(
        value: &Value,
        schema: &Map<String, Value>,
        name: &str,
    ) -> Result<Self, String> {
        let rule = value.as_object().ok_or("`sdcRelease` is an object")?;
        known(rule, &MEMBERS, "sdcRelease")?;
        let cell = pointers(rule, "cell")?;
        if cell.is_empty() {
            return Err(
                "`cell` names the labels that say which figure one is, such as [\"/week\", \
                        \"/rows/*/region\"]"
                    .into(),
            );
        }
        let stats = pointers(rule, "stats")?;
        let linked_audit = flag(rule, "linkedAudit")?;
        let read = Self {
            family: family(rule, name)?,
            horizon: time(rule, "horizon")?.unwrap_or(DEFAULT_HORIZON),
            window: 0,
            max_releases: count(rule, "maxReleases")?,
            max_bytes: count(rule, "maxBytes")?,
            max_bits: count(rule, "maxBits")?,
            bits: None,
            max_denied: denied(rule)?,
            differencing: differencing(rule)?,
            repeat: repeat(rule)?,
            revisions: count(rule, "revisions")?.unwrap_or(0),
            noisy: flag(rule, "noisy")?,
            linked_audit,
            epsilon: epsilon(rule)?,
            values: values(rule, schema)?,
            lines: if linked_audit {
                Lines::of_schema(schema)?
            } else {
                Lines::default()
            },
            cell,
            stats,
        };
        let window = time(rule, "window")?;
        read.consistent(window)?;
        read.apart(schema)?;
        Ok(Self {
            window: window.unwrap_or(read.horizon),
            ..read
        })
    }

    fn consistent(&self, window: Option<u64>) -> Result<(), String> {
        let budgets = [self.max_releases, self.max_bytes, self.max_bits];
        if window.is_none() && budgets.iter().any(Option::is_some) {
            return Err("a budget needs a `window` such as \"P7D\"".into());
        }
        let guards = self.differencing.is_some() || self.noisy || !self.stats.is_empty();
        if guards && self.values.is_empty() {
            return Err(
                "`differencing`, `noisy` and `stats` need a `value`, or counts with \
                        `sdcMinCount`, to hold against earlier ones"
                    .into(),
            );
        }
        match self.stats.first() {
            Some(stat) if self.values.len() != 1 => Err(format!(
                "the statistic `{stat}` needs exactly one `value` to hang on"
            )),
            _ => Ok(()),
        }
    }

    /// Every two figures must be told apart by labels, and every label must be of one figure.
    fn apart(&self, schema: &Map<String, Value>) -> Result<(), String> {
        for label in &self.cell {
            super::labels::check(schema, label)?;
            let mut figures = self.values.iter().map(|v| &v.pointer).chain(&self.stats);
            if let Some(figure) = figures.find(|figure| super::labels::overlap(label, figure)) {
                return Err(format!(
                    "the label `{label}` of `cell` and the figure `{figure}` overlap: with each \
                     change of the figure it would be another one, without a past"
                ));
            }
        }
        for value in &self.values {
            for pointer in self.cell.iter().chain(&self.stats) {
                if !bound(&value.pointer, pointer) {
                    return Err(format!(
                        "`{pointer}` leads to several members for one `{}`: up to its last `*` \
                         both must be the same",
                        value.pointer
                    ));
                }
            }
            for (i, token) in value.pointer.tokens().iter().enumerate() {
                let labelled = value.by_place
                    || *token != Token::Every
                    || over_members(schema, &value.pointer.tokens()[..i])
                    || self.cell.iter().any(|label| last_star(label) == Some(i));
                if !labelled {
                    return Err(format!(
                        "`cell` must name a label below each `*` of `{}`, so that its figures \
                         can be told apart",
                        value.pointer
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Whether `other` has one target for each target of `value`.
fn bound(value: &Pointer, other: &Pointer) -> bool {
    last_star(other).is_none_or(|last| value.tokens().get(..=last) == other.tokens().get(..=last))
}

fn last_star(pointer: &Pointer) -> Option<usize> {
    pointer
        .tokens()
        .iter()
        .rposition(|token| *token == Token::Every)
}

/// The schema of what the steps lead to.
pub(super) fn below<'s>(
    schema: &'s Map<String, Value>,
    tokens: &[Token],
) -> Option<&'s Map<String, Value>> {
    tokens.iter().try_fold(schema, |schema, token| {
        let (name, index) = match token {
            Token::Name(name) => (Some(name), name.parse::<usize>().ok()),
            Token::Every => (None, None),
        };
        let member = name.and_then(|name| schema.get("properties")?.get(name));
        let prefix = || schema.get("prefixItems")?.get(index?);
        let items = || {
            schema
                .get("items")
                .filter(|_| name.is_none() || index.is_some())
        };
        let members = || {
            schema
                .get("additionalProperties")
                .filter(|_| name.is_none())
        };
        member
            .or_else(prefix)
            .or_else(items)
            .or_else(members)?
            .as_object()
    })
}

fn over_members(schema: &Map<String, Value>, tokens: &[Token]) -> bool {
    below(schema, tokens).is_some_and(|s| {
        s.get("type").and_then(Value::as_str) == Some("object") || s.contains_key("properties")
    })
}

fn values(rule: &Map<String, Value>, schema: &Map<String, Value>) -> Result<Vec<Guarded>, String> {
    let pointers = match rule.get("value") {
        Some(value @ Value::String(_)) => vec![Pointer::parse(value)?],
        Some(_) => pointers(rule, "value")?,
        None => return super::counts::of(schema),
    };
    pointers
        .into_iter()
        .map(|pointer| {
            let rule = CellRule::at(schema, &pointer).map_err(|why| format!("`value`: {why}"))?;
            Ok(Guarded {
                pointer,
                rule,
                by_place: false,
            })
        })
        .collect()
}

fn pointers(rule: &Map<String, Value>, name: &str) -> Result<Vec<Pointer>, String> {
    let Some(list) = rule.get(name) else {
        return Ok(Vec::new());
    };
    let list = list
        .as_array()
        .filter(|list| (1..=MAX_POINTERS).contains(&list.len()))
        .ok_or_else(|| format!("`{name}` is a list of 1 to {MAX_POINTERS} pointers"))?;
    list.iter().map(Pointer::parse).collect()
}

fn family(rule: &Map<String, Value>, name: &str) -> Result<String, String> {
    let Some(family) = rule.get("family") else {
        return Ok(name.to_owned());
    };
    family
        .as_str()
        .filter(|f| (1..=128).contains(&f.len()) && !f.chars().any(char::is_control))
        .map(str::to_owned)
        .ok_or_else(|| "`family` is a name of 1 to 128 bytes".into())
}

fn time(rule: &Map<String, Value>, name: &str) -> Result<Option<u64>, String> {
    let Some(value) = rule.get(name) else {
        return Ok(None);
    };
    let text = value
        .as_str()
        .ok_or_else(|| format!("`{name}` is a duration such as \"P7D\""))?;
    seconds(text)
        .map(Some)
        .map_err(|why| format!("`{name}`: {why}"))
}

fn count(rule: &Map<String, Value>, name: &str) -> Result<Option<u64>, String> {
    // No ledger counts further than a signed 64-bit integer of a database.
    let read = |value: &Value| value.as_u64().filter(|n| *n <= i64::MAX as u64);
    rule.get(name)
        .map(|value| read(value).ok_or_else(|| format!("`{name}` is a whole number from 0")))
        .transpose()
}

fn denied(rule: &Map<String, Value>) -> Result<u64, String> {
    // None at all would refuse the first attempt, too.
    let most = count(rule, "maxDenied")?.unwrap_or(DEFAULT_DENIED);
    Some(most)
        .filter(|most| (1..=MOST_DENIED).contains(most))
        .ok_or_else(|| format!("`maxDenied` is from 1 to {MOST_DENIED} denied attempts in an hour"))
}

fn flag(rule: &Map<String, Value>, name: &str) -> Result<bool, String> {
    let value = rule.get(name).unwrap_or(&Value::Bool(false));
    value
        .as_bool()
        .ok_or_else(|| format!("`{name}` is true or false"))
}

fn differencing(rule: &Map<String, Value>) -> Result<Option<NonZeroU64>, String> {
    let Some(value) = rule.get("differencing") else {
        return Ok(None);
    };
    let value = value
        .as_object()
        .ok_or("`differencing` is such as {\"min\": 10}")?;
    known(value, &["min"], "differencing")?;
    let min = count(value, "min")?.and_then(NonZeroU64::new);
    min.map(Some)
        .ok_or_else(|| "`differencing` has a `min` of at least 1".into())
}

fn repeat(rule: &Map<String, Value>) -> Result<Repeat, String> {
    match rule.get("repeat").map(Value::as_str) {
        None => Ok(Repeat::default()),
        Some(Some("identical")) => Ok(Repeat::Identical),
        Some(Some("any")) => Ok(Repeat::Any),
        Some(_) => Err("`repeat` is \"identical\" or \"any\"".into()),
    }
}

fn epsilon(rule: &Map<String, Value>) -> Result<Option<EpsilonRule>, String> {
    let Some(value) = rule.get("epsilon") else {
        return Ok(None);
    };
    let value = value
        .as_object()
        .ok_or("`epsilon` is such as {\"claim\": \"/epsilon\", \"budget\": 1}")?;
    known(value, &["claim", "budget"], "epsilon")?;
    let claim = Pointer::parse(value.get("claim").unwrap_or(&Value::Null))?;
    if claim.is_plural() || claim.optional {
        return Err("the `claim` of `epsilon` leads to one member that is always there".into());
    }
    let budget = value.get("budget").and_then(Epsilon::read);
    let budget =
        budget.ok_or_else(|| format!("the `budget` of `epsilon` is {}", Epsilon::WANTED))?;
    Ok(Some(EpsilonRule { claim, budget }))
}

fn known(object: &Map<String, Value>, names: &[&str], of: &str) -> Result<(), String> {
    match object.keys().find(|name| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(format!(
            "`{of}` has no member `{name}`; it has {}",
            names.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(rule: Value) -> Value {
        let count = json!({"type": ["integer", "string"],
                           "sdcMinCount": {"min": 10, "zero": "allow"},
                           "sdcSuppressed": [{"marker": "<10", "lo": 1, "hi": 9}]});
        json!({
            "type": "object",
            "properties": {
                "week": {"type": "string", "pattern": "^w[0-9]$"},
                "epsilon": {"type": "number"},
                "rows": {"type": "array", "items": {"type": "object", "properties": {
                    "region": {"enum": ["a", "b"]}, "n": count, "mean": {"type": "number"},
                    "parts": {"type": "array", "items": {"type": "object", "properties": {
                        "age": {"enum": ["old", "young"]}, "n": count}}}}}},
                "by": {"type": "object", "properties": {"a": count, "b": count}},
                "mixed": {"type": "object", "properties": {"a": count, "b": {}}}
            },
            "sdcRelease": rule
        })
    }

    fn read(rule: Value) -> Result<ReleaseRule, String> {
        ReleaseRule::of_contract(&schema(rule), "weekly").map(Option::unwrap)
    }

    #[test]
    fn reads_every_member() {
        let rule = read(json!({
            "cell": ["/week", "/rows/*/region"], "value": "/rows/*/n", "stats": ["/rows/*/mean"],
            "horizon": "P400D", "window": "P7D", "maxReleases": 3, "maxBytes": 8192,
            "maxBits": 2000, "differencing": {"min": 10}, "repeat": "identical", "revisions": 2,
            "noisy": false, "maxDenied": 5, "epsilon": {"claim": "/epsilon", "budget": 1.5}
        }))
        .unwrap();
        assert_eq!((rule.horizon, rule.window), (34_560_000, 604_800));
        assert_eq!(
            (rule.max_releases, rule.max_bytes, rule.max_bits),
            (Some(3), Some(8192), Some(2000))
        );
        assert_eq!(
            (rule.differencing, rule.max_denied),
            (NonZeroU64::new(10), 5)
        );
        assert_eq!((rule.repeat, rule.revisions), (Repeat::Identical, 2));
        assert_eq!(rule.epsilon.unwrap().budget.to_string(), "1.5");
        assert_eq!(rule.family, "weekly");
        let short = read(json!({"cell": ["/week"], "value": "/by/a", "family": "f"})).unwrap();
        assert_eq!(short.family, "f");
        assert_eq!(
            (short.horizon, short.window),
            (DEFAULT_HORIZON, DEFAULT_HORIZON)
        );
        assert_eq!((short.repeat, short.max_denied), (Repeat::Any, 20));
        assert!(ReleaseRule::of_contract(&json!({}), "x").unwrap().is_none());
        assert!(
            ReleaseRule::of_contract(&json!(true), "x")
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn refuses_whatever_is_not_plain() {
        let base = json!({"cell": ["/week", "/rows/*/region"], "value": "/rows/*/n",
                          "window": "P7D"});
        assert!(read(base.clone()).is_ok());
        for (name, value, says) in [
            ("maxRelease", json!(1), "no member"),
            ("cell", json!([]), "1 to 64"),
            ("cell", json!("/week"), "1 to 64"),
            ("cell", json!(["week"]), "begins with `/`"),
            ("cell", json!(["/week"]), "told apart"),
            ("cell", json!(["/rows/*/parts/*/age"]), "several members"),
            ("value", json!("/rows/*/m"), "leads to no member"),
            ("value", json!(["/mixed/*"]), "leads to no member"),
            ("value", json!("/rows/*/parts/*/n"), "told apart"),
            ("value", json!(7), "1 to 64"),
            ("stats", json!(["/rows/*/parts/*/n"]), "several members"),
            ("horizon", json!("P1Y"), "fixed length"),
            ("horizon", json!(7), "duration"),
            ("window", json!("P0D"), "from PT1S"),
            ("maxReleases", json!(-1), "whole number"),
            ("maxReleases", json!(1.5), "whole number"),
            ("maxBytes", json!("8KiB"), "whole number"),
            ("maxBits", json!(u64::MAX), "whole number"),
            ("differencing", json!(10), "such as"),
            ("differencing", json!({"min": 0}), "at least 1"),
            ("differencing", json!({"min": 10, "max": 1}), "no member"),
            ("maxDenied", json!(0), "from 1 to 100"),
            ("maxDenied", json!(101), "from 1 to 100"),
            ("maxDenied", json!(null), "whole number"),
            ("repeat", json!("never"), "identical"),
            ("repeat", json!(true), "identical"),
            ("revisions", json!("1"), "whole number"),
            ("noisy", json!("yes"), "true or false"),
            ("linkedAudit", json!(1), "true or false"),
            ("linkedAudit", json!(true), "sdcTable"),
            ("epsilon", json!(1), "such as"),
            ("epsilon", json!({"claim": "/epsilon"}), "budget"),
            (
                "epsilon",
                json!({"claim": "/epsilon", "budget": 0}),
                "budget",
            ),
            (
                "epsilon",
                json!({"claim": "/epsilon?", "budget": 1}),
                "always there",
            ),
            ("epsilon", json!({"budget": 1}), "pointer"),
            ("family", json!(""), "name"),
            ("family", json!("a\nb"), "name"),
        ] {
            let mut rule = base.clone();
            rule[name] = value;
            let error = read(rule.clone()).expect_err(&rule.to_string());
            assert!(error.contains(says), "{rule}: {error}");
        }
        for (rule, says) in [
            (
                json!({"cell": ["/week"], "value": "/by/a", "maxReleases": 1}),
                "window",
            ),
            (json!([]), "object"),
            (
                json!({"cell": ["/week"], "value": ["/by/a", "/by/b"], "stats": ["/epsilon"]}),
                "exactly one",
            ),
        ] {
            let error = read(rule.clone()).expect_err(&rule.to_string());
            assert!(error.contains(says), "{rule}: {error}");
        }
        let none = json!({"properties": {"a": {"enum": [1]}},
                          "sdcRelease": {"cell": ["/a"], "differencing": {"min": 3}}});
        assert!(ReleaseRule::of_contract(&none, "x").is_err());
    }
}

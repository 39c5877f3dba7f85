//! What is open about one place.

use serde_json::Value;

use super::{Carrier, Node, Search, UNCOVERED};
use crate::lint::longest;

const ANY_LENGTH: &str = "a string of any length";

/// Whether a rule reads numbers that are written as strings.
fn has_numeric_text(here: &[Node<'_>]) -> bool {
    let rules = ["sdcMinCount", "sdcPrecision"];
    (here.iter())
        .any(|n| (rules.iter()).any(|k| n.get(k).is_some_and(|r| r.get("numeric").is_some())))
}

impl<'s> Search<'s> {
    pub(super) fn check(&mut self, node: &Node<'s>, here: &[Node<'s>]) {
        let has = |keyword: &str| here.iter().any(|n| n.has(keyword));
        if has("const") || has("enum") {
            return;
        }
        let typed: Vec<&Value> = here.iter().filter_map(|n| n.get("type")).collect();
        if typed.is_empty() {
            self.report(node, "a value of any type", "`type`, `const` or `enum`");
            return;
        }
        // Every `type` must hold, so a type that one of them leaves out is closed.
        let may_be = |name: &str| {
            let is = |t: &Value| {
                let t = t.as_str().unwrap_or_default();
                t == name || (t == "number" && name == "integer")
            };
            typed.iter().all(|t| match t {
                Value::Array(names) => names.iter().any(is),
                one => is(one),
            })
        };
        let body = self.carrier == Carrier::Body;
        if body && may_be("object") && !self.is_closed(here) && !self.is_bounded_map(here) {
            self.report(
                node,
                "an object with unlisted members",
                "`additionalProperties: false` or `unevaluatedProperties: false`; for a map, \
                 `additionalProperties`, `maxProperties` and bounded `propertyNames`",
            );
        }
        if may_be("string") {
            self.check_string(node, here);
        }
        if body && may_be("array") {
            self.check_array(node, here);
        }
        // A count is never negative.
        let low = has("minimum") || has("exclusiveMinimum") || has("sdcMinCount");
        let high = has("maximum") || has("exclusiveMaximum");
        if may_be("integer") && !(low && high) {
            self.report(node, "a number of any size", "`minimum` and `maximum`");
        }
        self.check_rules(node, here, may_be("integer"), may_be("number"));
    }

    fn check_string(&mut self, node: &Node<'s>, here: &[Node<'s>]) {
        let has = |keyword: &str| here.iter().any(|n| n.has(keyword));
        if self.covered.is_none() {
            if !has("maxLength") {
                self.report(node, ANY_LENGTH, "`enum`, or `pattern` and `maxLength`");
            }
            return;
        }
        // A cell is a number or a declared marker, unless numbers are written as strings.
        let cell = has("sdcMinCount") || has("sdcSuppressed");
        if has("sdcCodelist") || (cell && !has_numeric_text(here)) {
            return;
        }
        let patterns = || {
            let patterns = here.iter().filter_map(|n| n.get("pattern")?.as_str());
            patterns.filter_map(longest)
        };
        if !has("maxLength") && patterns().next().is_none() {
            self.report(node, ANY_LENGTH, "`enum`, or `pattern` and `maxLength`");
        } else if !has("pattern") && !has_numeric_text(here) {
            let what = "a string of any characters";
            self.report(
                node,
                what,
                "`enum`, `sdcCodelist`, or an anchored `pattern`",
            );
        }
    }

    /// What disclosure rules ask of numbers.
    fn check_rules(&mut self, node: &Node<'s>, here: &[Node<'s>], number: bool, fraction: bool) {
        let Some(covered) = self.covered else {
            return;
        };
        let has = |keyword: &str| here.iter().any(|n| n.has(keyword));
        if (number || has_numeric_text(here)) && !covered.has(here) {
            let instead = "`sdcMinCount` for a count, a rule such as `sdcContributors` for what \
                           rests on one, or `sdcMeta` with the reason why no person is behind it";
            self.report(node, UNCOVERED, instead);
        }
        let grid = ["sdcPrecision", "sdcRound", "sdcMinCount", "multipleOf"];
        if fraction && !grid.iter().any(|keyword| has(keyword)) {
            self.report(
                node,
                "a number of any precision",
                "`sdcPrecision` or `multipleOf`",
            );
        }
    }

    /// Whether only members that are listed by name may be there.
    fn is_closed(&mut self, here: &[Node<'s>]) -> bool {
        let closed_itself =
            |n: &Node<'_>| n.is_false("additionalProperties") && !n.has("patternProperties");
        if here.iter().any(closed_itself) {
            return true;
        }
        if !here.iter().any(|n| n.is_false("unevaluatedProperties")) {
            return false;
        }
        // Whatever is evaluated anywhere at this place is allowed, in conditions too.
        let Some(all) = self.with_conditions(here) else {
            return false;
        };
        self.members(&all[here.len()..]);
        !all.iter()
            .any(|n| n.admits("additionalProperties") || n.has("patternProperties"))
    }

    /// Whether members are free, but few, with bounded names; their values are looked at as such.
    fn is_bounded_map(&self, here: &[Node<'s>]) -> bool {
        let has = |keyword: &str| here.iter().any(|n| n.has(keyword));
        let bounded_names = here.iter().any(|n| {
            let names = n.get("propertyNames");
            let mut parts = Vec::new();
            if let Some(names) = names {
                self.gather(&n.child(&["propertyNames"], names), &mut parts);
            }
            (parts.iter()).any(|p| p.has("const") || p.has("enum") || p.has("maxLength"))
        });
        let values = has("additionalProperties") || has("unevaluatedProperties");
        values && has("maxProperties") && bounded_names
    }

    fn check_array(&mut self, node: &Node<'s>, here: &[Node<'s>]) {
        let has = |keyword: &str| here.iter().any(|n| n.has(keyword));
        // `contains` evaluates as well; then `unevaluatedItems` says little.
        let unevaluated = (here.iter())
            .find_map(|n| n.get("unevaluatedItems"))
            .filter(|_| !has("contains"))
            .filter(|_| !here.iter().any(|n| n.admits("items")));
        let conditions = self.with_conditions(here);
        let unevaluated = unevaluated.filter(|_| conditions.is_some_and(|c| c.len() == here.len()));
        let tuple = here.iter().filter_map(|n| Some(n.tuple()?.1.len())).max();
        let ends = here.iter().any(|n| n.is_false(n.rest_of_items()))
            || unevaluated == Some(&Value::Bool(false));
        let longest = here
            .iter()
            .filter_map(|n| n.get("maxItems")?.as_u64())
            .min();
        if longest.is_none() && !ends {
            self.report(node, "an array of any length", "`maxItems`");
        }
        let listed = longest.is_some_and(|longest| tuple.unwrap_or(0) as u64 >= longest);
        let described = here.iter().any(|n| n.has(n.rest_of_items())) || unevaluated.is_some();
        if !described && !listed {
            self.report(node, "items of any type", "`items`");
        }
    }
}

//! How many texts a place can hold.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::automaton::{Automaton, Fuel};
use super::count::Count;

/// How many code points there are: 0x110000 less the surrogates.
const CODE_POINTS: u32 = 0x11_0000 - 0x800;

/// What all patterns of one contract may cost, in additions of machine words.
const FUEL: u64 = 32 * 1024 * 1024;

/// A number that stands in a string, as `"numeric": "string"` reads it.
const NUMERIC: &str = r"^(0|[1-9][0-9]*)(\.[0-9]+)?$";

/// Small counts are looked for one by one in patterns of numeric strings, up to this many.
const MAX_SMALL_COUNTS: u64 = 1000;

/// Counts texts, and remembers patterns.
#[derive(Debug)]
pub(super) struct Texts {
    automata: HashMap<String, Option<Automaton>>,
    fuel: Fuel,
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            automata: HashMap::new(),
            fuel: Fuel(FUEL),
        }
    }
}

/// What the schemas of a place say of its texts, when all of them hold.
struct Rules<'s> {
    shortest: u64,
    longest: Option<u64>,
    patterns: Vec<&'s str>,
    /// No other text can be there.
    only: Option<BTreeSet<&'s str>>,
    /// These are markers of suppression, and others are numbers.
    numeric: Option<BTreeSet<&'s str>>,
    /// Counts below this are refused, other than markers, and zero where that is refused.
    small: Option<(u64, bool)>,
}

impl Texts {
    /// How many there are at most.
    pub(super) fn count(&mut self, here: &[&Map<String, Value>]) -> Count {
        let rules = Rules::new(here);
        if let Some(only) = &rules.only {
            let fitting = only.iter().filter(|text| self.fits(&rules, text)).count();
            return Count::from(fitting);
        }
        let (shortest, longest) = (rules.shortest, rules.longest);
        if longest.is_some_and(|longest| longest < shortest) {
            return Count::zero();
        }
        let mut least = any(shortest, longest, &Count::from(CODE_POINTS));
        for pattern in &rules.patterns {
            let refused = rules.small_counts().filter(|text| {
                self.fits(&rules, text) && self.automaton(pattern).is_some_and(|a| a.matches(text))
            });
            let refused = refused.count() as u64;
            least = least.min(self.matching(pattern, shortest, longest).without(refused));
        }
        if let Some(markers) = &rules.numeric {
            let numbers = self.matching(NUMERIC, shortest, longest);
            least = least.min(numbers.add(&Count::from(markers.len())));
        }
        least
    }

    /// How many texts match a pattern at most.
    pub(super) fn matching(&mut self, pattern: &str, shortest: u64, longest: Option<u64>) -> Count {
        self.automaton(pattern);
        let any = any(shortest, longest, &Count::from(CODE_POINTS));
        let Some(Some(automaton)) = self.automata.get(pattern) else {
            return any;
        };
        automaton
            .count(shortest, longest, &mut self.fuel)
            .unwrap_or(any)
    }

    /// Whether a text matches a pattern; `None` if that is not known.
    pub(super) fn is_match(&mut self, pattern: &str, text: &str) -> Option<bool> {
        Some(self.automaton(pattern)?.matches(text))
    }

    fn automaton(&mut self, pattern: &str) -> Option<&Automaton> {
        if !self.automata.contains_key(pattern) {
            let automaton = Automaton::new(pattern, &mut self.fuel);
            self.automata.insert(pattern.to_owned(), automaton);
        }
        self.automata.get(pattern)?.as_ref()
    }

    /// Whether a text may be there, as far as lengths and patterns say.
    pub(super) fn admits(&mut self, here: &[&Map<String, Value>], text: &str) -> bool {
        let rules = Rules::new(here);
        rules.only.as_ref().is_none_or(|only| only.contains(text)) && self.fits(&rules, text)
    }

    fn fits(&mut self, rules: &Rules<'_>, text: &str) -> bool {
        let length = text.chars().count() as u64;
        length >= rules.shortest
            && rules.longest.is_none_or(|longest| length <= longest)
            && (rules.patterns.iter()).all(|p| self.is_match(p, text).unwrap_or(true))
    }
}

/// How many texts there are of `shortest` to `longest` signs out of an alphabet.
fn any(shortest: u64, longest: Option<u64>, alphabet: &Count) -> Count {
    longest.map_or(Count::Infinite, |longest| {
        alphabet.powers(shortest, longest)
    })
}

impl<'s> Rules<'s> {
    fn new(here: &[&'s Map<String, Value>]) -> Self {
        let mut rules = Self {
            shortest: 0,
            longest: None,
            patterns: Vec::new(),
            only: None,
            numeric: None,
            small: None,
        };
        for schema in here {
            let number = |keyword: &str| schema.get(keyword).and_then(whole);
            rules.shortest = rules.shortest.max(number("minLength").unwrap_or(0));
            rules.longest = [rules.longest, number("maxLength")]
                .into_iter()
                .flatten()
                .min();
            rules
                .patterns
                .extend(schema.get("pattern").and_then(Value::as_str));
            rules.codes(schema);
            rules.cells(schema);
        }
        rules
    }

    fn codes(&mut self, schema: &'s Map<String, Value>) {
        let Some(rule) = schema.get("sdcCodelist") else {
            return;
        };
        let listed = rule.get("codes").and_then(Value::as_array);
        let listed = listed.or_else(|| rule.get("list").and_then(Value::as_array));
        if let Some(codes) = listed {
            self.restrict(codes.iter().filter_map(Value::as_str).collect());
        }
    }

    /// At a cell there are numbers and markers alone.
    fn cells(&mut self, schema: &'s Map<String, Value>) {
        let rules = ["sdcMinCount", "sdcSuppressed"].map(|keyword| schema.get(keyword));
        if rules.iter().all(Option::is_none) {
            return;
        }
        let listed = schema.get("sdcSuppressed").and_then(Value::as_array);
        let markers: BTreeSet<&str> = (listed.into_iter().flatten())
            .filter_map(|marker| marker.get("marker")?.as_str())
            .collect();
        if !has_numeric_strings(schema) {
            self.restrict(markers);
            return;
        }
        let least = schema.get("sdcMinCount").filter(|rule| is_numeric(rule));
        let min = least.and_then(|rule| rule.get("min")?.as_u64());
        let zero = least.and_then(|rule| rule.get("zero")?.as_str()) == Some("deny");
        // Both of one schema: what one refuses may be a marker of another.
        self.small = min.map(|min| (min, zero));
        self.numeric = Some(markers);
    }

    fn restrict(&mut self, texts: BTreeSet<&'s str>) {
        self.only = Some(match self.only.take() {
            Some(only) => only.intersection(&texts).copied().collect(),
            None => texts,
        });
    }

    /// Texts that are refused as small counts.
    fn small_counts(&self) -> impl Iterator<Item = String> {
        let (min, zero) = self.small.unwrap_or((0, false));
        let small = u64::from(!zero)..min.min(MAX_SMALL_COUNTS);
        let markers = self.numeric.clone().unwrap_or_default();
        small
            .map(|n| n.to_string())
            .filter(move |n| !markers.contains(&**n))
    }
}

/// Whether a rule beside reads strings as numbers.
fn has_numeric_strings(schema: &Map<String, Value>) -> bool {
    let rules = ["sdcMinCount", "sdcPrecision"].map(|keyword| schema.get(keyword));
    rules.into_iter().flatten().any(is_numeric)
}

fn is_numeric(rule: &Value) -> bool {
    rule.get("numeric").and_then(Value::as_str) == Some("string")
}

/// A bound that is a whole number, in any spelling.
pub(super) fn whole(value: &Value) -> Option<u64> {
    let text = || {
        value
            .as_f64()
            .filter(|f| f.fract() == 0.0 && *f >= 0.0 && *f < 1e15)
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and small"
    )]
    value.as_u64().or_else(|| text().map(|f| f as u64))
}

//! How many texts a pattern matches, by length in code points: paths through its automaton.
//!
//! The automaton is a dense DFA that reads bytes and accepts whole texts. A path of bytes is a path
//! of code points, because patterns are in UTF-8 mode; states between the bytes of one code point
//! are left out, and what remains is a graph whose edges say how many code points lead along them.

use std::collections::{BTreeMap, HashMap};

use num_bigint::BigUint;
use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};

use super::count::Count;

/// Patterns with more states than this between code points are not counted.
const MAX_STATES: usize = 10_000;

/// What an automaton may cost in memory while it is built, in bytes.
const MAX_DFA_BYTES: usize = 1024 * 1024;

/// The same for what it is built from.
const MAX_NFA_BYTES: usize = 1024 * 1024;

/// What it costs to find out that a pattern needs more than that.
const ATTEMPT: u64 = 8 * MAX_DFA_BYTES as u64;

/// The bytes of UTF-8 that continue a code point.
const CONTINUATION: std::ops::RangeInclusive<u8> = 0x80..=0xBF;

/// How much more may be spent on patterns, in additions of machine words or bytes of memory.
#[derive(Debug)]
pub(super) struct Fuel(pub(super) u64);

impl Fuel {
    /// Whether so much is left; it is gone then.
    pub(super) fn take(&mut self, cost: u64) -> bool {
        self.0 = self.0.saturating_sub(cost);
        self.0 > 0
    }
}

/// A pattern as a graph.
#[derive(Debug)]
pub(super) struct Automaton {
    start: usize,
    /// For each state, where code points lead, and how many of them.
    edges: Vec<Vec<(usize, u32)>>,
    accepts: Vec<bool>,
    dfa: dense::DFA<Vec<u32>>,
}

impl Automaton {
    /// The texts in which an ECMA-262 pattern is found somewhere; `None` if that costs too much, or
    /// cannot be told with a finite automaton.
    pub(super) fn new(pattern: &str, fuel: &mut Fuel) -> Option<Self> {
        if !fuel.take(ATTEMPT) {
            return None;
        }
        // The same translation as the validator's.
        let translated = jsonschema_regex::to_rust_regex(pattern).ok()?;
        let whole = format!("(?s:.)*(?:{translated})(?s:.)*");
        let dfa = dense::Builder::new()
            .configure(
                dense::Config::new()
                    .start_kind(StartKind::Anchored)
                    .match_kind(MatchKind::All)
                    .dfa_size_limit(Some(MAX_DFA_BYTES))
                    .determinize_size_limit(Some(MAX_DFA_BYTES)),
            )
            .thompson(thompson::Config::new().nfa_size_limit(Some(MAX_NFA_BYTES)))
            .build(&whole)
            .ok()?;
        fuel.0 += ATTEMPT.saturating_sub(dfa.memory_usage() as u64);
        Self::graph(dfa)
    }

    fn graph(dfa: dense::DFA<Vec<u32>>) -> Option<Self> {
        let start = dfa
            .start_state(&start::Config::new().anchored(Anchored::Yes))
            .ok()?;
        let mut numbers = HashMap::from([(start, 0)]);
        let mut states = vec![start];
        let mut edges = Vec::new();
        let mut inner = HashMap::new();
        while let Some(&state) = states.get(edges.len()) {
            let mut from = Vec::new();
            for (target, times) in step(&dfa, state, &mut inner)? {
                let number = *numbers.entry(target).or_insert_with(|| {
                    states.push(target);
                    states.len() - 1
                });
                from.push((number, times));
            }
            if states.len() > MAX_STATES {
                return None;
            }
            edges.push(from);
        }
        let accepts: Vec<bool> = (states.iter())
            .map(|state| dfa.is_match_state(dfa.next_eoi_state(*state)))
            .collect();
        let mut graph = Self {
            start: 0,
            edges,
            accepts,
            dfa,
        };
        graph.prune();
        Some(graph)
    }

    /// Drops edges to states from which no text is accepted.
    fn prune(&mut self) {
        let mut back = vec![Vec::new(); self.edges.len()];
        for (from, edges) in self.edges.iter().enumerate() {
            for (to, _) in edges {
                back[*to].push(from);
            }
        }
        let mut useful = self.accepts.clone();
        let mut todo: Vec<usize> = (0..useful.len()).filter(|s| useful[*s]).collect();
        while let Some(state) = todo.pop() {
            for from in &back[state] {
                if !std::mem::replace(&mut useful[*from], true) {
                    todo.push(*from);
                }
            }
        }
        for edges in &mut self.edges {
            edges.retain(|(to, _)| useful[*to]);
        }
    }

    /// Whether a text matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        let anchored = start::Config::new().anchored(Anchored::Yes);
        let Ok(start) = self.dfa.start_state(&anchored) else {
            return true;
        };
        let end = (text.bytes()).fold(start, |state, byte| self.dfa.next_state(state, byte));
        self.dfa.is_match_state(self.dfa.next_eoi_state(end))
    }

    /// How many texts of `shortest` to `longest` code points match; `None` if that costs too much.
    pub(super) fn count(
        &self,
        shortest: u64,
        longest: Option<u64>,
        fuel: &mut Fuel,
    ) -> Option<Count> {
        let mut now = BTreeMap::from([(self.start, BigUint::from(1u8))]);
        let mut sum = BigUint::ZERO;
        for length in 0.. {
            if length >= shortest {
                sum += (now
                    .iter()
                    .filter(|(s, _)| self.accepts[**s])
                    .map(|(_, n)| n))
                .sum::<BigUint>();
            }
            if longest == Some(length) {
                break;
            }
            let mut next: BTreeMap<usize, BigUint> = BTreeMap::new();
            for (state, n) in &now {
                let edges = &self.edges[*state];
                if !fuel.take((edges.len() as u64 + 1) * (8 + n.bits() / 64)) {
                    return None;
                }
                for (to, times) in edges {
                    *next.entry(*to).or_default() += n * times;
                }
            }
            if next.is_empty() {
                break;
            }
            // Each state is useful, so a path longer than there are states comes back to one.
            if longest.is_none() && length as usize > self.edges.len() {
                return Some(Count::Infinite);
            }
            now = next;
        }
        Some(sum.into())
    }
}

type Targets = Vec<(StateID, u32)>;

/// Where the code points lead that begin in this state; `None` if the automaton gives up on one.
fn step(
    dfa: &dense::DFA<Vec<u32>>,
    state: StateID,
    inner: &mut HashMap<(StateID, u8), Targets>,
) -> Option<Targets> {
    let mut targets = BTreeMap::new();
    let leads = [
        (0x00..=0x7F, 0),
        (0xC2..=0xDF, 1),
        (0xE0..=0xEF, 2),
        (0xF0..=0xF4, 3),
    ];
    for (bytes, more) in leads {
        for byte in bytes {
            let next = dfa.next_state(state, byte);
            if dfa.is_quit_state(next) {
                return None;
            }
            if !dfa.is_dead_state(next) {
                add(&mut targets, continued(dfa, next, more, inner)?, 1);
            }
        }
    }
    Some(targets.into_iter().collect())
}

/// Where the rest of a code point leads, of which so many bytes are missing.
fn continued(
    dfa: &dense::DFA<Vec<u32>>,
    state: StateID,
    missing: u8,
    inner: &mut HashMap<(StateID, u8), Targets>,
) -> Option<Targets> {
    if missing == 0 {
        return Some(vec![(state, 1)]);
    }
    if let Some(known) = inner.get(&(state, missing)) {
        return Some(known.clone());
    }
    let mut targets = BTreeMap::new();
    for byte in CONTINUATION {
        let next = dfa.next_state(state, byte);
        if dfa.is_quit_state(next) {
            return None;
        }
        if !dfa.is_dead_state(next) {
            add(&mut targets, continued(dfa, next, missing - 1, inner)?, 1);
        }
    }
    let targets: Targets = targets.into_iter().collect();
    inner.insert((state, missing), targets.clone());
    Some(targets)
}

fn add(targets: &mut BTreeMap<StateID, u32>, more: Targets, times: u32) {
    for (target, n) in more {
        *targets.entry(target).or_default() += n * times;
    }
}

//! What is known of a place once it is counted: how many values, and where the choices are.

use std::collections::BTreeMap;

use super::Leaf;
use super::count::Count;
use crate::judge::sdc::Token;
use crate::source::join;

/// Where in a payload a place is.
#[derive(Clone, Debug)]
pub(super) struct At {
    pub(super) pointer: String,
    /// How often it can be there; `None` if nothing bounds that.
    pub(super) times: Option<u64>,
    pub(super) depth: usize,
    /// Not in one of several alternatives, or under one.
    pub(super) sure: bool,
    /// The ways to places from here on whose values follow from those of others.
    pub(super) derived: Vec<Vec<Token>>,
}

/// How many values, and where the choices are.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) n: Count,
    pub(super) leaves: BTreeMap<String, Leaf>,
    /// Values that follow from others are not counted, so that what is counted are no longer all
    /// different values.
    pub(super) derived: bool,
    /// The same for values that are taken out before a release.
    pub(super) stripped: bool,
}

impl At {
    pub(super) fn root() -> Self {
        Self {
            pointer: String::new(),
            times: Some(1),
            depth: 0,
            sure: true,
            derived: Vec::new(),
        }
    }

    /// A member, or the element with this index.
    pub(super) fn member(&self, name: &str) -> Self {
        self.below(join(&self.pointer, name), Some(name), self.times)
    }

    /// All elements or members that are not told apart.
    pub(super) fn every(&self, times: Option<u64>) -> Self {
        let times = self.times.zip(times).map(|(a, b)| a.saturating_mul(b));
        self.below(format!("{}/*", self.pointer), None, times)
    }

    fn below(&self, pointer: String, name: Option<&str>, times: Option<u64>) -> Self {
        let step = |way: &Vec<Token>| {
            let (first, rest) = way.split_first()?;
            let fits = match (first, name) {
                (Token::Every, _) => true,
                (Token::Name(wanted), Some(name)) => wanted == name,
                (Token::Name(_), None) => false,
            };
            fits.then(|| rest.to_vec())
        };
        Self {
            pointer,
            times,
            depth: self.depth + 1,
            sure: self.sure,
            derived: self.derived.iter().filter_map(step).collect(),
        }
    }

    pub(super) fn is_derived(&self) -> bool {
        self.derived.iter().any(Vec::is_empty)
    }
}

impl Tally {
    pub(super) fn none() -> Self {
        Self::of(Count::zero())
    }

    pub(super) fn of(n: Count) -> Self {
        Self {
            n,
            leaves: BTreeMap::new(),
            derived: false,
            stripped: false,
        }
    }

    /// A place that is not looked into further.
    pub(super) fn leaf(at: &At, what: &'static str, n: Count) -> Self {
        let mut tally = Self::of(n.clone());
        let leaf = Leaf {
            pointer: at.pointer.clone(),
            what,
            instances: at.times,
            n,
        };
        tally.leaves.insert(at.pointer.clone(), leaf);
        tally
    }

    /// Adds other values for the same place.
    pub(super) fn or(&mut self, other: Self) {
        if other.n.is_zero() {
            return;
        }
        self.n = self.n.add(&other.n);
        self.join(other, |leaf, other| {
            leaf.n = leaf.n.add(&other.n);
            leaf.instances = leaf.instances.zip(other.instances).map(|(a, b)| a.max(b));
        });
    }

    /// Takes over where the choices are in a place beside.
    pub(super) fn beside(&mut self, other: Self) {
        self.join(other, |leaf, other| {
            leaf.n = leaf.n.clone().max(other.n);
            leaf.instances = leaf
                .instances
                .zip(other.instances)
                .map(|(a, b)| a.saturating_add(b));
        });
    }

    /// The larger of both, and where the choices are in either.
    pub(super) fn larger(mut self, other: Self) -> Self {
        self.n = self.n.max(other.n.clone());
        self.beside(other);
        self
    }

    fn join(&mut self, other: Self, both: impl Fn(&mut Leaf, Leaf)) {
        self.derived |= other.derived;
        self.stripped |= other.stripped;
        for (pointer, leaf) in other.leaves {
            match self.leaves.get_mut(&pointer) {
                None => {
                    self.leaves.insert(pointer, leaf);
                }
                Some(here) => {
                    if matches!(here.what, "constant" | "one of a list") {
                        here.what = leaf.what;
                    }
                    both(here, leaf);
                }
            }
        }
    }
}

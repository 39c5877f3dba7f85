//! Numbers that a disclosure rule judges.

use std::collections::BTreeSet;

use super::Node;

/// The places in a flattened schema that rules of other places judge.
#[derive(Debug, Default)]
pub(crate) struct Covered {
    /// By pointer. What is within is not judged.
    places: BTreeSet<String>,
}

impl Covered {
    /// Adds places.
    pub(crate) fn extend(&mut self, places: Vec<String>) {
        self.places.extend(places);
    }

    /// Whether the number at a place with these schemas is judged, by a rule there or elsewhere.
    pub(super) fn has(&self, here: &[Node<'_>]) -> bool {
        let own = ["sdcMinCount", "sdcMeta"];
        let by_own = here.iter().any(|n| own.iter().any(|k| n.has(k)));
        by_own || here.iter().any(|n| self.places.contains(&n.pointer))
    }
}

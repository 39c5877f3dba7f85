//! How much a contract can carry: an upper bound on the number of distinct payloads that it lets
//! through, each in its one canonical spelling (RFC 8785).
//!
//! One release tells its receiver no more than the logarithm of that number, in bits, whatever the
//! sender knows and however it encodes it: min-capacity, Shannon capacity and maximal leakage of a
//! channel are all at most the logarithm of the number of its outputs (Smith 2009; Issa, Wagner and
//! Kamath, arXiv:1807.07878). When a release is sent is not counted, nor what its size tells a
//! third party.
//!
//! The count never falls below the truth. It is exact for schemas whose parts do not depend on each
//! other; where rules tie parts together it uses what can be used safely and leaves out the rest.

use serde_json::Value;

use self::place::{Counter, Here};
use self::tally::At;

mod array;
mod automaton;
mod count;
mod decimal;
mod messages;
mod numeric;
mod object;
mod place;
mod range;
mod report;
mod series;
mod svg;
mod table;
mod tally;
mod text;
mod window;

pub use count::Count;
pub use messages::{ExchangeCapacity, Part, PolicyCapacity, RuleCapacity, exchange, policy};
pub use report::{json, policy_json, policy_table, table};
pub use svg::svg;

/// The keyword that bounds the capacity of a contract, in bits.
const KEYWORD: &str = "sdcCapacity";

/// How much something can carry, and where in it the choices are.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// How many distinct payloads there are at most.
    pub n: Count,
    /// Every place with values of its own, the one with the most bits first.
    pub leaves: Vec<Leaf>,
    /// The bound follows from the size of the body, not from the schema.
    pub by_size: bool,
}

/// A place of a payload with values of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Where it is in a payload (RFC 6901), with `*` for all items or all unlisted members.
    pub pointer: String,
    /// What can be there.
    pub what: &'static str,
    /// How often it can be there at most; `None` if nothing bounds that.
    pub instances: Option<u64>,
    /// How many values each of them can have at most.
    pub n: Count,
}

/// A contract can carry more than it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// What `sdcCapacity` allows, in bits.
    pub allowed: u64,
    /// What the contract can carry, in bits; `None` if nothing bounds it.
    pub bits: Option<u64>,
}

/// Counts what a schema lets through in bodies of at most so many bytes. The schema must be one
/// without references; one that is left is infinite.
pub fn count(schema: &Value, max_bytes: Option<usize>) -> Capacity {
    let mut counter = Counter::default();
    let tally = counter.place(&Here::new(&[schema], Vec::new()), &At::root());
    let mut capacity = Capacity {
        n: tally.n,
        leaves: tally.leaves.into_values().collect(),
        by_size: false,
    };
    capacity.leaves.sort_by(|a, b| {
        let order = b.total_bits().total_cmp(&a.total_bits());
        order.then_with(|| a.pointer.cmp(&b.pointer))
    });
    if let Some(bytes) = max_bytes {
        // The canonical form can be longer than the body, but each body has only one.
        let bodies = Count::power_of_two((bytes as u64).saturating_mul(8));
        capacity.by_size = !capacity.n.at_most(&bodies);
        capacity.n = capacity.n.min(bodies);
    }
    capacity
}

/// Counts the texts that a parameter or a header can be: never an object or an array.
pub(crate) fn texts(schema: &Value) -> Count {
    let scalars = serde_json::json!({"type": ["null", "boolean", "number", "string"]});
    let here = Here::new(&[schema, &scalars], Vec::new());
    Counter::default().place(&here, &At::root()).n
}

/// Whether a contract can carry more than its `sdcCapacity` says; `None` without that keyword.
pub fn exceeds(schema: &Value, capacity: &Capacity) -> Option<Excess> {
    let allowed = text::whole(schema.get(KEYWORD)?.get("maxBits")?)?;
    let bits = capacity.bits();
    (bits.is_none_or(|bits| bits > allowed)).then_some(Excess { allowed, bits })
}

impl Capacity {
    /// The capacity in bits, rounded up, exactly; `None` if nothing bounds it.
    pub fn bits(&self) -> Option<u64> {
        self.n.bits()
    }

    /// The capacity in bits, for display.
    pub fn bits_f64(&self) -> f64 {
        self.n.log2()
    }

    /// The places with a choice.
    pub fn choices(&self) -> impl Iterator<Item = &Leaf> {
        self.leaves.iter().filter(|leaf| leaf.total_bits() > 0.0)
    }

    /// What the places do not account for, in bits: which optional parts and how many items are
    /// there adds to their sum, and an order that is fixed, a key that is unique and a part that
    /// not every payload has take away from it.
    pub fn structure_bits(&self) -> f64 {
        self.bits_f64() - self.leaves.iter().map(Leaf::total_bits).sum::<f64>()
    }
}

impl Leaf {
    /// The bits of each instance.
    pub fn bits(&self) -> f64 {
        self.n.log2()
    }

    /// The bits of all instances.
    #[expect(clippy::cast_precision_loss, reason = "for display")]
    pub fn total_bits(&self) -> f64 {
        match self.instances {
            _ if self.bits() == 0.0 => 0.0,
            Some(instances) => self.bits() * instances as f64,
            None => f64::INFINITY,
        }
    }
}

impl std::fmt::Display for Excess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let allowed = self.allowed;
        match self.bits {
            Some(bits) => write!(
                f,
                "the contract can carry {bits} bits, and says at most {allowed}"
            ),
            None => write!(
                f,
                "nothing bounds what the contract can carry, and it says {allowed} bits"
            ),
        }
    }
}

#[cfg(test)]
mod tests;

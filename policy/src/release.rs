//! What a release may be, given what has been released before: the keyword `sdcRelease`.
//!
//! A payload can be harmless alone and tell about a single person together with an earlier one. So
//! a contract says with `sdcRelease` which of its figures are the same figure again (the *cell*),
//! and what they may differ by from every release in the horizon, and how much may leave in a
//! sliding window. The rules are pure: [`ReleaseRule`] is read from the contract, [`ReleaseFacts`]
//! from a payload that has passed it, [`History`] comes out of a ledger, and [`decide`] puts the
//! three together. Only a ledger that decides and remembers in one transaction makes them hold.
//!
//! A ledger remembers by consumer and family. The consumer is the receiving party, the family the
//! name of the contract in the policy, unless the contract says otherwise, so that a new version of
//! a contract does not lose the memory.
//!
//! ```json
//! {"cell": ["/week", "/rows/*/region"], "value": "/rows/*/cases", "stats": ["/rows/*/mean"],
//!  "horizon": "P400D", "window": "P7D", "maxReleases": 3, "maxBytes": 8192, "maxBits": 2000,
//!  "differencing": {"min": 10}, "repeat": "identical", "revisions": 0, "noisy": false,
//!  "linkedAudit": true, "epsilon": {"claim": "/epsilon", "budget": 1.0}, "family": "weekly",
//!  "maxDenied": 20}
//! ```
//!
//! A refusal for what was released before tells the pod about the memory, and on the way in it
//! tells the caller one bit. What is refused spends nothing, so refusals have a limit of their own:
//! [`denied_too_often`].
//!
//! Sources: differences between tables as in ABS DataLab (no difference under 10), subsets as in
//! DataSHIELD; sticky noise as in the cell-key method; basic composition of epsilon.

mod cells;
mod counts;
mod decide;
mod duration;
mod epsilon;
mod history;
mod interval;
mod labels;
mod linked;
mod parse;

use std::num::NonZeroU64;

pub use decide::{decide, denied_too_often, entry_too_large};
pub use epsilon::Epsilon;
pub use history::{History, LinkedRelease, Seen, Spent};
pub use interval::Interval;

use cells::Value as Guarded;
use linked::Lines;

use crate::judge::sdc::Pointer;

/// The keyword.
pub const KEYWORD: &str = "sdcRelease";

/// The most cells of one release. More are refused: each is looked up and remembered.
pub const MAX_CELLS: usize = 4096;

/// The most earlier figures that one release is held against. Beyond, it is refused: a contract
/// without `maxReleases` may have any number of them.
pub const MAX_SEEN: usize = 65_536;

/// How long releases are remembered unless the contract says otherwise: 400 days, so that this
/// year's figures still meet last year's.
pub const DEFAULT_HORIZON: u64 = 400 * 86_400;

/// Over which time denied attempts are counted, in seconds.
pub const DENIED_WINDOW: u64 = 3600;

/// Denied attempts in [`DENIED_WINDOW`], unless the contract says otherwise.
pub const DEFAULT_DENIED: u64 = 20;

/// No contract may have more of them: each can be a bit for who sees it.
pub const MOST_DENIED: u64 = 100;

/// `sdcRelease` of a contract.
#[derive(Clone, Debug)]
pub struct ReleaseRule {
    /// Under which name the contract's releases are remembered.
    pub family: String,
    /// How long a release is held against later ones, in seconds.
    pub horizon: u64,
    /// Over which time budgets are counted, in seconds.
    pub window: u64,
    /// Releases in a window.
    pub max_releases: Option<u64>,
    /// Canonical bytes in a window.
    pub max_bytes: Option<u64>,
    /// Bits in a window, each release counted as [`ReleaseRule::bits`].
    pub max_bits: Option<u64>,
    /// What one release carries at most: ceil(log2 N) of the contract's N canonical payloads.
    /// `None` while it is not known; then nothing fits a budget of bits.
    pub bits: Option<u64>,
    /// Denied attempts in [`DENIED_WINDOW`]; after them, all are refused unseen.
    pub max_denied: u64,
    /// k: a figure stays as it was, or changes by at least this.
    pub differencing: Option<NonZeroU64>,
    /// What becomes of a payload that was released before.
    pub repeat: Repeat,
    /// How often the statistics of a cell may change while its count stays.
    pub revisions: u64,
    /// The figures carry noise: a cell that was released stays as it is, byte by byte.
    pub noisy: bool,
    /// Tables of one period are audited together.
    pub linked_audit: bool,
    /// Differential privacy.
    pub epsilon: Option<EpsilonRule>,
    cell: Vec<Pointer>,
    values: Vec<Guarded>,
    stats: Vec<Pointer>,
    lines: Lines,
}

/// What becomes of a payload that was released before in the horizon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repeat {
    /// It passes again: it says nothing new. It still spends from the budgets.
    Identical,
    /// It is looked at as any other.
    #[default]
    Any,
}

/// The privacy loss that releases claim, and what they may claim together in a horizon.
///
/// It is the producer's claim: no one but the producer knows which noise was drawn. Losses add up
/// (basic composition), also for a payload that is repeated.
#[derive(Clone, Debug)]
pub struct EpsilonRule {
    claim: Pointer,
    /// The most of all releases in a horizon.
    pub budget: Epsilon,
}

/// What of a payload the ledger must know. It holds figures that are released with it, labels only
/// as digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseFacts {
    /// SHA-256 of the canonical bytes.
    pub payload: [u8; 32],
    /// How many canonical bytes.
    pub bytes: u64,
    /// The claimed privacy loss.
    pub epsilon: Option<Epsilon>,
    /// What belongs to one period: the labels that hold for the whole payload, as a digest.
    pub scope: Key,
    /// The figures.
    pub cells: Vec<Cell>,
    /// Which figures are sums of which, as indices into `cells`: total and parts.
    pub lines: Vec<(usize, Vec<usize>)>,
}

/// 128 bits of a SHA-256. Two payloads of which somebody could make these equal would gain a refusal.
pub type Key = [u8; 16];

/// One figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Digest of the labels that say which figure it is.
    pub key: Key,
    /// What is known of the count behind it.
    pub interval: Interval,
    /// It hides the count, and must go on hiding it.
    pub suppressed: bool,
    /// Digest of its canonical text.
    pub value: Key,
    /// Digest of the statistics that hang on it.
    pub stats: Key,
    /// Where it stands in the payload.
    pub pointer: String,
}

impl Cell {
    /// Whether it shows the same count as an earlier release.
    pub fn same_value(&self, seen: &Seen) -> bool {
        self.value == seen.value && self.interval == seen.interval
    }
}

impl ReleaseRule {
    /// Holds releases for so many seconds against later ones; budgets without a window of their own
    /// do not exist.
    pub(crate) fn remember_for(&mut self, horizon: u64) {
        if self.window == self.horizon {
            self.window = horizon;
        }
        self.horizon = horizon;
    }

    /// How long an entry of the ledger matters, in seconds.
    pub fn memory(&self) -> u64 {
        self.horizon.max(self.window)
    }

    /// What a ledger must look up of a cell: the earlier values that can matter.
    pub fn reach(&self, cell: &Cell) -> Interval {
        let Interval { lo, hi } = cell.interval;
        if self.noisy {
            return Interval::ALL;
        }
        let k = self.differencing.map_or(1, NonZeroU64::get);
        let near = i64::try_from(k - 1).unwrap_or(i64::MAX);
        Interval {
            lo: lo.saturating_sub(near),
            hi: hi.saturating_add(near),
        }
    }
}

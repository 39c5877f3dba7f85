//! What a ledger knows when it is asked, as plain data.

use super::{Interval, Key};

/// What a ledger knows of earlier releases to one consumer in one family. "In the horizon" is
/// later than the present less the horizon; so for windows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// What was released in the window.
    pub spent: Spent,
    /// Attempts that were denied in the last [`super::DENIED_WINDOW`] seconds.
    pub denied: u64,
    /// Privacy loss of the releases in the horizon, in billionths.
    pub epsilon: u64,
    /// These bytes were released in the horizon.
    pub repeated: bool,
    /// Earlier figures of the cells in the horizon, each distinct one once: at least those whose
    /// interval meets what [`super::ReleaseRule::reach`] says.
    pub seen: Vec<Seen>,
    /// There are more of them, or of those to be looked through for them, than
    /// [`super::MAX_SEEN`].
    pub seen_cut: bool,
    /// Earlier tables of the same scope in the horizon.
    pub linked: Vec<LinkedRelease>,
    /// There are more of them than a ledger looks at.
    pub linked_cut: bool,
}

/// What was released in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Releases.
    pub releases: u64,
    /// Canonical bytes.
    pub bytes: u64,
    /// Bits, by the capacity of the contract.
    pub bits: u64,
}

/// An earlier figure of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seen {
    /// The index of the cell in [`super::ReleaseFacts::cells`].
    pub cell: usize,
    /// What it says about the count behind it.
    pub interval: Interval,
    /// Digest of its canonical text.
    pub value: Key,
    /// Digest of the statistics that hung on it.
    pub stats: Key,
}

/// Figures and lines of an earlier release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkedRelease {
    /// Key and interval of each figure.
    pub cells: Vec<(Key, Interval)>,
    /// The suppressed ones, as indices into `cells`.
    pub suppressed: Vec<usize>,
    /// Totals and their parts, as indices into `cells`.
    pub lines: Vec<(usize, Vec<usize>)>,
}

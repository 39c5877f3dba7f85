//! Verifies a ledger: the chain of its lines, and that its indices hold at least what the lines
//! say. An index that forgets would let something out again; one that holds more only refuses.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use lazaret_policy::release::Interval;
use serde::Serialize;

use super::entry::{Entry, Hex, LATEST, Release};
use super::{Ledger, LedgerError, Transaction, engine};
use crate::audit::{Digest, Head};

/// How many earlier tables a linked audit looks at. More are refused, and not left out.
pub(super) const MAX_LINKED: usize = 256;

/// How many bytes of their entries it looks at.
pub(super) const MAX_LINKED_BYTES: usize = 4 << 20;

/// What was spent before an entry and by it: releases, bytes, bits, billionths of epsilon.
pub type Sums = ([u64; 4], [u64; 4]);

/// All that is indexed.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// Consumers and families, numbered.
    pub parts: BTreeMap<(String, String), u32>,
    /// Figures, with the last entry that has them and its time.
    pub cells: HashMap<IndexedCell, (u64, u64)>,
    /// The widest figure of each cell.
    pub widths: HashMap<(u32, Hex<16>), u64>,
    /// By part, time and entry: what was spent before, and by it.
    pub sums: BTreeMap<(u32, u64, u64), Sums>,
    /// Payloads, with the last entry that has them and its time.
    pub payloads: HashMap<(u32, Hex<32>), (u64, u64)>,
    /// The releases of each scope.
    pub scopes: BTreeSet<(u32, Hex<16>, u64)>,
    /// Reservations of which it is not known whether they were sent.
    pub open: BTreeSet<u64>,
}

/// A figure in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IndexedCell {
    /// Consumer and family.
    pub part: u32,
    /// Digest of the labels.
    pub key: Hex<16>,
    /// What it says about the count.
    pub interval: Interval,
    /// Digest of its text.
    pub value: Hex<16>,
    /// Digest of its statistics.
    pub stats: Hex<16>,
}

/// What a ledger holds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Lines.
    pub entries: u64,
    /// The number of the first.
    pub first_seq: u64,
    /// The number of the last.
    pub last_seq: u64,
    /// Its hash.
    pub head: Option<Digest>,
    /// Reservations of which it is not known whether they were sent.
    pub open: u64,
    /// By consumer and family.
    pub families: Vec<Family>,
}

/// What was released to one consumer in one family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Family {
    /// The receiving party.
    pub consumer: String,
    /// The family.
    pub family: String,
    /// Releases that are remembered.
    pub releases: u64,
    /// Their canonical bytes.
    pub bytes: u64,
    /// Their bits, by the capacity of the contract.
    pub bits: u64,
    /// Their claimed privacy loss.
    pub epsilon: String,
    /// When the last was, in seconds since 1970.
    pub last: u64,
}

/// Verifies a ledger; `expect` is a hash that must be in its chain.
///
/// # Errors
/// [`LedgerError::Corrupt`] with the first thing that is wrong, or the ledger cannot be read.
pub fn verify(ledger: &mut dyn Ledger, expect: Option<Digest>) -> Result<Report, LedgerError> {
    let mut tx = ledger.begin_read()?;
    let (read, state) = (read_lines(&mut *tx)?, tx.state()?);
    if read.head != state.head {
        return Err(corrupt("its end was cut off".into()));
    }
    if expect.is_some_and(|hash| !read.hashes.contains(&hash)) {
        return Err(corrupt("the expected hash is not in its chain".into()));
    }
    let index = tx.index()?;
    read.compare(&index)?;
    Ok(read.report(&index))
}

/// What a ledger holds, unverified but for the chain.
///
/// # Errors
/// As [`verify`].
pub fn show(ledger: &mut dyn Ledger) -> Result<Report, LedgerError> {
    let mut tx = ledger.begin_read()?;
    let read = read_lines(&mut *tx)?;
    Ok(read.report(&tx.index()?))
}

impl Family {
    /// When the last release was.
    pub fn last_time(&self) -> SystemTime {
        let at = Duration::from_secs(self.last.min(LATEST));
        SystemTime::UNIX_EPOCH + at
    }
}

/// What the lines say.
struct Lines {
    head: Head,
    first: u64,
    entries: u64,
    hashes: HashSet<Digest>,
    releases: Vec<(u64, Release)>,
    cancelled: BTreeSet<u64>,
}

fn read_lines(tx: &mut dyn Transaction) -> Result<Lines, LedgerError> {
    let anchor = tx.state()?.anchor;
    let mut read = Lines {
        head: anchor,
        first: anchor.seq + 1,
        entries: 0,
        hashes: HashSet::new(),
        releases: Vec::new(),
        cancelled: BTreeSet::new(),
    };
    engine::lines(tx, &mut |seq, line| {
        let (entry, head, prev) = Entry::read(line)?;
        if prev != read.head.hash || head.seq != read.head.seq + 1 || seq != head.seq {
            return Err(corrupt(format!(
                "entry {seq} does not follow the one before"
            )));
        }
        read.head = head;
        read.entries += 1;
        read.hashes.insert(head.hash);
        match entry {
            Entry::Release(release) => read.releases.push((seq, release)),
            Entry::Cancel { of, .. } => drop(read.cancelled.insert(of)),
            Entry::Reset { .. } => {}
        }
        Ok(())
    })?;
    Ok(read)
}

impl Lines {
    fn compare(&self, index: &Index) -> Result<(), LedgerError> {
        let mut totals: BTreeMap<u32, [u64; 4]> = BTreeMap::new();
        for (seq, release) in &self.releases {
            let name = (release.consumer.clone(), release.family.clone());
            let missing = |what| corrupt(format!("its index lost {what} of entry {seq}"));
            let part = *index
                .parts
                .get(&name)
                .ok_or_else(|| missing("the family"))?;
            let cancelled = self.cancelled.contains(seq);
            let (before, own) = *index
                .sums
                .get(&(part, release.at, *seq))
                .ok_or_else(|| missing("the sums"))?;
            let expected = if cancelled { [0; 4] } else { release.spends() };
            // What was pruned before the first entry is not known.
            let total = *totals.entry(part).or_insert(before);
            if before != total || own != expected {
                return Err(missing("the sums"));
            }
            let sum = |i: usize| total[i].saturating_add(own[i]);
            totals.insert(part, [sum(0), sum(1), sum(2), sum(3)]);
            if !cancelled {
                self.compare_release(*seq, part, release, index)?;
            }
        }
        Ok(())
    }

    fn compare_release(
        &self,
        seq: u64,
        part: u32,
        release: &Release,
        index: &Index,
    ) -> Result<(), LedgerError> {
        let missing = |what| corrupt(format!("its index lost {what} of entry {seq}"));
        let remembers = |since: Option<&(u64, u64)>| {
            since.is_some_and(|(last, time)| *last >= seq && *time >= release.at)
        };
        for (key, lo, hi, value, stats) in &release.cells {
            let cell = IndexedCell {
                part,
                key: *key,
                interval: Interval { lo: *lo, hi: *hi },
                value: *value,
                stats: *stats,
            };
            if !remembers(index.cells.get(&cell)) {
                return Err(missing("a figure"));
            }
            let width = hi.abs_diff(*lo);
            let known = index.widths.get(&(part, *key)).is_some_and(|w| *w >= width);
            if !known {
                return Err(missing("a width"));
            }
        }
        if !remembers(index.payloads.get(&(part, release.payload))) {
            return Err(missing("the payload"));
        }
        if !index.scopes.contains(&(part, release.scope, seq)) {
            return Err(missing("the scope"));
        }
        Ok(())
    }

    fn report(&self, index: &Index) -> Report {
        let mut families: BTreeMap<_, (Family, u64)> = BTreeMap::new();
        for (seq, release) in &self.releases {
            if self.cancelled.contains(seq) {
                continue;
            }
            let (family, epsilon) = families
                .entry((&release.consumer, &release.family))
                .or_default();
            family.consumer.clone_from(&release.consumer);
            family.family.clone_from(&release.family);
            family.releases += 1;
            family.bytes += release.bytes;
            family.bits += release.bits;
            family.last = release.at;
            *epsilon += release.epsilon;
            family.epsilon =
                lazaret_policy::release::Epsilon::from_billionths(*epsilon).to_string();
        }
        Report {
            entries: self.entries,
            first_seq: self.first,
            last_seq: self.head.seq,
            head: Some(self.head.hash),
            open: index.open.len() as u64,
            families: families.into_values().map(|(family, _)| family).collect(),
        }
    }
}

fn corrupt(what: String) -> LedgerError {
    LedgerError::Corrupt(what)
}

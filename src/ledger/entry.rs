//! An entry of the ledger and the line that holds it.

use std::fmt;
use std::time::{Duration, SystemTime};

use lazaret_policy::release::{Epsilon, Interval, LinkedRelease, ReleaseFacts, ReleaseRule};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::LedgerError;
use crate::audit::Head;
use crate::audit::chain;
use crate::audit::writer::timestamp;

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Entry {
    /// A payload was let out.
    Release(Release),
    /// A release was taken back before a byte of it left.
    Cancel {
        /// The entry of the release.
        of: u64,
        /// When, in seconds since 1970.
        at: u64,
        /// When nothing can ask for it any more.
        expires: u64,
    },
    /// Everything before was forgotten by hand.
    Reset {
        /// Why.
        reason: String,
        /// By whom: the user of the operating system.
        who: String,
        /// How many entries there were.
        entries: u64,
        /// When, in seconds since 1970.
        at: u64,
        /// Until when it is kept.
        expires: u64,
    },
}

/// A payload that was let out, as far as later ones are held against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The receiving party.
    pub consumer: String,
    /// The family of contracts.
    pub family: String,
    /// When, in seconds since 1970.
    pub at: u64,
    /// When nothing can ask for it any more.
    pub expires: u64,
    /// SHA-256 of the canonical bytes.
    pub payload: Hex<32>,
    /// How many bytes.
    pub bytes: u64,
    /// How many bits, by the capacity of the contract.
    pub bits: u64,
    /// Claimed privacy loss, in billionths.
    pub epsilon: u64,
    /// Digest of the labels that hold for the whole payload.
    pub scope: Hex<16>,
    /// The figures: key, least, largest, digest of the text, digest of the statistics.
    pub cells: Vec<(Hex<16>, i64, i64, Hex<16>, Hex<16>)>,
    /// The suppressed ones among them, as indices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suppressed: Vec<usize>,
    /// Totals and parts, as indices into the figures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<(usize, Vec<usize>)>,
}

/// How long a reset is on record: as long as a release by default.
pub(super) const RESET_KEPT: u64 = lazaret_policy::release::DEFAULT_HORIZON;

/// Bytes that are written as lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl Release {
    pub(super) fn new(consumer: &str, rule: &ReleaseRule, facts: &ReleaseFacts, at: u64) -> Self {
        let cells = facts.cells.iter().map(|cell| {
            let Interval { lo, hi } = cell.interval;
            (Hex(cell.key), lo, hi, Hex(cell.value), Hex(cell.stats))
        });
        Self {
            consumer: consumer.to_owned(),
            family: rule.family.clone(),
            at,
            expires: at.saturating_add(rule.memory()),
            payload: Hex(facts.payload),
            bytes: facts.bytes,
            bits: rule.bits.unwrap_or(0),
            epsilon: facts.epsilon.map_or(0, Epsilon::billionths),
            scope: Hex(facts.scope),
            cells: cells.collect(),
            suppressed: facts.suppressed(),
            lines: facts.lines.clone(),
        }
    }

    /// What it spends: releases, bytes, bits, billionths of epsilon.
    pub(super) fn spends(&self) -> [u64; 4] {
        [1, self.bytes, self.bits, self.epsilon]
    }

    /// As a later release looks back on it.
    pub(super) fn linked(self) -> LinkedRelease {
        let cells = self.cells.iter();
        let cells = cells.map(|(key, lo, hi, ..)| (key.0, Interval { lo: *lo, hi: *hi }));
        LinkedRelease {
            cells: cells.collect(),
            suppressed: self.suppressed,
            lines: self.lines,
        }
    }
}

impl Entry {
    /// When nothing can ask for it any more.
    pub(super) fn expires(&self) -> u64 {
        match self {
            Self::Release(release) => release.expires,
            Self::Cancel { expires, .. } | Self::Reset { expires, .. } => *expires,
        }
    }

    /// Chains it to a head: the line with its line feed, and the new head.
    pub(super) fn chained(&self, head: Head, at: u64) -> Result<(Vec<u8>, Head), LedgerError> {
        let record = serde_json::to_vec(self).map_err(|e| LedgerError::Store(e.to_string()))?;
        let ts = timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(at.min(LATEST)));
        let mut line = Vec::with_capacity(record.len() + chain::LINE_OVERHEAD);
        let head = chain::stamp(head, &ts, &record, &mut line);
        if line.len() > chain::MAX_LINE {
            return Err(LedgerError::EntryTooLarge {
                bytes: line.len(),
                most: chain::MAX_LINE,
            });
        }
        Ok((line, head))
    }

    /// Reads a line, and checks its own hash; gives the hash of the line before, too.
    pub(super) fn read(line: &[u8]) -> Result<(Self, Head, crate::audit::Digest), LedgerError> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let link =
            chain::read(line).map_err(|fault| LedgerError::Corrupt(format!("an entry {fault}")))?;
        let entry = serde_json::from_slice(line).map_err(|_| {
            LedgerError::Corrupt(format!("entry {} is of no known kind", link.head.seq))
        })?;
        Ok((entry, link.head, link.prev))
    }
}

/// The end of the year 9999.
pub(super) const LATEST: u64 = 253_402_300_799;

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |b: u8| (b as char).to_digit(16).filter(|_| !b.is_ascii_uppercase());
        let mut bytes = [0; N];
        let pairs = text.as_bytes().chunks(2);
        let ok = text.len() == 2 * N
            && pairs.zip(&mut bytes).all(|(pair, byte)| {
                let value = digit(pair[0]).zip(digit(pair[1])).map(|(h, l)| h << 4 | l);
                *byte = value.map_or(0, |v| v as u8);
                value.is_some()
            });
        if ok {
            Ok(Self(bytes))
        } else {
            Err(serde::de::Error::custom("not hexadecimal digits"))
        }
    }
}

//! The indices of the file: what of a release is looked up by later ones.

use lazaret_policy::release::{
    History, Interval, MAX_SEEN, ReleaseFacts, ReleaseRule, Seen, Spent,
};
use redb::{ReadableTable, WriteTransaction};

use super::super::LedgerError;
use super::super::entry::{Entry, Hex, Release};
use super::super::verify::{Index, IndexedCell, MAX_LINKED, MAX_LINKED_BYTES, Sums};
use super::denied;
use super::tables::{
    CELLS, LINES, OPEN, PARTS, PAYLOADS, Part, SCOPES, SUMS, Since, WIDTHS, cell, uncell,
};

/// A release is not taken back when more than this came after it in its family.
const CANCEL_REACH: usize = 1024;

const ZERO: [u8; 16] = [0; 16];
const ONES: [u8; 16] = [0xff; 16];

pub(super) fn history(
    tx: &WriteTransaction,
    consumer: &str,
    rule: &ReleaseRule,
    facts: &ReleaseFacts,
    now: u64,
) -> Result<History, LedgerError> {
    let parts = tx.open_table(PARTS)?;
    let Some(part) = parts.get((consumer, rule.family.as_str()))? else {
        return Ok(History::default());
    };
    let part = part.value();
    let after = now.saturating_sub(rule.horizon);
    let spent = spent(tx, part, now.saturating_sub(rule.window))?;
    let mut history = History {
        spent: Spent {
            releases: spent[0],
            bytes: spent[1],
            bits: spent[2],
        },
        denied: denied::count(tx, part, now)?,
        epsilon: self::spent(tx, part, after)?[3],
        ..History::default()
    };
    let payloads = tx.open_table(PAYLOADS)?;
    let last = payloads.get((part, facts.payload))?;
    history.repeated = last.is_some_and(|since| since.value().2 > after);
    near(tx, part, after, rule, facts, &mut history)?;
    if rule.linked_audit {
        linked(tx, part, after, facts, &mut history)?;
    }
    Ok(history)
}

/// What was spent later than a time.
fn spent(tx: &WriteTransaction, part: Part, after: u64) -> Result<[u64; 4], LedgerError> {
    let sums = tx.open_table(SUMS)?;
    let mut range = sums.range((part, after.saturating_add(1), 0)..=(part, u64::MAX, u64::MAX))?;
    let Some(first) = range.next() else {
        return Ok([0; 4]);
    };
    let first = first?.1.value();
    let last = match range.next_back() {
        Some(last) => last?.1.value(),
        None => first,
    };
    let end = total(last)?;
    let mut spent = [0; 4];
    for ((spent, end), before) in spent.iter_mut().zip(end).zip(first.0) {
        *spent = end
            .checked_sub(before)
            .ok_or_else(|| LedgerError::Corrupt("its sums decrease".into()))?;
    }
    Ok(spent)
}

fn total((before, own): Sums) -> Result<[u64; 4], LedgerError> {
    let mut total = [0; 4];
    for ((total, before), own) in total.iter_mut().zip(before).zip(own) {
        // A database counts up to here.
        *total = before
            .checked_add(own)
            .filter(|sum| *sum <= i64::MAX as u64)
            .ok_or_else(|| LedgerError::Store("more was spent than it can count".into()))?;
    }
    Ok(total)
}

/// The figures of each cell that can matter to the new one.
fn near(
    tx: &WriteTransaction,
    part: Part,
    after: u64,
    rule: &ReleaseRule,
    facts: &ReleaseFacts,
    history: &mut History,
) -> Result<(), LedgerError> {
    let (widths, cells) = (tx.open_table(WIDTHS)?, tx.open_table(CELLS)?);
    let mut looked_at = 0;
    for (index, asked) in facts.cells.iter().enumerate() {
        let Some(width) = widths.get((part, asked.key))? else {
            continue;
        };
        let reach = rule.reach(asked);
        let least = reach.lo.saturating_sub_unsigned(width.value());
        let end = |lo, hi, fill| cell(part, asked.key, Interval { lo, hi }, fill, fill);
        let range = end(least, i64::MIN, ZERO)..=end(reach.hi, i64::MAX, ONES);
        for item in cells.range(range)? {
            let (key, since) = item?;
            // Where one figure is very wide, all others are in the way of the search.
            looked_at += 1;
            if looked_at > MAX_SEEN {
                history.seen_cut = true;
                return Ok(());
            }
            let (_, interval, value, stats) = uncell(&key.value());
            if since.value().2 > after && interval.meets(reach) {
                history.seen.push(Seen {
                    cell: index,
                    interval,
                    value: value.0,
                    stats: stats.0,
                });
            }
        }
    }
    Ok(())
}

fn linked(
    tx: &WriteTransaction,
    part: Part,
    after: u64,
    facts: &ReleaseFacts,
    history: &mut History,
) -> Result<(), LedgerError> {
    let lines = tx.open_table(LINES)?;
    let scopes = tx.open_table(SCOPES)?;
    let range = (part, facts.scope, 0)..=(part, facts.scope, u64::MAX);
    let mut bytes = 0;
    for item in scopes.range(range)?.rev() {
        let seq = item?.0.value().2;
        let line = lines.get(seq)?;
        let line = line.ok_or_else(|| LedgerError::Corrupt(format!("entry {seq} is missing")))?;
        bytes += line.value().len();
        let (Entry::Release(release), ..) = Entry::read(line.value())? else {
            return Err(LedgerError::Corrupt(format!("entry {seq} is no release")));
        };
        if release.at <= after {
            break;
        }
        if history.linked.len() == MAX_LINKED || bytes > MAX_LINKED_BYTES {
            history.linked_cut = true;
            break;
        }
        history.linked.push(release.linked());
    }
    Ok(())
}

pub(super) fn add(tx: &WriteTransaction, seq: u64, release: &Release) -> Result<(), LedgerError> {
    let part = part(tx, &release.consumer, &release.family)?;
    let mut sums = tx.open_table(SUMS)?;
    let before = match sums
        .range((part, 0, 0)..=(part, u64::MAX, u64::MAX))?
        .next_back()
    {
        Some(last) => total(last?.1.value())?,
        None => [0; 4],
    };
    let own = (before, release.spends());
    total(own)?;
    sums.insert((part, release.at, seq), own)?;
    let mut cells = tx.open_table(CELLS)?;
    let mut widths = tx.open_table(WIDTHS)?;
    for (key, lo, hi, value, stats) in &release.cells {
        let interval = Interval { lo: *lo, hi: *hi };
        let at = cell(part, key.0, interval, value.0, stats.0);
        let first = cells.get(at)?.map_or(seq, |since| since.value().0);
        cells.insert(at, (first, seq, release.at))?;
        let width = interval.hi.abs_diff(interval.lo);
        let widest = widths.get((part, key.0))?.map(|width| width.value());
        if widest.is_none_or(|widest| widest < width) {
            widths.insert((part, key.0), width)?;
        }
    }
    let mut payloads = tx.open_table(PAYLOADS)?;
    let at = (part, release.payload.0);
    let first = payloads.get(at)?.map_or(seq, |since| since.value().0);
    payloads.insert(at, (first, seq, release.at))?;
    tx.open_table(SCOPES)?
        .insert((part, release.scope.0, seq), ())?;
    tx.open_table(OPEN)?.insert(seq, ())?;
    Ok(())
}

/// The number of a family, which it gets if it has none.
pub(super) fn part(
    tx: &WriteTransaction,
    consumer: &str,
    family: &str,
) -> Result<Part, LedgerError> {
    let mut parts = tx.open_table(PARTS)?;
    let name = (consumer, family);
    if let Some(part) = parts.get(name)? {
        return Ok(part.value());
    }
    // Parts are never removed one by one, so their count is the next number.
    let mut next: Part = 0;
    for item in parts.iter()? {
        next = next.max(item?.1.value() + 1);
    }
    parts.insert(name, next)?;
    Ok(next)
}

pub(super) fn cancel(
    tx: &WriteTransaction,
    seq: u64,
    release: &Release,
) -> Result<bool, LedgerError> {
    if tx.open_table(OPEN)?.remove(seq)?.is_none() {
        return Ok(false);
    }
    let part = part(tx, &release.consumer, &release.family)?;
    let mut sums = tx.open_table(SUMS)?;
    let range = (part, release.at, seq)..=(part, u64::MAX, u64::MAX);
    let later: Vec<_> = sums
        .range(range)?
        .take(CANCEL_REACH + 2)
        .map(|item| item.map(|(key, sums)| (key.value(), sums.value())))
        .collect::<Result<_, _>>()?;
    if later.len() > CANCEL_REACH + 1 {
        return Ok(false);
    }
    let own = release.spends();
    for (key, (mut before, mut spent)) in later {
        if key.2 == seq {
            spent = [0; 4];
        } else {
            for (before, own) in before.iter_mut().zip(own) {
                *before = before.saturating_sub(own);
            }
        }
        sums.insert(key, (before, spent))?;
    }
    drop(sums);
    remove(tx, part, release, |(first, last, _)| {
        first == seq && last == seq
    })?;
    tx.open_table(SCOPES)?
        .remove((part, release.scope.0, seq))?;
    Ok(true)
}

/// Removes what is indexed of the oldest release alone.
pub(super) fn forget(
    tx: &WriteTransaction,
    seq: u64,
    release: &Release,
) -> Result<(), LedgerError> {
    let part = part(tx, &release.consumer, &release.family)?;
    tx.open_table(SUMS)?.remove((part, release.at, seq))?;
    tx.open_table(SCOPES)?
        .remove((part, release.scope.0, seq))?;
    tx.open_table(OPEN)?.remove(seq)?;
    remove(tx, part, release, |(_, last, _)| last == seq)
}

fn remove(
    tx: &WriteTransaction,
    part: Part,
    release: &Release,
    gone: impl Fn(Since) -> bool,
) -> Result<(), LedgerError> {
    let mut cells = tx.open_table(CELLS)?;
    let mut widths = tx.open_table(WIDTHS)?;
    for (key, lo, hi, value, stats) in &release.cells {
        let at = cell(part, key.0, Interval { lo: *lo, hi: *hi }, value.0, stats.0);
        let is_gone = cells.get(at)?.is_some_and(|since| gone(since.value()));
        if is_gone {
            cells.remove(at)?;
        }
        let all = cell(part, key.0, LOWEST, ZERO, ZERO)..=cell(part, key.0, HIGHEST, ONES, ONES);
        if is_gone && cells.range(all)?.next().is_none() {
            widths.remove((part, key.0))?;
        }
    }
    let mut payloads = tx.open_table(PAYLOADS)?;
    let at = (part, release.payload.0);
    let is_gone = payloads.get(at)?.is_some_and(|since| gone(since.value()));
    if is_gone {
        payloads.remove(at)?;
    }
    Ok(())
}

const LOWEST: Interval = Interval::exactly(i64::MIN);
const HIGHEST: Interval = Interval::exactly(i64::MAX);

pub(super) fn read(tx: &WriteTransaction) -> Result<Index, LedgerError> {
    let mut index = Index::default();
    for item in tx.open_table(PARTS)?.iter()? {
        let (name, part) = item?;
        let (consumer, family) = name.value();
        let name = (consumer.to_owned(), family.to_owned());
        index.parts.insert(name, part.value());
    }
    for item in tx.open_table(CELLS)?.iter()? {
        let (key, since) = item?;
        let bytes = key.value();
        let mut part = [0; 4];
        part.copy_from_slice(&bytes[..4]);
        let (key, interval, value, stats) = uncell(&bytes);
        let cell = IndexedCell {
            part: Part::from_be_bytes(part),
            key,
            interval,
            value,
            stats,
        };
        let (_, last, time) = since.value();
        index.cells.insert(cell, (last, time));
    }
    for item in tx.open_table(WIDTHS)?.iter()? {
        let (key, width) = item?;
        let (part, key) = key.value();
        index.widths.insert((part, Hex(key)), width.value());
    }
    for item in tx.open_table(SUMS)?.iter()? {
        let (key, sums) = item?;
        index.sums.insert(key.value(), sums.value());
    }
    for item in tx.open_table(PAYLOADS)?.iter()? {
        let (key, since) = item?;
        let (part, payload) = key.value();
        let (_, last, time) = since.value();
        index.payloads.insert((part, Hex(payload)), (last, time));
    }
    for item in tx.open_table(SCOPES)?.iter()? {
        let (part, scope, seq) = item?.0.value();
        index.scopes.insert((part, Hex(scope), seq));
    }
    for item in tx.open_table(OPEN)?.iter()? {
        index.open.insert(item?.0.value());
    }
    Ok(index)
}

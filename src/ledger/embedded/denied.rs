//! Denied attempts of the last hour.

use lazaret_policy::release::DENIED_WINDOW;
use redb::{ReadableTable, WriteTransaction};

use super::super::LedgerError;
use super::tables::{DENIED, Part};

/// How many there were in the window; later ones, by a clock that went back since, are among them.
pub(super) fn count(tx: &WriteTransaction, part: Part, now: u64) -> Result<u64, LedgerError> {
    let denied = tx.open_table(DENIED)?;
    let mut sum: u64 = 0;
    for item in denied.range(first(part, now)..=(part, u64::MAX))? {
        sum = sum.saturating_add(item?.1.value());
    }
    Ok(sum)
}

/// Counts one. Who is not looked at is not counted, so the table stays as small as the limit.
pub(super) fn add(tx: &WriteTransaction, part: Part, now: u64) -> Result<(), LedgerError> {
    let mut denied = tx.open_table(DENIED)?;
    denied.retain_in((part, 0)..first(part, now), |_, _| false)?;
    let so_far = denied.get((part, now))?.map_or(0, |n| n.value());
    denied.insert((part, now), so_far.saturating_add(1))?;
    Ok(())
}

fn first(part: Part, now: u64) -> (Part, u64) {
    (part, now.saturating_sub(DENIED_WINDOW).saturating_add(1))
}

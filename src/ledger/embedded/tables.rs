//! The tables of the file. Keys are bytes in big-endian order, so that their order is that of the
//! numbers in them.

use lazaret_policy::release::Interval;
use redb::{Database, TableDefinition, TableHandle, WriteTransaction};

use super::super::entry::Hex;
use super::super::verify::Sums;
use super::super::{LedgerError, State};
use super::VERSION;
use crate::audit::Head;

/// A family of one consumer, numbered.
pub(super) type Part = u32;

/// Part, key, least, largest, digest of the text, digest of the statistics.
pub(super) const CELL: usize = 4 + 16 + 8 + 8 + 16 + 16;

/// First entry, last entry, time of the last.
pub(super) type Since = (u64, u64, u64);

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const LINES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("lines");
pub(super) const PARTS: TableDefinition<'_, (&str, &str), Part> = TableDefinition::new("parts");
pub(super) const CELLS: TableDefinition<'_, [u8; CELL], Since> = TableDefinition::new("cells");
/// The widest interval of a cell.
pub(super) const WIDTHS: TableDefinition<'_, (Part, [u8; 16]), u64> =
    TableDefinition::new("widths");
/// By part, time and entry.
pub(super) const SUMS: TableDefinition<'_, (Part, u64, u64), Sums> = TableDefinition::new("sums");
pub(super) const PAYLOADS: TableDefinition<'_, (Part, [u8; 32]), Since> =
    TableDefinition::new("payloads");
pub(super) const SCOPES: TableDefinition<'_, (Part, [u8; 16], u64), ()> =
    TableDefinition::new("scopes");
/// Denied attempts, by part and second.
pub(super) const DENIED: TableDefinition<'_, (Part, u64), u64> = TableDefinition::new("denied");
pub(super) const OPEN: TableDefinition<'_, u64, ()> = TableDefinition::new("open");

pub(super) fn create(db: &Database) -> Result<(), LedgerError> {
    let tx = db.begin_write().map_err(super::corrupt)?;
    open_all(&tx)?;
    tx.open_table(META)?
        .insert("version", VERSION.to_be_bytes().as_slice())?;
    let state = State {
        head: Head::GENESIS,
        anchor: Head::GENESIS,
        time: 0,
    };
    write_state(&tx, &state)?;
    tx.commit()
        .map_err(|error| LedgerError::Store(error.to_string()))
}

fn open_all(tx: &WriteTransaction) -> Result<(), LedgerError> {
    tx.open_table(LINES)?;
    tx.open_table(PARTS)?;
    tx.open_table(CELLS)?;
    tx.open_table(WIDTHS)?;
    tx.open_table(SUMS)?;
    tx.open_table(PAYLOADS)?;
    tx.open_table(SCOPES)?;
    tx.open_table(OPEN)?;
    tx.open_table(DENIED)?;
    Ok(())
}

pub(super) fn clear(tx: &WriteTransaction) -> Result<(), LedgerError> {
    for table in tx.list_tables()?.collect::<Vec<_>>() {
        if table.name() != META.name() {
            tx.delete_table(table)?;
        }
    }
    open_all(tx)
}

pub(super) fn write_state(tx: &WriteTransaction, state: &State) -> Result<(), LedgerError> {
    let mut meta = tx.open_table(META)?;
    for (name, head) in [("head", state.head), ("anchor", state.anchor)] {
        let mut bytes = head.seq.to_be_bytes().to_vec();
        bytes.extend_from_slice(&head.hash.0);
        meta.insert(name, bytes.as_slice())?;
    }
    meta.insert("time", state.time.to_be_bytes().as_slice())?;
    Ok(())
}

/// The key of a figure.
pub(super) fn cell(
    part: Part,
    key: [u8; 16],
    interval: Interval,
    value: [u8; 16],
    stats: [u8; 16],
) -> [u8; CELL] {
    let mut bytes = [0; CELL];
    let parts: [&[u8]; 6] = [
        &part.to_be_bytes(),
        &key,
        &ordered(interval.lo),
        &ordered(interval.hi),
        &value,
        &stats,
    ];
    let mut at = 0;
    for part in parts {
        bytes[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    bytes
}

/// What the key of a figure says besides its part.
pub(super) fn uncell(bytes: &[u8; CELL]) -> (Hex<16>, Interval, Hex<16>, Hex<16>) {
    let key = |at: usize| {
        let mut key = [0; 16];
        key.copy_from_slice(&bytes[at..at + 16]);
        Hex(key)
    };
    let number = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[at..at + 8]);
        (u64::from_be_bytes(number) ^ SIGN) as i64
    };
    let interval = Interval {
        lo: number(20),
        hi: number(28),
    };
    (key(4), interval, key(36), key(52))
}

const SIGN: u64 = 1 << 63;

/// Negative numbers before positive ones.
fn ordered(n: i64) -> [u8; 8] {
    (n as u64 ^ SIGN).to_be_bytes()
}

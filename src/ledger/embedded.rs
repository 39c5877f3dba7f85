//! The ledger in one file, for one process.
//!
//! Indices, beside the lines:
//!
//! - the distinct figures of a cell in the order of their least value, and the widest of them, so
//!   that those near a new one are found without looking at the others;
//! - sums of all that was spent up to each release, so that a window is a difference of two;
//! - how many attempts were denied in each second of the last hour;
//! - when a payload was released last; the releases of a scope; the open reservations.
//!
//! A commit is on the disk in two phases: redb then never falls back to an older state because of
//! what a half-written commit happens to look like. After a failed read or write the file is
//! closed, and opened anew with all checks for the next request.

mod denied;
mod file;
mod index;
mod overlay;
mod tables;

use std::path::{Path, PathBuf};

use lazaret_policy::release::{History, ReleaseFacts, ReleaseRule};
use redb::{
    Builder, Database, DatabaseError, Durability, ReadableTable, StorageError, TableError,
    WriteTransaction, backends::InMemoryBackend,
};

use super::entry::{Entry, Release};
use super::verify::Index;
use super::{Ledger, LedgerError, State, Transaction};
use crate::audit::{Digest, Head};
use tables::{LINES, META, OPEN};

/// Of the file's format.
const VERSION: u32 = 1;

/// Memory for pages of the file, in bytes.
const CACHE: usize = 64 << 20;

/// A ledger in a file.
#[derive(Debug)]
pub struct Embedded {
    /// `None` for one that is written in memory, which is not opened anew.
    path: Option<PathBuf>,
    db: Option<Database>,
}

struct Tx<'l> {
    tx: Option<WriteTransaction>,
    failed: bool,
    ledger: &'l mut Option<Database>,
}

impl Embedded {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// It is someone else's, in use, or corrupt.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self {
            path: Some(path.to_owned()),
            db: Some(open(path)?),
        })
    }

    /// Opens a file that is there without a byte of it being written: whatever is written is gone
    /// with the process. Whose file it is does not matter, since nothing is let out by it.
    ///
    /// # Errors
    /// It is not there, in use by whoever writes it, or corrupt.
    pub fn open_to_read(path: &Path) -> Result<Self, LedgerError> {
        let failed = |error: std::io::Error| LedgerError::Open {
            path: path.to_owned(),
            why: error.to_string(),
        };
        let file = file::open_to_read(path)?;
        let overlay = overlay::Overlay::new(file).map_err(failed)?;
        let mut builder = Builder::new();
        let opened = builder
            .set_cache_size(CACHE)
            .create_with_backend(overlay)
            .map_err(corrupt);
        let mut db = opened?;
        if !db.check_integrity().map_err(corrupt)? {
            return Err(LedgerError::Corrupt("a page has a wrong checksum".into()));
        }
        check(&db)?;
        let db = Some(db);
        Ok(Self { path: None, db })
    }

    /// Makes one that nothing outlives: to try on a laptop what a ledger would say.
    ///
    /// # Errors
    /// The store failed.
    pub fn in_memory() -> Result<Self, LedgerError> {
        let builder = Builder::new();
        let db = builder.create_with_backend(InMemoryBackend::new());
        let db = db.map_err(corrupt)?;
        tables::create(&db)?;
        let db = Some(db);
        Ok(Self { path: None, db })
    }
}

fn open(path: &Path) -> Result<Database, LedgerError> {
    let (file, new) = file::open(path)?;
    let mut db = Builder::new()
        .set_cache_size(CACHE)
        .create_file(file)
        .map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => LedgerError::Locked {
                path: path.to_owned(),
            },
            error => corrupt(error),
        })?;
    if new {
        tables::create(&db)?;
    } else if !db.check_integrity().map_err(corrupt)? {
        return Err(LedgerError::Corrupt("a page has a wrong checksum".into()));
    }
    check(&db)?;
    Ok(db)
}

/// Looks at both ends of the chain.
fn check(db: &Database) -> Result<(), LedgerError> {
    let tx = db.begin_write().map_err(corrupt)?;
    {
        let meta = tx.open_table(META)?;
        let version = meta.get("version")?.map(|v| v.value().to_vec());
        let version = version.and_then(|v| Some(u32::from_be_bytes(v.try_into().ok()?)));
        match version {
            Some(VERSION) => {}
            Some(found) => {
                let known = VERSION;
                return Err(LedgerError::Version { found, known });
            }
            None => return Err(LedgerError::Corrupt("it has no version".into())),
        }
    }
    let state = read_state(&tx)?;
    {
        let lines = tx.open_table(LINES)?;
        if let Some((_, line)) = lines.first()? {
            let (_, head, prev) = Entry::read(line.value())?;
            if (head.seq, prev) != (state.anchor.seq + 1, state.anchor.hash) {
                return Err(LedgerError::Corrupt("its beginning was cut off".into()));
            }
        }
        let last = match lines.last()? {
            Some((_, line)) => Entry::read(line.value())?.1,
            None => state.anchor,
        };
        if last != state.head {
            return Err(LedgerError::Corrupt("its end was cut off".into()));
        }
    }
    Ok(())
}

impl Ledger for Embedded {
    fn begin(&mut self) -> Result<Box<dyn Transaction + '_>, LedgerError> {
        if let (None, Some(path)) = (&self.db, &self.path) {
            self.db = Some(open(path)?);
        }
        let mut tx = match self.db.as_ref().map(Database::begin_write) {
            Some(Ok(tx)) => tx,
            Some(Err(error)) => {
                self.db = None;
                return Err(LedgerError::Store(error.to_string()));
            }
            None => return Err(LedgerError::Closed),
        };
        tx.set_two_phase_commit(true);
        Ok(Box::new(Tx {
            tx: Some(tx),
            failed: false,
            ledger: &mut self.db,
        }))
    }

    fn begin_read(&mut self) -> Result<Box<dyn Transaction + '_>, LedgerError> {
        // The file is this process's alone.
        self.begin()
    }
}

impl Tx<'_> {
    /// Does something; a failure of the store is the end of the open file.
    fn with<T>(
        &mut self,
        act: impl FnOnce(&WriteTransaction) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let tx = self.tx.as_ref().ok_or(LedgerError::Closed)?;
        act(tx).inspect_err(|_| self.failed = true)
    }
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        // Dropped, a transaction is rolled back unless its file has failed. Asking for it would
        // be an assertion of redb's that does not hold after a failed write.
        drop(self.tx.take());
        if self.failed {
            *self.ledger = None;
        }
    }
}

impl Transaction for Tx<'_> {
    fn state(&mut self) -> Result<State, LedgerError> {
        self.with(read_state)
    }

    fn history(
        &mut self,
        consumer: &str,
        rule: &ReleaseRule,
        facts: &ReleaseFacts,
        now: u64,
    ) -> Result<History, LedgerError> {
        self.with(|tx| index::history(tx, consumer, rule, facts, now))
    }

    fn deny(&mut self, consumer: &str, family: &str, now: u64) -> Result<(), LedgerError> {
        self.with(|tx| denied::add(tx, index::part(tx, consumer, family)?, now))
    }

    fn append(&mut self, state: &State, entry: &Entry, line: &[u8]) -> Result<(), LedgerError> {
        let seq = state.head.seq;
        self.with(|tx| {
            tx.open_table(LINES)?.insert(seq, line)?;
            tables::write_state(tx, state)?;
            match entry {
                Entry::Release(release) => index::add(tx, seq, release),
                Entry::Cancel { .. } | Entry::Reset { .. } => Ok(()),
            }
        })
    }

    fn cancel(&mut self, seq: u64, release: &Release) -> Result<bool, LedgerError> {
        self.with(|tx| index::cancel(tx, seq, release))
    }

    fn settle(&mut self, seq: u64) -> Result<(), LedgerError> {
        self.with(|tx| {
            tx.open_table(OPEN)?.remove(seq)?;
            Ok(())
        })
    }

    fn forget(&mut self, anchor: &Head, entry: &Entry) -> Result<(), LedgerError> {
        self.with(|tx| {
            tx.open_table(LINES)?.remove(anchor.seq)?;
            let anchor = *anchor;
            tables::write_state(
                tx,
                &State {
                    anchor,
                    ..read_state(tx)?
                },
            )?;
            match entry {
                Entry::Release(release) => index::forget(tx, anchor.seq, release),
                Entry::Cancel { .. } | Entry::Reset { .. } => Ok(()),
            }
        })
    }

    fn clear(&mut self, anchor: &Head) -> Result<(), LedgerError> {
        self.with(|tx| {
            let anchor = *anchor;
            let state = State {
                anchor,
                ..read_state(tx)?
            };
            tables::clear(tx)?;
            tables::write_state(tx, &state)
        })
    }

    fn lines(&mut self, from: u64, most: usize) -> Result<Vec<(u64, Vec<u8>)>, LedgerError> {
        self.with(|tx| {
            let lines = tx.open_table(LINES)?;
            let range = lines.range(from..)?.take(most);
            range
                .map(|item| {
                    let (seq, line) = item?;
                    Ok((seq.value(), line.value().to_vec()))
                })
                .collect()
        })
    }

    fn index(&mut self) -> Result<Index, LedgerError> {
        self.with(index::read)
    }

    fn commit(mut self: Box<Self>, durable: bool) -> Result<(), LedgerError> {
        let mut tx = self.tx.take().ok_or(LedgerError::Closed)?;
        if !durable {
            tx.set_durability(Durability::None).map_err(corrupt)?;
        }
        tx.commit().map_err(|error| {
            self.failed = true;
            LedgerError::Store(error.to_string())
        })
    }
}

fn read_state(tx: &WriteTransaction) -> Result<State, LedgerError> {
    let meta = tx.open_table(META)?;
    let wrong = || LedgerError::Corrupt("its state is not readable".into());
    let head = |name| {
        let stored = meta.get(name)?.ok_or_else(wrong)?;
        let (seq, hash) = stored.value().split_first_chunk().ok_or_else(wrong)?;
        Ok::<_, LedgerError>(Head {
            seq: u64::from_be_bytes(*seq),
            hash: Digest(hash.try_into().map_err(|_| wrong())?),
        })
    };
    let time = meta.get("time")?.ok_or_else(wrong)?;
    let time = time.value().try_into().map_err(|_| wrong())?;
    Ok(State {
        head: head("head")?,
        anchor: head("anchor")?,
        time: u64::from_be_bytes(time),
    })
}

fn corrupt(error: impl std::fmt::Display) -> LedgerError {
    LedgerError::Corrupt(error.to_string())
}

impl From<StorageError> for LedgerError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupted(what) => Self::Corrupt(what),
            error => Self::Store(error.to_string()),
        }
    }
}

impl From<TableError> for LedgerError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            error => corrupt(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use lazaret_policy::judge::canonical::canonical;
    use lazaret_policy::release::{Interval, MAX_SEEN};
    use serde_json::json;

    use super::super::{Reservation, engine, verify};
    use super::tables::{CELLS, PARTS, PAYLOADS, SCOPES, SUMS, WIDTHS};
    use super::*;

    fn rule() -> Arc<ReleaseRule> {
        let schema = json!({
            "properties": {"week": {"enum": [1, 2]}, "n": {}},
            "sdcRelease": {"cell": ["/week"], "value": "/n", "differencing": {"min": 8}}
        });
        let rule = ReleaseRule::of_contract(&schema, "weekly")
            .unwrap()
            .unwrap();
        Arc::new(rule)
    }

    fn filled(path: &Path) {
        let rule = rule();
        let mut ledger = Embedded::open(path).unwrap();
        for week in 0..5 {
            let payload = json!({"week": week, "n": 100});
            let reservation = Reservation {
                consumer: "pharma-x".into(),
                rule: Arc::clone(&rule),
                facts: rule.facts(&payload, &canonical(&payload)).unwrap(),
                now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            };
            engine::reserve(&mut ledger, &[reservation]).unwrap();
        }
    }

    /// Whoever can write the file can do this; the checksums of the pages are right.
    type Tampering = fn(&WriteTransaction) -> Result<(), LedgerError>;

    const TAMPERING: [(&str, Tampering); 10] = [
        ("an edited line", |tx| {
            let mut lines = tx.open_table(LINES)?;
            let line = lines.get(3)?.map(|line| line.value().to_vec()).unwrap();
            let line = String::from_utf8(line)
                .unwrap()
                .replace("pharma-x", "pharma-y");
            lines.insert(3, line.as_bytes())?;
            Ok(())
        }),
        ("a dropped line", |tx| {
            tx.open_table(LINES)?.remove(3)?;
            Ok(())
        }),
        ("a cut beginning", |tx| {
            tx.open_table(LINES)?.remove(1)?;
            Ok(())
        }),
        ("a cut end", |tx| {
            tx.open_table(LINES)?.remove(5)?;
            Ok(())
        }),
        ("a figure", |tx| {
            tx.open_table(CELLS)?.pop_first()?;
            Ok(())
        }),
        ("a width", |tx| {
            tx.open_table(WIDTHS)?.pop_first()?;
            Ok(())
        }),
        ("a sum", |tx| {
            tx.open_table(SUMS)?.pop_last()?;
            Ok(())
        }),
        ("a payload", |tx| {
            tx.open_table(PAYLOADS)?.pop_first()?;
            Ok(())
        }),
        ("a scope", |tx| {
            tx.open_table(SCOPES)?.pop_first()?;
            Ok(())
        }),
        ("a family", |tx| {
            tx.open_table(PARTS)?.pop_first()?;
            Ok(())
        }),
    ];

    #[test]
    fn what_is_done_to_the_file_is_found() {
        for (what, tamper) in TAMPERING {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("ledger");
            filled(&path);
            verify(&mut Embedded::open(&path).unwrap(), None).unwrap();
            let db = Database::open(&path).unwrap();
            let tx = db.begin_write().unwrap();
            tamper(&tx).unwrap();
            tx.commit().unwrap();
            drop(db);
            let found = Embedded::open(&path).and_then(|mut ledger| verify(&mut ledger, None));
            assert!(
                matches!(found, Err(LedgerError::Corrupt(_))),
                "{what}: {found:?}"
            );
        }
    }

    /// A contract without a budget may have let out any number of figures of a cell.
    #[test]
    fn more_figures_than_are_compared_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        filled(&path);
        let db = Database::open(&path).unwrap();
        let tx = db.begin_write().unwrap();
        {
            // The widest figure has each later look go through all of the others.
            let mut cells = tx.open_table(CELLS).unwrap();
            let first = cells.first().unwrap().unwrap();
            let ((key, interval, value, stats), since) =
                (tables::uncell(&first.0.value()), first.1.value());
            drop(first);
            for i in 1..=MAX_SEEN as i64 {
                let next = interval.lo + i;
                let interval = Interval { lo: next, hi: next };
                let at = tables::cell(0, key.0, interval, value.0, stats.0);
                cells.insert(at, since).unwrap();
            }
            let mut widths = tx.open_table(WIDTHS).unwrap();
            for week in widths
                .iter()
                .unwrap()
                .map(|w| w.unwrap().0.value())
                .collect::<Vec<_>>()
            {
                widths.insert(week, 999_999).unwrap();
            }
        }
        tx.commit().unwrap();
        drop(db);
        let mut ledger = Embedded::open(&path).unwrap();
        let cut: Vec<_> = (0..5)
            .map(|week| {
                let payload = json!({"week": week, "n": 900_000});
                let rule = rule();
                let facts = rule.facts(&payload, &canonical(&payload)).unwrap();
                let mut tx = ledger.begin_read().unwrap();
                let history = tx
                    .history("pharma-x", &rule, &facts, 1_700_000_000)
                    .unwrap();
                let decided = lazaret_policy::release::decide(&rule, &facts, &history);
                (
                    history.seen.len(),
                    decided.err().map(|found| found[0].reason),
                )
            })
            .collect();
        let limit = Some(lazaret_policy::Reason::LedgerLimit);
        let refused: Vec<_> = cut.iter().filter(|(_, reason)| *reason == limit).collect();
        assert_eq!(refused.len(), 1, "{cut:?}");
        assert!(cut.iter().all(|(seen, _)| *seen <= MAX_SEEN));
    }

    #[test]
    fn another_version_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        filled(&path);
        let db = Database::open(&path).unwrap();
        let tx = db.begin_write().unwrap();
        let newer = 9_u32.to_be_bytes();
        let mut meta = tx.open_table(META).unwrap();
        meta.insert("version", newer.as_slice()).unwrap();
        drop(meta);
        tx.commit().unwrap();
        drop(db);
        let error = Embedded::open(&path).unwrap_err();
        assert_eq!(error, LedgerError::Version { found: 9, known: 1 });
    }
}

//! A disk that gets full or breaks, for tests.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What goes wrong from now on.
#[derive(Debug)]
pub(super) struct Faults {
    /// Bytes that still fit.
    pub(super) room: AtomicU64,
    pub(super) sync_fails: AtomicBool,
    pub(super) set_len_fails: AtomicBool,
}

impl Faults {
    /// Stands before a write: takes its room, or writes as much as there is room for and fails.
    pub(super) fn write(&self, mut file: &File, lines: &[u8]) -> io::Result<()> {
        let room = self.room.load(Ordering::SeqCst);
        let left = room.checked_sub(lines.len() as u64);
        if room == u64::MAX {
            return Ok(());
        }
        self.room.store(left.unwrap_or(0), Ordering::SeqCst);
        if left.is_none() {
            file.write_all(&lines[..room as usize])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        fail_if(&self.sync_fails)
    }

    pub(super) fn set_len(&self) -> io::Result<()> {
        fail_if(&self.set_len_fails)
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            room: AtomicU64::new(u64::MAX),
            sync_fails: AtomicBool::new(false),
            set_len_fails: AtomicBool::new(false),
        }
    }
}

fn fail_if(fails: &AtomicBool) -> io::Result<()> {
    if fails.load(Ordering::SeqCst) {
        // EIO.
        return Err(io::Error::from_raw_os_error(5));
    }
    Ok(())
}

//! A file that is only read. redb writes to every file that it opens, if only to note that it is in
//! use; what it writes stays in memory here, block by block, and ends with the process.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard};

use redb::StorageBackend;

/// Bytes that are copied for the first write to any of them.
const BLOCK: usize = 4096;

#[derive(Debug)]
pub(super) struct Overlay {
    file: File,
    top: Mutex<Top>,
}

#[derive(Debug)]
struct Top {
    /// How long the whole is.
    len: u64,
    /// How much of the file is still seen: less than all of it once the whole was made shorter.
    base: u64,
    blocks: HashMap<u64, Box<[u8; BLOCK]>>,
}

impl Overlay {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let top = Mutex::new(Top {
            len,
            base: len,
            blocks: HashMap::new(),
        });
        Ok(Self { file, top })
    }

    fn top(&self) -> io::Result<MutexGuard<'_, Top>> {
        let top = self.top.lock();
        top.map_err(|_| io::Error::other("a writer of the overlay has failed"))
    }
}

impl Top {
    /// A part of a block as the file has it, and zeros behind its end.
    fn under(&self, file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = self.base.saturating_sub(offset).min(out.len() as u64);
        let (there, beyond) = out.split_at_mut(there as usize);
        beyond.fill(0);
        file.read_exact_at(there, offset)
    }

    fn holds(&self, offset: u64, len: usize) -> io::Result<()> {
        let end = offset.checked_add(len as u64);
        if end.is_some_and(|end| end <= self.len) {
            return Ok(());
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Pieces of a range that lie in one block each: its number, where in it, and how many bytes.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut at = offset;
    let end = offset + len as u64;
    std::iter::from_fn(move || {
        let (block, within) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
        let piece = (end - at).min((BLOCK - within) as u64) as usize;
        at += piece as u64;
        (piece > 0).then_some((block, within, piece))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.top()?.len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let top = self.top()?;
        top.holds(offset, out.len())?;
        let mut rest = &mut *out;
        for (block, within, piece) in pieces(offset, rest.len()) {
            let (part, more) = rest.split_at_mut(piece);
            rest = more;
            match top.blocks.get(&block) {
                Some(bytes) => part.copy_from_slice(&bytes[within..within + piece]),
                None => top.under(&self.file, block * BLOCK as u64 + within as u64, part)?,
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut top = self.top()?;
        top.base = top.base.min(len);
        top.blocks.retain(|block, bytes| {
            let kept = len.saturating_sub(block * BLOCK as u64);
            if kept < BLOCK as u64 {
                bytes[kept as usize..].fill(0);
            }
            kept > 0
        });
        top.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut top = self.top()?;
        top.holds(offset, data.len())?;
        let mut rest = data;
        for (block, within, piece) in pieces(offset, rest.len()) {
            let (part, more) = rest.split_at(piece);
            rest = more;
            if !top.blocks.contains_key(&block) {
                let mut bytes = Box::new([0; BLOCK]);
                top.under(&self.file, block * BLOCK as u64, &mut bytes[..])?;
                top.blocks.insert(block, bytes);
            }
            if let Some(bytes) = top.blocks.get_mut(&block) {
                bytes[within..within + piece].copy_from_slice(part);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Does to the overlay and to a vector the same, at places that no block respects.
    #[test]
    fn it_behaves_as_a_file_and_leaves_the_one_below_alone() {
        let below: Vec<u8> = (0..10_000_u32).map(|i| (i % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&below).unwrap();
        let overlay = Overlay::new(file.try_clone().unwrap()).unwrap();
        let mut expected = below.clone();
        let mut random = 1_u64;
        let mut pick = |below: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) as usize % below
        };
        for step in 0..2000 {
            if step % 50 == 49 {
                let len = 1 + pick(20_000);
                overlay.set_len(len as u64).unwrap();
                expected.resize(len, 0);
            }
            let from = pick(expected.len());
            let len = pick(expected.len() - from + 1);
            if step % 2 == 0 {
                let data = vec![pick(256) as u8; len.min(5000)];
                overlay.write(from as u64, &data).unwrap();
                expected[from..from + data.len()].copy_from_slice(&data);
            }
            let mut found = vec![1; len];
            overlay.read(from as u64, &mut found).unwrap();
            assert!(found == expected[from..from + len], "step {step}");
            assert_eq!(overlay.len().unwrap(), expected.len() as u64);
        }
        let end = expected.len() as u64;
        assert!(overlay.read(end, &mut [0]).is_err());
        assert!(overlay.write(u64::MAX, &[0]).is_err());
        let mut left = vec![0; below.len()];
        file.read_exact_at(&mut left, 0).unwrap();
        assert_eq!(left, below);
        assert_eq!(file.metadata().unwrap().len(), below.len() as u64);
    }
}

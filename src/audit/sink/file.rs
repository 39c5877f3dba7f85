//! A regular file that is locked, continued after a restart, rolled back after a failed write and
//! rotated when it is full.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, StatxFlags, statx};

use super::{Opened, Sink, SinkError};
use crate::audit::chain::Head;
use crate::audit::files::{self, Unusable};
use crate::audit::{AuditError, Rotation, Step};

/// A file of the log that is written.
pub(in crate::audit) struct FileSink {
    path: PathBuf,
    rotation: Option<Rotation>,
    sync: bool,
    /// Appends.
    file: File,
    /// Holds the lock. The same open file as `file`, until a failed sync parts them: opening the
    /// file again must not let go of the lock in between.
    lock: File,
    /// Bytes of whole lines that are in the file; with `sync` they are on the disk.
    len: u64,
    /// The sequence number of its first record.
    first_seq: u64,
    after_failed_sync: bool,
    /// A rename that may not be on the disk yet.
    directory_dirty: bool,
    #[cfg(test)]
    pub(in crate::audit) faults: Arc<crate::audit::faults::Faults>,
}

impl FileSink {
    pub(in crate::audit) fn open(
        path: &Path,
        rotation: Option<Rotation>,
        sync: bool,
    ) -> Result<Opened, AuditError> {
        let io = |source| open_error(path, source);
        // Looked at before it is opened, since opening a pipe blocks and opening a link follows.
        match fs::symlink_metadata(path) {
            Ok(found) if !found.is_file() => return Err(not_regular(path)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => (),
        }
        let file = options().create(true).open(path).map_err(io)?;
        let lock = file.try_clone().map_err(io)?;
        match file.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => return Err(AuditError::Locked { path: path.into() }),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        // Between opening and locking, a link may have been put there, or the writer that had the
        // lock may have rotated the file away.
        let opened = file.metadata().map_err(io)?;
        let named = fs::symlink_metadata(path).map_err(io)?;
        if !opened.is_file() || !same(&opened, &named) {
            return Err(not_regular(path));
        }

        let contents = files::examine(&file).map_err(|why| unusable(path, why))?;
        let (first_seq, head) = match contents.chain {
            Some(chain) => chain,
            None => {
                let head = head_of_rotated(path)?;
                (head.seq + 1, head)
            }
        };
        if contents.torn > 0 {
            // No one was told that these bytes were written. (Under `Flush` a crash of the
            // *machine* can also tear lines that were acknowledged; that is what `Fsync` is for.)
            file.set_len(contents.whole).map_err(io)?;
        }
        if sync {
            // What an earlier run left to the kernel is built upon from here on.
            file.sync_all().map_err(io)?;
            sync_directory(path).map_err(io)?;
        }
        let sink = Self {
            path: path.into(),
            rotation,
            sync,
            file,
            lock,
            len: contents.whole,
            first_seq,
            after_failed_sync: false,
            directory_dirty: false,
            #[cfg(test)]
            faults: Arc::default(),
        };
        Ok(Opened {
            sink: Sink::File(sink),
            head,
            removed: contents.torn,
        })
    }

    pub(super) fn prepare(&mut self, len: usize, head: Head) -> Result<usize, SinkError> {
        if self.after_failed_sync {
            self.reopen(head).map_err(SinkError::intact(Step::Reopen))?;
        }
        self.check().map_err(SinkError::broken(Step::Check))?;
        let Some(rotation) = self.rotation else {
            return Ok(usize::MAX);
        };
        let max = rotation.max_bytes.get();
        if self.len > 0 && self.len.saturating_add(len as u64) > max {
            self.rotate(rotation.keep, head.seq + 1)?;
        }
        if self.directory_dirty {
            sync_directory(&self.path).map_err(SinkError::intact(Step::Rotate))?;
            self.directory_dirty = false;
        }
        Ok(usize::try_from(max.saturating_sub(self.len)).unwrap_or(usize::MAX))
    }

    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), SinkError> {
        if let Err(error) = self.write_all(lines) {
            return Err(self.roll_back(Step::Write, error));
        }
        if self.sync
            && let Err(error) = self.sync_data()
        {
            // The kernel reports a failed writeback once and then takes the pages for clean, so a
            // sync that succeeds afterwards proves nothing about them ("fsyncgate"; since Linux
            // 4.13, see fsync(2)). So nothing of this batch is kept, and the file is not trusted
            // until it was opened again at the last place that a successful sync covered.
            self.after_failed_sync = true;
            return Err(self.roll_back(Step::Sync, error));
        }
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Someone who edits, cuts or deletes the file while it is written must not go unnoticed
    /// until the chain is verified some day.
    fn check(&self) -> io::Result<()> {
        // Whoever asks for the times makes the kernel write the inode with each record.
        let wanted = StatxFlags::NLINK | StatxFlags::SIZE;
        let found = statx(&self.file, "", AtFlags::EMPTY_PATH, wanted)?;
        if !StatxFlags::from_bits_retain(found.stx_mask).contains(wanted) {
            return Err(io::Error::other("the file system does not tell its length"));
        }
        if found.stx_nlink == 0 {
            return Err(io::Error::other("the file was deleted"));
        }
        if found.stx_size != self.len {
            let (is, was) = (found.stx_size, self.len);
            return Err(io::Error::other(format!(
                "the file has {is} bytes instead of {was}"
            )));
        }
        Ok(())
    }

    fn roll_back(&self, step: Step, cause: io::Error) -> SinkError {
        match self.set_len() {
            Ok(()) => SinkError::intact(step)(cause),
            Err(error) => {
                let both = io::Error::new(error.kind(), format!("{error}, after: {cause}"));
                SinkError::broken(Step::Rollback)(both)
            }
        }
    }

    fn reopen(&mut self, head: Head) -> io::Result<()> {
        let file = options().open(&self.path)?;
        if !same(&file.metadata()?, &self.file.metadata()?) {
            return Err(io::Error::other("another file has its name now"));
        }
        match files::examine(&file) {
            Err(Unusable::Io(error)) => return Err(error),
            Ok(found)
                if (found.whole, found.torn) == (self.len, 0)
                    && found.chain.is_none_or(|(_, found)| found == head) => {}
            _ => {
                return Err(io::Error::other(
                    "its last line is not the one that was synced",
                ));
            }
        }
        // The shorter length must be on the disk too, before anything is built upon it.
        file.sync_all()?;
        self.file = file;
        self.after_failed_sync = false;
        Ok(())
    }

    fn rotate(&mut self, keep: usize, next_seq: u64) -> Result<(), SinkError> {
        let io = SinkError::intact;
        let old = files::rotated_name(&self.path, self.first_seq);
        let new = files::with_suffix(&self.path, ".new");

        let here = fs::symlink_metadata(&self.path).map_err(io(Step::Rotate))?;
        let ours = self.file.metadata().map_err(io(Step::Rotate))?;
        if !same(&here, &ours) {
            let error = io::Error::other("another file has its name now");
            return Err(SinkError::broken(Step::Rotate)(error));
        }
        // A rename would replace it.
        if fs::symlink_metadata(&old).is_ok() {
            let error = format!("{} is there already", old.display());
            return Err(io(Step::Rotate)(io::Error::other(error)));
        }

        // The new file is made and locked under another name, so that what is likely to fail fails
        // before anything was moved, and no other gateway can get it first.
        let file = create_new(&new).map_err(io(Step::Rotate))?;
        let lock = file.try_clone().map_err(io(Step::Rotate))?;
        fs::rename(&self.path, &old).map_err(io(Step::Rotate))?;
        if let Err(error) = fs::rename(&new, &self.path) {
            return Err(match fs::rename(&old, &self.path) {
                Ok(()) => SinkError::intact(Step::Rotate)(error),
                Err(_) => SinkError::broken(Step::Rotate)(error),
            });
        }
        tracing::info!(file = %old.display(), "audit log rotated");
        self.file = file;
        self.lock = lock;
        self.len = 0;
        self.first_seq = next_seq;
        self.directory_dirty = self.sync;
        if keep > 0 {
            prune(&self.path, keep);
        }
        Ok(())
    }

    fn write_all(&self, lines: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.faults.write(&self.file, lines)?;
        (&self.file).write_all(lines)
    }

    fn sync_data(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults.sync()?;
        self.file.sync_data()
    }

    fn set_len(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults.set_len()?;
        self.file.set_len(self.len)
    }
}

/// Not readable for others from the start: the log says who was refused what.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    options
}

fn create_new(path: &Path) -> io::Result<File> {
    // Left by a crash between making it and giving it its name; nothing was written to it.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let file = options().create_new(true).open(path)?;
    file.try_lock().map_err(io::Error::from)?;
    Ok(file)
}

/// A crash in the middle of a rotation leaves no file, or an empty one; the chain goes on behind
/// the newest rotated file.
fn head_of_rotated(path: &Path) -> Result<Head, AuditError> {
    let rotated = files::rotated(path).map_err(|error| open_error(path, error))?;
    let Some((_, newest)) = rotated.last() else {
        return Ok(Head::GENESIS);
    };
    let contents = File::open(newest)
        .map_err(Unusable::Io)
        .and_then(|file| files::examine(&file))
        .map_err(|why| unusable(newest, why))?;
    match contents.chain {
        Some((_, head)) if contents.torn == 0 => Ok(head),
        _ => Err(AuditError::Edited {
            path: newest.clone(),
            place: "last line",
            fault: crate::audit::LineFault::Form,
        }),
    }
}

/// That old files stay is no reason to refuse; that the disk gets full will be.
fn prune(path: &Path, keep: usize) {
    let rotated = match files::rotated(path) {
        Ok(rotated) => rotated,
        Err(error) => {
            tracing::warn!(%error, "old audit files cannot be listed");
            return;
        }
    };
    let surplus = rotated.len().saturating_sub(keep);
    for (_, file) in &rotated[..surplus] {
        match fs::remove_file(file) {
            Ok(()) => tracing::info!(file = %file.display(), "old audit file deleted"),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "old audit file not deleted");
            }
        }
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(files::directory(path))?.sync_all()
}

fn same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

fn not_regular(path: &Path) -> AuditError {
    AuditError::NotRegular { path: path.into() }
}

fn open_error(path: &Path, source: io::Error) -> AuditError {
    AuditError::Open {
        path: path.into(),
        source: Arc::new(source),
    }
}

fn unusable(path: &Path, why: Unusable) -> AuditError {
    match why {
        Unusable::Io(source) => open_error(path, source),
        Unusable::Line(place, fault) => AuditError::Edited {
            path: path.into(),
            place,
            fault,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::audit::chain;

    fn open(path: &Path) -> Result<Opened, AuditError> {
        FileSink::open(path, None, false)
    }

    fn lines(n: usize) -> Vec<u8> {
        let (mut out, mut head) = (Vec::new(), Head::GENESIS);
        for _ in 0..n {
            head = chain::stamp(head, "", br#"{"kind":"exchange"}"#, &mut out);
        }
        out
    }

    #[test]
    fn only_a_regular_file_of_our_own_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        symlink(dir.path().join("target"), &path).unwrap();
        assert!(matches!(open(&path), Err(AuditError::NotRegular { .. })));
        assert!(!dir.path().join("target").exists());
        assert!(matches!(
            open(dir.path()),
            Err(AuditError::NotRegular { .. })
        ));
        assert!(matches!(
            open(Path::new("/dev/null")),
            Err(AuditError::NotRegular { .. })
        ));
        fs::remove_file(&path).unwrap();

        let first = open(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(open(&path), Err(AuditError::Locked { .. })));
        drop(first);
        assert!(open(&path).is_ok());
    }

    #[test]
    fn a_file_of_someone_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        for content in [
            "127.0.0.1 localhost",
            "root:x:0:0\n",
            "{\"seq\":1}\n{\"se",
            "\n",
            "{\"sex\"",
        ] {
            fs::write(&path, content).unwrap();
            assert!(
                matches!(open(&path), Err(AuditError::Edited { .. })),
                "{content}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_torn_end_is_removed_wherever_it_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let all = lines(3);
        let whole = lines(2).len();
        for cut in 0..all.len() {
            fs::write(&path, &all[..cut]).unwrap();
            let opened = open(&path).unwrap();
            let left = fs::read(&path).unwrap();
            assert_eq!(opened.removed as usize, cut - left.len());
            assert!(all.starts_with(&left) && left.last().is_none_or(|b| *b == b'\n'));
            assert_eq!(opened.head.seq == 2, cut >= whole);
        }
        // The data of the last write never came to the disk, only its length.
        let zeros = [lines(2), vec![0; 3 << 20]].concat();
        fs::write(&path, zeros).unwrap();
        assert_eq!(open(&path).unwrap().removed, 3 << 20);
        assert_eq!(fs::read(&path).unwrap(), lines(2));
    }

    #[test]
    fn a_file_whose_last_line_was_edited_is_not_continued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let edited = String::from_utf8(lines(2))
            .unwrap()
            .replace("\"seq\":2", "\"seq\":3");
        fs::write(&path, edited).unwrap();
        let error = open(&path).err().unwrap();
        assert!(
            matches!(
                error,
                AuditError::Edited {
                    place: "last line",
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn the_chain_goes_on_behind_a_crash_in_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        fs::write(files::rotated_name(&path, 1), lines(4)).unwrap();
        fs::write(files::with_suffix(&path, ".new"), "").unwrap();
        fs::write(files::with_suffix(&path, ".1"), "not rotated by us").unwrap();
        assert_eq!(open(&path).unwrap().head.seq, 4);
        let torn = &lines(5)[..lines(4).len() + 9];
        fs::write(files::rotated_name(&path, 1), torn).unwrap();
        assert!(matches!(open(&path), Err(AuditError::Edited { .. })));
    }
}

//! The file of an embedded ledger: whoever could write it, or put another in its place, could make
//! the gateway forget what it has released.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::geteuid;

use super::super::LedgerError;

/// For group and others, nothing.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
const OTHERS_ACCESS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

/// Opens the file, or makes it with its directory; tells whether it is new.
pub(super) fn open(path: &Path) -> Result<(File, bool), LedgerError> {
    let failed = |error: io::Error| LedgerError::Open {
        path: path.to_owned(),
        why: error.to_string(),
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    check_directory(directory, &fs::metadata(directory).map_err(failed)?)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(O_NOFOLLOW);
    let (file, new) = match options.open(path) {
        Ok(file) => (file, false),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let file = options.create_new(true).mode(FILE_MODE).open(path);
            let file = file.map_err(failed)?;
            // The name must last as long as the entries.
            File::open(directory)
                .and_then(|d| d.sync_all())
                .map_err(failed)?;
            (file, true)
        }
        Err(error) => return Err(failed(error)),
    };
    check_file(path, &file.metadata().map_err(failed)?, new)?;
    Ok((file, new))
}

/// Opens a file that is there to read it; while it is open, nobody writes it.
pub(super) fn open_to_read(path: &Path) -> Result<File, LedgerError> {
    let path = path.to_owned();
    let failed = |path, why: &str| LedgerError::Open {
        path,
        why: why.to_owned(),
    };
    // A pipe would wait for a writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(&path)
        .map_err(|error| failed(path.clone(), &error.to_string()))?;
    let found = file.metadata();
    if !found.is_ok_and(|found| found.is_file() && found.len() > 0) {
        return Err(failed(path, "it is not a regular file, or empty"));
    }
    match file.try_lock_shared() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::Locked { path }),
        Err(TryLockError::Error(error)) => Err(failed(path, &error.to_string())),
    }
}

fn check_directory(directory: &Path, found: &Metadata) -> Result<(), LedgerError> {
    let why = if !found.is_dir() {
        "its directory is none"
    } else if found.uid() != 0 && found.uid() != geteuid().as_raw() {
        "its directory has another owner"
    } else if found.mode() & OTHERS_WRITE != 0 {
        "group or others may write its directory; give it one with mode 0700"
    } else {
        return Ok(());
    };
    refuse(directory, why)
}

fn check_file(path: &Path, found: &Metadata, new: bool) -> Result<(), LedgerError> {
    let why = if !found.is_file() {
        "it is not a regular file"
    } else if found.uid() != geteuid().as_raw() {
        "it has another owner"
    } else if found.mode() & OTHERS_ACCESS != 0 {
        "group or others have rights on it; its mode is 0600"
    } else if found.nlink() != 1 {
        "it has another name too"
    } else if found.len() == 0 && !new {
        "it is empty, and a ledger never is; remove it to begin without a memory"
    } else {
        return Ok(());
    };
    refuse(path, why)
}

fn refuse(path: &Path, why: &str) -> Result<(), LedgerError> {
    Err(LedgerError::NotPrivate {
        path: path.to_owned(),
        why: why.to_owned(),
    })
}

//! The certificate of the authority as a file that the app reads.
//!
//! The directory is opened once, at start, and from then on is never looked up by its name again:
//! an app that may write where it should not can spoil the file, and nothing else.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, fchmod, open, openat, renameat, unlinkat};

/// Everybody may read it; the app is another user than the gateway.
const MODE: Mode = Mode::from_raw_mode(0o644);

/// Where the certificate is published.
#[derive(Debug)]
pub struct Publisher {
    dir: OwnedFd,
    name: OsString,
    path: PathBuf,
}

impl Publisher {
    /// Publishes to this file, in a directory that is there and is no symlink.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = match path.parent() {
            Some(dir) if dir != Path::new("") => dir,
            _ => Path::new("."),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self {
            dir: open(dir, flags, Mode::empty())?,
            name: name.to_owned(),
            path: path.to_owned(),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file as a whole; `unique` is part of the name that it has until then.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn publish(&self, content: &[u8], unique: u64) -> io::Result<()> {
        let temporary = format!(".lazaret-{unique:016x}");
        // What is there already, a symlink too, is somebody else's.
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.dir, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
        let written = fchmod(&file, MODE)
            .map_err(io::Error::from)
            .and_then(|()| std::fs::File::from(file).write_all(content))
            // The name itself is replaced, not what it may lead to.
            .and_then(|()| Ok(renameat(&self.dir, &temporary, &self.dir, &self.name)?));
        if written.is_err() {
            // It is gone already, or stays: nothing depends on it.
            let _ = unlinkat(&self.dir, &temporary, AtFlags::empty());
        }
        written
    }
}

/// A certificate as text (RFC 7468 §5).
pub fn pem(cert: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", cert), config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn replaces_the_name_and_never_what_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let path = dir.path().join("ca.pem");
        symlink(&victim, &path).unwrap();
        let publisher = Publisher::open(&path).unwrap();
        publisher.publish(b"one", 1).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        let meta = fs::symlink_metadata(&path).unwrap();
        assert!(meta.is_file());
        assert_eq!(meta.permissions().mode() & 0o7777, 0o644);

        // A name that was guessed and taken.
        symlink(&victim, dir.path().join(".lazaret-0000000000000002")).unwrap();
        assert!(publisher.publish(b"two", 2).is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
    }

    #[test]
    fn a_directory_that_is_exchanged_later_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (shared, other) = (root.path().join("shared"), root.path().join("other"));
        fs::create_dir(&shared).unwrap();
        fs::create_dir(&other).unwrap();
        let publisher = Publisher::open(&shared.join("ca.pem")).unwrap();
        fs::rename(&shared, root.path().join("moved")).unwrap();
        symlink(&other, &shared).unwrap();
        publisher.publish(b"one", 1).unwrap();
        assert!(root.path().join("moved/ca.pem").exists());
        assert!(!other.join("ca.pem").exists());
        assert!(Publisher::open(&shared.join("ca.pem")).is_err());
        assert!(Publisher::open(&root.path().join("absent/ca.pem")).is_err());
    }

    #[test]
    fn leaves_nothing_behind_when_it_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        fs::create_dir(&path).unwrap();
        let publisher = Publisher::open(&path).unwrap();
        assert!(publisher.publish(b"one", 1).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

//! Standard output. Nothing that was written can be taken back.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use super::SinkError;
use crate::audit::{AuditError, Step};

/// A pipe, terminal or device.
pub(in crate::audit) struct StreamSink {
    file: File,
    sync: bool,
}

impl StreamSink {
    /// An own descriptor of standard output, since the one in the standard library has a buffer
    /// that would tear our batches.
    pub(super) fn stdout(sync: bool) -> Result<Self, AuditError> {
        io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .and_then(|fd| Self::new(fd.into(), sync))
            .map_err(|source| AuditError::Open {
                path: PathBuf::from("-"),
                source: Arc::new(source),
            })
    }

    pub(in crate::audit) fn new(file: File, sync: bool) -> io::Result<Self> {
        if sync {
            // A pipe cannot be synced: better to learn it now than with the first payload.
            file.sync_data()?;
        }
        Ok(Self { file, sync })
    }

    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), SinkError> {
        let mut rest = lines;
        while !rest.is_empty() {
            let error = match self.file.write(rest) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(n) => {
                    rest = &rest[n..];
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            // What the reader has cannot be taken back, and whether it ends in the middle of a
            // line is not known: only untouched is intact.
            return Err(if rest.len() == lines.len() {
                SinkError::intact(Step::Write)(error)
            } else {
                SinkError::broken(Step::Write)(error)
            });
        }
        if self.sync {
            self.file
                .sync_data()
                .map_err(SinkError::broken(Step::Sync))?;
        }
        Ok(())
    }
}

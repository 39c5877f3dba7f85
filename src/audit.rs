//! The audit log: one JSON line per verdict or connection, written before anything is released.
//!
//! A line holds where something went, by which rule, how large it was and what was decided, but
//! never a value of a payload. The lines form a chain: each holds the SHA-256 of the one before,
//! so that an edited, dropped, inserted or reordered line is found by [`verify()`].
//!
//! # Format
//!
//! ```text
//! {"seq":7,"ts":"2026-01-31T12:00:00.000000Z","kind":…,…,"prev":"<64 hex>","hash":"<64 hex>"}\n
//! ```
//!
//! - `seq` counts from 1 without a gap, also over restarts and rotated files.
//! - `ts` is when the line was written, UTC.
//! - The members in between are those of [`Record`], in that order, and only those that apply.
//! - `prev` is the `hash` of the line before, and 64 zeros in the line with `seq` 1.
//! - `hash` is the SHA-256, in lower-case hex, of the line as it was before `hash` was added: all
//!   bytes before `,"hash":`, then `}`.
//!
//! So the hash of every line can be checked with what every system has:
//!
//! ```sh
//! while IFS= read -r l; do h=$(printf '%s}' "${l%,\"hash\":*}" | sha256sum); \
//!   [ "${l##*,}" = "\"hash\":\"${h%% *}\"}" ] || echo "edited: $l"; done < audit.jsonl
//! ```
//!
//! and the whole chain of a file with
//!
//! ```sh
//! python3 -c 'import sys,json,hashlib as h; p="0"*64
//! for n,l in enumerate(open(sys.argv[1],"rb"),1):
//!   r=json.loads(l); b=l[:l.rindex(b",\"hash\":")]+b"}"
//!   assert r["seq"]==n and r["prev"]==p and r["hash"]==h.sha256(b).hexdigest(),n
//!   p=r["hash"]' audit.jsonl
//! ```
//!
//! # What the chain does not prove
//!
//! There is no secret in it. Whoever may write the file can cut off its end, or write a new end
//! with right hashes; the lines before such a place still prove each other. What makes it
//! evidence is a head (the `seq` and `hash` of some line, [`AuditLog::head`]) that was noted where
//! the writer of the file cannot reach: [`verify()`] then proves that everything up to that head
//! is there and unchanged. Likewise, files that rotation has deleted are seen to be absent, but
//! not what was in them.
//!
//! # Order
//!
//! [`record`] is what a caller fills in, `appender` hands it in together with others of its thread,
//! [`writer`] is the handle and the thread that owns the log,
//! `queue` is between the two, `chain` makes and reads lines, `sink` is where they go, and
//! [`verify`](mod@verify) reads them again.

mod appender;
pub(crate) mod chain;
#[cfg(test)]
mod faults;
mod files;
mod queue;
pub mod record;
mod sink;

pub mod verify;
pub mod writer;

use std::io;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lazaret_policy::Reason;

pub use appender::Appender;
pub use chain::{Digest, DigestError, Head, LineFault};
pub use record::{Kind, Record, Text, Verdict, Violation, Violations};
pub use verify::{Break, Broken, Fault, Report, VerifyError, verify};
pub use writer::AuditLog;

/// Where the log goes and what a caller waits for.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// Where to.
    pub target: Target,
    /// When a record counts as written.
    pub durability: Durability,
    /// Under [`Durability::Fsync`]: how long the first record of a batch waits for company. Zero
    /// is best for few callers at a time, since the batch grows by itself during the sync before.
    pub group_window: Duration,
    /// Records that may wait for the writer. More are refused.
    pub queue_records: usize,
    /// Bytes that may wait for the writer. More are refused.
    pub queue_bytes: usize,
    /// How long [`AuditLog::append_blocking`] waits for a disk that hangs.
    pub blocking_timeout: Duration,
}

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output. Each start of the gateway begins a new chain, and nothing can be taken
    /// back after a failed write, so that one ends the log for good.
    Stdout,
    /// A regular file that no one else writes. An existing chain is continued.
    File {
        /// The file; rotated ones lie beside it.
        path: PathBuf,
        /// When to begin a new file.
        rotation: Option<Rotation>,
    },
}

/// When a file is full and what becomes of it. It is renamed to `<file>.<seq of its first record,
/// 12 digits>`; the chain runs on in a new file. Nothing else may rotate the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// No file becomes larger, unless a single record is.
    pub max_bytes: NonZeroU64,
    /// How many rotated files stay; the oldest are deleted. Zero: all stay.
    pub keep: usize,
}

/// When a record counts as written, and with that when the payload may be released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When it is in the queue of a log that works. A crash of the gateway loses what is in the
    /// queue. While the log fails, this is as [`Self::Flush`], so that nothing goes unrecorded.
    None,
    /// When the kernel has it. Survives a crash of the gateway, not one of the machine.
    #[default]
    Flush,
    /// When the disk has it. All records that wait at the same time share one sync.
    Fsync,
}

impl AuditSettings {
    /// The defaults for a target.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            durability: Durability::default(),
            group_window: Duration::ZERO,
            queue_records: 65_536,
            queue_bytes: 64 << 20,
            blocking_timeout: Duration::from_secs(10),
        }
    }
}

impl Target {
    /// A file, or standard output for `-`.
    pub fn new(path: impl Into<PathBuf>, rotation: Option<Rotation>) -> Self {
        let path = path.into();
        if path.as_os_str() == "-" {
            Self::Stdout
        } else {
            Self::File { path, rotation }
        }
    }
}

/// Why there is no audit log, or why a record is not in it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuditError {
    /// The file or its directory cannot be used.
    #[error("cannot open the audit log {path}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// A directory, device, pipe or symbolic link.
    #[error(
        "the audit log {path} is not a regular file ('-' is standard output)",
        path = path.display()
    )]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// Two writers would tear the chain.
    #[error("another process writes the audit log {path}", path = path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The chain cannot be continued: someone has changed the file, or it is not an audit log.
    #[error(
        "the audit log {path} cannot be continued, since its {place} {fault}; \
         verify it and move it away",
        path = path.display()
    )]
    Edited {
        /// The file.
        path: PathBuf,
        /// Which line.
        place: &'static str,
        /// What is wrong with it.
        fault: LineFault,
    },
    /// The thread could not be started.
    #[error("cannot start the audit thread")]
    Thread(#[source] Arc<io::Error>),
    /// The record could not be written. The log is as it was before; the next record tries again.
    #[error("the audit record could not be written: {step}")]
    Write {
        /// What failed.
        step: Step,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// As [`Self::Write`], but what is in the log now is not known or not ours, so no further
    /// record can be chained to it.
    #[error("the audit log is broken until a restart: {step}")]
    Broken {
        /// What failed.
        step: Step,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// The writer does not keep up.
    #[error("the audit queue is full ({records} records, {bytes} bytes)")]
    QueueFull {
        /// Records that wait.
        records: usize,
        /// Bytes that wait.
        bytes: usize,
    },
    /// The record is larger than a record may be.
    #[error("the audit record has {bytes} bytes, more than {max}")]
    RecordTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The disk hangs.
    #[error("the audit record was not written within {0:?}")]
    Timeout(Duration),
    /// The writer has ended.
    #[error("the audit log is closed")]
    Closed,
}

/// What a writer was about to do when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Looking whether the file is still as it was left.
    Check,
    /// Writing.
    Write,
    /// Waiting for the disk.
    Sync,
    /// Taking a half-written batch back.
    Rollback,
    /// Opening the file again after a failed sync.
    Reopen,
    /// Beginning a new file.
    Rotate,
}

impl AuditError {
    /// The reason of a refusal that follows.
    pub const fn reason(&self) -> Reason {
        Reason::AuditUnavailable
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Check => "the file is not as it was left",
            Self::Write => "writing failed",
            Self::Sync => "syncing to the disk failed",
            Self::Rollback => "a half-written batch could not be removed",
            Self::Reopen => "reopening after a failed sync failed",
            Self::Rotate => "beginning a new file failed",
        })
    }
}

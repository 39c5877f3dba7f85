//! The ledger: what has been released to whom, kept to judge the next release.
//!
//! A release is *reserved* before its first byte leaves: in one transaction the ledger looks up
//! what went before, decides ([`lazaret_policy::release::decide`]), and remembers. Only when that
//! is on the disk may the payload be sent; then the reservation is settled. Whatever happens in
//! between, a reserved release counts as released. It is taken back only by who knows that not a
//! byte has left. No two reservations overlap, whichever process makes them, so that no budget is
//! spent twice. A ledger that cannot be reached, read or written refuses, and says so.
//!
//! There are two: one file of this process ([`embedded`], with redb), and a PostgreSQL server
//! that all replicas of one consumer's pods share ([`postgres`]). redb, because it is one file,
//! transactional, written in Rust without unsafe C beside it, and checks its pages by checksums.
//!
//! # Entries
//!
//! Both hold the same lines, in the form of the [audit log](crate::audit), so that the same tools
//! verify them: each holds the SHA-256 of the one before. A line of a release holds digests of the
//! labels, the released figures as intervals, sizes, and no label. Beside the lines are indices
//! made from them, from which a decision is read without a scan; [`verify()`] compares the two.
//! Lines are pruned from the oldest on when nothing can ask for them any more; the hash of the
//! last one pruned stays as the anchor of the chain.
//!
//! Denied attempts are no entries: the audit log has them. A ledger only counts those of the last
//! hour, for each consumer and family, so that a limit holds over restarts and replicas.
//!
//! Time is what the caller says, but never less than the time of the entry before: a clock that
//! jumps back opens no window anew. One that jumps ahead is found by `clock`.
//!
//! # Order
//!
//! `handle` is what the gateway holds, `share` bounds what one family has under way, `engine` what both ledgers do alike, [`entry`] is a line
//! and what it says.

mod clock;
pub mod embedded;
mod engine;
pub mod entry;
mod handle;
pub mod postgres;
mod share;
pub mod verify;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lazaret_policy::Reason;
use lazaret_policy::judge::Violation;
use lazaret_policy::release::{History, ReleaseFacts, ReleaseRule};

use crate::audit::Head;
use entry::{Entry, Release};
use verify::Index;

pub use engine::{EachLine, fill, lines, reserve, reset, seconds};
pub use handle::LedgerHandle;
pub use verify::verify;

/// What is asked of the ledger.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// The receiving party, by the name in the policy.
    pub consumer: Arc<str>,
    /// The rule of the contract.
    pub rule: Arc<ReleaseRule>,
    /// What the payload is.
    pub facts: ReleaseFacts,
    /// The present.
    pub now: SystemTime,
}

/// A reserved release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a reservation is settled when its payload is sent"]
pub struct Ticket {
    /// The number of its entry.
    pub seq: u64,
}

/// Why nothing may be released.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotReserved {
    /// The rules of the contract are against it.
    #[error("earlier releases are in the way")]
    Refused(Vec<Violation>),
    /// The ledger does not answer.
    #[error(transparent)]
    Unavailable(#[from] LedgerError),
}

/// Why the ledger cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be opened or made.
    #[error("cannot open the ledger {path}: {why}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// Someone else could change what was released.
    #[error("the ledger {path} is not this process's alone: {why}", path = path.display())]
    NotPrivate {
        /// The file or its directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// One file has one owner.
    #[error(
        "another process has the ledger {path} open; replicas share one on PostgreSQL",
        path = path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It was written by another version.
    #[error("the ledger has version {found}, and this program knows {known}")]
    Version {
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// What is in it cannot be.
    #[error("the ledger is corrupt: {0}; verify it")]
    Corrupt(String),
    /// Reading or writing failed. Nothing is remembered, nothing may be released.
    #[error("the ledger could not be read or written: {0}")]
    Store(String),
    /// The server does not answer, or says no.
    #[error("the ledger's server cannot be used: {0}")]
    Server(String),
    /// It took too long.
    #[error("the ledger did not answer within {0:?}")]
    Timeout(Duration),
    /// An entry is longer than any reader takes.
    #[error("an entry of {bytes} bytes is too long for the ledger, which takes {most}")]
    EntryTooLarge {
        /// The bytes of its line.
        bytes: usize,
        /// The most.
        most: usize,
    },
    /// Releases of one family wait for each other.
    #[error("releases of this contract kept each other waiting for more than {0:?}")]
    Crowded(Duration),
    /// The clock was set ahead, by which the ledger would forget.
    #[error(
        "the clock was set ahead by {0} seconds since the ledger was opened; set it right, or if it \
         is right now, start the gateway again"
    )]
    ClockJumped(u64),
    /// The clock is ahead of the server's, by which all replicas would forget.
    #[error(
        "the clock is {0} seconds ahead of the ledger's server; set right which of them is wrong"
    )]
    ClockAhead(u64),
    /// Too many wait for it.
    #[error("{0} requests wait for the ledger already")]
    Busy(usize),
    /// Its thread has ended.
    #[error("the ledger is closed")]
    Closed,
    /// There is nothing to take back.
    #[error("entry {0} of the ledger is no open reservation")]
    NotOpen(u64),
}

/// Where a ledger is.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// One file.
    File(PathBuf),
    /// A server, as `postgres://user:password@host/database`.
    Postgres(String),
}

/// Where the chain is, and when it last grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The last entry.
    pub head: Head,
    /// The last entry that was pruned.
    pub anchor: Head,
    /// The time of the last entry, in seconds since 1970.
    pub time: u64,
}

/// A store of releases. Both implementations block; [`LedgerHandle`] gives each a thread.
pub trait Ledger: Send {
    /// Begins a transaction. Until it ends, no other one of any process does anything.
    ///
    /// # Errors
    /// The store cannot be used.
    fn begin(&mut self) -> Result<Box<dyn Transaction + '_>, LedgerError>;

    /// What another clock says, if the store has one.
    ///
    /// # Errors
    /// The store cannot be used.
    fn witness(&mut self) -> Result<Option<SystemTime>, LedgerError> {
        Ok(None)
    }

    /// Begins one that only reads, and that keeps no one else from working where it need not.
    ///
    /// # Errors
    /// The store cannot be used.
    fn begin_read(&mut self) -> Result<Box<dyn Transaction + '_>, LedgerError>;
}

/// All that a ledger does. Dropped without a commit, it leaves nothing behind.
pub trait Transaction {
    /// The state at the beginning.
    ///
    /// # Errors
    /// As [`Ledger::begin`]; so for all below.
    fn state(&mut self) -> Result<State, LedgerError>;

    /// What is known of earlier releases.
    fn history(
        &mut self,
        consumer: &str,
        rule: &ReleaseRule,
        facts: &ReleaseFacts,
        now: u64,
    ) -> Result<History, LedgerError>;

    /// Counts a denied attempt, and forgets those that are out of their window.
    fn deny(&mut self, consumer: &str, family: &str, now: u64) -> Result<(), LedgerError>;

    /// Appends a line. A release is indexed too, and open until it is settled.
    fn append(&mut self, state: &State, entry: &Entry, line: &[u8]) -> Result<(), LedgerError>;

    /// Takes a release out of the indices; `false` if it is not open or too long ago.
    fn cancel(&mut self, seq: u64, release: &Release) -> Result<bool, LedgerError>;

    /// Notes that a release was sent.
    fn settle(&mut self, seq: u64) -> Result<(), LedgerError>;

    /// Removes the oldest line, and what is indexed of it alone.
    fn forget(&mut self, anchor: &Head, entry: &Entry) -> Result<(), LedgerError>;

    /// Removes everything but the state.
    fn clear(&mut self, anchor: &Head) -> Result<(), LedgerError>;

    /// Lines from a number on, with their numbers.
    fn lines(&mut self, from: u64, most: usize) -> Result<Vec<(u64, Vec<u8>)>, LedgerError>;

    /// Everything that is indexed.
    fn index(&mut self) -> Result<Index, LedgerError>;

    /// Makes it so; on the disk when it returns, if it is to be durable.
    fn commit(self: Box<Self>, durable: bool) -> Result<(), LedgerError>;
}

/// Opens a ledger, or makes it.
///
/// # Errors
/// It cannot be used.
pub fn open(location: &Location) -> Result<Box<dyn Ledger>, LedgerError> {
    Ok(match location {
        Location::File(path) => Box::new(embedded::Embedded::open(path)?),
        Location::Postgres(url) => Box::new(postgres::Postgres::connect(url)?),
    })
}

/// Opens a ledger that is there, to read what it remembers: nothing of it is ever written.
///
/// # Errors
/// It is not there, or cannot be used.
pub fn open_to_read(location: &Location) -> Result<Box<dyn Ledger>, LedgerError> {
    Ok(match location {
        Location::File(path) => Box::new(embedded::Embedded::open_to_read(path)?),
        Location::Postgres(url) => Box::new(postgres::Postgres::connect_to_read(url)?),
    })
}

impl NotReserved {
    /// The reason of the refusal.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Refused(found) => found
                .first()
                .map_or(Reason::LedgerUnavailable, |v| v.reason),
            Self::Unavailable(LedgerError::ClockJumped(_)) => Reason::LedgerClock,
            Self::Unavailable(_) => Reason::LedgerUnavailable,
        }
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_url = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| text.starts_with(scheme));
        if is_url {
            postgres::parse(text)?;
            return Ok(Self::Postgres(text.to_owned()));
        }
        if text.contains("://") || text.is_empty() {
            return Err("a ledger is a file, or a server such as \
                        postgres://lazaret@db.example/lazaret"
                .into());
        }
        Ok(Self::File(text.into()))
    }
}

// The address of a server may hold a password, which no log may.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Postgres(_) => f.write_str("postgres://…"),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

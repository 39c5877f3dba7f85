//! What was released before: a ledger that is read, or one of this run alone.

use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use lazaret_policy::judge::Violation;
use lazaret_policy::release::{ReleaseFacts, ReleaseRule, decide};

use super::Failed;
use crate::cli::{EX_SOFTWARE, EX_USAGE};
use crate::ledger::embedded::Embedded;
use crate::ledger::{self, Ledger, LedgerError, Location, NotReserved, Reservation};

/// Where earlier releases are to be found, as it is written.
#[derive(Clone, Debug)]
pub(super) enum Remembered {
    /// Those of this run.
    Run,
    /// Those of a ledger.
    Ledger(Location),
}

/// Earlier releases.
pub(super) enum Memory {
    /// Begins with none, learns what would be released, and is gone at the end.
    Run(Embedded),
    /// Never written.
    Ledger(Box<dyn Ledger>),
}

impl FromStr for Remembered {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "memory" => Ok(Self::Run),
            _ => text.parse().map(Self::Ledger),
        }
    }
}

impl Memory {
    pub(super) fn open(at: &Remembered) -> Result<Self, Failed> {
        let opened = match at {
            Remembered::Run => Embedded::in_memory().map(Self::Run),
            Remembered::Ledger(location) => ledger::open_to_read(location).map(Self::Ledger),
        };
        opened.map_err(|error| {
            let code = match &error {
                LedgerError::Open { .. } | LedgerError::Locked { .. } => EX_USAGE,
                _ => EX_SOFTWARE,
            };
            (code, format!("lazaret: {error}"))
        })
    }

    /// What earlier releases say.
    ///
    /// # Errors
    /// The ledger failed.
    pub(super) fn ask(
        &mut self,
        consumer: &Arc<str>,
        rule: &Arc<ReleaseRule>,
        facts: ReleaseFacts,
    ) -> Result<Result<(), Vec<Violation>>, LedgerError> {
        let now = SystemTime::now();
        match self {
            Self::Run(ledger) => {
                // What is refused is not counted: who tries a thousand files wants to know of each.
                let refused = look(ledger, consumer, rule, &facts, now)?;
                if refused.is_err() {
                    return Ok(refused);
                }
                let reservation = Reservation {
                    consumer: Arc::clone(consumer),
                    rule: Arc::clone(rule),
                    facts,
                    now,
                };
                match ledger::reserve(ledger, &[reservation])?.pop() {
                    Some(Ok(_)) => Ok(Ok(())),
                    Some(Err(NotReserved::Refused(violations))) => Ok(Err(violations)),
                    Some(Err(NotReserved::Unavailable(error))) => Err(error),
                    None => Err(LedgerError::Closed),
                }
            }
            Self::Ledger(ledger) => look(&mut **ledger, consumer, rule, &facts, now),
        }
    }
}

fn look(
    ledger: &mut dyn Ledger,
    consumer: &str,
    rule: &ReleaseRule,
    facts: &ReleaseFacts,
    now: SystemTime,
) -> Result<Result<(), Vec<Violation>>, LedgerError> {
    let mut tx = ledger.begin_read()?;
    let now = ledger::seconds(now).max(tx.state()?.time);
    let history = tx.history(consumer, rule, facts, now)?;
    Ok(decide(rule, facts, &history))
}

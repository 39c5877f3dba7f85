//! What the releases of one family may have under way in a ledger at the same time.
//!
//! Reservations follow each other. Most take some ten microseconds; one that has thousands of
//! figures, or whose tables are audited together with earlier ones, takes up to tens of milliseconds
//! ([`MAX_SEEN`](lazaret_policy::release::MAX_SEEN), and the steps of an audit). So a family has many
//! small ones under way, which then share a transaction, or one large one; the rest of it waits
//! outside of the queue, where it is in nobody's way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{LedgerError, Reservation};

/// Of small reservations: those that are decided, and as many that wait to be the next.
const SHARE: usize = 128;

/// How many figures a small reservation has.
const SMALL: usize = 64;

type Family = (Arc<str>, String);

/// The shares of all families. They are as many as the policies so far have named.
#[derive(Default)]
pub(super) struct Shares {
    of: Mutex<HashMap<Family, Arc<Semaphore>>>,
}

impl Shares {
    /// Waits until a reservation may be put into the queue. It gives its part of the share back when
    /// what is returned is dropped.
    pub(super) async fn turn(
        &self,
        asked: &Reservation,
    ) -> Result<OwnedSemaphorePermit, LedgerError> {
        let family = (Arc::clone(&asked.consumer), asked.rule.family.clone());
        let share = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            let share = of
                .entry(family)
                .or_insert_with(|| Arc::new(Semaphore::new(SHARE)));
            Arc::clone(share)
        };
        let turn = share.acquire_many_owned(weight(asked)).await;
        turn.map_err(|_| LedgerError::Closed)
    }
}

fn weight(asked: &Reservation) -> u32 {
    let weight = match asked.rule.linked_audit {
        true => SHARE,
        false => SHARE.min(1 + asked.facts.cells.len() / SMALL),
    };
    weight as u32
}

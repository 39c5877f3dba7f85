//! What both ledgers do alike, in terms of a [`Transaction`].

use std::time::SystemTime;

use lazaret_policy::judge::Violation;
use lazaret_policy::release::{decide, denied_too_often, entry_too_large};

use super::entry::{Entry, RESET_KEPT, Release};
use super::{Ledger, LedgerError, NotReserved, Reservation, State, Ticket, Transaction};

/// How many old entries are pruned for each new one, at most: more than one, so that the ledger
/// shrinks again, and few, so that no release waits for it.
const PRUNED_PER_ENTRY: usize = 8;

/// Makes reservations, all or none of them durable.
///
/// # Errors
/// The store failed; nothing was reserved. Each reservation has its own answer inside.
pub fn reserve(
    ledger: &mut dyn Ledger,
    reservations: &[Reservation],
) -> Result<Vec<Result<Ticket, NotReserved>>, LedgerError> {
    let mut tx = ledger.begin()?;
    let before = tx.state()?;
    let mut state = before;
    let mut answers = Vec::with_capacity(reservations.len());
    let mut denied = false;
    for reservation in reservations {
        answers.push(match one(&mut *tx, &mut state, reservation)? {
            Asked::Reserved(ticket) => Ok(ticket),
            Asked::Uncounted(why) => Err(NotReserved::Refused(vec![why])),
            Asked::Denied(found) => {
                denied = true;
                Err(NotReserved::Refused(found))
            }
        });
    }
    let appended = state.head.seq - before.head.seq;
    if appended > 0 {
        prune(&mut *tx, &mut state, appended as usize * PRUNED_PER_ENTRY)?;
    }
    if appended > 0 || denied {
        tx.commit(true)?;
    }
    Ok(answers)
}

/// Reserves and settles many releases at once, none of which may be refused: to move a ledger, or
/// to measure one.
///
/// # Errors
/// The store failed, or a rule is against one; none is kept.
pub fn fill(ledger: &mut dyn Ledger, releases: &[Reservation]) -> Result<(), NotReserved> {
    let mut tx = ledger.begin()?;
    let mut state = tx.state()?;
    for release in releases {
        match one(&mut *tx, &mut state, release)? {
            Asked::Reserved(ticket) => tx.settle(ticket.seq)?,
            Asked::Uncounted(why) => return Err(NotReserved::Refused(vec![why])),
            Asked::Denied(found) => return Err(NotReserved::Refused(found)),
        }
    }
    Ok(tx.commit(true)?)
}

enum Asked {
    Reserved(Ticket),
    /// Earlier releases are against it. It has been counted.
    Denied(Vec<Violation>),
    /// It is refused for something that tells nothing of earlier releases.
    Uncounted(Violation),
}

fn one(
    tx: &mut dyn Transaction,
    state: &mut State,
    reservation: &Reservation,
) -> Result<Asked, LedgerError> {
    let Reservation {
        consumer,
        rule,
        facts,
        now,
    } = reservation;
    let now = seconds(*now).max(state.time);
    let history = tx.history(consumer, rule, facts, now)?;
    if let Some(why) = denied_too_often(rule, &history) {
        return Ok(Asked::Uncounted(why));
    }
    if let Err(found) = decide(rule, facts, &history) {
        tx.deny(consumer, &rule.family, now)?;
        return Ok(Asked::Denied(found));
    }
    let release = Release::new(consumer, rule, facts, now);
    match append(tx, state, &Entry::Release(release), now) {
        // Nothing was written yet, and those who share the transaction must not pay for it.
        Err(LedgerError::EntryTooLarge { bytes, most }) => {
            return Ok(Asked::Uncounted(entry_too_large(bytes, most)));
        }
        appended => appended?,
    }
    Ok(Asked::Reserved(Ticket {
        seq: state.head.seq,
    }))
}

/// Notes that releases were sent. It may be lost in a crash: what is reserved counts anyway.
pub(super) fn settle(ledger: &mut dyn Ledger, seqs: &[u64]) -> Result<(), LedgerError> {
    let mut tx = ledger.begin()?;
    for seq in seqs {
        tx.settle(*seq)?;
    }
    tx.commit(false)
}

/// Takes a reservation back. Only for who knows that not a byte has left.
pub(super) fn cancel(
    ledger: &mut dyn Ledger,
    ticket: Ticket,
    now: SystemTime,
) -> Result<(), LedgerError> {
    let mut tx = ledger.begin()?;
    let mut state = tx.state()?;
    let line = tx.lines(ticket.seq, 1)?.pop();
    let line = line.filter(|(seq, _)| *seq == ticket.seq);
    let (_, line) = line.ok_or(LedgerError::NotOpen(ticket.seq))?;
    let (Entry::Release(release), ..) = Entry::read(&line)? else {
        return Err(LedgerError::NotOpen(ticket.seq));
    };
    if !tx.cancel(ticket.seq, &release)? {
        return Err(LedgerError::NotOpen(ticket.seq));
    }
    let at = seconds(now).max(state.time);
    let entry = Entry::Cancel {
        of: ticket.seq,
        at,
        expires: release.expires,
    };
    append(&mut *tx, &mut state, &entry, at)?;
    tx.commit(true)
}

/// Forgets everything, which the first entry of what follows says.
///
/// # Errors
/// The store failed.
pub fn reset(
    ledger: &mut dyn Ledger,
    reason: &str,
    who: &str,
    now: SystemTime,
) -> Result<State, LedgerError> {
    let mut tx = ledger.begin()?;
    let mut state = tx.state()?;
    let at = seconds(now).max(state.time);
    let entry = Entry::Reset {
        reason: reason.to_owned(),
        who: who.to_owned(),
        entries: state.head.seq - state.anchor.seq,
        at,
        expires: at.saturating_add(RESET_KEPT),
    };
    state.anchor = state.head;
    tx.clear(&state.anchor)?;
    append(&mut *tx, &mut state, &entry, at)?;
    tx.commit(true)?;
    Ok(state)
}

/// What takes a line with its number.
pub type EachLine<'e> = dyn FnMut(u64, &[u8]) -> Result<(), LedgerError> + 'e;

/// Hands out all lines in order, without holding them all.
///
/// # Errors
/// The store failed, or the receiver did.
pub fn lines(tx: &mut dyn Transaction, each: &mut EachLine<'_>) -> Result<(), LedgerError> {
    const AT_ONCE: usize = 1024;
    let mut from = tx.state()?.anchor.seq + 1;
    loop {
        let lines = tx.lines(from, AT_ONCE)?;
        for (seq, line) in &lines {
            each(*seq, line)?;
            from = seq + 1;
        }
        if lines.len() < AT_ONCE {
            return Ok(());
        }
    }
}

fn append(
    tx: &mut dyn Transaction,
    state: &mut State,
    entry: &Entry,
    at: u64,
) -> Result<(), LedgerError> {
    let (line, head) = entry.chained(state.head, at)?;
    *state = State {
        head,
        time: at,
        ..*state
    };
    tx.append(state, entry, &line)
}

/// Only from the oldest on, so that the chain stays whole: an entry that expires early waits for
/// those before it. What has expired is out of every question, pruned or not.
fn prune(tx: &mut dyn Transaction, state: &mut State, most: usize) -> Result<(), LedgerError> {
    // The newest entry stays: the chain is checked by it.
    for (seq, line) in tx.lines(state.anchor.seq + 1, most)? {
        if seq >= state.head.seq {
            break;
        }
        let (entry, head, _) = Entry::read(&line)?;
        if entry.expires() > state.time {
            break;
        }
        tx.forget(&head, &entry)?;
        state.anchor = head;
    }
    Ok(())
}

/// The present as a ledger counts it, in seconds since 1970. A clock before 1970 is taken to be at 1970.
pub fn seconds(now: SystemTime) -> u64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

//! What the gateway holds of a ledger: a queue to the one thread that owns it.
//!
//! All reservations that wait at the same time share one transaction, and with that one sync to
//! the disk or one lock on the server.
//!
//! What one family may have under way is bounded (`share`), so that nobody who sends much or what
//! is hard to decide keeps the others waiting for longer than one such release takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout_at};

use super::clock::Clock;
use super::share::Shares;
use super::{Ledger, LedgerError, Location, NotReserved, Reservation, Ticket, engine, open};

/// How many requests may wait. More are refused.
const QUEUE: usize = 1024;

/// How many reservations share a transaction.
const MAX_BATCH: usize = 64;

/// How long a caller waits. Longer than the server may take for one transaction.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A ledger with its thread. Clones share it; dropping the last one waits for what is queued.
#[derive(Clone)]
pub struct LedgerHandle {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Option<mpsc::SyncSender<Job>>,
    healthy: Arc<AtomicBool>,
    clock: Clock,
    shares: Shares,
    thread: Option<JoinHandle<()>>,
}

type Answer<T, E> = oneshot::Sender<Result<T, E>>;

/// Who waits for a reservation, and the part of the family's share that it takes up.
type Waiting = (Answer<Ticket, NotReserved>, OwnedSemaphorePermit);

enum Job {
    Reserve(Box<Reservation>, Waiting),
    Settle(Ticket),
    Cancel(Ticket, SystemTime, Answer<(), LedgerError>),
}

impl LedgerHandle {
    /// Opens the ledger on a thread of its own, and waits until it is open.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn open(location: &Location) -> Result<Self, LedgerError> {
        let location = location.clone();
        let (queue, jobs) = mpsc::sync_channel(QUEUE);
        let (opened, wait) = mpsc::sync_channel(1);
        let healthy = Arc::new(AtomicBool::new(true));
        let health = Arc::clone(&healthy);
        let start = move || {
            let mut ledger = open(&location)?;
            let clock = Clock::start(ledger.witness()?)?;
            Ok((ledger, clock))
        };
        let work = move || match start() {
            Ok((mut ledger, clock)) => {
                let _ = opened.send(Ok(clock));
                serve(&mut *ledger, &jobs, &health);
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        };
        let thread = thread::Builder::new()
            .name("ledger".into())
            .spawn(work)
            .map_err(|error| LedgerError::Store(error.to_string()))?;
        let clock = wait.recv().unwrap_or(Err(LedgerError::Closed))?;
        let inner = Inner {
            queue: Some(queue),
            healthy,
            clock,
            shares: Shares::default(),
            thread: Some(thread),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Reserves a release. When it returns, the release is remembered, and the payload may be
    /// sent. Dropped or timed out, it may have been reserved all the same; then it counts.
    ///
    /// # Errors
    /// Nothing may be released.
    pub async fn reserve(&self, reservation: Reservation) -> Result<Ticket, NotReserved> {
        let until = Instant::now() + TIMEOUT;
        let turn = timeout_at(until, self.inner.shares.turn(&reservation)).await;
        let turn = turn.unwrap_or(Err(LedgerError::Crowded(TIMEOUT)))?;
        let (sender, receiver) = oneshot::channel();
        self.submit(Job::Reserve(Box::new(reservation), (sender, turn)))?;
        match timeout_at(until, receiver).await {
            Ok(answer) => answer.unwrap_or(Err(LedgerError::Closed.into())),
            Err(_) => Err(LedgerError::Timeout(TIMEOUT).into()),
        }
    }

    /// Notes that a release was sent. Nothing depends on it: what is reserved counts.
    pub fn commit(&self, ticket: Ticket) {
        let _ = self.submit(Job::Settle(ticket));
    }

    /// Takes a reservation back, if not a byte of the payload can have left.
    ///
    /// # Errors
    /// It stays: the ledger failed, or it was settled already.
    pub async fn cancel(&self, ticket: Ticket, now: SystemTime) -> Result<(), LedgerError> {
        let (sender, receiver) = oneshot::channel();
        self.submit(Job::Cancel(ticket, now, sender))?;
        match tokio::time::timeout(TIMEOUT, receiver).await {
            Ok(answer) => answer.unwrap_or(Err(LedgerError::Closed)),
            Err(_) => Err(LedgerError::Timeout(TIMEOUT)),
        }
    }

    /// The present, for what is asked of the ledger.
    ///
    /// # Errors
    /// The clock jumped ahead: it cannot be told what is past.
    pub fn now(&self) -> Result<SystemTime, LedgerError> {
        self.inner.clock.now()
    }

    /// Whether the last request reached the store.
    pub fn healthy(&self) -> bool {
        self.inner.healthy.load(Ordering::Relaxed)
    }

    fn submit(&self, job: Job) -> Result<(), LedgerError> {
        let queue = self.inner.queue.as_ref().ok_or(LedgerError::Closed)?;
        queue.try_send(job).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => LedgerError::Busy(QUEUE),
            mpsc::TrySendError::Disconnected(_) => LedgerError::Closed,
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(ledger: &mut dyn Ledger, jobs: &mpsc::Receiver<Job>, healthy: &AtomicBool) {
    while let Ok(first) = jobs.recv() {
        let mut batch = Batch::default();
        for job in std::iter::once(first)
            .chain(jobs.try_iter())
            .take(MAX_BATCH)
        {
            batch.add(job);
        }
        batch.work(ledger, healthy);
    }
}

/// What was queued during the batch before.
#[derive(Default)]
struct Batch {
    reservations: Vec<Reservation>,
    reserved: Vec<Waiting>,
    settled: Vec<u64>,
    cancelled: Vec<(Ticket, SystemTime, Answer<(), LedgerError>)>,
}

impl Batch {
    fn add(&mut self, job: Job) {
        match job {
            // Whoever has given up must not pay for it.
            Job::Reserve(_, (answer, _)) if answer.is_closed() => {}
            Job::Reserve(reservation, waiting) => {
                self.reservations.push(*reservation);
                self.reserved.push(waiting);
            }
            Job::Settle(ticket) => self.settled.push(ticket.seq),
            Job::Cancel(ticket, now, answer) => self.cancelled.push((ticket, now, answer)),
        }
    }

    /// What was sent is settled first, so that it cannot be taken back.
    fn work(self, ledger: &mut dyn Ledger, healthy: &AtomicBool) {
        let note = |error: Option<&LedgerError>| {
            let error = error.filter(|error| !matches!(error, LedgerError::NotOpen(_)));
            if let Some(error) = error {
                tracing::error!(%error, "ledger");
            }
            // Before anybody has the answer.
            healthy.store(error.is_none(), Ordering::Relaxed);
        };
        if !self.settled.is_empty() {
            note(engine::settle(ledger, &self.settled).as_ref().err());
        }
        for (ticket, now, answer) in self.cancelled {
            let done = engine::cancel(ledger, ticket, now);
            note(done.as_ref().err());
            let _ = answer.send(done);
        }
        if self.reservations.is_empty() {
            return;
        }
        let results = engine::reserve(ledger, &self.reservations);
        note(results.as_ref().err());
        let results: Vec<_> = match results {
            Ok(results) => results,
            Err(error) => (self.reserved.iter())
                .map(|_| Err(error.clone().into()))
                .collect(),
        };
        for ((answer, _turn), result) in self.reserved.into_iter().zip(results) {
            // Whoever does not hear that it was reserved does not send; it counts all the same.
            let _ = answer.send(result);
        }
    }
}

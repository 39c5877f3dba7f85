//! Between those who append and the thread that writes: a bounded queue that is drained whole,
//! which is what makes a batch.

use std::mem;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::AuditError;

/// A record on its way to the writer.
pub(super) struct Entry {
    /// The record as a JSON object.
    pub(super) record: Vec<u8>,
    pub(super) ack: Ack,
}

/// Who waits for it.
pub(super) enum Ack {
    NoOne,
    Task(oneshot::Sender<Result<(), AuditError>>),
    /// A task of the thread that writes: it need not be woken.
    Slot(Arc<OnceLock<Result<(), AuditError>>>),
    Thread(SyncSender<Result<(), AuditError>>),
}

/// What the writer finds when it looks for work.
pub(super) enum Work {
    Batch,
    /// Nothing came in time.
    Idle,
    /// Nothing will come any more.
    Closed,
}

pub(super) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
    max_records: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct Inner {
    entries: Vec<Entry>,
    bytes: usize,
    /// Whether the writer sleeps. Waking it is a system call, which is not needed otherwise.
    asleep: bool,
    closed: bool,
}

impl Queue {
    pub(super) fn new(max_records: usize, max_bytes: usize) -> Self {
        Self {
            inner: Mutex::default(),
            filled: Condvar::new(),
            max_records,
            max_bytes,
        }
    }

    /// Puts an entry in and wakes the writer, if it sleeps.
    pub(super) fn push(&self, entry: Entry) -> Result<(), AuditError> {
        if self.push_quietly(entry)? {
            // Waking is a system call, and once is enough.
            let wake = mem::take(&mut self.lock().asleep);
            if wake {
                self.filled.notify_one();
            }
        }
        Ok(())
    }

    /// Puts an entry in without waking the writer; says whether it sleeps.
    pub(super) fn push_quietly(&self, entry: Entry) -> Result<bool, AuditError> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(AuditError::Closed);
        }
        let bytes = inner.bytes + entry.record.len();
        if inner.entries.len() >= self.max_records || bytes > self.max_bytes {
            return Err(AuditError::QueueFull {
                records: inner.entries.len(),
                bytes: inner.bytes,
            });
        }
        inner.bytes = bytes;
        inner.entries.push(entry);
        Ok(inner.asleep)
    }

    /// Moves all there is to `batch`, which is empty, without waiting; says whether there was any.
    pub(super) fn take_now(&self, batch: &mut Vec<Entry>) -> bool {
        let mut inner = self.lock();
        mem::swap(&mut inner.entries, batch);
        inner.bytes = 0;
        !batch.is_empty()
    }

    /// Waits until there is something, then for `window`, and moves all there is to `batch`, which
    /// is empty. What is there is given out before `Closed`.
    pub(super) fn take(
        &self,
        batch: &mut Vec<Entry>,
        patience: Option<Duration>,
        window: Duration,
    ) -> Work {
        let mut inner = self.lock();
        while inner.entries.is_empty() {
            if inner.closed {
                return Work::Closed;
            }
            inner.asleep = true;
            inner = match patience {
                None => self
                    .filled
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let (mut inner, waited) = self
                        .filled
                        .wait_timeout(inner, patience)
                        .unwrap_or_else(PoisonError::into_inner);
                    if waited.timed_out() && inner.entries.is_empty() && !inner.closed {
                        inner.asleep = false;
                        return Work::Idle;
                    }
                    inner
                }
            };
        }
        inner.asleep = false;
        if !window.is_zero() {
            // Not asleep, so that no one who appends wakes it; only the end of the log does.
            (inner, _) = self
                .filled
                .wait_timeout_while(inner, window, |inner| !inner.closed)
                .unwrap_or_else(PoisonError::into_inner);
        }
        mem::swap(&mut inner.entries, batch);
        inner.bytes = 0;
        Work::Batch
    }

    /// Nothing more is taken in; what is there is still given out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Nothing more is given out either: whoever waits learns that the log is closed.
    pub(super) fn abandon(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        let entries = mem::take(&mut inner.entries);
        drop(inner);
        for entry in entries {
            entry.ack.send(Err(AuditError::Closed));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    // No code that can panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ack {
    /// Whoever has stopped waiting has refused already, so there is no one to tell.
    pub(super) fn send(self, result: Result<(), AuditError>) {
        match self {
            Self::NoOne => (),
            Self::Task(task) => drop(task.send(result)),
            Self::Slot(slot) => drop(slot.set(result)),
            Self::Thread(thread) => drop(thread.send(result)),
        }
    }
}

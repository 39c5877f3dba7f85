//! Tells the connections of one thread when to look again whether they may go on. What all threads
//! share is watched once for all of them: to wait for it costs more than a short connection should.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::worker::Worker;

/// See the module. For one thread.
#[derive(Debug)]
pub struct Recheck {
    draining: Cell<bool>,
    /// Never ahead of the policy that this thread reads: what is judged by a policy is looked at
    /// again if it may have been an older one.
    generation: Cell<u64>,
    changed: Notify,
}

impl Recheck {
    /// `generation`: how often the policy has been replaced.
    pub fn new(generation: u64) -> Self {
        Self {
            draining: Cell::new(false),
            generation: Cell::new(generation),
            changed: Notify::new(),
        }
    }

    /// How often the policy has been replaced; to be read before the policy is.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Ends when the process drains.
    pub async fn drained(&self) {
        // Asked to be told first, so that nothing is missed.
        let mut changed = self.changed.notified();
        while !self.draining.get() {
            changed.await;
            changed = self.changed.notified();
        }
    }

    /// Ends when the policy has been replaced more or less often than that, and says how often.
    pub async fn replaced(&self, since: u64) -> u64 {
        let mut changed = self.changed.notified();
        while self.generation.get() == since {
            changed.await;
            changed = self.changed.notified();
        }
        self.generation.get()
    }
}

/// Watches what all threads share, for as long as there is something to watch.
pub async fn watch(worker: Rc<Worker>) {
    let shared = &worker.shared;
    let mut drain = shared.drain.clone();
    let mut changes = shared.policies.changes();
    let recheck = &worker.recheck;
    loop {
        recheck.generation.set(shared.policies.generation());
        recheck.changed.notify_waiters();
        tokio::select! {
            () = drain.wait() => break,
            changed = changes.changed() => if changed.is_err() {
                // The main thread is gone, and with it the process.
                break;
            },
        }
    }
    recheck.draining.set(true);
    recheck.changed.notify_waiters();
}

//! Shutting down without cutting off what was allowed.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// Tells every part of the process that it is shutting down.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<bool>);

/// The other end of [`Drain`].
#[derive(Debug)]
pub struct DrainTrigger(watch::Sender<bool>);

/// Makes a pair.
pub fn drain() -> (DrainTrigger, Drain) {
    let (sender, receiver) = watch::channel(false);
    (DrainTrigger(sender), Drain(receiver))
}

impl DrainTrigger {
    /// Begins to shut down.
    pub fn start(&self) {
        self.0.send_replace(true);
    }
}

impl Drain {
    /// Whether shutting down has begun.
    pub fn started(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when shutting down begins. A lost trigger counts as begun.
    pub async fn wait(&mut self) {
        // An error means that the trigger is gone with the main thread.
        let _ = self.0.wait_for(|started| *started).await;
    }
}

/// Counts the connections of one thread, so that it can wait for the last.
#[derive(Clone, Debug, Default)]
pub struct Tracker(Rc<TrackerState>);

#[derive(Debug, Default)]
struct TrackerState {
    open: std::cell::Cell<usize>,
    empty: Notify,
}

/// One open connection.
#[derive(Debug)]
pub struct Tracked(Tracker);

impl Tracker {
    /// Counts one more.
    pub fn track(&self) -> Tracked {
        self.0.open.set(self.0.open.get() + 1);
        Tracked(self.clone())
    }

    /// Waits until none is open, or the time is up; says how many are left.
    pub async fn wait(&self, at_most: Duration) -> usize {
        let empty = async {
            while self.0.open.get() > 0 {
                self.0.empty.notified().await;
            }
        };
        // The time being up is not an error: what is left is returned.
        let _ = tokio::time::timeout(at_most, empty).await;
        self.0.open.get()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let state = &self.0.0;
        state.open.set(state.open.get() - 1);
        if state.open.get() == 0 {
            state.empty.notify_one();
        }
    }
}

//! What one thread has to carry traffic: its own runtime, sockets, pool and resolver, so that
//! threads share nothing on the path of an exchange but the policy, the audit log and counters.

use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Cache};
use tokio::runtime::{Builder, LocalOptions};

use crate::audit::{Appender, AuditLog};
use crate::drain::{Drain, Tracker};
use crate::http::forward::Pool;
use crate::ledger::LedgerHandle;
use crate::listen;
use crate::metrics::Metrics;
use crate::recheck::{self, Recheck};
use crate::reload::{InForce, PolicyCell};
use crate::resolve::Resolver;
use crate::settings::Settings;

/// What all threads share.
pub struct Shared {
    /// Settings of the process.
    pub settings: Settings,
    /// The policy in force.
    pub policies: PolicyCell,
    /// The audit log.
    pub audit: AuditLog,
    /// The ledger of releases, if there is one.
    pub ledger: Option<LedgerHandle>,
    /// Counters.
    pub metrics: Metrics,
    /// Open connections of all threads.
    pub connections: ConnectionCount,
    /// Shutting down.
    pub drain: Drain,
    /// How many threads accept connections.
    pub up: AtomicUsize,
}

/// One thread's own.
pub struct Worker {
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// Unused connections to destinations.
    pub pool: Rc<Pool>,
    /// The audit log, for what is released.
    pub audit: Appender,
    /// Names to addresses.
    pub resolver: Resolver,
    /// Open connections of this thread.
    pub tracker: Tracker,
    /// Tells them when to look again whether they may go on.
    pub recheck: Recheck,
    policy: RefCell<PolicyCache>,
}

type PolicyCache = Cache<Arc<ArcSwap<InForce>>, Arc<InForce>>;

/// The sockets of one thread.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For connections of the pod.
    pub outbound: Vec<TcpListener>,
    /// For connections to the pod.
    pub inbound: Vec<TcpListener>,
}

/// How many connections are open, bounded.
#[derive(Clone, Debug)]
pub struct ConnectionCount {
    open: Arc<AtomicUsize>,
    most: usize,
}

/// One open connection; counted until it is dropped.
#[derive(Debug)]
pub struct ConnectionSlot(Arc<AtomicUsize>);

/// Carries traffic until the process drains; returns when the last connection has ended or the
/// time is up, with the number of connections that were cut.
///
/// # Errors
/// The runtime or a socket cannot be set up.
pub fn run(shared: Arc<Shared>, sockets: Sockets) -> io::Result<usize> {
    // Not a `LocalSet`, whose tasks are woken through an eventfd by this thread's own sockets.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let worker = Rc::new(Worker::new(shared));
        tokio::task::spawn_local(recheck::watch(Rc::clone(&worker)));
        listen::serve(&worker, sockets)?;
        tokio::task::spawn_local(Rc::clone(&worker.pool).sweep());
        worker.shared.up.fetch_add(1, Ordering::Relaxed);
        let mut drain = worker.shared.drain.clone();
        drain.wait().await;
        let left = worker
            .tracker
            .wait(worker.shared.settings.drain_timeout)
            .await;
        Ok(left)
    })
}

impl Worker {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            pool: Pool::new(Arc::clone(&shared)),
            audit: Appender::new(shared.audit.clone()),
            resolver: Resolver::new(shared.settings.standalone.map.clone()),
            tracker: Tracker::default(),
            recheck: Recheck::new(shared.policies.generation()),
            policy: RefCell::new(shared.policies.cache()),
            shared,
        }
    }

    /// The policy in force at this moment.
    pub fn policy(&self) -> Arc<InForce> {
        Arc::clone(self.policy.borrow_mut().load())
    }
}

impl ConnectionCount {
    /// None open.
    pub fn new(most: usize) -> Self {
        Self {
            open: Arc::default(),
            most,
        }
    }

    /// Takes a place, if there is one.
    pub fn take(&self) -> Option<ConnectionSlot> {
        let slot = ConnectionSlot(Arc::clone(&self.open));
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        (before < self.most).then_some(slot)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

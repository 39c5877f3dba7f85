//! The gateway as a process: binds everything before it serves anything, and drains before it
//! ends. The rules in the kernel need no gateway: while it is not there, nothing leaves.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;

use lazaret_policy::Diagnostics;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::admin;
use crate::audit::{
    AuditError, AuditLog, AuditSettings, Durability, Kind, Record, Rotation, Target,
};
use crate::drain::{self, DrainTrigger};
use crate::ledger::{LedgerError, LedgerHandle};
use crate::metrics::Metrics;
use crate::reload::{InForce, Reload, Reloader, Sources};
use crate::settings::{self, Settings};
use crate::socket;
use crate::worker::{self, ConnectionCount, Shared, Sockets};

/// Reading the policy files more often than this would only cost.
const MIN_POLL: std::time::Duration = std::time::Duration::from_millis(50);

/// Why the gateway did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The policy does not load.
    #[error("{0}")]
    Policy(Diagnostics),
    /// The audit log cannot be opened or written.
    #[error("audit log: {0}")]
    Audit(#[from] AuditError),
    /// The ledger of releases cannot be opened.
    #[error("ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// A runtime or thread cannot be made.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// A thread that carries traffic has failed.
    #[error("a worker thread failed")]
    Worker,
}

/// Runs the gateway until SIGTERM or SIGINT and until what is open has ended or the drain time is
/// up. A second signal ends it at once.
///
/// # Errors
/// It could not start, or a thread failed.
pub fn run(settings: Settings) -> Result<(), AppError> {
    raise_file_limit();
    let sources = Sources {
        policy: settings.policy.clone(),
        site: settings.site.clone(),
        has_ledger: settings.ledger.is_some(),
        authority: settings.authority.clone(),
    };
    let (reloader, policies, warnings) = Reloader::start(sources).map_err(AppError::Policy)?;
    for warning in warnings.iter() {
        tracing::warn!("{warning}");
    }
    let audit = AuditLog::open(audit_settings(&settings.audit))?;
    let ledger = match &settings.ledger {
        Some(location) => Some(LedgerHandle::open(location)?),
        None => None,
    };
    let metrics = Metrics::new();
    note_policy(&metrics, &policies.load());
    let (trigger, drain) = drain::drain();
    let shared = Arc::new(Shared {
        connections: ConnectionCount::new(settings.limits.max_connections),
        settings,
        policies,
        audit,
        ledger,
        metrics,
        drain,
        up: AtomicUsize::new(0),
    });
    let workers = bind(&shared.settings)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let admin = bind_admin(&shared.settings)?;
    announce(&shared, Kind::Start)?;
    let threads = workers
        .into_iter()
        .enumerate()
        .map(|(i, sockets)| start_worker(i, &shared, sockets))
        .collect::<io::Result<Vec<_>>>()?;
    let supervised = runtime.block_on(supervise(&shared, reloader, trigger, admin, threads));
    announce(&shared, Kind::Stop)?;
    // A second signal does not wait for the thread that waits for the workers.
    runtime.shutdown_background();
    supervised
}

async fn supervise(
    shared: &Arc<Shared>,
    mut reloader: Reloader,
    trigger: DrainTrigger,
    admin: Vec<std::net::TcpListener>,
    threads: Vec<JoinHandle<io::Result<usize>>>,
) -> Result<(), AppError> {
    for listener in admin {
        let listener = socket::into_tokio(listener)?;
        tokio::spawn(admin::serve(Arc::clone(shared), listener));
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut poll = tokio::time::interval(shared.settings.policy_poll.max(MIN_POLL));
    // Looks that are late must not be caught up with: nobody would get an answer at the admin port.
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tracing::info!(policy = %shared.policies.load().name, "ready");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload(shared, &mut reloader, true),
            _ = poll.tick() => reload(shared, &mut reloader, false),
        }
        // A thread only ends when it drains, so one that has ended has failed.
        if threads.iter().any(JoinHandle::is_finished) {
            tracing::error!("a worker thread failed");
            return Err(AppError::Worker);
        }
    }
    tracing::info!("draining");
    trigger.start();
    tokio::select! {
        cut = join(threads) => {
            let cut = cut?;
            if cut > 0 {
                tracing::warn!(connections = cut, "drain time is up: connections cut");
            }
        }
        () = second(&mut terminate, &mut interrupt) => tracing::warn!("ending at once"),
    }
    Ok(())
}

async fn second(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn join(threads: Vec<JoinHandle<io::Result<usize>>>) -> Result<usize, AppError> {
    let joined = tokio::task::spawn_blocking(|| {
        let mut cut = 0;
        for thread in threads {
            cut += thread.join().map_err(|_| AppError::Worker)??;
        }
        Ok(cut)
    });
    joined.await.map_err(|_| AppError::Worker)?
}

fn reload(shared: &Shared, reloader: &mut Reloader, even_if_seen: bool) {
    match reloader.look(even_if_seen) {
        Reload::Unchanged => {}
        Reload::Restored => {
            shared.metrics.reload_restored();
            tracing::info!("the policy file is the policy in force again");
        }
        Reload::Rekeyed(policy) => {
            note_policy(&shared.metrics, &policy);
            shared.metrics.reload(true);
            tracing::info!("certificates and keys renewed");
            if announce(shared, Kind::Policy).is_err() {
                shared.metrics.audit_failure();
            }
        }
        Reload::Replaced(policy, warnings) => {
            for warning in warnings.iter() {
                tracing::warn!("{warning}");
            }
            note_policy(&shared.metrics, &policy);
            shared.metrics.reload(true);
            tracing::info!(policy = %policy.name, digest = %policy.digest, "policy replaced");
            if announce(shared, Kind::Policy).is_err() {
                shared.metrics.audit_failure();
            }
        }
        Reload::Kept(errors) => {
            shared.metrics.reload(false);
            tracing::error!("policy not replaced, the last good one stays in force:\n{errors}");
        }
    }
}

fn note_policy(metrics: &Metrics, policy: &InForce) {
    metrics.policy(policy);
    let ends = policy.tls.ends();
    metrics.certificates(ends.iter().map(|(used_for, end)| (used_for.as_str(), *end)));
}

fn announce(shared: &Shared, kind: Kind) -> Result<(), AuditError> {
    let policy = shared.policies.load();
    let record = Record {
        policy: Some(policy.digest.clone()),
        policy_name: Some((&policy.name).into()),
        version: Some(env!("CARGO_PKG_VERSION").into()),
        ..Record::new(kind)
    };
    shared.audit.append_blocking(&record)
}

fn start_worker(
    i: usize,
    shared: &Arc<Shared>,
    sockets: Sockets,
) -> io::Result<JoinHandle<io::Result<usize>>> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name(format!("worker-{i}"))
        .spawn(move || worker::run(shared, sockets))
}

/// One set of sockets for each thread.
fn bind(settings: &Settings) -> Result<Vec<Sockets>, AppError> {
    let standalone = &settings.standalone;
    let inbound: &[SocketAddr] = if standalone.standalone && standalone.app.is_none() {
        &[]
    } else {
        &settings.inbound
    };
    for address in settings.outbound.iter().chain(inbound) {
        // SO_REUSEPORT would let a second gateway of the same user take part of the traffic.
        socket::probe_free(*address).map_err(|source| listen_error(*address, source))?;
    }
    let listen = |addresses: &[SocketAddr]| -> Result<Vec<_>, AppError> {
        addresses
            .iter()
            .filter(|address| has_family(**address))
            .map(|address| {
                socket::listener(*address).map_err(|source| listen_error(*address, source))
            })
            .collect()
    };
    (0..settings.worker_count())
        .map(|_| {
            Ok(Sockets {
                outbound: listen(&settings.outbound)?,
                inbound: listen(inbound)?,
            })
        })
        .collect()
}

fn bind_admin(settings: &Settings) -> Result<Vec<std::net::TcpListener>, AppError> {
    settings
        .admin
        .iter()
        .filter(|address| has_family(**address))
        .map(|address| {
            socket::probe_free(*address)
                .and_then(|()| socket::listener(*address))
                .map_err(|source| listen_error(*address, source))
        })
        .collect()
}

/// Whether the kernel has the address family at all; without IPv6 there is nothing to capture.
fn has_family(address: SocketAddr) -> bool {
    address.is_ipv4() || std::path::Path::new("/proc/net/if_inet6").exists()
}

fn listen_error(address: SocketAddr, source: io::Error) -> AppError {
    AppError::Listen { address, source }
}

/// As many connections as the settings allow need as many file descriptors.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

fn audit_settings(args: &settings::AuditArgs) -> AuditSettings {
    let rotation = NonZeroU64::new(args.audit_max_bytes).map(|max_bytes| Rotation {
        max_bytes,
        keep: args.audit_keep,
    });
    let mut settings = AuditSettings::new(Target::new(&args.audit, rotation));
    settings.durability = match args.audit_durability {
        settings::Durability::None => Durability::None,
        settings::Durability::Flush => Durability::Flush,
        settings::Durability::Fsync => Durability::Fsync,
    };
    settings.group_window = args.audit_group_window;
    settings
}

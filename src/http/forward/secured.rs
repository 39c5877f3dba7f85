//! What stays known of the TLS of a kept connection.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use lazaret_policy::Reason;

use crate::tls::Session;
use crate::tls::peer::Encrypted;

/// The TLS of a connection.
#[derive(Debug)]
pub(super) struct Secured {
    /// What was agreed on.
    pub(super) session: Arc<Session>,
    ends: Option<SystemTime>,
    failed: Rc<Cell<bool>>,
}

impl Secured {
    pub(super) fn new(session: Session, stream: &Encrypted) -> Self {
        Self {
            session: Arc::new(session),
            ends: stream.ends(),
            failed: stream.failure(),
        }
    }
}

/// Whether another exchange may use the connection: as long as the peer's certificate, and what
/// says that it is not revoked, are good, and no longer than that.
pub(super) fn is_good(tls: &Option<Rc<Secured>>) -> bool {
    let ends = tls.as_ref().and_then(|tls| tls.ends);
    ends.is_none_or(|ends| SystemTime::now() < ends)
}

/// Why a connection has failed: for this reason, unless it was TLS that failed.
pub(super) fn blame(tls: &Option<Rc<Secured>>, otherwise: Reason) -> Reason {
    match tls {
        Some(tls) if tls.failed.get() => Reason::UpstreamTls,
        _ => otherwise,
    }
}

//! The record of one exchange: exactly one verdict, written before anything is released, however
//! the exchange ends.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use hyper::Response;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use lazaret_policy::judge::{Cleared, Violation};
use lazaret_policy::{Contract, Direction, Exchange, Mode, Policy, Reason};
use sha2::{Digest as _, Sha256};

use crate::addr::OrigDst;
use crate::audit::{self, AuditError, Digest, Kind, Record, Text, Verdict};
use crate::connection::Conn;
use crate::http::forward::Lease;
use crate::http::outgoing::{Claim, Outgoing};
use crate::http::payload::Payload;
use crate::http::respond::{self, Message, Refusal};
use crate::ledger::{NotReserved, Reservation, Ticket};
use crate::metrics::ExchangeLabels;
use crate::tls::Failed;
use crate::worker::Worker;

/// One exchange, from its head to its verdict.
pub struct Case {
    worker: Rc<Worker>,
    direction: Direction,
    h2: bool,
    mode: Mode,
    consumer: Arc<str>,
    started: Instant,
    record: Record,
    rule: Option<Arc<str>>,
    contract: Option<Arc<str>>,
    verdict: Option<(Verdict, Option<Reason>)>,
    /// A release that the ledger remembers.
    ticket: Option<Ticket>,
    /// The record of a release is on its way, whether or not anybody waits for it any more.
    releasing: bool,
    bytes: u64,
}

impl Case {
    /// Begins with the head of a request.
    pub fn new(worker: Rc<Worker>, conn: &Conn, policy: &Policy, head: &Parts) -> Self {
        let mut record = Record::new(Kind::Exchange);
        record.direction = Some(conn.direction);
        record.client = Some(conn.client.get());
        record.destination = conn.to.map(OrigDst::get);
        record.client_tls = conn.tls.as_ref().map(|tls| Arc::clone(&tls.session));
        record.method = Some(Text::method(head.method.as_str()));
        record.policy = Some(Arc::clone(&policy.digest));
        Self {
            worker,
            direction: conn.direction,
            h2: conn.h2,
            mode: policy.mode,
            consumer: Arc::clone(&policy.consumer),
            started: Instant::now(),
            record,
            rule: None,
            contract: None,
            verdict: None,
            ticket: None,
            releasing: false,
            bytes: 0,
        }
    }

    /// Whether refusals are only recorded.
    pub fn observes(&self) -> bool {
        self.mode == Mode::Observe
    }

    /// Notes the rule.
    pub fn rule(&mut self, name: &Arc<str>) {
        self.record.rule = Some(name.into());
        self.rule = Some(Arc::clone(name));
    }

    /// Notes the exchange.
    pub fn exchange(&mut self, exchange: &Exchange) {
        self.record.exchange = Some((&exchange.label).into());
    }

    /// Notes the contract that a body is judged by.
    pub fn contract(&mut self, contract: &Contract) {
        self.record.contract = Some((&contract.name).into());
        self.contract = Some(Arc::clone(&contract.name));
    }

    /// Notes where the exchange is carried on.
    pub fn upstream(&mut self, lease: &Lease) {
        self.record.upstream = Some(lease.to().get());
        self.record.upstream_tls = lease.session().cloned();
    }

    /// Notes whose certificate kept the exchange from being carried on.
    pub fn not_connected(&mut self, failed: Failed) -> Reason {
        self.record.refused_peer = failed.peer.map(Box::new);
        failed.reason
    }

    /// Notes how many fields of the head that leaves were left out.
    pub fn dropped_fields(&mut self, n: usize) {
        if n > 0 {
            self.record.dropped_headers = u32::try_from(n).ok();
        }
    }

    /// Notes the size of the judged body as it came.
    pub fn received(&mut self, bytes: usize) {
        self.record.bytes_in = Some(bytes as u64);
        self.bytes = bytes as u64;
    }

    /// Judges a body.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn judge(&mut self, contract: &Contract, body: &[u8]) -> Result<Cleared, Vec<Violation>> {
        let started = Instant::now();
        let judged = contract.clear(body);
        self.worker
            .shared
            .metrics
            .judgement(started.elapsed().as_secs_f64());
        judged.inspect_err(|violations| self.violations(contract, violations))
    }

    /// Notes what is wrong with a body, without what its sender chose to call it.
    pub fn violations(&mut self, contract: &Contract, violations: &[Violation]) {
        self.record.violations = violations
            .iter()
            .map(|violation| audit::Violation {
                reason: violation.reason,
                pointer: contract.redact_pointer(&violation.pointer).into(),
                keyword: violation.keyword.clone().map(Text::from),
            })
            .collect();
    }

    /// Writes that a message is released, in the ledger and on the record. Only after this may a
    /// byte of it leave.
    ///
    /// # Errors
    /// Earlier releases are against it, or it could not be written: nothing may leave.
    pub async fn release(
        &mut self,
        message: Message,
        body: Option<&Outgoing>,
        status: Option<u16>,
    ) -> Result<(), Refusal> {
        if self.verdict.is_some() {
            // Only observed: the refusal is on record already.
            return Ok(());
        }
        if let Some(claim) = body.and_then(|body| body.claim.as_ref()) {
            match Box::pin(self.reserve(message, claim)).await {
                Ok(ticket) => self.ticket = Some(ticket),
                Err(refusal) if self.observes() => return self.observe(refusal).await,
                Err(refusal) => return Err(refusal),
            }
        }
        if let Some(Outgoing { bytes: body, .. }) = body {
            self.record.bytes_out = Some(body.len() as u64);
            self.record.body_sha256 = Some(Digest(Sha256::digest(body).into()));
            self.bytes = body.len() as u64;
        }
        self.record.verdict = Some(Verdict::Released);
        self.record.enforced = Some(!self.observes());
        self.record.status = status;
        self.releasing = true;
        if let Err(reason) = self.write().await {
            Box::pin(self.take_back()).await;
            return Err(Refusal {
                reason,
                violations: Vec::new(),
                message,
            });
        }
        self.verdict = Some((Verdict::Released, None));
        Ok(())
    }

    async fn reserve(&mut self, message: Message, claim: &Claim) -> Result<Ticket, Refusal> {
        let refused = |reason, violations| Refusal {
            reason,
            violations,
            message,
        };
        let shared = Arc::clone(&self.worker.shared);
        let (Some(ledger), Some(rule)) = (&shared.ledger, &claim.contract.release) else {
            return Err(refused(Reason::LedgerUnavailable, Vec::new()));
        };
        let reserved = match ledger.now() {
            Ok(now) => {
                let reservation = Reservation {
                    consumer: Arc::clone(&self.consumer),
                    rule: Arc::clone(rule),
                    facts: claim.facts.clone(),
                    now,
                };
                ledger.reserve(reservation).await
            }
            Err(error) => Err(error.into()),
        };
        let error = match reserved {
            Ok(ticket) => return Ok(ticket),
            Err(error) => error,
        };
        let reason = error.reason();
        match error {
            NotReserved::Refused(violations) => {
                self.violations(&claim.contract, &violations);
                Err(refused(reason, violations))
            }
            NotReserved::Unavailable(error) => {
                tracing::error!(%error, "ledger not available: refused");
                shared.metrics.ledger_failure();
                Err(refused(reason, Vec::new()))
            }
        }
    }

    /// Nothing was sent: the ledger need not remember it.
    async fn take_back(&mut self) {
        // A record that came too late may still get onto the log, so what it tells of stays.
        if let (Some(ledger), Some(ticket), false) = (
            &self.worker.shared.ledger,
            self.ticket.take(),
            self.releasing,
        ) {
            let cancelled = match ledger.now() {
                Ok(now) => ledger.cancel(ticket, now).await,
                Err(error) => Err(error),
            };
            if let Err(error) = cancelled {
                tracing::warn!(%error, "a release that was refused stays in the ledger");
            }
        }
    }

    /// Writes that a message is refused, and gives the answer that says so.
    pub async fn refuse(mut self, refusal: Refusal) -> Response<Payload> {
        let refusal = match self.verdict {
            // After a release this tells what became of it; it does not take it back.
            Some((Verdict::Released, _)) => {
                self.outcome(&refusal).await;
                refusal
            }
            // Only observed, and then the other side failed.
            Some(_) => refusal,
            None => self.record_refusal(refusal, true).await,
        };
        let told = self.told(&refusal);
        let mut answer = respond::refusal(&told, self.direction, self.rule.as_deref());
        if !self.h2 && refusal.ends_connection() {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
        answer
    }

    /// What the client is told. The application could choose among the reasons for which its answer
    /// is refused, and so tell its caller something with each: outside there is one.
    fn told(&self, refusal: &Refusal) -> Refusal {
        let from_app = self.direction == Direction::Ingress && refusal.message == Message::Response;
        if from_app && !self.worker.shared.settings.standalone.standalone {
            return Refusal::response(Reason::ResponseRefused);
        }
        refusal.clone()
    }

    /// Writes that a message would be refused if the policy were enforced.
    ///
    /// # Errors
    /// The record could not be written: nothing may leave.
    pub async fn observe(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        let written = self.record_refusal(refusal.clone(), false).await;
        if written.reason == refusal.reason {
            Ok(())
        } else {
            Err(written)
        }
    }

    async fn record_refusal(&mut self, mut refusal: Refusal, enforced: bool) -> Refusal {
        self.follow_a_release();
        self.record.verdict = Some(Verdict::Refused);
        self.record.enforced = Some(enforced);
        self.record.reason = Some(refusal.reason);
        self.record.status = enforced.then(|| refusal.status());
        self.verdict = Some((Verdict::Refused, Some(refusal.reason)));
        tracing::info!(
            direction = self.direction.as_str(),
            rule = self.rule.as_deref(),
            reason = refusal.reason.code(),
            enforced,
            "refused"
        );
        if let Err(reason) = self.write().await {
            refusal = Refusal {
                reason,
                violations: Vec::new(),
                ..refusal
            };
            self.verdict = Some((Verdict::Refused, Some(reason)));
        }
        refusal
    }

    /// A release that may be on record is not contradicted but followed by what became of it.
    fn follow_a_release(&mut self) {
        if self.releasing {
            self.record.kind = Kind::Outcome;
        }
    }

    async fn outcome(&mut self, refusal: &Refusal) {
        self.record.kind = Kind::Outcome;
        self.record.verdict = None;
        self.record.reason = Some(refusal.reason);
        self.record.status = Some(refusal.status());
        // The release stands on record already; a log that fails now is seen by the next one.
        let _ = self.write().await;
    }

    async fn write(&mut self) -> Result<(), Reason> {
        self.record.duration_us = Some(micros(self.started));
        let Err(error) = self.worker.audit.append(&self.record).await else {
            return Ok(());
        };
        // One that came too late may still get onto the record.
        self.releasing &= matches!(error, AuditError::Timeout(_));
        tracing::error!(%error, "audit record not written: refused");
        self.worker.shared.metrics.audit_failure();
        Err(Reason::AuditUnavailable)
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.worker.shared);
        if let (Some(ledger), Some(ticket)) = (&shared.ledger, self.ticket) {
            ledger.commit(ticket);
        }
        let (verdict, reason) = self.verdict.unwrap_or_else(|| {
            // The client went away while its request was being read or carried on.
            let reason = Reason::BodyIncomplete;
            self.follow_a_release();
            self.record.verdict = Some(Verdict::Refused);
            self.record.reason = Some(reason);
            self.record.enforced = Some(true);
            self.record.duration_us = Some(micros(self.started));
            if shared.audit.append_nowait(&self.record).is_err() {
                shared.metrics.audit_failure();
            }
            (Verdict::Refused, Some(reason))
        });
        let labels = ExchangeLabels {
            direction: self.direction,
            rule: self.rule.as_deref().unwrap_or(""),
            contract: self.contract.as_deref().unwrap_or(""),
            verdict,
            reason,
        };
        shared
            .metrics
            .exchange(labels, self.started.elapsed().as_secs_f64(), self.bytes);
    }
}

fn micros(since: Instant) -> u64 {
    since.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
}

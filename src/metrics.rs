//! Prometheus metrics. Label values come from the policy or are constants of ours, so that there
//! is a bound to their number and nothing that a sender chose is among them.

use lazaret_policy::{Direction, Policy, Reason};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::audit::Verdict;
use crate::tls::{Leg, Session};

/// Upper bounds of the exchange durations, in seconds: from a judgement alone to a slow peer.
const DURATION_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    exchanges: IntCounterVec,
    durations: HistogramVec,
    judgements: Histogram,
    payload_bytes: IntCounterVec,
    connections: IntCounterVec,
    connections_open: IntGaugeVec,
    tunnel_bytes: IntCounterVec,
    accept_errors: IntCounterVec,
    audit_failures: IntCounter,
    audit_healthy: IntGauge,
    ledger_failures: IntCounter,
    audit_sequence: IntGauge,
    policy_info: IntGaugeVec,
    reloads: IntCounterVec,
    reload_success: IntGauge,
    reload_time: IntGauge,
    tls_handshakes: IntCounterVec,
    tls_not_after: IntGaugeVec,
}

/// What an exchange came to, for [`Metrics::exchange`].
#[derive(Clone, Copy, Debug)]
pub struct ExchangeLabels<'l> {
    /// Which way the connection was opened.
    pub direction: Direction,
    /// The rule, or "".
    pub rule: &'l str,
    /// The contract, or "".
    pub contract: &'l str,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it was refused.
    pub reason: Option<Reason>,
}

/// How many connections of one direction are open.
#[derive(Clone, Debug)]
pub struct OpenConnections(IntGauge);

/// One open connection, while it lives.
#[derive(Debug)]
pub struct OpenConnection(IntGauge);

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers all metrics.
    pub fn new() -> Self {
        let registry = Registry::new();
        let metrics = Self {
            exchanges: counters(
                "lazaret_exchanges_total",
                "Judged requests and responses.",
                &["direction", "rule", "contract", "verdict", "reason"],
            ),
            durations: known(HistogramVec::new(
                HistogramOpts::new(
                    "lazaret_exchange_duration_seconds",
                    "From the head of a request to the head of its answer.",
                )
                .buckets(DURATION_BUCKETS.to_vec()),
                &["direction", "rule"],
            )),
            judgements: known(Histogram::with_opts(
                HistogramOpts::new(
                    "lazaret_judgement_duration_seconds",
                    "Judging one payload, without reading and writing it.",
                )
                .buckets(vec![
                    0.000_002, 0.000_005, 0.000_01, 0.000_025, 0.000_1, 0.001, 0.01, 0.1, 1.0,
                ]),
            )),
            payload_bytes: counters(
                "lazaret_payload_bytes_total",
                "Bytes of judged payloads: as sent when refused, canonical when released.",
                &["direction", "rule", "verdict"],
            ),
            connections: counters(
                "lazaret_connections_total",
                "Connections that were tunnelled, or refused before any exchange.",
                &["direction", "rule", "action", "verdict", "reason"],
            ),
            connections_open: known(IntGaugeVec::new(
                Opts::new("lazaret_connections_open", "Open connections."),
                &["direction"],
            )),
            tunnel_bytes: counters(
                "lazaret_tunnel_bytes_total",
                "Bytes carried by ended tunnels, by the side that sent them.",
                &["direction", "rule", "sender"],
            ),
            accept_errors: counters(
                "lazaret_accept_errors_total",
                "Failures to accept a connection, such as no file descriptors being left.",
                &["direction"],
            ),
            audit_failures: known(IntCounter::new(
                "lazaret_audit_failures_total",
                "Audit records that could not be written; what they were about was refused.",
            )),
            ledger_failures: known(IntCounter::new(
                "lazaret_ledger_failures_total",
                "Releases that were refused because the ledger could not be read or written.",
            )),
            audit_healthy: known(IntGauge::new(
                "lazaret_audit_healthy",
                "1 if the last audit record could be written.",
            )),
            audit_sequence: known(IntGauge::new(
                "lazaret_audit_sequence",
                "Sequence number of the last audit record.",
            )),
            policy_info: known(IntGaugeVec::new(
                Opts::new("lazaret_policy_info", "The policy in force."),
                &["name", "digest", "mode"],
            )),
            reloads: counters(
                "lazaret_policy_reloads_total",
                "Looks at a changed policy file.",
                &["result"],
            ),
            reload_success: known(IntGauge::new(
                "lazaret_policy_last_reload_success",
                "1 if the policy file as it is now is the policy in force.",
            )),
            reload_time: known(IntGauge::new(
                "lazaret_policy_last_reload_success_timestamp_seconds",
                "When the policy in force was loaded, in seconds since 1970.",
            )),
            tls_handshakes: counters(
                "lazaret_tls_handshakes_total",
                "TLS handshakes by leg; `result` is `ok` or the reason of the failure.",
                &["leg", "version", "cipher", "result"],
            ),
            tls_not_after: known(IntGaugeVec::new(
                Opts::new(
                    "lazaret_tls_certificate_not_after_timestamp_seconds",
                    "When a certificate that the gateway shows ends, in seconds since 1970.",
                ),
                &["use"],
            )),
            registry,
        };
        metrics.register();
        metrics
    }

    /// Counts a judged exchange.
    pub fn exchange(&self, labels: ExchangeLabels<'_>, seconds: f64, bytes: u64) {
        let direction = labels.direction.as_str();
        let verdict = verdict_label(labels.verdict);
        let reason = labels.reason.map_or("", Reason::code);
        let all = [direction, labels.rule, labels.contract, verdict, reason];
        self.exchanges.with_label_values(&all).inc();
        self.durations
            .with_label_values(&[direction, labels.rule])
            .observe(seconds);
        if bytes > 0 {
            self.payload_bytes
                .with_label_values(&[direction, labels.rule, verdict])
                .inc_by(bytes);
        }
    }

    /// Counts the time of one judgement.
    pub fn judgement(&self, seconds: f64) {
        self.judgements.observe(seconds);
    }

    /// Counts a connection that was tunnelled or refused.
    pub fn connection(
        &self,
        direction: Direction,
        rule: &str,
        action: &str,
        verdict: Verdict,
        reason: Option<Reason>,
    ) {
        let reason = reason.map_or("", Reason::code);
        let all = [
            direction.as_str(),
            rule,
            action,
            verdict_label(verdict),
            reason,
        ];
        self.connections.with_label_values(&all).inc();
    }

    /// The count of open connections, looked up once for all of them.
    pub fn connections_open(&self, direction: Direction) -> OpenConnections {
        let labels = [direction.as_str()];
        OpenConnections(self.connections_open.with_label_values(&labels))
    }

    /// Counts what an ended tunnel carried.
    pub fn tunnel_bytes(&self, direction: Direction, rule: &str, client: u64, upstream: u64) {
        for (sender, bytes) in [("client", client), ("upstream", upstream)] {
            self.tunnel_bytes
                .with_label_values(&[direction.as_str(), rule, sender])
                .inc_by(bytes);
        }
    }

    /// Counts a failure to accept.
    pub fn accept_error(&self, direction: Direction) {
        self.accept_errors
            .with_label_values(&[direction.as_str()])
            .inc();
    }

    /// Counts a TLS handshake.
    pub fn handshake(&self, leg: Leg, result: Result<&Session, Reason>) {
        let (version, cipher, result) = match result {
            Ok(session) => (session.version, session.cipher, "ok"),
            Err(reason) => ("", "", reason.code()),
        };
        self.tls_handshakes
            .with_label_values(&[leg.as_str(), version, cipher, result])
            .inc();
    }

    /// Notes when the certificates in use end, in seconds since 1970.
    pub fn certificates<'u>(&self, ends: impl Iterator<Item = (&'u str, i64)>) {
        self.tls_not_after.reset();
        for (used_for, not_after) in ends {
            self.tls_not_after
                .with_label_values(&[used_for])
                .set(not_after);
        }
    }

    /// Counts an audit record that could not be written.
    pub fn audit_failure(&self) {
        self.audit_failures.inc();
    }

    /// Counts a release that the ledger could not take in.
    pub fn ledger_failure(&self) {
        self.ledger_failures.inc();
    }

    /// Notes the policy in force.
    pub fn policy(&self, policy: &Policy) {
        self.policy_info.reset();
        self.policy_info
            .with_label_values(&[&*policy.name, &*policy.digest, policy.mode.as_str()])
            .set(1);
        self.reload_success.set(1);
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap_or_default();
        self.reload_time
            .set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }

    /// Notes that the policy file is the policy in force again.
    pub fn reload_restored(&self) {
        self.reload_success.set(1);
    }

    /// Counts a look at a changed policy file.
    pub fn reload(&self, replaced: bool) {
        let result = if replaced { "replaced" } else { "kept" };
        self.reloads.with_label_values(&[result]).inc();
        self.reload_success.set(i64::from(replaced));
    }

    /// All metrics in the text format of Prometheus, with the state of the audit log.
    ///
    /// # Errors
    /// A metric cannot be written as text.
    pub fn render(&self, audit_healthy: bool, audit_sequence: u64) -> prometheus::Result<String> {
        self.audit_healthy.set(i64::from(audit_healthy));
        self.audit_sequence
            .set(i64::try_from(audit_sequence).unwrap_or(i64::MAX));
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    fn register(&self) {
        let build = known(IntGaugeVec::new(
            Opts::new("lazaret_build_info", "The version of the gateway."),
            &["version"],
        ));
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        // There from the start, so that a rate over them has a first value.
        for direction in [Direction::Egress, Direction::Ingress] {
            self.connections_open
                .with_label_values(&[direction.as_str()])
                .set(0);
            self.accept_errors
                .with_label_values(&[direction.as_str()])
                .inc_by(0);
        }
        for result in ["replaced", "kept"] {
            self.reloads.with_label_values(&[result]).inc_by(0);
        }
        let all: Vec<Box<dyn prometheus::core::Collector>> = vec![
            Box::new(build),
            Box::new(self.exchanges.clone()),
            Box::new(self.durations.clone()),
            Box::new(self.judgements.clone()),
            Box::new(self.payload_bytes.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.connections_open.clone()),
            Box::new(self.tunnel_bytes.clone()),
            Box::new(self.accept_errors.clone()),
            Box::new(self.audit_failures.clone()),
            Box::new(self.ledger_failures.clone()),
            Box::new(self.audit_healthy.clone()),
            Box::new(self.audit_sequence.clone()),
            Box::new(self.policy_info.clone()),
            Box::new(self.reloads.clone()),
            Box::new(self.reload_success.clone()),
            Box::new(self.reload_time.clone()),
            Box::new(self.tls_handshakes.clone()),
            Box::new(self.tls_not_after.clone()),
        ];
        for collector in all {
            known(self.registry.register(collector));
        }
    }
}

impl OpenConnections {
    /// Counts a connection as open until the guard is dropped.
    pub fn open(self) -> OpenConnection {
        self.0.inc();
        OpenConnection(self.0)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

const fn verdict_label(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Released => "released",
        Verdict::Refused => "refused",
        Verdict::Allowed => "allowed",
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    known(IntCounterVec::new(Opts::new(name, help), labels))
}

/// Names and labels are constants that a test registers.
fn known<T>(made: prometheus::Result<T>) -> T {
    made.expect("metric names and labels are valid and differ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_all_metrics_by_the_conventions() {
        let metrics = Metrics::new();
        let labels = ExchangeLabels {
            direction: Direction::Egress,
            rule: "r",
            contract: "c",
            verdict: Verdict::Refused,
            reason: Some(Reason::JsonSyntax),
        };
        metrics.exchange(labels, 0.001, 10);
        let text = metrics.render(true, 7).unwrap();
        let expected = "lazaret_exchanges_total{contract=\"c\",direction=\"egress\",\
            reason=\"json-syntax\",rule=\"r\",verdict=\"refused\"} 1";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("lazaret_audit_sequence 7"));
        for line in text.lines().filter(|l| l.starts_with("# TYPE")) {
            let mut words = line.split(' ').skip(2);
            let (name, kind) = (words.next().unwrap(), words.next().unwrap());
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        }
    }
}

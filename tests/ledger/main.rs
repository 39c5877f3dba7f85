//! The ledger of releases: both stores, with real files, a real PostgreSQL server, and processes
//! that race, are killed, and run out of disk. Needs the server that `scripts/setup.sh test`
//! installs.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "these are the modules of one test program"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/postgres.rs"]
mod postgres;

mod alike;
mod child;
mod command;
mod file;
mod server;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lazaret::ledger::{LedgerHandle, Location, NotReserved, Reservation, Ticket};
use lazaret_policy::Reason;
use lazaret_policy::judge::canonical::canonical;
use lazaret_policy::release::ReleaseRule;
use serde_json::{Value, json};

/// When all tests begin, in seconds since 1970.
pub const T0: u64 = 1_700_000_000;

/// A rule on a contract with one count `/n` for each `/week`, and a mean.
pub fn rule(rule: Value) -> Arc<ReleaseRule> {
    let schema = json!({
        "properties": {
            "week": {"enum": [1, 2]}, "mean": {}, "eps": {},
            "n": {"sdcSuppressed": [{"marker": "<8", "lo": 1, "hi": 7}]}
        },
        "sdcRelease": rule
    });
    let mut rule = ReleaseRule::of_contract(&schema, "weekly")
        .unwrap()
        .unwrap();
    rule.bits = Some(100);
    Arc::new(rule)
}

/// The rule of most tests.
pub fn differencing() -> Arc<ReleaseRule> {
    rule(
        json!({"cell": ["/week"], "value": "/n", "differencing": {"min": 8},
                "horizon": "P100D", "window": "P7D", "maxReleases": 1000}),
    )
}

/// The request to release a payload at a time.
pub fn asked(rule: &Arc<ReleaseRule>, payload: &Value, at: u64) -> Reservation {
    Reservation {
        consumer: "pharma-x".into(),
        rule: Arc::clone(rule),
        facts: rule.facts(payload, &canonical(payload)).unwrap(),
        now: time(at),
    }
}

/// Seconds after the beginning.
pub fn time(at: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(T0 + at)
}

/// Does something that waits, on a runtime of one thread as the gateway's.
pub fn wait<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(work)
}

/// Reserves, or says why not.
pub fn reserve(
    ledger: &LedgerHandle,
    rule: &Arc<ReleaseRule>,
    payload: &Value,
    at: u64,
) -> Result<Ticket, NotReserved> {
    wait(ledger.reserve(asked(rule, payload, at)))
}

/// The reason why not, if not.
pub fn reason(
    ledger: &LedgerHandle,
    rule: &Arc<ReleaseRule>,
    payload: &Value,
    at: u64,
) -> Option<Reason> {
    reserve(ledger, rule, payload, at).err().map(|e| e.reason())
}

/// A count for a week.
pub fn count(week: u64, n: u64) -> Value {
    json!({"week": week, "n": n})
}

/// A file in a directory of its own.
pub fn fresh() -> (tempfile::TempDir, Location) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.redb");
    (dir, Location::File(path))
}

/// Its path.
pub fn path(location: &Location) -> &std::path::Path {
    match location {
        Location::File(path) => path,
        Location::Postgres(_) => panic!("not a file"),
    }
}

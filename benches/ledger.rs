//! How long a release waits for the ledger: with few entries and with a million, in a file and on
//! a PostgreSQL server. Prints figures; judges nothing.
//!
//! The file is filled through the ledger itself; the server with COPY, with the rows that the
//! entries of the file make there (`bulk`), and both are verified: chain and index.
//!
//! `cargo bench --bench ledger [ENTRIES…]`; by default 1 000 and 1 000 000. Where the file lies is
//! said by `TMPDIR`: what takes time is the disk.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    dead_code,
    reason = "a benchmark prints, and fails by panicking"
)]

#[path = "ledger/bulk.rs"]
mod bulk;
#[path = "../tests/common/postgres.rs"]
mod postgres;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lazaret::ledger::{Ledger, LedgerHandle, Location, Reservation, fill, open, verify};
use lazaret_policy::judge::canonical::canonical;
use lazaret_policy::release::{ReleaseRule, decide};
use serde_json::json;

/// Figures of one release.
const ROWS: u64 = 4;

/// How many releases share one transaction while the ledger is filled.
const AT_ONCE: u64 = 1000;

/// Measured releases.
const MEASURED: u64 = 500;

/// Releases of one week.
const PER_WEEK: u64 = 50;

fn main() {
    let given: Vec<u64> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let sizes = if given.is_empty() {
        vec![1_000, 1_000_000]
    } else {
        given
    };
    println!("{ROWS} figures per release; microseconds: median, 99th percentile, largest");
    let server = postgres::Server::start(true);
    for size in &sizes {
        let dir = tempfile::tempdir().unwrap();
        let file = Location::File(dir.path().join("ledger"));
        filled(&file, *size);
        let database = format!("entries_{size}");
        let url: Location = server.database(&database).parse().unwrap();
        let started = Instant::now();
        bulk::copy(&mut *open(&file).unwrap(), &server, &database);
        println!(
            "postgres, {size} entries, copied in {:.0?}",
            started.elapsed()
        );
        measure("file", &file, *size);
        measure("postgres", &url, *size);
        println!("{}", sync_time(dir.path()));
    }
}

/// What the disk takes to sync a page that was appended, which bounds what is durable.
fn sync_time(dir: &std::path::Path) -> String {
    use std::io::Write as _;
    let mut file = std::fs::File::create(dir.join("sync")).unwrap();
    let mut all: Vec<Duration> = (0..MEASURED)
        .map(|_| {
            let started = Instant::now();
            file.write_all(&[0; 4096]).unwrap();
            file.sync_data().unwrap();
            started.elapsed()
        })
        .collect();
    all.sort();
    let at = |part: usize| all[(all.len() - 1) * part / 100].as_micros();
    format!(
        "disk, 4 KiB appended and synced: {} {} {}",
        at(50),
        at(99),
        at(100)
    )
}

fn filled(location: &Location, size: u64) {
    let rule = rule();
    let mut ledger = open(location).unwrap();
    let started = Instant::now();
    for from in (0..size).step_by(AT_ONCE as usize) {
        let batch: Vec<_> = (from..size.min(from + AT_ONCE))
            .map(|n| release(&rule, n))
            .collect();
        fill(&mut *ledger, &batch).unwrap();
    }
    println!("file, {size} entries, filled in {:.0?}", started.elapsed());
}

fn measure(name: &str, location: &Location, size: u64) {
    println!("{name}, {size} entries");
    let rule = rule();
    let started = Instant::now();
    let report = verify(&mut *open(location).unwrap(), None).unwrap();
    assert_eq!(report.entries, size);
    println!("  open and verify: {:.0?}", started.elapsed());
    let mut ledger = open(location).unwrap();
    let asked = |n: u64| release(&rule, size + n);
    show(
        "look up and decide",
        (0..MEASURED)
            .map(|n| look_up(&mut *ledger, &asked(n)))
            .collect(),
    );
    drop(ledger);
    let started = Instant::now();
    let handle = LedgerHandle::open(location).unwrap();
    println!("  open: {:.0?}", started.elapsed());
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let reserve = |n: u64| {
        let reservation = asked(n);
        let started = Instant::now();
        let ticket = runtime.block_on(handle.reserve(reservation)).unwrap();
        let took = started.elapsed();
        handle.commit(ticket);
        took
    };
    show("reserve, on the disk", (0..MEASURED).map(reserve).collect());
    drop(handle);
    let started = Instant::now();
    let report = verify(&mut *open(location).unwrap(), None).unwrap();
    assert_eq!(report.entries, size + MEASURED);
    println!("  open and verify: {:.0?}", started.elapsed());
}

fn look_up(ledger: &mut dyn Ledger, asked: &Reservation) -> Duration {
    let started = Instant::now();
    let mut tx = ledger.begin().unwrap();
    let now = asked
        .now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let history = tx
        .history(&asked.consumer, &asked.rule, &asked.facts, now)
        .unwrap();
    decide(&asked.rule, &asked.facts, &history).unwrap();
    let took = started.elapsed();
    drop(tx);
    took
}

fn show(what: &str, mut all: Vec<Duration>) {
    all.sort();
    let at = |part: usize| all[(all.len() - 1) * part / 100].as_micros();
    println!("  {what}: {} {} {}", at(50), at(99), at(100));
}

fn rule() -> Arc<ReleaseRule> {
    let schema = json!({
        "properties": {"week": {"enum": [1, 2]}, "rows": {"items": {"properties": {"r": {"enum": [1]}, "n": {}}}}},
        "sdcRelease": {"cell": ["/week", "/rows/*/r"], "value": "/rows/*/n", "horizon": "P400D",
                       "window": "P7D", "maxReleases": 10_000_000, "maxBytes": 1_000_000_000,
                       "differencing": {"min": 10}}
    });
    Arc::new(ReleaseRule::of_contract(&schema, "bench").unwrap().unwrap())
}

/// Releases of one family: each week's figures many times, always far enough apart.
fn release(rule: &Arc<ReleaseRule>, n: u64) -> Reservation {
    let (week, times) = (n / PER_WEEK, n % PER_WEEK);
    let rows: Vec<_> = (0..ROWS)
        .map(|r| json!({"r": r, "n": 1000 + 10 * times}))
        .collect();
    let payload = json!({"week": week, "rows": rows});
    Reservation {
        consumer: "pharma-x".into(),
        rule: Arc::clone(rule),
        facts: rule.facts(&payload, &canonical(&payload)).unwrap(),
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + n),
    }
}

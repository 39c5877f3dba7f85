//! What the tests of the binary share: a policy to live under, the gateway as a process, peers that
//! record every byte, and a client that sends raw bytes.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test program uses its own part of this module"
)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "these are tests; a poll pauses between two looks, always with a deadline"
)]

pub mod gateway;
pub mod hello;
pub mod raw;
pub mod recorder;

use std::time::{Duration, Instant};

pub use gateway::{Gateway, Launch};
pub use nix::sys::signal::Signal;
pub use raw::{Client, Response};
pub use recorder::{Recorder, Reply};

/// Nothing here takes longer, even on a loaded machine. No test waits this long when it passes.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Stands for patient data: wherever it is planted, it must not come out.
pub const CANARY: &str = "CANARY-4711-Mustermann";

/// The policy of most tests. `collector.example` and `[2001:db8::7]` are names for what `--map`
/// leads to a recorder; the app behind the inbound address is port 8000.
pub const POLICY: &str = r#"
apiVersion: lazaret/v1
kind: Policy
metadata: { name: lab, producer: hospital-a, consumer: pharma-x }
require_encryption: false
mode: enforce
dns:
  hosts:
    collector.example: [203.0.113.20]
egress:
  - name: collector
    to: { hosts: [collector.example], ports: [80] }
    action: inspect
    exchanges:
      - request:
          method: POST
          path: /v1/results/{cohort}
          params: { cohort: { enum: [t2dm, t1dm] } }
          query:
            run: { type: integer, minimum: 1, maximum: 999 }
            arm: { enum: [all, "treated only"] }
          headers: { x-study-phase: { enum: [pilot, main] } }
          body: summary
      - request: { method: GET, path: /v1/task }
        response: { statuses: [200], headers: { x-round: { enum: ["1", "2"] } }, body: summary }
      - request: { method: PUT, path: /v1/wide, body: wide }
ingress:
  - name: home
    from: { cidrs: [10.200.0.0/16] }
    port: 8000
    action: inspect
    exchanges:
      - request: { method: GET, path: /summary, query: { run: { type: integer, minimum: 1, maximum: 9 } } }
        response:
          statuses: [200, 204, 304, 404]
          headers: { cache-control: { const: no-store } }
          body: summary
      - request: { method: HEAD, path: /summary }
        response: { statuses: [200], body: summary }
      - request: { method: GET, path: /nothing }
        response: { statuses: [200, 204, 500] }
      - request: { method: POST, path: /ask, body: summary }
        response: { statuses: [200], body: summary }
contracts:
  summary: { schema: cohort-summary.schema.json, max_bytes: 4KiB, max_depth: 3 }
  wide: { schema: wide.schema.json, max_bytes: 1MiB, max_depth: 8 }
"#;

/// As open as a schema can be, for what is about size or form and not about content.
pub const WIDE_SCHEMA: &str = "{}";

/// A body that fits `summary`, in its canonical form.
pub const SUMMARY: &str = r#"{"cohort":"T2DM","region":"Liguria","rows":[{"age_band":"40-49","mean_hba1c":6.91,"n":132,"sex":"F"}]}"#;

/// What the collector receives of [`good`] requests, byte by byte.
pub fn good_upstream() -> String {
    format!(
        "POST /v1/results/t2dm HTTP/1.1\r\nhost: collector.example\r\ncontent-type: \
         application/json\r\ncontent-length: {}\r\n\r\n{SUMMARY}",
        SUMMARY.len()
    )
}

/// A request that is released.
pub fn good() -> String {
    post(SUMMARY)
}

/// A request of the one allowed form, with this body.
pub fn post(body: &str) -> String {
    format!(
        "POST /v1/results/t2dm HTTP/1.1\r\nHost: collector.example\r\nContent-Type: \
         application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Looks until there is something, with a deadline.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The file of this repository.
pub fn repository(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Whether `needle` is anywhere in `haystack`.
pub fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}

/// The same numbers in every run: a failure can be looked at again.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 0 to `n - 1`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    /// Heads or tails.
    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// One of these.
    pub fn pick<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.below(all.len())]
    }

    /// Another order.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for i in (1..all.len()).rev() {
            all.swap(i, self.below(i + 1));
        }
    }
}

//! Attacks the rules from inside the pod, as the application would, and reports what happened.
//!
//! The addresses are those of TEST-NET (RFC 5737, RFC 3849): nothing answers there, so whoever
//! answers is the gateway's port. Whatever is not plainly captured counts as not effective.

mod attack;

use std::fmt;

use serde_json::{Value, json};

use self::attack::{Family, Finding};
use crate::apply::Nft;
use crate::capture::Capture;
use crate::ruleset;

/// What each attack came to.
#[derive(Debug)]
pub struct Report {
    /// In the order in which they were made.
    pub checks: Vec<Check>,
}

/// One attack.
#[derive(Debug)]
pub struct Check {
    /// What was tried; stable.
    pub name: &'static str,
    /// `ipv4` or `ipv6`, or none if it is about both.
    pub family: Option<&'static str>,
    /// What it came to.
    pub outcome: Outcome,
    /// What was seen, for people.
    pub detail: String,
}

/// What an attack came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The rules did what they are for.
    Effective,
    /// Closed, since this namespace has no route in that family.
    NoRoute,
    /// This process may not open such a socket; only the presence of the rule is proven.
    Untested,
    /// Not captured, or not certain.
    NotEffective,
}

/// Attacks the live rules, which should be this ruleset.
pub fn run(capture: &Capture, ruleset: &str, nft: &Nft) -> Report {
    let mut checks = Vec::new();
    for family in [Family::V4, Family::V6] {
        for (name, (outcome, detail)) in attack::all(capture, family) {
            checks.push(Check {
                name,
                family: Some(family.name()),
                outcome,
                detail,
            });
        }
    }
    for table in ruleset::TABLES {
        let (outcome, detail) = match nft.list(table) {
            Ok(live) => present(capture, ruleset, table, &live),
            Err(error) => (Outcome::NotEffective, error.to_string()),
        };
        checks.push(Check {
            name: "rules",
            family: None,
            outcome,
            detail,
        });
    }
    Report { checks }
}

impl Report {
    /// Whether every attack was withstood.
    pub fn is_effective(&self) -> bool {
        let open = |check: &Check| check.outcome == Outcome::NotEffective;
        !self.checks.iter().any(open)
    }

    /// For scripts.
    pub fn to_json(&self) -> Value {
        let check = |check: &Check| {
            json!({
                "check": check.name,
                "family": check.family,
                "outcome": check.outcome.as_str(),
                "detail": check.detail,
            })
        };
        json!({
            "effective": self.is_effective(),
            "checks": self.checks.iter().map(check).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let (name, family) = (check.name, check.family.unwrap_or("-"));
            let outcome = check.outcome.as_str();
            writeln!(f, "{name:6} {family:5} {outcome:14} {}", check.detail)?;
        }
        f.write_str(if self.is_effective() {
            "the capture is effective"
        } else {
            "the capture is NOT effective"
        })
    }
}

impl Outcome {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Effective => "effective",
            Self::NoRoute => "no-route",
            Self::Untested => "untested",
            Self::NotEffective => "not-effective",
        }
    }
}

/// Whether a chain of the live table hangs on the device. nft writes `device "eth0"` for one and
/// `devices = { eth0, eth1 }` for several.
fn is_hooked(live: &str, device: &str) -> bool {
    let is_separator = |c: char| c.is_whitespace() || "\",{};=".contains(c);
    live.lines()
        .filter(|line| line.contains("hook egress"))
        .flat_map(|line| line.split(is_separator))
        .any(|word| word == device)
}

/// Whether the live table has exactly the rules of the generated one, in their order, and a default
/// of drop for every filter chain.
fn present(capture: &Capture, ruleset: &str, table: &str, live: &str) -> Finding {
    let start = format!("\ntable {table} {{\n");
    let generated = ruleset.split_once(&start).map_or("", |(_, rest)| rest);
    let generated = generated
        .split_once("\n}")
        .map_or(generated, |(own, _)| own);
    let expected = ruleset::comments(generated);
    let bad = |detail: &str| (Outcome::NotEffective, format!("table {table}: {detail}"));
    if expected.is_empty() || ruleset::comments(live) != expected {
        return bad("the live rules are not the ones of the policy");
    }
    let drops = |text: &str| text.matches("policy drop;").count();
    if drops(live) != drops(generated) {
        return bad("a chain does not drop by default");
    }
    let on_devices = table.starts_with("netdev");
    if on_devices && !capture.devices.iter().all(|device| is_hooked(live, device)) {
        return bad("a network device has no egress chain");
    }
    let detail = format!("table {table} has its {} rules", expected.len());
    (Outcome::Effective, detail)
}

//! Makes every attempt, and gathers what can be seen of it afterwards.

use std::collections::BTreeMap;

use serde::Serialize;

use super::attempt::Attempt;
use super::data::{self, MIN_PEOPLE};
use super::error::DemoError;
use super::orders::Order;
use super::outcome::Outcome;
use super::stage::Stage;
use super::step::{Act, Expected, Step, steps};
use crate::audit;

/// What has happened.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    /// Whether everything ended as it must.
    pub(super) ok: bool,
    /// `standalone` or `transparent`.
    pub(super) mode: &'static str,
    pub(super) steps: Vec<Outcome>,
    /// The first request that the collector got, as it got it.
    pub(super) received: String,
    pub(super) metrics: Vec<Change>,
    /// What the audit log holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audit: Option<audit::Report>,
    /// What is wrong besides the steps.
    pub(super) mismatches: Vec<String>,
}

/// A metric that has changed.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    pub(super) metric: String,
    pub(super) by: f64,
}

/// The metrics that are of interest here.
const SHOWN: [&str; 2] = ["lazaret_exchanges_total{", "lazaret_connections_total{"];

/// Makes every attempt.
pub(super) async fn play(stage: &mut Stage) -> Result<Told, DemoError> {
    let transparent = stage.namespaces.is_some();
    let canonical = canonical(stage)?;
    let before = metrics(stage).await?;
    let mut received = String::new();
    let mut outcomes = Vec::new();
    for (i, step) in steps(transparent).enumerate() {
        let outcome = match step.act {
            Act::Send(attempt) => {
                let answer = stage.app.ask(&Order::Try(attempt)).await?;
                let taken = stage.collector.take().await?;
                if attempt == Attempt::Aggregate {
                    received.clone_from(&taken.text);
                }
                Outcome::of_request(i + 1, step, &answer, &taken, &canonical)
            }
            Act::Ask(path, behaviour) => {
                stage.app.ask(&Order::Behave(behaviour)).await?;
                let got = stage.consumer.get(stage.at.app, path).await?;
                Outcome::of_response(i + 1, step, &got, &canonical, transparent)
            }
        };
        outcomes.push(outcome);
    }
    let mut mismatches = Vec::new();
    // Whatever came later than the answer to its attempt.
    if stage.collector.take().await?.bytes > 0 {
        mismatches.push("something arrived late".to_owned());
    }
    let after = metrics(stage).await?;
    let by_gateway = |step: &&Step| matches!(step.expected, Expected::Refused(_));
    let refused = steps(transparent).filter(by_gateway).count() as u64;
    let audit = match audit::verify(&[stage.files.audit()], None) {
        Ok(report) => {
            if report.refused != refused {
                mismatches.push(format!(
                    "the audit log has {} refusals, not {refused}",
                    report.refused
                ));
            }
            Some(report)
        }
        Err(error) => {
            mismatches.push(format!("the audit log: {error}"));
            None
        }
    };
    Ok(Told {
        ok: mismatches.is_empty() && outcomes.iter().all(|o| o.mismatches.is_empty()),
        mode: if transparent {
            "transparent"
        } else {
            "standalone"
        },
        steps: outcomes,
        received,
        metrics: changes(&before, &after),
        audit,
        mismatches,
    })
}

/// What must arrive whenever something does, by the judge itself.
fn canonical(stage: &Stage) -> Result<String, DemoError> {
    let (policy, _) = lazaret_policy::load(&stage.files.policy()).map_err(DemoError::Policy)?;
    let aggregate = data::summary(&data::patients(), MIN_PEOPLE).to_string();
    let unfit = |what: &str| DemoError::Role {
        role: "app",
        why: format!("its aggregate does not fit the contract: {what}"),
    };
    let contract = policy.contracts.get("cohort-summary");
    let contract = contract.ok_or_else(|| unfit("there is none"))?;
    let bytes = contract
        .judge_body(aggregate.as_bytes())
        .map_err(|violations| unfit(&format!("{violations:?}")))?;
    String::from_utf8(bytes).map_err(|_| unfit("it is no UTF-8"))
}

async fn metrics(stage: &mut Stage) -> Result<BTreeMap<String, f64>, DemoError> {
    let got = stage.hospital.get(stage.at.admin, "/metrics").await?;
    let shown = |line: &&str| SHOWN.iter().any(|name| line.starts_with(name));
    let sample = |line: &str| {
        let (metric, value) = line.rsplit_once(' ')?;
        Some((metric.to_owned(), value.parse().ok()?))
    };
    Ok(got.body.lines().filter(shown).filter_map(sample).collect())
}

fn changes(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> Vec<Change> {
    let change = |(metric, value): (&String, &f64)| {
        let by = value - before.get(metric).copied().unwrap_or_default();
        let metric = metric.clone();
        (by != 0.0).then_some(Change { metric, by })
    };
    after.iter().filter_map(change).collect()
}

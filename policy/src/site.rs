//! The site policy: what the hospital asks of every contract, whatever the contract says. It is the
//! operator's file, not the producer's: a contract may be stricter, never looser.
//!
//! [`SiteFile`] is the file as it is written; `schemas/site.schema.json` is generated from it.
//! [`Site`] is what it means. The numbers that hold where nothing is written are those of common
//! practice; see `docs/disclosure.md` for where they come from.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::file::{ApiVersion, SizeFile, Written};

/// No site goes below: the threshold of aggregated data in the Italian rules for research
/// (G.U. 14-1-2019, 19A00181, all. 1 art. 5).
pub(crate) const LEGAL_FLOOR: u64 = 3;

/// What every contract must hold to.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// No contract has a minimum of people below this.
    pub k_floor: u64,
    /// The usual minimum of people: a lower one is allowed down to the floor, and warned of.
    pub k: u64,
    /// Whether a count of zero may leave.
    pub zero: Zero,
    /// The fewest residual degrees of freedom of a model.
    pub df_floor: u64,
    /// The most parameters of a model, as a share of its people.
    pub param_ratio: f64,
    /// The largest contributors of a sum.
    pub nk: Nk,
    /// What must be left of a sum without its two largest contributors, as a share of the largest.
    pub p: f64,
    /// The most that a contract can carry, in bits.
    pub max_bits: u64,
    /// The largest body of a contract with disclosure rules, and the most that it may release in
    /// its window, in bytes.
    pub max_bytes: u64,
    /// How long releases are remembered, at least.
    pub horizon: Duration,
}

/// Dominance: a sum is refused when its `n` largest contributors hold a share of `k` or more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nk {
    /// How many contributors.
    pub n: u64,
    /// Their share, from 0 to 1.
    pub k: f64,
}

/// Whether counts of zero may leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Zero {
    /// Each contract says whether.
    #[default]
    PerContract,
    /// Never: an empty cell says that nobody is in it.
    Deny,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            k_floor: 5,
            k: 10,
            zero: Zero::PerContract,
            df_floor: 10,
            param_ratio: 0.33,
            nk: Nk { n: 2, k: 0.9 },
            p: 0.1,
            max_bits: 65_536,
            max_bytes: 262_144,
            horizon: Duration::from_secs(400 * 86_400),
        }
    }
}

/// A Lazaret site policy: what a hospital asks of every contract, whatever the contract says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteFile {
    /// The version of this format.
    #[serde(rename = "apiVersion")]
    pub api_version: Written<ApiVersion>,
    /// What kind of document this is.
    pub kind: Written<SiteKind>,
    /// The lowest minimum of people that a contract may have.
    #[serde(default = "defaults::k_floor")]
    #[schemars(range(min = 3, max = 1_000_000))]
    pub k_floor: Written<u64>,
    /// The usual minimum of people; a contract with a lower one, down to `k_floor`, is warned of.
    #[serde(default = "defaults::k")]
    #[schemars(range(min = 3, max = 1_000_000))]
    pub k: Written<u64>,
    /// Whether counts of zero may leave: `per-contract` or `deny`.
    #[serde(default)]
    pub zero: Written<Zero>,
    /// The fewest residual degrees of freedom of a model.
    #[serde(default = "defaults::df_floor")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub df_floor: Written<u64>,
    /// The most parameters of a model, as a share of its people.
    #[serde(default = "defaults::param_ratio")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub param_ratio: Written<f64>,
    /// Dominance: no sum of which the `n` largest contributors hold the share `k` or more.
    #[serde(default = "defaults::nk")]
    pub nk: Written<NkFile>,
    /// Dominance: what must be left of a sum without its two largest contributors, as a share of
    /// the largest.
    #[serde(default = "defaults::p")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub p: Written<f64>,
    /// The most that a contract may be able to carry in one message, in bits.
    #[serde(default = "defaults::max_bits")]
    #[schemars(range(min = 1, max = 536_870_912))]
    pub max_bits: Written<u64>,
    /// The largest body of a contract with disclosure rules, and the most bytes that it may release
    /// in its window.
    #[serde(default = "defaults::max_bytes")]
    pub max_bytes: Written<SizeFile>,
    /// How long releases are remembered, at least: days or weeks, `400d` or `52w`.
    #[serde(default = "defaults::horizon")]
    pub horizon: Written<SpanFile>,
    /// The version of JSON Schema that contracts with disclosure rules are written in.
    #[serde(default)]
    pub draft: Written<DraftFile>,
}

/// The kind of document.
#[derive(Debug, Deserialize, JsonSchema)]
pub enum SiteKind {
    /// A site policy.
    Site,
}

/// The dominance of the largest contributors.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NkFile {
    /// How many contributors.
    #[schemars(range(min = 1, max = 100))]
    pub n: Written<u64>,
    /// Their share.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub k: Written<f64>,
}

/// A version of JSON Schema.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub enum DraftFile {
    /// The only one whose keywords all hold beside a `$ref`.
    #[default]
    #[serde(rename = "2020-12")]
    Draft202012,
}

/// A span of days or weeks.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub struct SpanFile(pub String);

impl JsonSchema for SpanFile {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A span of days or weeks: 400d, 52w.",
            "type": "string",
            "pattern": "^[1-9][0-9]{0,4}[dw]$"
        })
    }
}

impl SpanFile {
    /// The span, if it is one.
    pub(crate) fn span(&self) -> Option<Duration> {
        let (number, days) = match (self.0.strip_suffix('d'), self.0.strip_suffix('w')) {
            (Some(number), _) => (number, 1),
            (_, Some(number)) => (number, 7),
            _ => return None,
        };
        let number: u64 = number.parse().ok()?;
        Some(Duration::from_secs(number.checked_mul(days * 86_400)?))
    }
}

/// What holds where the file says nothing.
mod defaults {
    use super::{NkFile, Site, SizeFile, SpanFile, Written};

    fn written<T>(value: impl FnOnce(Site) -> T) -> Written<T> {
        Written(Some(value(Site::default())))
    }

    pub(super) fn k_floor() -> Written<u64> {
        written(|site| site.k_floor)
    }

    pub(super) fn k() -> Written<u64> {
        written(|site| site.k)
    }

    pub(super) fn df_floor() -> Written<u64> {
        written(|site| site.df_floor)
    }

    pub(super) fn param_ratio() -> Written<f64> {
        written(|site| site.param_ratio)
    }

    pub(super) fn nk() -> Written<NkFile> {
        written(|site| NkFile {
            n: Written(Some(site.nk.n)),
            k: Written(Some(site.nk.k)),
        })
    }

    pub(super) fn p() -> Written<f64> {
        written(|site| site.p)
    }

    pub(super) fn max_bits() -> Written<u64> {
        written(|site| site.max_bits)
    }

    pub(super) fn max_bytes() -> Written<SizeFile> {
        written(|site| SizeFile::Bytes(site.max_bytes))
    }

    pub(super) fn horizon() -> Written<SpanFile> {
        written(|site| SpanFile(format!("{}d", site.horizon.as_secs() / 86_400)))
    }
}

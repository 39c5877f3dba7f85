//! Made-up patients, the same ones each time, and what may be told of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Groups of fewer people are left out, as the policy demands.
pub(super) const MIN_PEOPLE: usize = 10;

/// What every patient's identifier begins with. Where it shows up, patient data has got.
pub(super) const ID_PREFIX: &str = "HA-";

/// A row of the hospital's data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Patient {
    pub(super) patient_id: String,
    pub(super) born: u16,
    pub(super) sex: String,
    pub(super) hba1c: f64,
}

/// The hospital's data.
pub(super) fn patients() -> Vec<Patient> {
    let mut dice = Dice(20_230_921);
    (1..=PATIENTS)
        .map(|n| {
            // Three dice instead of one: few are very young or very old.
            let age = 20 + dice.below(30) + dice.below(30) + dice.below(20);
            let sex = if dice.below(2) == 0 { "F" } else { "M" };
            let hba1c = 60 + dice.below(40) + age / 8;
            Patient {
                patient_id: format!("{ID_PREFIX}{n:04}"),
                born: YEAR - age,
                sex: sex.to_owned(),
                hba1c: f64::from(hba1c) / 10.0,
            }
        })
        .collect()
}

/// The summary that the contract `cohort-summary` is for, without groups of fewer than
/// `min_people`.
pub(super) fn summary(patients: &[Patient], min_people: usize) -> Value {
    let mut groups: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for patient in patients {
        groups
            .entry((age_band(YEAR - patient.born), &patient.sex))
            .or_default()
            .push(patient.hba1c);
    }
    let row = |((age_band, sex), values): ((&str, &str), Vec<f64>)| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        json!({
            "age_band": age_band,
            "sex": sex,
            "n": values.len(),
            "mean_hba1c": (mean * 100.0).round() / 100.0,
        })
    };
    let rows = groups
        .into_iter()
        .filter(|(_, values)| values.len() >= min_people);
    json!({
        "cohort": "T2DM",
        "region": "Liguria",
        "rows": rows.map(row).collect::<Vec<_>>(),
    })
}

/// The records themselves, dressed up as the summary.
pub(super) fn records(patients: &[Patient]) -> Value {
    json!({
        "cohort": "T2DM",
        "region": "Liguria",
        "rows": patients.iter().take(5).collect::<Vec<_>>(),
    })
}

/// One patient's data, short enough to be hidden anywhere.
pub(super) fn secret(patients: &[Patient]) -> String {
    patients.first().map_or_else(String::new, |first| {
        format!("{}-hba1c-{:.1}", first.patient_id, first.hba1c)
    })
}

const PATIENTS: usize = 480;
const YEAR: u16 = 2025;

fn age_band(age: u16) -> &'static str {
    match age {
        0..18 => "0-17",
        18..30 => "18-29",
        30..40 => "30-39",
        40..50 => "40-49",
        50..60 => "50-59",
        60..70 => "60-69",
        70..80 => "70-79",
        80.. => "80+",
    }
}

/// A linear congruential generator (the constants of Knuth's MMIX), so that every run shows the
/// same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u16) -> u16 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // The high bits are the random ones; the remainder is smaller than `n`.
        ((self.0 >> 33) % u64::from(n)) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_groups_exist_and_are_left_out() {
        let patients = patients();
        let sizes = |summary: &Value| -> Vec<u64> {
            let rows = summary["rows"].as_array().unwrap();
            rows.iter().map(|row| row["n"].as_u64().unwrap()).collect()
        };
        let all = sizes(&summary(&patients, 1));
        let told = sizes(&summary(&patients, MIN_PEOPLE));
        assert_eq!(all.iter().sum::<u64>(), PATIENTS as u64);
        assert!(told.len() < all.len() && told.len() > 4, "{all:?}");
        assert!(told.iter().all(|n| *n >= MIN_PEOPLE as u64));
    }
}

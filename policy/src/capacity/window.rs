//! How often a contract may be released: `sdcRelease`, and the durations of ISO 8601 in it.

use serde_json::Value;

use super::text::whole;

/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// How many releases there may be in a window of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    pub(super) releases: u64,
    pub(super) days: f64,
}

/// What `sdcRelease` says of a contract whose payloads take so many bits.
pub(super) fn window(schema: &Value, bits: Option<u64>) -> Option<Window> {
    let rule = schema.get("sdcRelease")?;
    let days = days(rule.get("window")?.as_str()?)?;
    let releases = rule.get("maxReleases").and_then(whole);
    let budget = rule.get("maxBits").and_then(whole);
    let afforded = budget
        .zip(bits.filter(|b| *b > 0))
        .map(|(budget, bits)| budget / bits);
    let releases = [releases, afforded].into_iter().flatten().min()?;
    Some(Window { releases, days })
}

/// An ISO 8601 duration in days. Years and months have no fixed length and are refused.
fn days(text: &str) -> Option<f64> {
    let text = text.strip_prefix('P')?;
    let (date, time) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None => (text, ""),
    };
    let units = [('W', 7.0 * DAY), ('D', DAY)];
    let seconds = sum(date, &units)? + sum(time, &[('H', 3600.0), ('M', 60.0), ('S', 1.0)])?;
    (seconds > 0.0).then_some(seconds / DAY)
}

/// The sum of whole numbers of units, each at most once and in this order.
fn sum(mut text: &str, units: &[(char, f64)]) -> Option<f64> {
    let mut sum = 0.0;
    for (unit, seconds) in units {
        if let Some((number, rest)) = text.split_once(*unit) {
            let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            sum += f64::from(number.parse::<u32>().ok().filter(|_| digits)?) * seconds;
            text = rest;
        }
    }
    text.is_empty().then_some(sum)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_durations_and_budgets() {
        for (text, expected) in [
            ("P7D", Some(7.0)),
            ("P2W", Some(14.0)),
            ("PT12H", Some(0.5)),
            ("P1DT6H", Some(1.25)),
            ("PT90M", Some(0.0625)),
            ("P1M", None),
            ("P1Y", None),
            ("P", None),
            ("PT", None),
            ("P0D", None),
            ("P-1D", None),
            ("P1.5D", None),
            ("7D", None),
            ("P1DT1W", None),
        ] {
            assert_eq!(days(text), expected, "{text}");
        }
        let schema = json!({"sdcRelease": {"window": "P7D", "maxReleases": 3, "maxBits": 500}});
        let releases = |bits| window(&schema, bits).map(|w| w.releases);
        assert_eq!(releases(Some(100)), Some(3));
        assert_eq!(releases(Some(250)), Some(2));
        assert_eq!(releases(None), Some(3));
        assert_eq!(window(&json!({}), Some(1)), None);
    }
}

//! Durations of ISO 8601 that are always as long: weeks, days, hours, minutes and seconds.

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The longest horizon, in seconds: ten years of 366 days.
const LONGEST: u64 = 3660 * DAY;

/// Reads a duration as seconds.
///
/// # Errors
/// What is wrong with it.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "`{text}` is no duration of fixed length such as \"P7D\", \"PT12H\" or \"P2W\"; \
             months and years are written in days"
        )
    };
    let rest = text.strip_prefix('P').ok_or_else(wrong)?;
    let (date, time) = match rest.split_once('T') {
        Some((_, "")) => return Err(wrong()),
        Some((date, time)) => (date, time),
        None => (rest, ""),
    };
    if date.is_empty() && time.is_empty() {
        return Err(wrong());
    }
    // Weeks stand alone (ISO 8601-1 §5.5.2.4).
    let date_units: &[(char, u64)] = if date.ends_with('W') {
        &[('W', 7 * DAY)]
    } else {
        &[('D', DAY)]
    };
    if date.ends_with('W') && !time.is_empty() {
        return Err(wrong());
    }
    let time_units = [('H', HOUR), ('M', MINUTE), ('S', 1)];
    let total = parts(date, date_units)
        .zip(parts(time, &time_units))
        .and_then(|(date, time)| date.checked_add(time))
        .ok_or_else(wrong)?;
    if !(1..=LONGEST).contains(&total) {
        return Err(format!("`{text}` must be from PT1S to P3660D"));
    }
    Ok(total)
}

/// Sums numbers with units, each unit at most once and in this order.
fn parts(mut text: &str, units: &[(char, u64)]) -> Option<u64> {
    let mut total: u64 = 0;
    for (unit, seconds) in units {
        let Some((digits, rest)) = text.split_once(*unit) else {
            continue;
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let n: u64 = digits.parse().ok()?;
        total = total.checked_add(n.checked_mul(*seconds)?)?;
        text = rest;
    }
    text.is_empty().then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_of_fixed_length() {
        for (text, seconds_) in [
            ("P7D", Some(604_800)),
            ("P2W", Some(1_209_600)),
            ("PT1S", Some(1)),
            ("P1DT2H3M4S", Some(93_784)),
            ("PT36H", Some(129_600)),
            ("P3660D", Some(LONGEST)),
            ("P3661D", None),
            ("P0D", None),
            ("P", None),
            ("PT", None),
            ("P1DT", None),
            ("P1M", None),
            ("P1Y", None),
            ("P1W1D", None),
            ("P1WT1H", None),
            ("PT1M1H", None),
            ("P1.5D", None),
            ("P-1D", None),
            ("P+1D", None),
            (" P1D", None),
            ("p1d", None),
            ("1D", None),
            ("P99999999999999999999D", None),
            ("P9999999999999999D", None),
            ("", None),
        ] {
            assert_eq!(seconds(text).ok(), seconds_, "{text}");
        }
    }
}

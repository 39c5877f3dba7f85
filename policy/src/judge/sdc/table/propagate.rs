//! Bounds that follow from one line at a time, in integers: cheap, sound, and not complete.

/// A line as a sum that is zero: `(variable, factor)`, each variable once.
pub(super) type Equation = Vec<(usize, i64)>;

/// No more rounds than this: two lines can narrow each other by one each time.
const ROUNDS: usize = 32;

/// Narrows bounds as far as single lines tell.
///
/// # Errors
/// The index of a line that no values within the bounds fulfil.
pub(super) fn propagate(bounds: &mut [(i64, i64)], lines: &[Equation]) -> Result<(), usize> {
    for _ in 0..ROUNDS {
        let mut changed = false;
        for (index, line) in lines.iter().enumerate() {
            changed |= narrow(bounds, line).ok_or(index)?;
        }
        if !changed {
            break;
        }
    }
    Ok(())
}

/// Whether a line has narrowed anything; `None` if it cannot hold.
fn narrow(bounds: &mut [(i64, i64)], line: &Equation) -> Option<bool> {
    let (mut least, mut most) = (0, 0);
    for &(variable, factor) in line {
        let (lo, hi) = span(bounds[variable], factor);
        least += lo;
        most += hi;
    }
    if least > 0 || most < 0 {
        return None;
    }
    let mut changed = false;
    for &(variable, factor) in line {
        let (lo, hi) = span(bounds[variable], factor);
        // The others add up to least - lo at least, and this one makes up for them.
        let (from, to) = between(hi - most, lo - least, i128::from(factor));
        let (lo, hi) = &mut bounds[variable];
        let (old_lo, old_hi) = (*lo, *hi);
        if from > i128::from(*hi) || to < i128::from(*lo) {
            return None;
        }
        *lo = i64::try_from(from).map_or(*lo, |from| from.max(*lo));
        *hi = i64::try_from(to).map_or(*hi, |to| to.min(*hi));
        changed |= (old_lo, old_hi) != (*lo, *hi);
    }
    Some(changed)
}

/// The bounds of a variable times a factor.
fn span((lo, hi): (i64, i64), factor: i64) -> (i128, i128) {
    let (a, b) = (
        i128::from(lo) * i128::from(factor),
        i128::from(hi) * i128::from(factor),
    );
    (a.min(b), a.max(b))
}

/// The integers whose product with a factor, not zero, is between two numbers.
fn between(least: i128, most: i128, factor: i128) -> (i128, i128) {
    let (least, most, factor) = if factor > 0 {
        (least, most, factor)
    } else {
        (-most, -least, -factor)
    };
    (-(-least).div_euclid(factor), most.div_euclid(factor))
}

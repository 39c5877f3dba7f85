//! Sums over how many members or items there are.

use num_bigint::BigUint;

use super::count::Count;

/// Numbers of optional members are told apart up to this many, in multiplications.
const MAX_TERMS: u64 = 50_000;

/// Rows are told apart up to this many ...
const MAX_ROWS: u64 = 10_000;

/// ... and up to this many bits, times their number: beyond that, arithmetic takes seconds.
const MAX_ROW_WORK: f64 = 4e8;

/// Members that may be there or not.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// How many values a member can have, and how many members can have so many.
    optional: Vec<(Count, u64)>,
    /// How many other names there are, and how many values each of them can have.
    pub(super) others: Option<(Count, Count)>,
}

impl Choice {
    pub(super) fn add(&mut self, values: Count) {
        if values.is_zero() {
            return;
        }
        match self.optional.iter_mut().find(|(n, _)| *n == values) {
            Some((_, members)) => *members += 1,
            None => self.optional.push((values, 1)),
        }
    }

    /// In how many ways at least `least` and at most `most` of them can be there.
    pub(super) fn count(self, least: u64, most: Option<u64>) -> Count {
        let mut families: Vec<(Count, Count)> = (self.optional.into_iter())
            .map(|(values, members)| (Count::from(members), values))
            .collect();
        families.extend(self.others);
        let members = families
            .iter()
            .fold(Count::zero(), |sum, (n, _)| sum.add(n));
        if least > 0 && members.small().is_some_and(|members| members < least) {
            return Count::zero();
        }
        let any = families
            .iter()
            .fold(Count::one(), |product, (members, values)| {
                let each = values.add(&Count::one());
                product.mul(
                    &members
                        .small()
                        .map_or(Count::Infinite, |members| each.pow(members)),
                )
            });
        let bound = most.filter(|most| members.small().is_none_or(|members| *most < members));
        let Some(top) = bound.or_else(|| members.small().filter(|_| least > 0)) else {
            return any;
        };
        let terms = top
            .saturating_mul(top)
            .saturating_mul(families.len() as u64);
        if terms > MAX_TERMS {
            // Each of `top` members is absent, or one of all names with one of its values.
            let one = families
                .iter()
                .fold(Count::one(), |sum, (members, values)| {
                    sum.add(&members.mul(values))
                });
            return any.min(one.pow(top));
        }
        let mut ways = vec![Count::one()];
        for (members, values) in &families {
            ways = with(&ways, members, values, top);
        }
        let counted = ways
            .iter()
            .skip(usize::try_from(least).unwrap_or(usize::MAX));
        counted.fold(Count::zero(), |sum, n| sum.add(n)).min(any)
    }
}

/// Ways to have 0, 1, .. members when there are these as well.
fn with(ways: &[Count], members: &Count, values: &Count, top: u64) -> Vec<Count> {
    let own: Vec<Count> = (0..=top)
        .map(|k| choose(members, k).mul(&values.pow(k)))
        .take_while(|n| !n.is_zero())
        .collect();
    let length = (ways.len() + own.len() - 1).min(usize::try_from(top).unwrap_or(usize::MAX) + 1);
    (0..length)
        .map(|sum| {
            let pairs = (0..=sum).filter_map(|i| Some(ways.get(i)?.mul(own.get(sum - i)?)));
            pairs.fold(Count::zero(), |a, b| a.add(&b))
        })
        .collect()
}

/// How many sets of `k` there are.
fn choose(n: &Count, k: u64) -> Count {
    let n = match n {
        Count::Exact(n) => n,
        _ if k == 0 => return Count::one(),
        _ => return n.pow(k),
    };
    if *n < BigUint::from(k) {
        return Count::zero();
    }
    let mut sets = BigUint::from(1u8);
    for i in 0..k {
        sets = sets * (n - i) / (i + 1);
    }
    sets.into()
}

/// How rows differ from each other.
#[derive(Clone, Debug)]
pub(super) struct Distinct {
    /// There are no more keys than this, and each row has another one; rows as a whole are keys
    /// where there are as many keys as rows.
    pub(super) keys: Count,
    /// Rows stand in the order of their keys.
    pub(super) sorted: bool,
}

/// In how many ways `least` to `most` rows can be there, each out of `values`, with one key each.
///
/// With w(k) rows for the key k, sets of j rows number the elementary symmetric polynomial
/// e_j(w), which by Maclaurin's inequality is largest when all keys have equally many rows:
/// C(K,j) (V/K)^j. It is exactly this when they have, and grows with K and with V, so that bounds
/// will do for both.
pub(super) fn rows(values: &Count, distinct: &Distinct, least: u64, most: u64) -> Option<Count> {
    let values = values.exact()?;
    let keys = match &distinct.keys {
        Count::Exact(keys) => keys.min(values),
        _ => values,
    };
    let most = u64::try_from(keys).map_or(most, |keys| most.min(keys));
    let bits = values.bits() as f64 * most as f64;
    if most > MAX_ROWS || bits * most as f64 > MAX_ROW_WORK {
        return None;
    }
    if keys == &BigUint::ZERO {
        return Some(if least == 0 {
            Count::one()
        } else {
            Count::zero()
        });
    }
    // For each number of rows: ways to choose keys in order, all rows with those keys, and what to
    // divide by.
    let (mut ways, mut power, mut by) =
        (BigUint::from(1u8), BigUint::from(1u8), BigUint::from(1u8));
    let uniform = values % keys == BigUint::ZERO;
    let per_key = values / keys;
    let mut sum = BigUint::ZERO;
    for j in 0..=most {
        if j > 0 {
            ways *= keys - (j - 1);
            if distinct.sorted {
                ways /= j;
            }
            if uniform {
                power *= &per_key;
            } else {
                power *= values;
                by *= keys;
            }
        }
        if j >= least {
            sum += &ways * &power / &by;
        }
    }
    Some(sum.into())
}

//! Telephone numbers, which have no check digit and no one shape: what makes one is how its digits
//! are grouped, and how they begin (ITU-T E.164 section 6: at most 15 digits).

use super::folded::Folded;

/// The most digits of a number, and with them the most groups that are looked at.
const MAX_DIGITS: usize = 15;

/// The most characters between two groups of one number: `) ` and the like.
const MAX_BETWEEN: usize = 3;

/// Digits in a row.
#[derive(Clone, Copy)]
struct Group<'t> {
    digits: &'t [u8],
    /// What stands between the group before and this one, if that may be within one number.
    before: Option<&'t [u8]>,
    /// A `+` stands before it.
    plus: bool,
}

/// A telephone number: `+39 06 1234567`, `06/1234567`, `020 7946 0958`, `(212) 555-0123`,
/// `347 1234567`, or ten digits and more in a row.
pub(super) fn phone(folded: &Folded) -> bool {
    let groups = groups(&folded.text);
    (0..groups.len()).any(|start| begins_phone(&groups[start..]))
}

fn begins_phone(groups: &[Group<'_>]) -> bool {
    let first = groups[0];
    let lengths: Vec<usize> = chained(groups).map(|group| group.digits.len()).collect();
    let digits: usize = lengths.iter().sum();
    if first.plus && digits >= 8 {
        return true;
    }
    // A trunk prefix, which no figure begins with; a list of figures mixes what stands between them.
    if first.digits.starts_with(b"0") && first.digits.len() > 1 {
        let between = groups.get(1).and_then(|second| second.before);
        let rest = chained(groups).skip(1);
        let alike = rest.take_while(|group| group.before == between);
        let digits = first.digits.len() + alike.map(|group| group.digits.len()).sum::<usize>();
        if digits >= 9 {
            return true;
        }
    }
    let grouped = lengths.starts_with(&[3, 3, 4]) || lengths.starts_with(&[3, 7]);
    (grouped && first.digits[0] > b'1') || first.digits.len() >= 10
}

/// The groups that may be of one number with the first.
fn chained<'g, 't>(groups: &'g [Group<'t>]) -> impl Iterator<Item = &'g Group<'t>> {
    let mut digits = 0;
    groups.iter().enumerate().map_while(move |(i, group)| {
        digits += group.digits.len();
        let fits = i == 0 || (group.before.is_some() && digits <= MAX_DIGITS);
        fits.then_some(group)
    })
}

fn groups(text: &[u8]) -> Vec<Group<'_>> {
    let mut groups = Vec::new();
    let (mut at, mut last) = (0, None);
    while at < text.len() {
        let length = text[at..].iter().take_while(|c| c.is_ascii_digit()).count();
        if length == 0 {
            at += 1;
            continue;
        }
        let between = &text[last.unwrap_or(0)..at];
        let opening = between.iter().rev().find(|c| !b" (".contains(c));
        let within = between.len() <= MAX_BETWEEN && between.iter().all(|c| b" .-/()".contains(c));
        groups.push(Group {
            digits: &text[at..at + length],
            before: last.filter(|_| within).map(|_| between),
            plus: opening == Some(&b'+'),
        });
        at += length;
        last = Some(at);
    }
    groups
}

//! The kinds of identifiers. Each is looked for at every place of a text, whatever stands around it,
//! in time linear in the text; check digits keep false alarms down.

use super::folded::{Folded, is_word};

/// Weights of the odd places of a codice fiscale, for 0 to 9 (and A to J) and for K to Z: decree of
/// the Italian ministry of finance of 23 December 1976.
const ODD: [u8; 26] = [
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
];

/// The shape of a codice fiscale: letter, digit (or the letter in place of one), month, and check
/// letter.
const CODICE_FISCALE: &[u8; 16] = b"AAAAAADDMDDADDDA";

/// Shortest and longest IBAN (ISO 13616): four characters and 11 to 30 more.
const IBAN: std::ops::RangeInclusive<usize> = 15..=34;

/// How many digits the parts of a date have.
const DATES: [[usize; 3]; 8] = [
    [4, 2, 2],
    [4, 2, 1],
    [4, 1, 2],
    [4, 1, 1],
    [2, 2, 4],
    [2, 1, 4],
    [1, 2, 4],
    [1, 1, 4],
];

/// The length of an IBAN by country, as the ISO 13616 registry has it.
const IBAN_LENGTHS: &[u8] = b"AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22\
DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27\
JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28\
PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30";

/// An Italian tax number with its check letter; with letters in place of digits as well, which the
/// revenue gives out when two people would have the same (omocodia).
pub(super) fn codice_fiscale(folded: &Folded) -> bool {
    windows(&folded.compact, 16, |code| {
        let fits = code.iter().zip(CODICE_FISCALE).all(|(c, kind)| match kind {
            b'A' => c.is_ascii_uppercase(),
            b'D' => c.is_ascii_digit() || (b'L'..=b'V').contains(c) && !b"OR".contains(c),
            _ => b"ABCDEHLMPRST".contains(c),
        });
        if !fits {
            return false;
        }
        let place = |c: u8| {
            if c.is_ascii_digit() {
                c - b'0'
            } else {
                c - b'A'
            }
        };
        let weights = code[..15].iter().enumerate().map(|(i, c)| {
            let place = place(*c);
            let weight = if i % 2 == 0 {
                ODD[usize::from(place)]
            } else {
                place
            };
            u32::from(weight)
        });
        weights.sum::<u32>() % 26 == u32::from(code[15] - b'A')
    })
}

/// Ten digits with the check digit of the NHS in England (NHS Data Dictionary, "NHS NUMBER").
pub(super) fn nhs_number(folded: &Folded) -> bool {
    windows(&folded.compact, 10, |number| {
        if !number.iter().all(u8::is_ascii_digit) {
            return false;
        }
        let weighted = (2..=10).rev().zip(number);
        let sum: u32 = weighted
            .map(|(weight, c)| weight * u32::from(c - b'0'))
            .sum();
        (11 - sum % 11) % 11 == u32::from(number[9] - b'0')
    })
}

/// An international account number with its check digits (ISO 13616, ISO 7064 MOD 97-10): of the
/// length of its country, or a whole word of any length that one may have.
pub(super) fn iban(folded: &Folded) -> bool {
    let by_country = starts(&folded.compact, |rest| {
        begins_iban(rest)
            && (IBAN_LENGTHS.chunks(4).find(|entry| entry[..2] == rest[..2])).is_some_and(|entry| {
                let length = usize::from((entry[2] - b'0') * 10 + entry[3] - b'0');
                rest.get(..length).is_some_and(is_iban)
            })
    });
    let mut words = folded.text.split(|byte| !is_word(*byte));
    by_country || words.any(|word| IBAN.contains(&word.len()) && begins_iban(word) && is_iban(word))
}

fn begins_iban(text: &[u8]) -> bool {
    matches!(
        text,
        [b'A'..=b'Z', b'A'..=b'Z', b'0'..=b'9', b'0'..=b'9', ..]
    )
}

fn is_iban(text: &[u8]) -> bool {
    let (first, rest) = text.split_at(4);
    let mut remainder = 0;
    for c in rest.iter().chain(first) {
        remainder = match c {
            b'0'..=b'9' => remainder * 10 + u32::from(c - b'0'),
            b'A'..=b'Z' => remainder * 100 + u32::from(c - b'A') + 10,
            _ => return false,
        } % 97;
    }
    remainder == 1
}

/// A social security number of the United States; none begins with 000, 666 or 9 (SSA, POMS
/// RM 10201.035).
pub(super) fn ssn(folded: &Folded) -> bool {
    windows(&folded.text, 11, |number| {
        let area = &number[..3];
        has_shape(number, b"ddd-dd-dddd") && area != b"000" && area != b"666" && area[0] != b'9'
    })
}

/// A day: `12/05/1985`, `12.5.1985`, `1985-05-12`, also with the month first.
pub(super) fn date(folded: &Folded) -> bool {
    starts(&folded.text, |rest| {
        rest[0].is_ascii_digit()
            && (DATES.iter()).any(|lengths| date_parts(rest, lengths).is_some_and(is_date))
    })
}

fn date_parts(mut rest: &[u8], lengths: &[usize; 3]) -> Option<[u32; 3]> {
    let mut parts = [0; 3];
    for (i, (part, length)) in parts.iter_mut().zip(lengths).enumerate() {
        if i > 0 {
            let (separator, behind) = rest.split_first()?;
            rest = behind;
            matches!(separator, b'-' | b'/' | b'.').then_some(())?;
        }
        let (digits, behind) = rest.split_at_checked(*length)?;
        rest = behind;
        digits.iter().all(u8::is_ascii_digit).then_some(())?;
        *part = (digits.iter()).fold(0, |value, c| value * 10 + u32::from(c - b'0'));
    }
    Some(parts)
}

fn is_date([a, b, c]: [u32; 3]) -> bool {
    let fits = |year, month, day| {
        (1800..2200).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day)
    };
    fits(a, b, c) || fits(c, b, a) || fits(c, a, b)
}

/// A mail address: something, `@`, and a domain of two labels or more (RFC 5322 section 3.4.1).
pub(super) fn email(folded: &Folded) -> bool {
    let text = &folded.text;
    let ats = (1..text.len()).filter(|at| text[*at] == b'@');
    ats.into_iter().any(|at| {
        let local = is_word(text[at - 1]) || b"!#$%&'*+-/=?^_`{|}~.\"".contains(&text[at - 1]);
        let domain = text[at + 1..].iter();
        let end = domain
            .take_while(|c| is_word(**c) || b"-.".contains(c))
            .count();
        let domain = &text[at + 1..at + 1 + end];
        let dot = (domain.windows(3)).any(|w| is_word(w[0]) && w[1] == b'.' && is_word(w[2]));
        local && dot
    })
}

/// A UUID (RFC 9562 section 4).
pub(super) fn uuid(folded: &Folded) -> bool {
    let shape = b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    windows(&folded.text, shape.len(), |id| has_shape(id, shape))
}

/// Nine digits or more in a row.
pub(super) fn long_digits(folded: &Folded) -> bool {
    has_run(&folded.text, 9, |c| c.is_ascii_digit())
}

/// 32 hexadecimal digits or more in a row: 16 bytes.
pub(super) fn hex_blob(folded: &Folded) -> bool {
    has_run(&folded.text, 32, |c| c.is_ascii_hexdigit())
}

/// 40 characters or more in a row of one of the two alphabets of RFC 4648: 30 bytes.
pub(super) fn base64_blob(folded: &Folded) -> bool {
    let run = |more: &[u8]| {
        has_run(&folded.text, 40, |c| {
            c.is_ascii_alphanumeric() || more.contains(&c)
        })
    };
    run(b"+/") || run(b"-_")
}

/// Whether a text has this shape: `d` is a digit, `x` a hexadecimal one, all else itself.
fn has_shape(text: &[u8], shape: &[u8]) -> bool {
    text.iter().zip(shape).all(|(c, kind)| match kind {
        b'd' => c.is_ascii_digit(),
        b'x' => c.is_ascii_hexdigit(),
        kind => c == kind,
    })
}

fn has_run(text: &[u8], length: usize, is: impl Fn(u8) -> bool) -> bool {
    let mut run = 0;
    text.iter().any(|c| {
        run = if is(*c) { run + 1 } else { 0 };
        run >= length
    })
}

fn windows(text: &[u8], length: usize, is: impl Fn(&[u8]) -> bool) -> bool {
    text.windows(length).any(is)
}

/// Whether what begins at any place of a text is something. Never asked about nothing.
fn starts(text: &[u8], is: impl Fn(&[u8]) -> bool) -> bool {
    (0..text.len()).any(|start| is(&text[start..]))
}

//! A text as the search for identifiers reads it: what a reader takes for the same is the same.
//!
//! Compatibility decomposition (NFKD, UAX #15), without marks and invisible characters, the digits of
//! all scripts as ASCII digits, all dashes and blanks as `-` and ` `, in upper case. NFKD rather than
//! NFKC, so that an accent on a letter hides nothing.

use unicode_general_category::{GeneralCategory, get_general_category};
use unicode_normalization::UnicodeNormalization;

/// Stands for a letter or digit outside ASCII.
const OTHER_LETTER: u8 = 0x80;

/// Stands for any other character outside ASCII.
const OTHER: u8 = 0xff;

/// A folded text. Everything in it is ASCII, but for two bytes that stand for whatever is not.
#[derive(Debug, Default)]
pub(super) struct Folded {
    /// The folded text.
    pub(super) text: Vec<u8>,
    /// The same without blanks and dashes, which people put into numbers as they like.
    pub(super) compact: Vec<u8>,
}

impl Folded {
    /// Reads a text in place of the last.
    pub(super) fn read(&mut self, text: &str) {
        self.text.clear();
        self.compact.clear();
        if text.is_ascii() {
            self.text.extend(text.bytes().map(ascii));
        } else {
            for c in text.nfkd() {
                fold(c, &mut self.text);
            }
        }
        let written = self.text.iter().copied();
        self.compact
            .extend(written.filter(|byte| !matches!(byte, b' ' | b'-')));
    }
}

/// Whether a byte of a folded text stands for a letter or digit.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == OTHER_LETTER
}

fn ascii(byte: u8) -> u8 {
    match byte {
        b'\t'..=b'\r' => b' ',
        byte => byte.to_ascii_uppercase(),
    }
}

fn fold(c: char, text: &mut Vec<u8>) {
    use GeneralCategory as Is;
    if let Ok(byte) = u8::try_from(c)
        && byte.is_ascii()
    {
        text.push(ascii(byte));
        return;
    }
    let byte = match get_general_category(c) {
        Is::Format | Is::NonspacingMark | Is::SpacingMark | Is::EnclosingMark => return,
        Is::DecimalNumber => b'0' + digit(c),
        Is::DashPunctuation => b'-',
        Is::SpaceSeparator | Is::LineSeparator | Is::ParagraphSeparator => b' ',
        _ => match c {
            // Hangul fillers: letters that show nothing.
            '\u{115f}' | '\u{1160}' => return,
            '\u{2212}' => b'-',
            '\u{2044}' | '\u{2215}' => b'/',
            '\u{85}' => b' ',
            c if c.is_alphanumeric() => return upper(c, text),
            _ => OTHER,
        },
    };
    text.push(byte);
}

/// The value of a decimal digit. Those of a script stand together, 0 to 9, with nothing between them
/// (Unicode Standard, section 4.6), maybe right behind those of another: a few dozen at most.
fn digit(c: char) -> u8 {
    let is_digit =
        |c| char::from_u32(c).map(get_general_category) == Some(GeneralCategory::DecimalNumber);
    let before = (0..c as u32).rev().take_while(|c| is_digit(*c)).count();
    (before % 10) as u8
}

/// A few letters outside ASCII have capitals in it: `ı` is `I`.
fn upper(c: char, text: &mut Vec<u8>) {
    let capitals = c.to_uppercase();
    text.extend(capitals.map(|capital| match u8::try_from(capital) {
        Ok(byte) if byte.is_ascii() => byte,
        _ => OTHER_LETTER,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        let mut folded = Folded::default();
        folded.read("left over");
        folded.read(text);
        String::from_utf8_lossy(&folded.text).into_owned()
    }

    #[test]
    fn what_looks_alike_is_alike() {
        for (text, expected) in [
            ("aZ9 -", "AZ9 -"),
            ("a\tb\r\nc", "A B  C"),
            ("\u{ff32}\u{ff33}\u{ff11}", "RS1"),
            ("r\u{200b}s\u{ad}s\u{2060}\u{feff}m", "RSSM"),
            ("\u{e9}\u{301}e\u{20dd}", "EE"),
            ("stra\u{df}e \u{131}", "STRASSE I"),
            ("1\u{2013}2\u{2212}3\u{a0}4\u{2028}5", "1-2-3 4 5"),
            ("12\u{2044}05\u{2215}85", "12/05/85"),
            (
                "\u{660}\u{669} \u{966}\u{96f} \u{1d7d8}\u{1d7ff} \u{2468}",
                "09 09 09 9",
            ),
            ("a\u{3164}b\u{115f}c", "ABC"),
        ] {
            assert_eq!(folded(text), expected, "{text:?}");
        }
    }

    #[test]
    fn digits_of_all_scripts_have_their_value() {
        let mut expected = 0..;
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            if get_general_category(c) != GeneralCategory::DecimalNumber {
                assert_eq!(
                    expected.next().map(|n: u32| n % 10),
                    Some(0),
                    "before {c:?}"
                );
                expected = 0..;
            } else if let Some(next) = expected.next() {
                let text: Vec<u8> = folded(&c.to_string()).into_bytes();
                assert_eq!(text, [b'0' + (next % 10) as u8], "{c:?}");
            }
        }
    }
}

//! The strict reader: I-JSON (RFC 7493) or nothing.
//!
//! General readers repair what they meet: they keep the last of two equal names, round numbers and
//! let half a surrogate pair pass. Two receivers then see two values in the same bytes, and the
//! judge sees a third. Here every such text is refused, so that a value that was read has exactly
//! one meaning, and reading its canonical form gives the same value again.
//!
//! Noncharacters such as U+FFFE pass, although RFC 7493 section 2.1 forbids them too: all readers
//! agree on what they mean, and which characters a string may hold is for the schema to say.

use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

use crate::Reason;

/// The deepest nesting that is ever read, whatever a contract allows: the reader, the writer and
/// the drop of a value recurse, and the stack must not be the sender's to exhaust.
pub const DEPTH_LIMIT: u16 = 128;

/// The largest integer up to which every integer is a double of its own (2^53 - 1).
pub(super) const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Significant digits that a decimal may have: 17 are enough to spell any double, so more claim
/// a precision that the receiver's double does not hold.
const MAX_SIGNIFICANT: usize = 17;

/// The first thing in a text that makes it no I-JSON.
///
/// The message leaves the pointer out: it is made of the sender's member names, which must not
/// reach a log by accident.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {offset}")]
pub struct JsonError {
    /// Which rule was broken.
    pub reason: Reason,
    /// Where, as a JSON Pointer (RFC 6901) to the innermost value concerned; empty for the root.
    pub pointer: String,
    /// Where, in bytes from the start.
    pub offset: usize,
}

/// Reads one JSON value; `max_depth` is how many containers may be open at once (`[]` has depth 1),
/// and never more than [`DEPTH_LIMIT`].
///
/// # Errors
/// The first violation of I-JSON. Encoding is checked first, for the whole text.
pub fn parse(bytes: &[u8], max_depth: u16) -> Result<Value, JsonError> {
    let mut reader = Reader {
        text: decode(bytes)?,
        at: 0,
        depth_left: max_depth.min(DEPTH_LIMIT),
    };
    reader.document().map_err(|fault| fault.into_error())
}

fn decode(bytes: &[u8]) -> Result<&str, JsonError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Fault::new(Reason::JsonEncoding, error.valid_up_to()).into_error())?;
    // ASCII in UTF-16 or UTF-32 is valid UTF-8 with zero bytes; RFC 4627 section 3 tells them apart
    // by the zeros at the start. Refused either way, but the sender should learn the cause.
    let wide = bytes.len().is_multiple_of(2) && bytes.iter().take(2).any(|&b| b == 0);
    if wide || text.starts_with('\u{feff}') {
        return Err(Fault::new(Reason::JsonEncoding, 0).into_error());
    }
    Ok(text)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth_left: u16,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Value, Box<Fault>> {
        let value = self.value()?;
        match self.token() {
            None => Ok(value),
            Some(_) => Err(self.fault(Reason::JsonTrailingBytes)),
        }
    }

    fn value(&mut self) -> Result<Value, Box<Fault>> {
        match self.token() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Null),
            _ => Err(self.fault(Reason::JsonSyntax)),
        }
    }

    fn object(&mut self) -> Result<Value, Box<Fault>> {
        self.open()?;
        let mut members = Map::new();
        if self.token() == Some(b'}') {
            return Ok(self.close(Value::Object(members)));
        }
        loop {
            if self.token() != Some(b'"') {
                return Err(self.fault(Reason::JsonSyntax));
            }
            let name_at = self.at;
            match members.entry(self.string()?) {
                Entry::Vacant(entry) => match self.member_value() {
                    Ok(value) => entry.insert(value),
                    Err(fault) => return Err(fault.inside(Step::Member(entry.key().clone()))),
                },
                Entry::Occupied(entry) => {
                    let fault = Fault::new(Reason::JsonDuplicateKey, name_at);
                    return Err(fault.inside(Step::Member(entry.key().clone())));
                }
            };
            match self.token() {
                Some(b',') => self.at += 1,
                Some(b'}') => return Ok(self.close(Value::Object(members))),
                _ => return Err(self.fault(Reason::JsonSyntax)),
            }
        }
    }

    fn member_value(&mut self) -> Result<Value, Box<Fault>> {
        if self.token() != Some(b':') {
            return Err(self.fault(Reason::JsonSyntax));
        }
        self.at += 1;
        self.value()
    }

    fn array(&mut self) -> Result<Value, Box<Fault>> {
        self.open()?;
        let mut items = Vec::new();
        if self.token() == Some(b']') {
            return Ok(self.close(Value::Array(items)));
        }
        loop {
            match self.value() {
                Ok(value) => items.push(value),
                Err(fault) => return Err(fault.inside(Step::Item(items.len()))),
            }
            match self.token() {
                Some(b',') => self.at += 1,
                Some(b']') => return Ok(self.close(Value::Array(items))),
                _ => return Err(self.fault(Reason::JsonSyntax)),
            }
        }
    }

    fn open(&mut self) -> Result<(), Box<Fault>> {
        match self.depth_left.checked_sub(1) {
            Some(left) => self.depth_left = left,
            None => return Err(self.fault(Reason::JsonDepth)),
        }
        self.at += 1;
        Ok(())
    }

    fn close(&mut self, container: Value) -> Value {
        self.depth_left += 1;
        self.at += 1;
        container
    }

    fn string(&mut self) -> Result<String, Box<Fault>> {
        self.at += 1;
        let run = self.plain_text();
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                Ok(run.to_owned())
            }
            Some(b'\\') => self.escaped_string(run),
            _ => Err(self.fault(Reason::JsonSyntax)),
        }
    }

    fn escaped_string(&mut self, head: &str) -> Result<String, Box<Fault>> {
        let mut string = head.to_owned();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => string.push(self.escape()?),
                _ => return Err(self.fault(Reason::JsonSyntax)),
            }
            string.push_str(self.plain_text());
        }
    }

    fn plain_text(&mut self) -> &'a str {
        let start = self.at;
        self.at += plain_run(&self.text.as_bytes()[start..]);
        // A run starts behind and ends before an ASCII byte, so both are character boundaries.
        &self.text[start..self.at]
    }

    fn escape(&mut self) -> Result<char, Box<Fault>> {
        let character = match self.text.as_bytes().get(self.at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.fault(Reason::JsonSyntax)),
        };
        self.at += 2;
        Ok(character)
    }

    fn unicode_escape(&mut self) -> Result<char, Box<Fault>> {
        let start = self.at;
        let unit = self.code_unit()?;
        if let Some(character) = char::from_u32(unit) {
            return Ok(character);
        }
        let lone = || Fault::new(Reason::JsonSurrogate, start);
        if unit >= 0xdc00 || !self.rest().starts_with(b"\\u") {
            return Err(lone());
        }
        let low = self.code_unit()?;
        if !(0xdc00..0xe000).contains(&low) {
            return Err(lone());
        }
        char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)).ok_or_else(lone)
    }

    /// Reads the `\uXXXX` that is next.
    fn code_unit(&mut self) -> Result<u32, Box<Fault>> {
        let digits = self.text.as_bytes().get(self.at + 2..self.at + 6);
        let unit = digits.and_then(|digits| {
            digits.iter().try_fold(0, |unit, &digit| {
                Some(unit << 4 | char::from(digit).to_digit(16)?)
            })
        });
        let unit = unit.ok_or_else(|| self.fault(Reason::JsonSyntax))?;
        self.at += 6;
        Ok(unit)
    }

    fn number(&mut self) -> Result<Number, Box<Fault>> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let whole = self.digits()?;
        if whole.len() > 1 && whole.starts_with(b"0") {
            return Err(Fault::new(Reason::JsonSyntax, start));
        }
        let mut decimal = Decimal::default();
        decimal.append(whole);
        let mut exponent = 0_i64;
        if self.peek() == Some(b'.') {
            self.at += 1;
            let fraction = self.digits()?;
            decimal.append(fraction);
            exponent -= fraction.len() as i64;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            exponent = exponent.saturating_add(self.exponent()?);
        }
        decimal
            .into_number(negative, exponent, &self.text[start..self.at])
            .ok_or_else(|| Fault::new(Reason::JsonNumber, start))
    }

    fn exponent(&mut self) -> Result<i64, Box<Fault>> {
        let sign = self.peek().filter(|b| matches!(b, b'+' | b'-'));
        self.at += usize::from(sign.is_some());
        let magnitude = self.digits()?.iter().fold(0_i64, |sum, digit| {
            sum.saturating_mul(10)
                .saturating_add(i64::from(digit - b'0'))
        });
        Ok(if sign == Some(b'-') {
            -magnitude
        } else {
            magnitude
        })
    }

    fn digits(&mut self) -> Result<&'a [u8], Box<Fault>> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += length;
        match length {
            0 => Err(self.fault(Reason::JsonSyntax)),
            _ => Ok(&rest[..length]),
        }
    }

    fn literal(&mut self, word: &str, value: Value) -> Result<Value, Box<Fault>> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.fault(Reason::JsonSyntax));
        }
        self.at += word.len();
        Ok(value)
    }

    /// The next byte that is not white space, which it skips.
    fn token(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    #[cold]
    fn fault(&self, reason: Reason) -> Box<Fault> {
        Fault::new(reason, self.at)
    }
}

/// The digits of a number without leading and trailing zeros. What a number is gets decided here,
/// on its text, since a double has forgotten whether 1.0000000000000000000001 was an integer.
#[derive(Default)]
struct Decimal {
    /// The significant digits, as long as there are no more than [`MAX_SIGNIFICANT`].
    mantissa: u64,
    significant: usize,
    trailing_zeros: usize,
}

impl Decimal {
    fn append(&mut self, digits: &[u8]) {
        for digit in digits {
            if *digit == b'0' {
                self.trailing_zeros += usize::from(self.significant > 0);
                continue;
            }
            self.significant += self.trailing_zeros + 1;
            if self.significant <= MAX_SIGNIFICANT {
                for _ in 0..=self.trailing_zeros {
                    self.mantissa *= 10;
                }
                self.mantissa += u64::from(digit - b'0');
            }
            self.trailing_zeros = 0;
        }
    }

    /// The number, given the exponent of its last digit; none if a double does not hold it.
    fn into_number(self, negative: bool, exponent: i64, text: &str) -> Option<Number> {
        if self.significant == 0 {
            return Some(Number::from(0));
        }
        if self.significant > MAX_SIGNIFICANT {
            return None;
        }
        let scale = exponent.saturating_add(self.trailing_zeros as i64);
        if let Ok(scale) = u32::try_from(scale) {
            let magnitude = self.mantissa.checked_mul(10_u64.checked_pow(scale)?)?;
            let integer = i64::try_from(magnitude).ok()?;
            return (magnitude <= MAX_SAFE_INTEGER)
                .then(|| Number::from(if negative { -integer } else { integer }));
        }
        // 17 digits at 10^-400 are far below the smallest double.
        if !(-400..0).contains(&scale) {
            return None;
        }
        // The standard library caps exponents, so thousands of zeros that an exponent takes back
        // would be misread: such spellings are shortened first.
        let double: f64 = if text.len() <= 64 {
            text.parse().ok()?
        } else {
            let sign = if negative { "-" } else { "" };
            format!("{sign}{}e{scale}", self.mantissa).parse().ok()?
        };
        // Rounded to an integer (or to zero), it would be read back as another kind of number.
        if double.fract() == 0.0 {
            return None;
        }
        Number::from_f64(double)
    }
}

/// How many bytes from the start may stand in a string as they are.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let mut run = 0;
    // Eight bytes at a time: a borrow sets the high bit of the first byte that is below 0x20, or
    // equal to what it was XORed with. Only bytes behind that one can be marked wrongly.
    while let Some(chunk) = bytes[run..].first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * 0x22);
        let backslash = word ^ (ONES * 0x5c);
        let special = (word.wrapping_sub(ONES * 0x20) & !word)
            | (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash);
        let special = special & (ONES * 0x80);
        if special != 0 {
            return run + special.trailing_zeros() as usize / 8;
        }
        run += 8;
    }
    let tail = bytes[run..].iter();
    run + tail
        .take_while(|b| !matches!(b, 0..0x20 | b'"' | b'\\'))
        .count()
}

/// A refusal on its way up through the containers. Each adds its own step, so that a pointer
/// costs nothing until something is refused.
struct Fault {
    reason: Reason,
    offset: usize,
    steps: Vec<Step>,
}

enum Step {
    Member(String),
    Item(usize),
}

impl Fault {
    fn new(reason: Reason, offset: usize) -> Box<Self> {
        let steps = Vec::new();
        Box::new(Self {
            reason,
            offset,
            steps,
        })
    }

    fn inside(mut self: Box<Self>, step: Step) -> Box<Self> {
        self.steps.push(step);
        self
    }

    fn into_error(self) -> JsonError {
        let mut pointer = String::new();
        for step in self.steps.iter().rev() {
            pointer.push('/');
            match step {
                Step::Member(name) => pointer += &name.replace('~', "~0").replace('/', "~1"),
                Step::Item(index) => pointer += &index.to_string(),
            }
        }
        JsonError {
            reason: self.reason,
            pointer,
            offset: self.offset,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::judge::canonical::canonical;

    fn read(text: &str) -> Result<Value, Reason> {
        parse(text.as_bytes(), DEPTH_LIMIT).map_err(|error| error.reason)
    }

    #[track_caller]
    fn refused(text: impl AsRef<[u8]>, reason: Reason, pointer: &str, offset: usize) {
        let text = text.as_ref();
        let error = parse(text, 8).expect_err("refused");
        assert_eq!(
            (error.reason, error.pointer.as_str(), error.offset),
            (reason, pointer, offset),
            "{}",
            String::from_utf8_lossy(text)
        );
    }

    #[test]
    fn reads_every_kind_of_value() {
        let text = " {\"a\" : [ true,false , null,\"\",-7, 1.5 ],\r\n\t\"b\":{},\"c\":[]} ";
        let value = json!({"a": [true, false, null, "", -7, 1.5], "b": {}, "c": []});
        assert_eq!(read(text), Ok(value));
    }

    #[test]
    fn numbers_become_what_they_are() {
        for (text, value) in [
            ("0", json!(0)),
            ("-0", json!(0)),
            ("-0.000", json!(0)),
            ("0e5", json!(0)),
            ("0e-99999999999999999999", json!(0)),
            ("0E99999999999999999999", json!(0)),
            ("12.0", json!(12)),
            ("1.2e1", json!(12)),
            ("-1200E-2", json!(-12)),
            ("9007199254740991", json!(9_007_199_254_740_991_i64)),
            ("-9007199254740991.000", json!(-9_007_199_254_740_991_i64)),
            ("9.007199254740991e15", json!(9_007_199_254_740_991_i64)),
            ("1000000000000000000000000e-24", json!(1)),
            ("2251799813685249.5", json!(2_251_799_813_685_249.5)),
            ("0.1", json!(0.1)),
            ("0.10000000000000001", json!(0.1)),
            (
                "-0.30000000000000004000000",
                json!(-0.300_000_000_000_000_04),
            ),
            ("5e-324", json!(5e-324)),
            ("2.2250738585072014E-308", json!(f64::MIN_POSITIVE)),
            ("1.5e+00000000000000000000", json!(1.5)),
        ] {
            assert_eq!(read(text), Ok(value), "{text}");
        }
        // Where the standard library caps exponents.
        let zeros = "0".repeat(1_000_000);
        assert_eq!(read(&format!("-1{zeros}e-1000001")), Ok(json!(-0.1)));
        assert_eq!(read(&format!("0.{zeros}1e1000000")), Ok(json!(0.1)));
        assert_eq!(read(&format!("0.{zeros}1e1000001")), Ok(json!(1)));
        assert_eq!(read(&format!("1.50{zeros}")), Ok(json!(1.5)));
    }

    #[test]
    fn numbers_that_no_double_holds_are_refused() {
        for text in [
            "9007199254740992",
            "9007199254740993",
            "-9007199254740992",
            "18446744073709551616",
            "1E30",
            "1e400",
            "-1e400",
            "1e99999999999999999999",
            "1e-400",
            "2e-324",
            "1e-99999999999999999999",
            "1.0000000000000000000001",
            "0.123456789012345678",
            "4503599627370497.5",
            "9007199254740990.3",
            "9007199254740991.5",
            "0.99999999999999999",
        ] {
            refused(text, Reason::JsonNumber, "", 0);
            refused(format!("[0,{text}]"), Reason::JsonNumber, "/1", 3);
        }
    }

    #[test]
    fn grammar_is_kept() {
        for (text, pointer, offset) in [
            ("", "", 0),
            (" ", "", 1),
            ("nul", "", 0),
            ("[01]", "/0", 1),
            ("-", "", 1),
            ("[-.5]", "/0", 2),
            ("1.", "", 2),
            ("1.e1", "", 2),
            ("1e", "", 2),
            ("1e+", "", 3),
            ("[1 2]", "", 3),
            ("[1,]", "/1", 3),
            ("[", "/0", 1),
            ("[1", "", 2),
            ("{", "", 1),
            ("{\"a\"", "/a", 4),
            ("{\"a\":", "/a", 5),
            ("{\"a\":1", "", 6),
            ("{\"a\":1,}", "", 7),
            ("{1:1}", "", 1),
            ("{\"a\":[{\"b\":+1}]}", "/a/0/b", 11),
            ("[\"\t\"]", "/0", 2),
            ("\"abcdefgh\u{1f}\"", "", 9),
            ("\"abc", "", 4),
            ("\"\\", "", 1),
            ("\"\\x\"", "", 1),
            ("\"\\u12\"", "", 1),
            ("\"\\u12é4\"", "", 1),
            ("\"\\u+123\"", "", 1),
            ("\"\\ud834\\u12\"", "", 7),
            ("\u{a0}1", "", 0),
        ] {
            refused(text, Reason::JsonSyntax, pointer, offset);
        }
    }

    #[test]
    fn what_is_not_utf8_is_refused() {
        refused(b"\xef\xbb\xbf{}", Reason::JsonEncoding, "", 0);
        refused(b"\xff\xfe[\0]\0", Reason::JsonEncoding, "", 0);
        refused(b"[\0]\0", Reason::JsonEncoding, "", 0);
        refused(b"\0[\0]", Reason::JsonEncoding, "", 0);
        refused(b"[\0\0\0]\0\0\0", Reason::JsonEncoding, "", 0);
        refused(b"[\"\xed\xa0\x80\"]", Reason::JsonEncoding, "", 2);
        refused(b"[1] \xc0\xaf", Reason::JsonEncoding, "", 4);
    }

    #[test]
    fn nothing_may_follow_the_value() {
        refused("1 2", Reason::JsonTrailingBytes, "", 2);
        refused("{}}", Reason::JsonTrailingBytes, "", 2);
        refused("[]\0", Reason::JsonTrailingBytes, "", 2);
        refused("0x1", Reason::JsonTrailingBytes, "", 1);
        refused("[] // note", Reason::JsonTrailingBytes, "", 3);
    }

    #[test]
    fn a_name_comes_once_however_it_is_spelled() {
        refused(r#"{"a":1,"a":1}"#, Reason::JsonDuplicateKey, "/a", 7);
        refused(
            r#"[{"a/b~":{"x":0,"\u0078":!"#,
            Reason::JsonDuplicateKey,
            "/0/a~1b~0/x",
            16,
        );
        assert!(
            read(r#"{"\u00e9":1,"e\u0301":2}"#).is_ok(),
            "names are not normalised"
        );
    }

    #[test]
    fn half_a_surrogate_pair_is_refused() {
        refused(r#"["\ud800"]"#, Reason::JsonSurrogate, "/0", 2);
        refused(r#"["x\udc00"]"#, Reason::JsonSurrogate, "/0", 3);
        refused(r#"["\ud800\ud800"]"#, Reason::JsonSurrogate, "/0", 2);
        refused(r#"["\ud800\n"]"#, Reason::JsonSurrogate, "/0", 2);
        refused(r#"{"\udfff":1}"#, Reason::JsonSurrogate, "", 2);
        let text = r#""\ud83d\uDE02\u0000\/\"\\\b\f\n\r\tx""#;
        assert_eq!(read(text), Ok(json!("😂\0/\"\\\u{8}\u{c}\n\r\tx")));
    }

    #[test]
    fn depth_is_the_number_of_open_containers() {
        assert!(parse(b"1", 0).is_ok());
        assert!(parse(b"[[],{},[]]", 2).is_ok());
        refused(
            "[[[[[[[[[]]]]]]]]]",
            Reason::JsonDepth,
            "/0/0/0/0/0/0/0/0",
            8,
        );
        let error = parse(br#"{"a":[]}"#, 1).expect_err("too deep");
        assert_eq!(
            (error.reason, error.pointer.as_str()),
            (Reason::JsonDepth, "/a")
        );

        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(nested(128).as_bytes(), u16::MAX).is_ok());
        let error = parse(nested(129).as_bytes(), u16::MAX).expect_err("over the hard limit");
        assert_eq!((error.reason, error.offset), (Reason::JsonDepth, 128));
    }

    #[test]
    fn the_message_holds_nothing_of_the_text() {
        let error = parse(br#"{"secret":tru}"#, 8).expect_err("refused");
        assert_eq!(error.to_string(), "json-syntax at byte 10");
        assert_eq!(error.pointer, "/secret");
    }

    #[test]
    fn runs_end_at_the_first_special_byte() {
        for length in 0..40 {
            for special in (0..0x20).chain([b'"', b'\\']) {
                for behind in [b"", &b"\"\\\0abcdefgh"[..]] {
                    let mut bytes = vec![0xff; length];
                    bytes.push(special);
                    bytes.extend_from_slice(behind);
                    assert_eq!(plain_run(&bytes), length);
                }
            }
            for plain in (0x20..=0xff).filter(|b| !b"\"\\".contains(b)) {
                assert_eq!(plain_run(&vec![plain; length]), length);
            }
        }
    }

    /// Spells values in every way that JSON allows.
    struct Speller(u64);

    impl Speller {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 16) as usize % bound
        }

        fn space(&mut self, out: &mut String) {
            for _ in 0..self.below(3) {
                out.push([' ', '\t', '\n', '\r'][self.below(4)]);
            }
        }

        fn value(&mut self, value: &Value, out: &mut String) {
            self.space(out);
            match value {
                Value::Number(number) => self.number(number, out),
                Value::String(string) => self.string(string, out),
                Value::Array(items) => {
                    self.list(items.iter(), ['[', ']'], out, |speller, item, out| {
                        speller.value(item, out);
                    });
                }
                Value::Object(members) => {
                    let mut shuffled: Vec<_> = members.iter().collect();
                    for end in (1..shuffled.len()).rev() {
                        shuffled.swap(end, self.below(end + 1));
                    }
                    self.list(shuffled, ['{', '}'], out, |speller, (name, value), out| {
                        speller.space(out);
                        speller.string(name, out);
                        speller.space(out);
                        out.push(':');
                        speller.value(value, out);
                    });
                }
                word => *out += &word.to_string(),
            }
            self.space(out);
        }

        fn list<T>(
            &mut self,
            items: impl IntoIterator<Item = T>,
            [open, close]: [char; 2],
            out: &mut String,
            mut spell: impl FnMut(&mut Self, T, &mut String),
        ) {
            out.push(open);
            for (index, item) in items.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                spell(self, item, out);
            }
            self.space(out);
            out.push(close);
        }

        fn string(&mut self, string: &str, out: &mut String) {
            out.push('"');
            for character in string.chars() {
                let short = "\"\\/\u{8}\u{c}\n\r\t".find(character);
                let raw_allowed = character >= ' ' && !matches!(character, '"' | '\\');
                match (self.below(3), short) {
                    (0, Some(index)) => {
                        out.push('\\');
                        out.push(char::from(b"\"\\/bfnrt"[index]));
                    }
                    (1 | 2, _) if raw_allowed => out.push(character),
                    _ => {
                        for unit in character.encode_utf16(&mut [0; 2]) {
                            for shift in [12, 8, 4, 0] {
                                let digit = char::from_digit(u32::from(*unit >> shift & 15), 16);
                                let digit = digit.expect("four bits");
                                let upper = self.below(2) == 0;
                                *out += if shift == 12 { "\\u" } else { "" };
                                out.push(if upper {
                                    digit.to_ascii_uppercase()
                                } else {
                                    digit
                                });
                            }
                        }
                    }
                }
            }
            out.push('"');
        }

        fn number(&mut self, number: &Number, out: &mut String) {
            let plain = number.to_string();
            let (mantissa, exponent) = plain.split_once('e').unwrap_or((&plain, "0"));
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
            let mut exponent: i32 = exponent.parse().expect("an exponent");
            exponent -= fraction.len() as i32;
            let digits = format!("{whole}{fraction}");
            let digits = digits.trim_start_matches('-').trim_start_matches('0');
            let zero = digits.is_empty();
            let added = self.below(4);
            let mut digits = digits.to_owned() + &"0".repeat(added);
            exponent -= added as i32;
            let places = self.below(digits.len() + 4);
            while digits.len() <= places {
                digits.insert(0, '0');
            }
            exponent += places as i32;
            if zero {
                digits = format!("0{}", "0".repeat(places));
                exponent = self.below(2000) as i32 - 1000;
            }
            if plain.starts_with('-') || (zero && self.below(2) == 0) {
                out.push('-');
            }
            let (whole, fraction) = digits.split_at(digits.len() - places);
            *out += whole;
            if places > 0 {
                out.push('.');
                *out += fraction;
            }
            if exponent != 0 || self.below(2) == 0 {
                out.push(['e', 'E'][self.below(2)]);
                *out += match exponent {
                    ..0 => "-",
                    _ => ["", "+"][self.below(2)],
                };
                *out += &"0".repeat(self.below(3));
                *out += &exponent.unsigned_abs().to_string();
            }
        }
    }

    fn double(double: f64) -> Option<Value> {
        (double.is_finite() && double.fract() != 0.0).then(|| Value::from(double))
    }

    /// Values as the reader makes them.
    fn values() -> impl Strategy<Value = Value> {
        const MAX: i64 = MAX_SAFE_INTEGER as i64;
        let string = || prop_oneof![any::<String>(), r#"[a-c\x00-\x20"\\/é€😂]{0,12}"#];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            prop_oneof![-1000..1000_i64, -MAX..=MAX, Just(MAX)].prop_map(Value::from),
            any::<f64>().prop_map(|any| double(any).unwrap_or(Value::Null)),
            (-MAX..=MAX, 1..9).prop_map(|(n, places)| {
                double(n as f64 / 10_f64.powi(places)).unwrap_or(Value::Null)
            }),
            string().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 32, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(string(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn spelled() -> impl Strategy<Value = (Value, String)> {
        (values(), 1..u64::MAX).prop_map(|(value, seed)| {
            let mut text = String::new();
            Speller(seed).value(&value, &mut text);
            (value, text)
        })
    }

    /// Equal up to the class of numbers: 12.0 is 12.
    fn alike(ours: &Value, theirs: &Value) -> bool {
        match (ours, theirs) {
            (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))
            }
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && alike(a.1, b.1))
            }
            (a, b) => a == b,
        }
    }

    fn check_against_serde(bytes: &[u8]) -> Result<(), TestCaseError> {
        // One below our limit, since serde_json stops at 127.
        if let Ok(ours) = parse(bytes, 127) {
            let theirs: Value = serde_json::from_slice(bytes).expect("serde_json reads it too");
            prop_assert!(alike(&ours, &theirs), "{} is not {}", ours, theirs);
            prop_assert_eq!(&parse(&canonical(&ours), 127), &Ok(ours));
        }
        Ok(())
    }

    /// What a number must become, decided on the digits written out without an exponent.
    fn number_oracle(text: &str) -> Option<Value> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i64 = exponent.parse().expect("a short exponent");
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = whole.trim_start_matches('-').to_owned() + fraction;
        let point = whole.trim_start_matches('-').len() as i64 + exponent;
        let digit = |place: i64| match usize::try_from(place) {
            Ok(place) => digits.get(place..=place).unwrap_or("0"),
            Err(_) => "0",
        };
        let last = point.max(digits.len() as i64);
        let whole: String = (point.min(0)..point).map(digit).collect();
        let fraction: String = (point..last).map(digit).collect();
        let (whole, fraction) = (
            whole.trim_start_matches('0'),
            fraction.trim_end_matches('0'),
        );
        let sign = if text.starts_with('-') { "-" } else { "" };
        if fraction.is_empty() {
            let fits = (whole.len(), whole) <= (16, "9007199254740991");
            let integer = format!("{sign}0{whole}").parse::<i64>();
            return fits.then(|| Value::from(integer.expect("16 digits")));
        }
        let all = format!("{whole}{fraction}");
        if all.trim_start_matches('0').len() > 17 {
            return None;
        }
        let value = format!("{sign}0{whole}.{fraction}").parse();
        double(value.expect("a decimal fraction"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn reads_every_spelling((value, text) in spelled()) {
            let read = parse(text.as_bytes(), DEPTH_LIMIT);
            prop_assert_eq!(read, Ok(value), "{}", text);
            check_against_serde(text.as_bytes())?;
        }

        #[test]
        fn reads_back_what_the_writer_writes(value in values()) {
            let bytes = canonical(&value);
            prop_assert_eq!(parse(&bytes, DEPTH_LIMIT), Ok(value));
        }

        #[test]
        fn accepts_nothing_that_serde_json_refuses(
            (_, text) in spelled(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8,
                prop_oneof![any::<u8>(), prop::sample::select(&br#" {}[]:,"\/eE+-.0189ufnt"#[..])]), 1..4),
        ) {
            let mut bytes = text.into_bytes();
            for (place, edit, byte) in edits {
                let place = place.index(bytes.len() + 1);
                match edit {
                    0 => bytes.insert(place, byte),
                    1 if place < bytes.len() => bytes[place] = byte,
                    _ => { bytes.drain(place..bytes.len().min(place + 1)); }
                }
            }
            check_against_serde(&bytes)?;
        }

        #[test]
        fn survives_any_bytes(bytes in any::<Vec<u8>>()) {
            check_against_serde(&bytes)?;
        }

        #[test]
        fn numbers_are_decided_on_their_digits(
            text in r"-?(0|[1-9][0-9]{0,20})(\.(0{0,5}[0-9]{1,20}|[0-9]{1,4}0{0,20}))?([eE][+-]?[0-9]{1,2}|e-3[0-4][0-9])?"
        ) {
            let read = parse(text.as_bytes(), DEPTH_LIMIT);
            let expected = number_oracle(&text);
            prop_assert_eq!(read.map_err(|error| error.reason), expected.ok_or(Reason::JsonNumber));
        }

        #[test]
        fn numbers_around_the_largest_integer(offset in -40..40_i64, tail in r"(\.[0-9]{1,3})?(e-?[0-3])?") {
            let text = format!("{}{tail}", (1_i64 << 53) + offset);
            let read = parse(text.as_bytes(), DEPTH_LIMIT);
            prop_assert_eq!(read.ok(), number_oracle(&text));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_thousand_spellings_have_one_canonical_form(value in values(), seed in 1..u64::MAX) {
            let expected = canonical(&value);
            let mut speller = Speller(seed);
            for _ in 0..1000 {
                let mut text = String::new();
                speller.value(&value, &mut text);
                let read = parse(text.as_bytes(), DEPTH_LIMIT);
                let bytes = read.map(|value| canonical(&value));
                prop_assert_eq!(bytes.as_ref(), Ok(&expected), "{}", text);
            }
        }
    }
}

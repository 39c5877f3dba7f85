//! The writer: exactly one spelling per value (RFC 8785), so that white space, key order, escapes
//! and number spelling carry nothing out.
//!
//! It recurses: values come from [`super::json::parse`], which bounds their depth.

use serde_json::{Map, Number, Value};

use super::json::{MAX_SAFE_INTEGER, plain_run};

/// The canonical form of a value.
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write_canonical(value, &mut out);
    out
}

/// Appends the canonical form of a value to `out`.
pub fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(number, out),
        Value::String(string) => write_string(string, out),
        Value::Array(items) => write_array(items, out),
        Value::Object(members) => write_object(members, out),
    }
}

fn write_array(items: &[Value], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_canonical(item, out);
    }
    out.push(b']');
}

fn write_object(members: &Map<String, Value>, out: &mut Vec<u8>) {
    // The map is in order of code points, RFC 8785 section 3.2.3 wants UTF-16 code units. These
    // differ only where a character beyond U+FFFF (a surrogate pair there; in UTF-8 a first byte
    // from 0xF0) meets one from U+E000 to U+FFFF.
    let astral = |name: &String| !name.is_ascii() && name.bytes().any(|byte| byte >= 0xf0);
    if members.keys().any(astral) {
        let mut sorted: Vec<_> = members.iter().collect();
        sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
        write_members(sorted.into_iter(), out);
    } else {
        write_members(members.iter(), out);
    }
}

fn write_members<'a>(members: impl Iterator<Item = (&'a String, &'a Value)>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, value)) in members.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        write_canonical(value, out);
    }
    out.push(b'}');
}

fn write_string(string: &str, out: &mut Vec<u8>) {
    let mut rest = string.as_bytes();
    out.push(b'"');
    loop {
        let (plain, special) = rest.split_at(plain_run(rest));
        out.extend_from_slice(plain);
        let Some((&byte, behind)) = special.split_first() else {
            break;
        };
        write_escape(byte, out);
        rest = behind;
    }
    out.push(b'"');
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 0xf)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

fn write_number(number: &Number, out: &mut Vec<u8>) {
    match number.as_i64() {
        Some(integer) if integer.unsigned_abs() <= MAX_SAFE_INTEGER => {
            write_integer(integer, out);
        }
        // Larger integers are written as the double that a receiver makes of them.
        _ => {
            let double = number.as_f64();
            let double = double.expect("every number is a double without arbitrary_precision");
            out.extend_from_slice(ryu_js::Buffer::new().format(double).as_bytes());
        }
    }
}

fn write_integer(integer: i64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut left = integer.unsigned_abs();
    loop {
        start -= 1;
        digits[start] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if integer < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(value: &Value) -> String {
        String::from_utf8(canonical(value)).expect("the writer emits UTF-8")
    }

    #[test]
    fn names_are_in_the_order_of_utf16_code_units() {
        let value = json!({"\u{fb33}": 1, "\u{1f602}": 2, "\u{e000}": 3, "\u{20ac}": 4, "\u{d7ff}": 5, "z": 6});
        assert_eq!(
            text(&value),
            "{\"z\":6,\"\u{20ac}\":4,\"\u{d7ff}\":5,\"\u{1f602}\":2,\"\u{e000}\":3,\"\u{fb33}\":1}"
        );
    }

    #[test]
    fn only_what_must_be_escaped_is() {
        let value = json!("\u{0}\u{8}\t\n\u{b}\u{c}\r\u{1f}\"\\/\u{7f}\u{2028}é");
        assert_eq!(
            text(&value),
            "\"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f\\\"\\\\/\u{7f}\u{2028}é\""
        );
    }

    #[test]
    fn numbers_are_written_as_ecmascript_does() {
        for (value, expected) in [
            (json!(0), "0"),
            (json!(-1), "-1"),
            (json!(MAX_SAFE_INTEGER), "9007199254740991"),
            (json!(-9_007_199_254_740_991_i64), "-9007199254740991"),
            (json!(u64::MAX), "18446744073709552000"),
            (json!(i64::MIN), "-9223372036854776000"),
            (json!(-0.0), "0"),
            (json!(56.0), "56"),
            (json!(1e21), "1e+21"),
            (json!(1e-6), "0.000001"),
            (json!(1e-7), "1e-7"),
            (json!(5e-324), "5e-324"),
            (json!(333_333_333.333_333_3), "333333333.3333333"),
        ] {
            assert_eq!(text(&value), expected);
        }
    }

    #[test]
    fn appends_without_touching_what_is_there() {
        let mut out = b"head ".to_vec();
        write_canonical(&json!([true, {"b": null, "a": []}]), &mut out);
        assert_eq!(out, br#"head [true,{"a":[],"b":null}]"#);
    }

    fn values() -> impl Strategy<Value = Value> {
        let string = || {
            // Every class that orders or escapes differently, and plain text around word size.
            let special =
                r#"[a-z\x00-\x1f"\\\x7fé\x{d7ff}\x{e000}\x{ffff}\x{10000}\x{10ffff}]{0,6}"#;
            prop_oneof![special, "[a-z\"]{0,20}", any::<String>()]
        };
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i16>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            string().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(string(), inner, 0..8)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn agrees_with_another_implementation(value in values()) {
            let theirs = serde_json_canonicalizer::to_string(&value).expect("they write every value");
            prop_assert_eq!(text(&value), theirs);
        }
    }
}

//! Public test corpora against the reader and the writer: JSONTestSuite by Nicolas Seriot and the
//! vectors of RFC 8785 by its author. The folder `../shared` holds them, or what `LAZARET_SHARED`
//! names in its place.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};

use lazaret_policy::Reason;
use lazaret_policy::judge::{canonical::canonical, json::parse};
use serde_json::Value;
use sha2::{Digest, Sha256};

const MAX_DEPTH: u16 = 128;

/// What the suite accepts and I-JSON, or the rule that a double holds the number, does not.
const VALID_BUT_REFUSED: &[(&str, Reason)] = &[
    ("y_number.json", Reason::JsonNumber),
    ("y_number_real_capital_e.json", Reason::JsonNumber),
    ("y_number_real_exponent.json", Reason::JsonNumber),
    ("y_number_real_fraction_exponent.json", Reason::JsonNumber),
    ("y_object_duplicated_key.json", Reason::JsonDuplicateKey),
    (
        "y_object_duplicated_key_and_value.json",
        Reason::JsonDuplicateKey,
    ),
    ("y_object_extreme_numbers.json", Reason::JsonNumber),
];

/// What the suite leaves open. All of it is refused.
const OPEN_AND_REFUSED: &[(&str, Reason)] = &[
    ("i_number_double_huge_neg_exp.json", Reason::JsonNumber),
    ("i_number_huge_exp.json", Reason::JsonNumber),
    ("i_number_neg_int_huge_exp.json", Reason::JsonNumber),
    ("i_number_pos_double_huge_exp.json", Reason::JsonNumber),
    ("i_number_real_neg_overflow.json", Reason::JsonNumber),
    ("i_number_real_pos_overflow.json", Reason::JsonNumber),
    ("i_number_real_underflow.json", Reason::JsonNumber),
    ("i_number_too_big_neg_int.json", Reason::JsonNumber),
    ("i_number_too_big_pos_int.json", Reason::JsonNumber),
    ("i_number_very_big_negative_int.json", Reason::JsonNumber),
    (
        "i_object_key_lone_2nd_surrogate.json",
        Reason::JsonSurrogate,
    ),
    (
        "i_string_1st_surrogate_but_2nd_missing.json",
        Reason::JsonSurrogate,
    ),
    (
        "i_string_1st_valid_surrogate_2nd_invalid.json",
        Reason::JsonSurrogate,
    ),
    ("i_string_UTF-16LE_with_BOM.json", Reason::JsonEncoding),
    ("i_string_UTF-8_invalid_sequence.json", Reason::JsonEncoding),
    ("i_string_UTF8_surrogate_U+D800.json", Reason::JsonEncoding),
    (
        "i_string_incomplete_surrogate_and_escape_valid.json",
        Reason::JsonSurrogate,
    ),
    (
        "i_string_incomplete_surrogate_pair.json",
        Reason::JsonSurrogate,
    ),
    (
        "i_string_incomplete_surrogates_escape_valid.json",
        Reason::JsonSurrogate,
    ),
    (
        "i_string_invalid_lonely_surrogate.json",
        Reason::JsonSurrogate,
    ),
    ("i_string_invalid_surrogate.json", Reason::JsonSurrogate),
    ("i_string_invalid_utf-8.json", Reason::JsonEncoding),
    (
        "i_string_inverted_surrogates_U+1D11E.json",
        Reason::JsonSurrogate,
    ),
    ("i_string_iso_latin_1.json", Reason::JsonEncoding),
    ("i_string_lone_second_surrogate.json", Reason::JsonSurrogate),
    (
        "i_string_lone_utf8_continuation_byte.json",
        Reason::JsonEncoding,
    ),
    ("i_string_not_in_unicode_range.json", Reason::JsonEncoding),
    (
        "i_string_overlong_sequence_2_bytes.json",
        Reason::JsonEncoding,
    ),
    (
        "i_string_overlong_sequence_6_bytes.json",
        Reason::JsonEncoding,
    ),
    (
        "i_string_overlong_sequence_6_bytes_null.json",
        Reason::JsonEncoding,
    ),
    ("i_string_truncated-utf-8.json", Reason::JsonEncoding),
    ("i_string_utf16BE_no_BOM.json", Reason::JsonEncoding),
    ("i_string_utf16LE_no_BOM.json", Reason::JsonEncoding),
    ("i_structure_500_nested_arrays.json", Reason::JsonDepth),
    (
        "i_structure_UTF-8_BOM_empty_object.json",
        Reason::JsonEncoding,
    ),
];

/// What the suite saw parsers change on the way: ours reads it as written or refuses it.
const TRANSFORMS: &[(&str, Result<&str, Reason>)] = &[
    ("number_-9223372036854775808.json", Err(Reason::JsonNumber)),
    ("number_-9223372036854775809.json", Err(Reason::JsonNumber)),
    ("number_1.0.json", Ok("[1]")),
    ("number_1.000000000000000005.json", Err(Reason::JsonNumber)),
    ("number_1000000000000000.json", Ok("[1000000000000000]")),
    ("number_10000000000000000999.json", Err(Reason::JsonNumber)),
    ("number_1e-999.json", Err(Reason::JsonNumber)),
    ("number_1e6.json", Ok("[1000000]")),
    ("number_9223372036854775807.json", Err(Reason::JsonNumber)),
    ("number_9223372036854775808.json", Err(Reason::JsonNumber)),
    (
        "object_key_nfc_nfd.json",
        Ok("{\"e\u{301}\":\"NFD\",\"\u{e9}\":\"NFC\"}"),
    ),
    (
        "object_key_nfd_nfc.json",
        Ok("{\"e\u{301}\":\"NFD\",\"\u{e9}\":\"NFC\"}"),
    ),
    (
        "object_same_key_different_values.json",
        Err(Reason::JsonDuplicateKey),
    ),
    (
        "object_same_key_same_value.json",
        Err(Reason::JsonDuplicateKey),
    ),
    (
        "object_same_key_unclear_values.json",
        Err(Reason::JsonDuplicateKey),
    ),
    (
        "string_1_escaped_invalid_codepoint.json",
        Err(Reason::JsonSurrogate),
    ),
    ("string_1_invalid_codepoint.json", Err(Reason::JsonEncoding)),
    (
        "string_2_escaped_invalid_codepoints.json",
        Err(Reason::JsonSurrogate),
    ),
    (
        "string_2_invalid_codepoints.json",
        Err(Reason::JsonEncoding),
    ),
    (
        "string_3_escaped_invalid_codepoints.json",
        Err(Reason::JsonSurrogate),
    ),
    (
        "string_3_invalid_codepoints.json",
        Err(Reason::JsonEncoding),
    ),
    ("string_with_escaped_NULL.json", Ok("[\"A\\u0000B\"]")),
];

/// How many files the suite has of each kind, so that half a checkout is not a pass.
const REFUSABLE: usize = 188;
const ACCEPTABLE: usize = 95;

#[test]
fn json_test_suite_is_judged_as_pinned() {
    let Some(files) = corpus("JSONTestSuite/test_parsing") else {
        return;
    };
    let verdicts: BTreeMap<_, _> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), verdict(bytes)))
        .collect();
    let of_kind = |prefix: &'static str| {
        let all = verdicts.iter();
        all.filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, verdict)| (*name, verdict))
    };

    assert_eq!(of_kind("n_").count(), REFUSABLE);
    for (name, verdict) in of_kind("n_") {
        assert!(verdict.is_err(), "{name} is no JSON and was accepted");
    }
    assert_eq!(of_kind("y_").count(), ACCEPTABLE);
    assert_eq!(refusals(of_kind("y_")), VALID_BUT_REFUSED);
    assert_eq!(of_kind("i_").count(), OPEN_AND_REFUSED.len());
    assert_eq!(refusals(of_kind("i_")), OPEN_AND_REFUSED);
    let known = REFUSABLE + ACCEPTABLE + OPEN_AND_REFUSED.len();
    assert_eq!(verdicts.len(), known, "a file of no known kind");
}

#[test]
fn json_test_suite_transforms_are_as_pinned() {
    let Some(files) = corpus("JSONTestSuite/test_transform") else {
        return;
    };
    let verdicts: Vec<_> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), verdict(bytes)))
        .collect();
    let pinned: Vec<_> = TRANSFORMS
        .iter()
        .map(|(name, verdict)| (*name, verdict.map(str::to_owned)))
        .collect();
    assert_eq!(verdicts, pinned);
}

#[test]
fn rfc8785_vectors_come_out_byte_for_byte() {
    let (Some(inputs), Some(outputs), Some(hex)) = (
        corpus("rfc8785/testdata/input"),
        corpus("rfc8785/testdata/output"),
        corpus("rfc8785/testdata/outhex"),
    ) else {
        return;
    };
    assert_eq!((inputs.len(), outputs.len(), hex.len()), (6, 6, 6));
    for (name, input) in &inputs {
        let value: Value = if name == "values.json" {
            // It holds 1E30, which is no integer that we let pass; the writer must spell it anyway.
            assert_eq!(verdict(input), Err(Reason::JsonNumber));
            serde_json::from_slice(input).expect("a vector is JSON")
        } else {
            parse(input, MAX_DEPTH).expect("a vector is I-JSON")
        };
        let written = canonical(&value);
        assert_eq!(written, outputs[name], "{name}");
        assert_eq!(
            written,
            unhex(&hex[&name.replace(".json", ".txt")]),
            "{name}"
        );
    }
}

/// The file of 100 million numbers is made by a generator whose seeds and checksums stand in the
/// corpus' README, so the first lines of it can be made here.
#[test]
fn es6_numbers_have_the_published_checksum() {
    let Some(files) = corpus("rfc8785/testdata") else {
        return;
    };
    let readme = String::from_utf8(files["README.md"].clone()).expect("UTF-8");
    let seeds = readme
        .split_once("new BigUint64Array([")
        .and_then(|(_, rest)| rest.split_once("])"))
        .expect("the list of seeds")
        .0;
    let seeds = seeds.split(',').map(str::trim).filter(|s| !s.is_empty());
    let seeds = seeds.map(|seed| {
        let hex = seed.trim_start_matches("0x").trim_end_matches('n');
        u64::from_str_radix(hex, 16).expect("a seed")
    });
    let serial = (0..2000).map(|i| 0x0010_0000_0000_0000 + i);

    let mut lines = Sha256::new();
    let mut checked = 0;
    for (index, bits) in seeds.chain(serial).chain(random_doubles()).enumerate() {
        let value = Value::from(f64::from_bits(bits));
        let written = String::from_utf8(canonical(&value)).expect("UTF-8");
        lines.update(format!("{bits:x},{written}\n"));
        let count = index + 1;
        if [1_000, 10_000, 100_000].contains(&count) {
            let row = format!("| {} | {count} ", hex(&lines.clone().finalize()));
            assert!(
                readme.lines().any(|line| line.starts_with(row.trim_end())),
                "the checksum of the first {count} numbers differs"
            );
            checked += 1;
        }
        if count == 100_000 {
            break;
        }
    }
    assert_eq!(checked, 3);
}

/// A chain of SHA-256 over itself, four doubles from each link, without zero, infinity and NaN.
fn random_doubles() -> impl Iterator<Item = u64> {
    let start: [u8; 32] = Sha256::digest([0; 32]).into();
    std::iter::successors(Some(start), |block| Some(Sha256::digest(block).into()))
        .flat_map(|block| {
            let words: Vec<_> = block
                .as_chunks()
                .0
                .iter()
                .map(|w| u64::from_le_bytes(*w))
                .collect();
            words
        })
        .filter(|bits| {
            let double = f64::from_bits(*bits);
            double != 0.0 && double.is_finite()
        })
}

fn verdict(bytes: &[u8]) -> Result<String, Reason> {
    let value = parse(bytes, MAX_DEPTH).map_err(|error| error.reason)?;
    let written = canonical(&value);
    assert_eq!(
        parse(&written, MAX_DEPTH),
        Ok(value),
        "the canonical form reads back"
    );
    Ok(String::from_utf8(written).expect("the writer emits UTF-8"))
}

fn refusals<'a>(
    verdicts: impl Iterator<Item = (&'a str, &'a Result<String, Reason>)>,
) -> Vec<(&'a str, Reason)> {
    verdicts
        .filter_map(|(name, verdict)| Some((name, *verdict.as_ref().err()?)))
        .collect()
}

fn unhex(text: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(text).expect("hex is ASCII");
    text.split_ascii_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits"))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files of one folder by name; none, said aloud, where the corpora are absent, which on CI
/// is a failure.
fn corpus(folder: &str) -> Option<BTreeMap<String, Vec<u8>>> {
    let shared = std::env::var_os("LAZARET_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let folder = shared.join("corpora").join(folder);
    if !folder.is_dir() {
        let message = format!("NOT TESTED: the corpus {} is absent", folder.display());
        assert!(std::env::var_os("CI").is_none(), "{message}");
        // Not eprintln: the harness would swallow that in a test that passes.
        writeln!(stderr(), "{message}").expect("stderr takes the message");
        return None;
    }
    let entries = fs::read_dir(folder).expect("the corpus can be listed");
    let files = entries
        .map(|entry| entry.expect("the corpus can be listed"))
        .filter(|entry| entry.path().is_file())
        .map(|entry| {
            let name = entry.file_name().into_string().expect("names are UTF-8");
            (name, fs::read(entry.path()).expect("the file can be read"))
        });
    Some(files.collect())
}

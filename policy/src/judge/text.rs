//! Texts as they may stand on the wire of a contract with disclosure rules: one spelling for what
//! looks alike.
//!
//! Unicode normal form C (UAX #15), so that a letter with an accent is written in one way; neither
//! control characters (general category Cc) nor format characters (Cf), which nobody sees and which
//! carry whatever is put into them.

use serde_json::Value;
use unicode_general_category::{GeneralCategory, get_general_category};
use unicode_normalization::is_nfc;

use crate::source::join;

/// Where a value has a text, or a member name, that is not so: a pointer to it, or to the object
/// that has the name. `None` if all are.
///
/// It recurses: values come from [`super::json::parse`], which bounds their depth.
pub(crate) fn first_unclean(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => (!is_clean(text)).then(String::new),
        Value::Array(items) => (items.iter().enumerate())
            .find_map(|(i, item)| first_unclean(item).map(|rest| join("", i) + &rest)),
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            if !is_clean(name) {
                return Some(String::new());
            }
            first_unclean(member).map(|rest| join("", name) + &rest)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Whether a text is in normal form C, without control and format characters.
pub(crate) fn is_clean(text: &str) -> bool {
    if text.is_ascii() {
        return !text.bytes().any(|byte| byte.is_ascii_control());
    }
    let hidden = |c| {
        let category = get_general_category(c);
        matches!(category, GeneralCategory::Control | GeneralCategory::Format)
    };
    !text.chars().any(hidden) && is_nfc(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_composed_and_without_hidden_characters() {
        for (text, clean) in [
            ("", true),
            ("weekend rows left out, ~90 %", true),
            ("\u{e9}t\u{e9} \u{4f60}\u{597d} \u{1f600}", true),
            ("e\u{301}te\u{301}", false),
            ("\u{212b}", false),
            ("tab\t", false),
            ("\u{7f}", false),
            ("\u{85}", false),
            ("\u{e9}\n", false),
            ("zero\u{200b}width", false),
            ("\u{feff}", false),
            ("soft\u{ad}hyphen", false),
            ("\u{202e}right to left", false),
            ("\u{e0041}", false),
        ] {
            assert_eq!(is_clean(text), clean, "{text:?}");
        }
    }

    #[test]
    fn the_place_is_named_and_never_the_name() {
        for (value, place) in [
            (json!({"a": ["x", 1, null], "b": {"c": true}}), None),
            (json!("\u{200b}"), Some("")),
            (json!({"a/b": ["x", "\u{200b}"]}), Some("/a~1b/1")),
            (json!({"a": {"\u{200b}": 1}}), Some("/a")),
        ] {
            assert_eq!(first_unclean(&value).as_deref(), place, "{value}");
        }
    }
}

//! Patterns of contracts with disclosure rules: anchored at both ends, and without classes that
//! one engine reads otherwise than another (ECMA-262 and Rust differ on `\d`, `\w`, `\s`, `\b`).

use regex_syntax::hir::{Hir, Look};
use serde_json::Value;

use super::places::Place;
use super::{Finding, Lint};
use crate::compile::flatten::Flat;
use crate::source::join;

/// How deep a pattern may be nested.
const MAX_NEST: u32 = 64;

pub(super) fn check(lint: &mut Lint<'_>, flat: &Flat, place: &Place<'_>) {
    if let Some(Value::String(pattern)) = place.schema.get("pattern") {
        one(lint, flat, &join(&place.pointer, "pattern"), pattern);
    }
    let names = place.schema.get("patternProperties");
    for pattern in names
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|p| p.keys())
    {
        let at = join(&join(&place.pointer, "patternProperties"), pattern);
        one(lint, flat, &at, pattern);
    }
}

fn one(lint: &mut Lint<'_>, flat: &Flat, pointer: &str, pattern: &str) {
    if let Some(class) = class(pattern) {
        let message = format!("`\\{class}` means different characters to different readers");
        let help = "a list of characters, such as `[0-9]` or `[A-Za-z0-9_]`";
        lint.at_flat(
            flat,
            pointer,
            Finding::error("sdc-pattern-class", message, help),
        );
    }
    if !read(pattern).is_some_and(|hir| is_anchored(&hir)) {
        let message = "the pattern may match a part of the text only";
        let help = "`^` at the beginning and `$` at the end, around all alternatives: `^(?:a|b)$`";
        lint.at_flat(
            flat,
            pointer,
            Finding::error("sdc-pattern-anchor", message, help),
        );
    }
}

fn read(pattern: &str) -> Option<Hir> {
    let mut parser = regex_syntax::ParserBuilder::new()
        .nest_limit(MAX_NEST)
        .build();
    parser.parse(pattern).ok()
}

fn is_anchored(hir: &Hir) -> bool {
    let properties = hir.properties();
    properties.look_set_prefix().contains(Look::Start)
        && properties.look_set_suffix().contains(Look::End)
}

/// The first class that is not the same everywhere.
fn class(pattern: &str) -> Option<char> {
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        if c == '\\'
            && let Some(escaped) = characters.next()
            && "dDwWsSbBpP".contains(escaped)
        {
            return Some(escaped);
        }
    }
    None
}

/// The longest text that an anchored pattern matches, in bytes; `None` if there is no longest.
pub(crate) fn longest(pattern: &str) -> Option<usize> {
    let hir = read(pattern)?;
    hir.properties().maximum_len().filter(|_| is_anchored(&hir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_hold_for_all_alternatives() {
        for (pattern, anchored) in [
            ("^a$", true),
            ("^(?:a|b)$", true),
            ("^a$|^b$", true),
            ("^$", true),
            ("^20[0-9]{2}-W(0[1-9]|[1-4][0-9]|5[0-3])$", true),
            ("^a|b$", false),
            ("a$", false),
            ("^a", false),
            ("^?a$", false),
            ("(?m)^a$", false),
            ("(", false),
            ("", false),
        ] {
            let found = read(pattern).is_some_and(|hir| is_anchored(&hir));
            assert_eq!(found, anchored, "{pattern}");
        }
    }

    #[test]
    fn the_longest_text_is_known_where_there_is_one() {
        assert_eq!(longest("^a{2,5}$"), Some(5));
        assert_eq!(longest("^a+$"), None);
        assert_eq!(longest("a{2}"), None);
    }

    #[test]
    fn classes_are_found_behind_escaped_backslashes_only_where_they_are() {
        assert_eq!(class(r"^\d$"), Some('d'));
        assert_eq!(class(r"^[\w]$"), Some('w'));
        assert_eq!(class(r"^\\d$"), None);
        assert_eq!(class(r"^\.$"), None);
    }
}

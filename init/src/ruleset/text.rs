//! Writes what nft reads.

use std::fmt::Write as _;

/// What a rule matches and does, and why it is there.
pub(super) struct Rule {
    matches: String,
    why: &'static str,
}

pub(super) fn rule(matches: impl Into<String>, why: &'static str) -> Rule {
    Rule {
        matches: matches.into(),
        why,
    }
}

pub(super) fn chain(out: &mut String, name: &str, head: &str, rules: &[Rule]) {
    line(out, 1, &format!("chain {name} {{"));
    // Only a chain that hangs on a hook has one.
    if !head.is_empty() {
        line(out, 2, head);
    }
    for Rule { matches, why } in rules {
        line(out, 2, &format!("{matches} comment \"lazaret: {why}\""));
    }
    line(out, 1, "}");
}

pub(super) fn line(out: &mut String, depth: usize, text: &str) {
    // Writing into a String does not fail.
    let _ = writeln!(out, "{:\t<depth$}{text}", "");
}

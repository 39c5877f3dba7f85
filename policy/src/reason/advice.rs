//! What goes with every reason for people: a situation that it is about, and what to change then.
//!
//! One table for each group of reasons. That every reason has its entry is proven when this is
//! compiled.

use super::{Reason, body, connection, head, ourselves, releases, rules};

/// Reasons that belong together.
pub(super) struct Group {
    pub(super) title: &'static str,
    /// What they have in common: one or two sentences.
    pub(super) about: &'static str,
    pub(super) entries: &'static [Advice],
}

/// What goes with one reason. Both texts are Markdown.
pub(super) struct Advice {
    pub(super) reason: Reason,
    /// A short concrete situation. Made up: no payload of anyone.
    pub(super) example: &'static str,
    /// One sentence: what to change.
    pub(super) fix: &'static str,
}

macro_rules! entries {
    ($( $reason:ident: $example:literal, $fix:literal; )+) => {
        &[ $( Advice {
            reason: crate::Reason::$reason,
            example: $example,
            fix: $fix,
        }, )+ ]
    };
}
pub(super) use entries;

/// All groups, in the order of an exchange.
pub(super) const GROUPS: &[Group] = &[
    connection::GROUP,
    head::GROUP,
    body::GROUP,
    rules::GROUP,
    releases::GROUP,
    ourselves::GROUP,
];

/// What goes with a reason.
pub(super) const fn of(reason: Reason) -> &'static Advice {
    let mut group = 0;
    while group < GROUPS.len() {
        let entries = GROUPS[group].entries;
        let mut entry = 0;
        while entry < entries.len() {
            if entries[entry].reason as u8 == reason as u8 {
                return &entries[entry];
            }
            entry += 1;
        }
        group += 1;
    }
    panic!("a reason is in no group")
}

/// A reason without an entry does not compile.
const _: () = {
    let mut i = 0;
    while i < Reason::ALL.len() {
        let advice = of(Reason::ALL[i]);
        assert!(!advice.example.is_empty() && !advice.fix.is_empty());
        i += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_every_reason_once_in_its_order() {
        let entries = GROUPS.iter().flat_map(|group| group.entries);
        let reasons: Vec<Reason> = entries.map(|advice| advice.reason).collect();
        assert_eq!(reasons, Reason::ALL);
    }

    #[test]
    fn texts_are_sentences_of_one_paragraph() {
        for advice in GROUPS.iter().flat_map(|group| group.entries) {
            for text in [advice.example, advice.fix] {
                let reason = advice.reason;
                assert!(text.ends_with('.'), "{reason}: {text}");
                assert!(!text.contains(['\n', '\t']), "{reason}: {text}");
                assert!(!text.contains("  "), "{reason}: {text}");
                // Code is closed, so that nothing behind it becomes code.
                assert_eq!(text.matches('`').count() % 2, 0, "{reason}: {text}");
            }
        }
    }
}

//! The reason codes, and the page about them.

use std::collections::BTreeSet;
use std::path::Path;

use lazaret_policy::Reason;
use lazaret_policy::reason::reasons_markdown;

/// `LAZARET_BLESS=1` writes the page anew.
#[test]
fn the_page_of_reasons_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reasons.md");
    let current = reasons_markdown();
    if std::env::var_os("LAZARET_BLESS").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(published == current, "run this test with LAZARET_BLESS=1");
}

#[test]
fn every_reason_has_an_example_and_a_fix_and_stands_on_the_page() {
    let page = reasons_markdown();
    for reason in Reason::ALL {
        assert!(!reason.example().is_empty(), "{reason}");
        assert!(!reason.fix().is_empty(), "{reason}");
        let heading = format!("\n### `{reason}`\n\n{}\n", reason.text());
        assert_eq!(page.matches(&heading).count(), 1, "{reason}");
        assert!(page.contains(reason.example()), "{reason}");
        assert!(page.contains(reason.fix()), "{reason}");
    }
}

#[test]
fn codes_are_unique_and_kebab_case() {
    let codes: BTreeSet<&str> = Reason::ALL.iter().map(|r| r.code()).collect();
    assert_eq!(codes.len(), Reason::ALL.len());
    let kebab = |code: &str| {
        let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
        code.split('-').all(word)
    };
    assert!(codes.iter().all(|code| kebab(code)), "{codes:?}");
    for reason in Reason::ALL {
        assert_eq!(Reason::from_code(reason.code()), Some(*reason));
        assert!((400..600).contains(&reason.status()), "{reason}");
        assert!((500..600).contains(&reason.response_status()), "{reason}");
    }
}

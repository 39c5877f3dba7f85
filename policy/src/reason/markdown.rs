//! All reasons as a page for people: `docs/reasons.md`.

use std::fmt::Write as _;

use super::Reason;
use super::advice::{self, GROUPS};

const HEAD: &str = "\
# Reason codes

<!-- Written by `lazaret generate reasons`; a test compares. Change policy/src/reason, not this. -->

Whatever is refused is refused for one of these reasons. The code stands in the answer that the
sender gets (`application/problem+json`, RFC 9457: in `reason`, and in `type` as
`urn:lazaret:reason:CODE`), in the audit record, and in the metrics. A code never changes its meaning.

Each has two HTTP statuses: one when the refused message is a request, towards its sender, and one
when it is a response, towards the caller who waits for it. The pod is told in `violations` which
place of a payload is meant, and what would pass there; nobody is told a value.

`lazaret judge` says beforehand what would become of a payload.
";

/// The page: every reason with its statuses, what it means, an example, and what to change.
pub fn reasons_markdown() -> String {
    let mut page = HEAD.to_owned();
    for group in GROUPS {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {}\n\n{}\n", group.title, group.about);
        for entry in group.entries {
            section(&mut page, entry.reason);
        }
    }
    page
}

fn section(page: &mut String, reason: Reason) {
    let advice::Advice { example, fix, .. } = advice::of(reason);
    let (code, text) = (reason.code(), reason.text());
    let (request, response) = (reason.status(), reason.response_status());
    let _ = write!(
        page,
        "\n### `{code}`\n\n{text}\n\n\
         - Status: {request} for a request, {response} for a response.\n\
         - Example: {example}\n\
         - To do: {fix}\n"
    );
}

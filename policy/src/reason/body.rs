//! Examples and remedies: the form of a body.

use super::advice::{Advice, Group, entries};

pub(super) const GROUP: Group = Group {
    title: "The body",
    about: "Its form: before any rule looks at what it says, a body must be readable in exactly one \
         way.",
    entries: ENTRIES,
};

const ENTRIES: &[Advice] = entries! {
    BodyNotAllowed:
        "A `GET` with a body, where the exchange has no contract for one.",
        "Send no body, or give the exchange a `body` contract.";
    BodyTooLarge:
        "A body of 5 KB, where the contract has `max_bytes: 4KiB`.",
        "Send less, or raise `max_bytes` if aggregates are really that large.";
    BodyTimeout:
        "The body comes so slowly that it takes longer than `--body-timeout`.",
        "Make the body before you send it, then send it at once.";
    BodyIncomplete:
        "`Content-Length: 300`, and the connection closes after 200 bytes.",
        "Send as many bytes as the head says.";
    ContentEncoding:
        "`Content-Encoding: gzip`.",
        "Send the body as it is, not compressed.";
    MediaType:
        "`Content-Type: text/plain`, where the contract has `application/json`.",
        "Send the media type of the contract, without parameters other than `charset=utf-8`.";
    JsonEncoding:
        "A file that an editor has saved as UTF-16, or with a byte order mark.",
        "Write UTF-8 without a byte order mark.";
    JsonSyntax:
        r#"`{"n": NaN}`, a comment, or a comma behind the last member."#,
        "Write the body with a JSON library.";
    JsonTrailingBytes:
        "Two JSON documents one after the other, as in a JSON Lines file.",
        "Send one value, and nothing behind it.";
    JsonDuplicateKey:
        r#"`{"n": 12, "n": 3}`: one reader takes the first, another the last."#,
        "Give each member name once.";
    JsonSurrogate:
        r#"`"\ud83d"`, half of an emoji."#,
        "Send whole characters.";
    JsonNumber:
        "`9007199254740993`, which a double holds as `9007199254740992`.",
        "Send whole numbers up to 2^53-1 in size, and others as a double prints them.";
    JsonDepth:
        "Arrays in arrays, 200 deep, where the contract has `max_depth: 3`.",
        "Send the structure of the contract.";
    SchemaMismatch:
        "A row has a member `patient_id`, which the schema does not list.",
        "Send what the schema describes: the violations name each place and what would fit there.";
    JsonText:
        r#"`"Liguria\u200b"`, with a zero width space at its end."#,
        "Write texts in Unicode normal form C, without control or format characters.";
};

//! Makes and reads lines of the chain. Pure: no files, no clock. The format is described in
//! [`crate::audit`].

use std::fmt;
use std::io::Write;
use std::str::FromStr;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// The longest line that a reader takes.
pub(crate) const MAX_LINE: usize = 1 << 20;

/// What a line has at most besides its record.
pub(crate) const LINE_OVERHEAD: usize = 256;

/// How every line begins; what begins otherwise is not ours.
pub(super) const LINE_START: &[u8] = b"{\"seq\":";

const TS_START: &str = ",\"ts\":\"";
const PREV_START: &str = ",\"prev\":\"";
const HASH_START: &str = ",\"hash\":\"";
const HASH_MEMBER: usize = HASH_START.len() + HEX + "\"}".len();
const PREV_MEMBER: usize = PREV_START.len() + HEX + "\"".len();
const HEX: usize = 64;

const ASCII: &str = "hexadecimal digits are ASCII";

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// Why a text is no [`Digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 lower-case hexadecimal digits")]
pub struct DigestError;

/// The end of a chain: what the next line is chained to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The sequence number of the last line; zero before the first.
    pub seq: u64,
    /// Its hash; zeros before the first.
    pub hash: Digest,
}

/// What a line says about its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its own head: sequence number and hash, which is right.
    pub(crate) head: Head,
    /// The hash that it says the line before has.
    pub(crate) prev: Digest,
    /// Its verdict, if it is about one.
    pub(crate) verdict: Option<String>,
}

/// What is wrong with a line by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// Longer than any line of ours.
    #[error("is longer than {MAX_LINE} bytes")]
    TooLong,
    /// It has no hash at its end, or no other part that each line has.
    #[error("is not a line of an audit log")]
    Form,
    /// Its hash is not that of its content.
    #[error("was edited: its hash does not fit its content")]
    Hash,
    /// Its hash is right, and yet it is no JSON.
    #[error("is not well-formed JSON")]
    Json,
}

#[derive(Deserialize)]
struct Members {
    seq: u64,
    #[serde(default)]
    verdict: Option<String>,
}

/// Appends the line of a record to `out` and returns the new head. `record` is a JSON object with
/// at least one member.
pub(crate) fn stamp(head: Head, ts: &str, record: &[u8], out: &mut Vec<u8>) -> Head {
    const VEC: &str = "writing into a Vec cannot fail";
    let start = out.len();
    let seq = head.seq + 1;
    let members = &record[1..record.len() - 1];
    out.extend_from_slice(LINE_START);
    write!(out, "{seq}{TS_START}{ts}\",").expect(VEC);
    out.extend_from_slice(members);
    out.extend_from_slice(PREV_START.as_bytes());
    head.hash.hex_into(out);
    out.extend_from_slice(b"\"}");
    let hash = Digest::of(&out[start..]);
    out.pop();
    out.extend_from_slice(HASH_START.as_bytes());
    hash.hex_into(out);
    out.extend_from_slice(b"\"}\n");
    Head { seq, hash }
}

/// Reads a line without its line feed, and checks all that can be checked without its neighbours.
pub(crate) fn read(line: &[u8]) -> Result<Link, LineFault> {
    if line.len() > MAX_LINE {
        return Err(LineFault::TooLong);
    }
    let stated = stated_hash(line).ok_or(LineFault::Form)?;
    let content = &line[..line.len() - HASH_MEMBER];
    let mut sha = Sha256::new();
    sha.update(content);
    sha.update(b"}");
    if Digest(sha.finalize().into()) != stated {
        return Err(LineFault::Hash);
    }

    let content = std::str::from_utf8(content).map_err(|_| LineFault::Form)?;
    let seq = stated_seq(line).ok_or(LineFault::Form)?;
    let prev = content
        .len()
        .checked_sub(PREV_MEMBER)
        .and_then(|at| content.get(at..))
        .and_then(|member| member.strip_prefix(PREV_START))
        .and_then(|member| member.strip_suffix('"'))
        .and_then(|hex| hex.parse().ok())
        .ok_or(LineFault::Form)?;
    let members: Members = serde_json::from_slice(line).map_err(|_| LineFault::Json)?;
    if members.seq != seq {
        return Err(LineFault::Form);
    }
    Ok(Link {
        head: Head { seq, hash: stated },
        prev,
        verdict: members.verdict,
    })
}

/// The sequence number that a line states, whether or not the line is right.
pub(super) fn stated_seq(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(LINE_START)?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    // 18 digits leave room to count on, so that no line can make the next number overflow.
    let (digits, rest) = rest.split_at_checked(digits).filter(|_| digits <= 18)?;
    let canonical = !digits.starts_with(b"0") && rest.starts_with(TS_START.as_bytes());
    let digits = std::str::from_utf8(digits).ok()?;
    digits.parse().ok().filter(|_| canonical)
}

/// The hash that a line states, whether or not it is right.
pub(super) fn stated_hash(line: &[u8]) -> Option<Digest> {
    let member = line.get(line.len().checked_sub(HASH_MEMBER)?..)?;
    std::str::from_utf8(member)
        .ok()?
        .strip_prefix(HASH_START)?
        .strip_suffix("\"}")?
        .parse()
        .ok()
}

impl Head {
    /// The head of a chain without a line.
    pub const GENESIS: Self = Self {
        seq: 0,
        hash: Digest([0; 32]),
    };
}

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    fn hex_into(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hex());
    }

    /// As 64 lower-case hexadecimal digits.
    fn hex(self) -> [u8; HEX] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; HEX];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    // Strictly lower case: a line whose hash was re-spelled is an edited line.
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digit = |b: u8| match b {
            b'0'..=b'9' => Ok(b - b'0'),
            b'a'..=b'f' => Ok(b - b'a' + 10),
            _ => Err(DigestError),
        };
        let text: &[u8; HEX] = text.as_bytes().try_into().map_err(|_| DigestError)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).expect(ASCII))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hex = self.hex();
        serializer.serialize_str(std::str::from_utf8(&hex).expect(ASCII))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamped_line_reads_back() {
        let mut out = Vec::new();
        let first = stamp(
            Head::GENESIS,
            "2026-01-31T12:00:00.000000Z",
            br#"{"kind":"start"}"#,
            &mut out,
        );
        let second = stamp(
            first,
            "2026-01-31T12:00:00.000000Z",
            br#"{"kind":"stop","verdict":"refused"}"#,
            &mut out,
        );
        let lines: Vec<_> = out.split(|b| *b == b'\n').collect();
        assert_eq!(lines.len(), 3);
        let link = read(lines[1]).unwrap();
        assert_eq!((link.head, link.prev), (second, first.hash));
        assert_eq!(link.verdict.as_deref(), Some("refused"));
        assert!(lines[0].len() < br#"{"kind":"start"}"#.len() + LINE_OVERHEAD);
    }

    #[test]
    fn a_rightly_hashed_line_of_another_form_is_refused() {
        let hashed = |content: &str| {
            let hash = Digest::of(content.as_bytes());
            let open = content.strip_suffix('}').unwrap();
            read(format!("{open},\"hash\":\"{hash}\"}}").as_bytes())
        };
        let zeros = Head::GENESIS.hash;
        let good = format!(r#"{{"seq":1,"ts":"","kind":"stop","prev":"{zeros}"}}"#);
        assert!(hashed(&good).is_ok());
        assert_eq!(hashed(&good.replace(":1,", ":01,")), Err(LineFault::Form));
        assert_eq!(hashed(&good.replace("prev", "next")), Err(LineFault::Form));
        assert_eq!(
            hashed(&good.replace("kind", "seq\":2,\"kind")),
            Err(LineFault::Json)
        );
        assert_eq!(
            hashed(&good.replace("stop", "st\u{1}p")),
            Err(LineFault::Json)
        );
        assert_eq!(hashed("{}"), Err(LineFault::Form));
    }
}

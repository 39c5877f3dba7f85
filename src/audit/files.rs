//! What lies on the disk: the end of a file of the log, and the rotated files beside it. Reads
//! only.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::LineFault;
use super::chain::{self, Head, LINE_START, MAX_LINE};

/// What a file of the log holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    /// The sequence numbers of its first line and the head behind its last; `None` without a line.
    pub(super) chain: Option<(u64, Head)>,
    /// Bytes up to the last line feed.
    pub(super) whole: u64,
    /// Bytes behind it: what a crash left of a write.
    pub(super) torn: u64,
}

/// Why a file cannot be continued.
#[derive(Debug)]
pub(super) enum Unusable {
    Io(io::Error),
    Line(&'static str, LineFault),
}

/// Reads the first and the last line of a file. Changes nothing, so that a file which is not ours
/// is left as it is.
pub(super) fn examine(file: &File) -> Result<Contents, Unusable> {
    let len = file.metadata()?.len();
    let Some(end) = last_line_feed(file, len)? else {
        return without_a_line(file, len);
    };

    let start = last_line_feed(file, end)?.map_or(0, |at| at + 1);
    let last = chain::read(&line(file, start, end, "last line")?)
        .map_err(|fault| Unusable::Line("last line", fault))?;

    let end_of_first = first_line_feed(file)?;
    let first = chain::read(&line(file, 0, end_of_first, "first line")?)
        .map_err(|fault| Unusable::Line("first line", fault))?;
    let whole = end + 1;
    Ok(Contents {
        chain: Some((first.head.seq, last.head)),
        whole,
        torn: len - whole,
    })
}

/// The rotated files of a log with the sequence number of their first record, oldest first.
pub(super) fn rotated(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let Some(name) = path.file_name() else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for entry in directory(path).read_dir()? {
        let entry = entry?.file_name();
        let seq = entry
            .as_encoded_bytes()
            .strip_prefix(name.as_encoded_bytes())
            .and_then(|rest| rest.strip_prefix(b"."))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(first_seq);
        if let Some(seq) = seq {
            files.push((seq, path.with_file_name(entry)));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The name that a file gets when it is rotated.
pub(super) fn rotated_name(path: &Path, first_seq: u64) -> PathBuf {
    with_suffix(path, &format!(".{first_seq:012}"))
}

/// The sequence number that the name of a rotated file states.
pub(super) fn seq_in_name(path: &Path) -> Option<u64> {
    first_seq(path.extension()?.to_str()?)
}

/// `path` with something behind its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Where a file lies.
pub(super) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn first_seq(digits: &str) -> Option<u64> {
    // Only our own spelling: a copy named `.1` is not a rotated file. No line has more digits.
    let seq = digits.parse().ok()?;
    (digits.len() <= 18 && digits == format!("{seq:012}")).then_some(seq)
}

/// A crash can leave a first line without its end, or zeros where the data never came to the disk.
/// Everything else is someone else's file, and must not be cut off.
fn without_a_line(file: &File, len: u64) -> Result<Contents, Unusable> {
    let mut start = [0; LINE_START.len()];
    let known = usize::try_from(len).map_or(start.len(), |len| len.min(start.len()));
    file.read_exact_at(&mut start[..known], 0)?;
    let start = &start[..known];
    if start != &LINE_START[..known] && start.iter().any(|b| *b != 0) {
        return Err(Unusable::Line("content", LineFault::Form));
    }
    Ok(Contents {
        chain: None,
        whole: 0,
        torn: len,
    })
}

fn line(file: &File, start: u64, end: u64, which: &'static str) -> Result<Vec<u8>, Unusable> {
    let len = usize::try_from(end - start)
        .ok()
        .filter(|len| *len <= MAX_LINE)
        .ok_or(Unusable::Line(which, LineFault::TooLong))?;
    let mut line = vec![0; len];
    file.read_exact_at(&mut line, start)?;
    Ok(line)
}

fn last_line_feed(file: &File, before: u64) -> io::Result<Option<u64>> {
    const CHUNK: u64 = 16 << 10;
    let mut buf = [0; CHUNK as usize];
    let mut end = before;
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        let buf = &mut buf[..(end - start) as usize];
        file.read_exact_at(buf, start)?;
        if let Some(at) = buf.iter().rposition(|b| *b == b'\n') {
            return Ok(Some(start + at as u64));
        }
        end = start;
    }
    Ok(None)
}

/// Where the first line ends; one that is longer than a line may be counts as that long.
fn first_line_feed(file: &File) -> io::Result<u64> {
    let mut buf = [0; 4 << 10];
    let mut start = 0;
    while start <= MAX_LINE as u64 {
        let n = file.read_at(&mut buf, start)?;
        if let Some(at) = buf[..n].iter().position(|b| *b == b'\n') {
            return Ok(start + at as u64);
        }
        if n == 0 {
            break;
        }
        start += n as u64;
    }
    Ok(MAX_LINE as u64 + 1)
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

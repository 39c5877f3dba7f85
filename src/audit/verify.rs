//! Reads a log again and finds what was done to it.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::chain::{self, Digest, Head, LineFault, MAX_LINE};
use super::files;

/// More breaks than these are only counted.
const MAX_BREAKS: usize = 20;

/// A gateway may be writing the log that is read: how often, and how long apart, to look whether a
/// half-written line gets its end, or a rotation its.
const LIVE_RETRIES: u32 = 5;
const LIVE_PAUSE: Duration = Duration::from_millis(20);

/// What is in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Lines that are records.
    pub records: u64,
    /// The number of the first record. More than 1: rotation has deleted those before it.
    pub first_seq: u64,
    /// The number of the last record.
    pub last_seq: u64,
    /// The hash of the last record.
    pub head: Digest,
    /// Records with the verdict `released`.
    pub released: u64,
    /// Records with the verdict `refused`.
    pub refused: u64,
    /// With an expected head: how many records follow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_expected: Option<u64>,
}

/// Why a log is not proven to be whole.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No file was named.
    #[error("no audit log to verify")]
    NoFile,
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no line at all. A gateway writes one when it starts.
    #[error("there is no record in the audit log")]
    Empty,
    /// The chain is broken.
    #[error("{0}")]
    Broken(Box<Broken>),
}

/// Where a chain is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The first places.
    pub breaks: Vec<Break>,
    /// How many there are.
    pub total: u64,
    /// What could be read nevertheless.
    pub report: Report,
}

/// One place where a chain is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Break {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// The number that the line states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// What is wrong.
    #[serde(serialize_with = "as_text")]
    pub fault: Fault,
}

/// What is wrong at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// With the line itself.
    #[error("the line {0}")]
    Line(LineFault),
    /// Records were dropped, or moved elsewhere.
    #[error("records {from} to {to} are missing before it")]
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The record stands too late: it was moved, inserted or doubled.
    #[error("it is out of order: record {expected} should be here")]
    Order {
        /// What should be here.
        expected: u64,
    },
    /// The line before was replaced, or this one belongs to another chain.
    #[error("it does not follow the record before it")]
    Previous,
    /// The file ends without a line feed.
    #[error("the line is cut off")]
    Torn,
    /// The head that was noted is not in the chain: its end was cut off or replaced.
    #[error("no record up to here has the expected hash {0}")]
    HeadMissing(Digest),
}

/// Verifies a log. Several paths are read in the given order as parts of one; to a single path its
/// rotated files are added. `expect` is a hash that was noted earlier, from anywhere in the log:
/// without one, a cut-off end cannot be found.
pub fn verify(paths: &[PathBuf], expect: Option<Digest>) -> Result<Report, VerifyError> {
    let files = match paths {
        [] => return Err(VerifyError::NoFile),
        [path] => with_rotated(path)?,
        paths => paths
            .iter()
            .map(|path| Ok((path.clone(), open(path)?)))
            .collect::<Result<_, VerifyError>>()?,
    };
    let mut walk = Walk::new(&files[0].0, expect);
    let last = files.len() - 1;
    for (n, (path, file)) in files.iter().enumerate() {
        walk.file(path, file, n == last).map_err(read_error(path))?;
    }
    walk.end()
}

/// A walk along the chain.
struct Walk {
    place: (PathBuf, u64),
    expected: Expected,
    head: Option<Digest>,
    report: Report,
    breaks: Vec<Break>,
    total: u64,
}

/// What the next record must be, as far as the lines before tell.
struct Expected {
    seq: u64,
    prev: Option<Digest>,
}

impl Walk {
    fn new(first: &Path, head: Option<Digest>) -> Self {
        // Only the name that rotation gave a file allows it to begin later, so that lines cannot
        // be dropped from the beginning of a log.
        let seq = files::seq_in_name(first).unwrap_or(1);
        Self {
            place: (first.to_owned(), 0),
            expected: Expected {
                seq,
                prev: (seq == 1).then_some(Head::GENESIS.hash),
            },
            head,
            report: Report {
                records: 0,
                first_seq: 0,
                last_seq: 0,
                head: Head::GENESIS.hash,
                released: 0,
                refused: 0,
                after_expected: None,
            },
            breaks: Vec::new(),
            total: 0,
        }
    }

    fn file(&mut self, path: &Path, file: impl Read, live: bool) -> io::Result<()> {
        self.place = (path.to_owned(), 0);
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            if !read_line(&mut reader, &mut line, live)? {
                return Ok(());
            }
            self.place.1 += 1;
            if line.pop_if(|last| *last == b'\n').is_none() && line.len() <= MAX_LINE {
                self.fault(chain::stated_seq(&line), Fault::Torn);
                return Ok(());
            }
            self.line(&line);
        }
    }

    fn line(&mut self, line: &[u8]) {
        let link = match chain::read(line) {
            Ok(link) => link,
            Err(fault) => {
                let (seq, hash) = (chain::stated_seq(line), chain::stated_hash(line));
                self.fault(seq, Fault::Line(fault));
                // An edited record still takes its place, and the next one is chained to the hash
                // that it had. Something that was put in between does not.
                if hash.is_some() || seq == Some(self.expected.seq) {
                    self.expected = Expected {
                        seq: self.expected.seq + 1,
                        prev: hash,
                    };
                }
                return;
            }
        };
        let (seq, expected) = (link.head.seq, &self.expected);
        if seq > expected.seq {
            let (from, to) = (expected.seq, seq - 1);
            self.fault(Some(seq), Fault::Missing { from, to });
        } else if seq < expected.seq {
            let expected = expected.seq;
            self.fault(Some(seq), Fault::Order { expected });
        } else if expected.prev.is_some_and(|prev| prev != link.prev) {
            self.fault(Some(seq), Fault::Previous);
        }
        self.expected = Expected {
            seq: seq + 1,
            prev: Some(link.head.hash),
        };

        let report = &mut self.report;
        if report.records == 0 {
            report.first_seq = seq;
        }
        report.records += 1;
        (report.last_seq, report.head) = (seq, link.head.hash);
        match link.verdict.as_deref() {
            Some("released") => report.released += 1,
            Some("refused") => report.refused += 1,
            _ => (),
        }
        if self.head == Some(link.head.hash) {
            report.after_expected = Some(0);
        } else if let Some(after) = &mut report.after_expected {
            *after += 1;
        }
    }

    fn fault(&mut self, seq: Option<u64>, fault: Fault) {
        self.total += 1;
        if self.breaks.len() < MAX_BREAKS {
            let (path, line) = self.place.clone();
            self.breaks.push(Break {
                path,
                line,
                seq,
                fault,
            });
        }
    }

    fn end(mut self) -> Result<Report, VerifyError> {
        if let Some(head) = self.head
            && self.report.after_expected.is_none()
        {
            self.fault(None, Fault::HeadMissing(head));
        }
        if self.total > 0 {
            return Err(VerifyError::Broken(Box::new(Broken {
                breaks: self.breaks,
                total: self.total,
                report: self.report,
            })));
        }
        if self.report.records == 0 {
            return Err(VerifyError::Empty);
        }
        Ok(self.report)
    }
}

/// Reads up to and with the next line feed. Of a line that is too long only so much is kept that
/// one can see it. False at the end.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>, live: bool) -> io::Result<bool> {
    let limit = MAX_LINE as u64 + 2;
    reader.by_ref().take(limit).read_until(b'\n', line)?;
    let mut retries = 0;
    while live && retries < LIVE_RETRIES && is_torn(line) {
        pause();
        let rest = limit - line.len() as u64;
        reader.by_ref().take(rest).read_until(b'\n', line)?;
        retries += 1;
    }
    if line.len() > MAX_LINE && line.last() != Some(&b'\n') {
        reader.skip_until(b'\n')?;
    }
    Ok(!line.is_empty())
}

fn is_torn(line: &[u8]) -> bool {
    !line.is_empty() && line.len() <= MAX_LINE && line.last() != Some(&b'\n')
}

/// The rotated files of a log and the log itself, all open, so that a gateway which rotates or
/// deletes files meanwhile does not matter.
fn with_rotated(path: &Path) -> Result<Vec<(PathBuf, File)>, VerifyError> {
    for _ in 0..LIVE_RETRIES {
        if let Some(files) = try_with_rotated(path)? {
            return Ok(files);
        }
        pause();
    }
    let busy = io::Error::other("the log is rotated faster than it can be opened");
    Err(read_error(path)(busy))
}

fn try_with_rotated(path: &Path) -> Result<Option<Vec<(PathBuf, File)>>, VerifyError> {
    let rotated = files::rotated(path).map_err(read_error(path))?;
    let mut files = Vec::new();
    for (_, path) in &rotated {
        match File::open(path) {
            Ok(file) => files.push((path.clone(), file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(read_error(path)(error)),
        }
    }
    match File::open(path) {
        Ok(file) => files.push((path.to_owned(), file)),
        // A crash in the middle of a rotation.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !files.is_empty() => (),
        Err(error) => return Err(read_error(path)(error)),
    }
    let again = files::rotated(path).map_err(read_error(path))?;
    Ok((again == rotated).then_some(files))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a file tells no one that it grew, and this runs in a command of its own"
)]
fn pause() {
    std::thread::sleep(LIVE_PAUSE);
}

fn open(path: &Path) -> Result<File, VerifyError> {
    File::open(path).map_err(read_error(path))
}

fn read_error(path: &Path) -> impl FnOnce(io::Error) -> VerifyError {
    let path = path.to_owned();
    |source| VerifyError::Read { path, source }
}

fn as_text<S: serde::Serializer>(fault: &Fault, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(fault)
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.path.display(), self.line)?;
        if let Some(seq) = self.seq {
            write!(f, "record {seq}: ")?;
        }
        fmt::Display::fmt(&self.fault, f)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the audit log is broken in {} places", self.total)?;
        for one in &self.breaks {
            write!(f, "\n{one}")?;
        }
        let more = self.total - self.breaks.len() as u64;
        if more > 0 {
            write!(f, "\nand {more} more")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Lines of a chain, the first of them behind `head`.
    fn chain_from(mut head: Head, n: usize) -> Vec<Vec<u8>> {
        (0..n)
            .map(|_| {
                let mut line = Vec::new();
                let record = br#"{"kind":"exchange","verdict":"released","status":200}"#;
                head = chain::stamp(head, "2026-01-31T12:00:00.000000Z", record, &mut line);
                line
            })
            .collect()
    }

    fn lines(n: usize) -> Vec<Vec<u8>> {
        chain_from(Head::GENESIS, n)
    }

    fn check(content: &[u8]) -> Result<Report, VerifyError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        fs::write(&path, content).unwrap();
        verify(&[path], None)
    }

    fn faults(result: Result<Report, VerifyError>) -> Vec<(u64, Option<u64>, Fault)> {
        match result {
            Err(VerifyError::Broken(broken)) => {
                let one = |b: &Break| (b.line, b.seq, b.fault);
                broken.breaks.iter().map(one).collect()
            }
            other => panic!("not broken: {other:?}"),
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let whole = lines(5).concat();
        let report = check(&whole).unwrap();
        assert_eq!(
            (report.records, report.first_seq, report.last_seq),
            (5, 1, 5)
        );
        assert_eq!((report.released, report.refused), (5, 0));
        // Not from a file, and not as one that may still grow, since these are thousands.
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut edited = whole.clone();
                edited[at] ^= 1 << bit;
                let mut walk = Walk::new(Path::new("audit"), None);
                walk.file(Path::new("audit"), &*edited, false).unwrap();
                assert!(walk.total > 0, "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn every_removed_or_added_byte_is_found() {
        let whole = lines(3).concat();
        for at in 0..whole.len() {
            let removed = [&whole[..at], &whole[at + 1..]].concat();
            faults(check(&removed));
            let added = [&whole[..at], b" ", &whole[at..]].concat();
            faults(check(&added));
        }
    }

    #[test]
    fn dropped_swapped_doubled_and_inserted_lines_are_found() {
        let of = |order: &[usize]| {
            let lines = lines(5);
            faults(check(
                &order
                    .iter()
                    .flat_map(|n| lines[n - 1].clone())
                    .collect::<Vec<_>>(),
            ))
        };
        let missing = |from, to| Fault::Missing { from, to };
        assert_eq!(of(&[2, 3, 4, 5]), [(1, Some(2), missing(1, 1))]);
        assert_eq!(of(&[1, 2, 5]), [(3, Some(5), missing(3, 4))]);
        assert_eq!(
            of(&[1, 2, 2, 3]),
            [(3, Some(2), Fault::Order { expected: 3 })]
        );
        assert_eq!(of(&[1, 3, 2, 4]).len(), 3);

        let lines = lines(5);
        let insert = |line: &[u8]| {
            faults(check(
                &[&lines[..2].concat(), line, &lines[2..].concat()].concat(),
            ))
        };
        assert_eq!(insert(b"{}\n"), [(3, None, Fault::Line(LineFault::Form))]);
        assert_eq!(insert(b"\n"), [(3, None, Fault::Line(LineFault::Form))]);
        // With right hashes, by someone who knows the format.
        let second = chain::read(lines[1].trim_ascii_end()).unwrap().head;
        let forged = chain_from(second, 1).concat();
        assert_eq!(forged, lines[2], "the same record would be the same line");
        let mut forged = Vec::new();
        chain::stamp(second, "", br#"{"kind":"stop"}"#, &mut forged);
        assert_eq!(
            insert(&forged),
            [(4, Some(3), Fault::Order { expected: 4 })]
        );
        let replaced = [&lines[..2].concat(), &*forged, &lines[3..].concat()].concat();
        assert_eq!(faults(check(&replaced)), [(4, Some(4), Fault::Previous)]);
    }

    #[test]
    fn an_edited_record_is_one_break_and_all_breaks_are_reported() {
        let text = String::from_utf8(lines(60).concat()).unwrap();
        let edited = text.replacen("released", "refused", 1);
        let hash = Fault::Line(LineFault::Hash);
        assert_eq!(faults(check(edited.as_bytes())), [(1, Some(1), hash)]);
        let Err(VerifyError::Broken(broken)) =
            check(text.replace("released", "refused").as_bytes())
        else {
            panic!("not broken");
        };
        assert_eq!((broken.breaks.len(), broken.total), (MAX_BREAKS, 60));
        assert!(broken.to_string().ends_with("and 40 more"));
    }

    #[test]
    fn torn_long_and_empty() {
        let mut whole = lines(2).concat();
        whole.pop();
        assert_eq!(faults(check(&whole)), [(2, Some(2), Fault::Torn)]);
        assert!(matches!(check(b""), Err(VerifyError::Empty)));
        assert!(matches!(verify(&[], None), Err(VerifyError::NoFile)));
        for long in [MAX_LINE + 1, 3 * MAX_LINE] {
            let long = [
                &lines(1).concat(),
                &vec![b'x'; long][..],
                b"\n",
                &lines(2)[1],
            ]
            .concat();
            assert_eq!(
                faults(check(&long)),
                [(2, None, Fault::Line(LineFault::TooLong))]
            );
        }
    }

    #[test]
    fn a_cut_off_end_is_found_by_a_noted_head() {
        let dir = tempfile::tempdir().unwrap();
        let path = [dir.path().join("audit")];
        let head = |line: &Vec<u8>| chain::read(line.trim_ascii_end()).unwrap().head.hash;
        let lines = lines(5);
        fs::write(&path[0], lines.concat()).unwrap();
        let report = verify(&path, Some(head(&lines[3]))).unwrap();
        assert_eq!(report.after_expected, Some(1));
        fs::write(&path[0], lines[..3].concat()).unwrap();
        assert!(verify(&path, None).is_ok(), "the chain alone cannot know");
        let expected = head(&lines[3]);
        let found = faults(verify(&path, Some(expected)));
        assert_eq!(found, [(3, None, Fault::HeadMissing(expected))]);
    }

    #[test]
    fn rotated_files_are_found_and_must_fit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let lines = lines(6);
        let old = files::rotated_name(&path, 1);
        let middle = files::rotated_name(&path, 3);
        fs::write(&old, lines[..2].concat()).unwrap();
        fs::write(&middle, lines[2..4].concat()).unwrap();
        fs::write(&path, lines[4..].concat()).unwrap();
        let all = [path.clone()];
        assert_eq!(verify(&all, None).unwrap().records, 6);
        let wrong = [path.clone(), old.clone(), middle.clone()];
        assert!(verify(&wrong, None).is_err());

        // Deleted by rotation: seen, and no break.
        fs::remove_file(&old).unwrap();
        assert_eq!(verify(&all, None).unwrap().first_seq, 3);
        // But no line of what is left may be dropped.
        fs::write(&middle, &lines[3]).unwrap();
        assert_eq!(faults(verify(&all, None)).len(), 1);
        fs::remove_file(&middle).unwrap();
        let missing = Fault::Missing { from: 1, to: 4 };
        assert_eq!(faults(verify(&all, None)), [(1, Some(5), missing)]);
    }
}

//! The payloads of a run, one after the other. Of each, no more is held than shows that it is too
//! large.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::is_stdin;

/// One thing to report.
pub(super) enum Item<'i> {
    /// A payload, cut off one byte behind the most that the contract allows.
    Payload {
        /// The file, and the line if lines are payloads.
        name: &'i str,
        /// The payload, or its beginning.
        body: &'i [u8],
        /// What this took from a file that is read by lines, in bytes.
        read: u64,
    },
    /// A file, or what is left of it.
    Unreadable {
        /// The file.
        name: &'i str,
        /// Why.
        error: &'i str,
    },
}

type Act<'a, B> = dyn FnMut(Item<'_>) -> ControlFlow<B> + 'a;

/// Hands out everything in order.
pub(super) fn each<B>(
    paths: &[PathBuf],
    by_line: bool,
    max_bytes: usize,
    act: &mut Act<'_, B>,
) -> ControlFlow<B> {
    for path in paths {
        let name = path.display().to_string();
        let done = open(path).and_then(|mut file| {
            if by_line {
                lines(&name, &mut file, max_bytes, act)
            } else {
                whole(&name, &mut file, max_bytes, act)
            }
        });
        match done {
            Ok(flow) => flow?,
            Err(error) => {
                let error = explained(path, &error);
                let name = &name;
                act(Item::Unreadable {
                    name,
                    error: &error,
                })?;
            }
        }
    }
    ControlFlow::Continue(())
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    Ok(if is_stdin(path) {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path)?))
    })
}

fn explained(path: &Path, error: &io::Error) -> String {
    if error.kind() == ErrorKind::IsADirectory {
        let path = path.display();
        return format!("it is a directory; name its files, such as {path}/*.json");
    }
    error.to_string()
}

fn whole<B>(
    name: &str,
    file: &mut dyn BufRead,
    max_bytes: usize,
    act: &mut Act<'_, B>,
) -> io::Result<ControlFlow<B>> {
    let mut body = Vec::new();
    file.take(max_bytes as u64 + 1).read_to_end(&mut body)?;
    let body = &body;
    Ok(act(Item::Payload {
        name,
        body,
        read: 0,
    }))
}

fn lines<B>(
    name: &str,
    file: &mut dyn BufRead,
    max_bytes: usize,
    act: &mut Act<'_, B>,
) -> io::Result<ControlFlow<B>> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        let read = next(file, max_bytes, &mut line)?;
        if read == 0 {
            break;
        }
        let flow = act(Item::Payload {
            name: &format!("{name}:{number}"),
            body: &line,
            read,
        });
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Reads a line without its line feed, of which one byte more than allowed is kept. Tells how many
/// bytes it is, with the line feed: none at the end.
fn next(file: &mut dyn BufRead, max_bytes: usize, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    let mut read = 0;
    loop {
        let buffer = match file.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        let room = (max_bytes + 1).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = part.len() + usize::from(end.is_some());
        file.consume(used);
        read += used as u64;
        if end.is_some() || used == 0 {
            return Ok(read);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line, cut off at 4 bytes and one more, through buffers of every size.
    #[test]
    fn lines_are_cut_off_and_counted() {
        for (text, expected) in [
            ("", vec![]),
            ("\n", vec![("", 1)]),
            ("a", vec![("a", 1)]),
            ("a\n", vec![("a", 2)]),
            ("a\n\nb", vec![("a", 2), ("", 1), ("b", 1)]),
            ("1234\nb\n", vec![("1234", 5), ("b", 2)]),
            ("12345\nb\n", vec![("12345", 6), ("b", 2)]),
            ("123456789\nb\n", vec![("12345", 10), ("b", 2)]),
            ("123456789", vec![("12345", 9)]),
            ("a\r\nb", vec![("a\r", 3), ("b", 1)]),
        ] {
            for size in 1..12 {
                let mut file = BufReader::with_capacity(size, text.as_bytes());
                let mut found = Vec::new();
                let mut line = Vec::new();
                loop {
                    let read = next(&mut file, 4, &mut line).unwrap();
                    if read == 0 {
                        break;
                    }
                    found.push((String::from_utf8(line.clone()).unwrap(), read));
                }
                let found: Vec<_> = found.iter().map(|(l, n)| (l.as_str(), *n)).collect();
                assert_eq!(found, expected, "{text:?} {size}");
            }
        }
    }
}

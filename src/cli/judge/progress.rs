//! How far a batch is, for people only: on standard error if that is a terminal, and nowhere else.

use std::io::IsTerminal;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::input::Item;
use super::is_stdin;
use super::report::Tally;

const KNOWN: &str = "{bar:30} {percent:>3} %, {eta} to go: {msg}";
const UNKNOWN: &str = "{spinner} {msg}";

/// A bar, where someone sees it.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    by_line: bool,
}

impl Progress {
    pub(super) fn new(paths: &[PathBuf], by_line: bool, batch: bool) -> Self {
        let seen = batch && std::io::stderr().is_terminal();
        let bar = seen.then(|| {
            bar(if by_line {
                bytes(paths)
            } else {
                Some(paths.len() as u64)
            })
        });
        Self { bar, by_line }
    }

    pub(super) fn advance(&self, item: &Item<'_>, tally: &Tally) {
        let Some(bar) = &self.bar else { return };
        bar.inc(match item {
            Item::Payload { read, .. } if self.by_line => *read,
            Item::Unreadable { .. } if self.by_line => 0,
            _ => 1,
        });
        let (released, refused) = (tally.released, tally.refused);
        bar.set_message(format!("{released} released, {refused} refused"));
    }

    /// Does something to the terminal while the bar is out of the way.
    pub(super) fn aside<T>(&self, act: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(act),
            None => act(),
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(len: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::stderr());
    let template = if len.is_some() { KNOWN } else { UNKNOWN };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The bytes of all files, if they can be told beforehand.
fn bytes(paths: &[PathBuf]) -> Option<u64> {
    let size = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        (!is_stdin(path) && found.is_file()).then_some(found.len())
    };
    paths.iter().map(size).sum()
}

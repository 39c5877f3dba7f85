//! Where lines go. A sink takes a batch of whole lines, and afterwards either has all of them or
//! none; when it cannot promise that any more, it says so and is never used again.

mod file;
mod stream;

use std::io;
use std::sync::Arc;

use super::chain::Head;
use super::{AuditError, AuditSettings, Durability, Step, Target};

pub(super) use file::FileSink;
pub(super) use stream::StreamSink;

/// A file or a stream.
pub(super) enum Sink {
    File(FileSink),
    Stream(StreamSink),
}

/// A sink that was opened, and where its chain stands.
pub(super) struct Opened {
    pub(super) sink: Sink,
    pub(super) head: Head,
    /// Bytes of a half-written line that were cut off.
    pub(super) removed: u64,
}

/// A batch that did not get into the sink.
#[derive(Debug)]
pub(super) struct SinkError {
    pub(super) step: Step,
    pub(super) source: io::Error,
    /// Whether the sink may be used again: its content is what it was before the batch.
    pub(super) intact: bool,
}

impl Sink {
    pub(super) fn open(settings: &AuditSettings) -> Result<Opened, AuditError> {
        let sync = settings.durability == Durability::Fsync;
        match &settings.target {
            Target::Stdout => Ok(Opened {
                sink: Self::Stream(StreamSink::stdout(sync)?),
                head: Head::GENESIS,
                removed: 0,
            }),
            Target::File { path, rotation } => FileSink::open(path, *rotation, sync),
        }
    }

    /// Makes the sink ready for a batch that begins with a line of `len` bytes behind `head`.
    /// Returns how many bytes the batch may have.
    pub(super) fn prepare(&mut self, len: usize, head: Head) -> Result<usize, SinkError> {
        match self {
            Self::File(file) => file.prepare(len, head),
            Self::Stream(_) => Ok(usize::MAX),
        }
    }

    /// Writes whole lines. On success they are as durable as was asked for.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), SinkError> {
        match self {
            Self::File(file) => file.write(lines),
            Self::Stream(stream) => stream.write(lines),
        }
    }
}

impl SinkError {
    fn intact(step: Step) -> impl FnOnce(io::Error) -> Self {
        move |source| Self {
            step,
            source,
            intact: true,
        }
    }

    fn broken(step: Step) -> impl FnOnce(io::Error) -> Self {
        move |source| Self {
            step,
            source,
            intact: false,
        }
    }
}

impl From<SinkError> for AuditError {
    fn from(error: SinkError) -> Self {
        let SinkError {
            step,
            source,
            intact,
        } = error;
        let source = Arc::new(source);
        if intact {
            Self::Write { step, source }
        } else {
            Self::Broken { step, source }
        }
    }
}

//! The handle for those who append, and the one thread that owns the log.
//!
//! A caller turns its record into JSON and puts it into a queue; whoever owns the log takes all
//! there is,
//! adds what chains the lines, writes them by one call, syncs once if it has to, and then tells
//! everyone. So a batch is as large as what came in during the batch before, and a slow disk makes
//! batches larger instead of callers slower.
//!
//! Writing to a file without a sync takes a few microseconds, far less than waking another thread,
//! and on a busy machine that thread may have to wait for a processor while clients wait for it.
//! There the caller itself owns the log for a moment, if nobody else does; if somebody does, that
//! one finds the record in the queue before it lets go. Threads that release payloads do so by an
//! [`Appender`](super::Appender), once for all that is ready in a round of their event loop. Streams and syncs may block for long, and
//! a caller carries other traffic too, so those are always the thread's.
//!
//! When a batch fails, the log is put back to where it was and everyone in it is refused. The next
//! batch tries again, and while there is none the thread tries by itself, so that a log works
//! again soon after the disk does. The first line then is a [`Kind::Recovery`].

use std::iter::Peekable;
use std::mem;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};
use std::vec::Drain;

use tokio::sync::oneshot;

use super::chain::{self, Head, LINE_OVERHEAD};
use super::queue::{Ack, Entry, Queue, Work};
use super::sink::{Opened, Sink};
use super::{AuditError, AuditSettings, Durability, Kind, Record};

/// How much is written at once: enough to make system calls rare, little enough to keep.
const MAX_BATCH: usize = 1 << 20;

/// How often a log that failed, and that no one writes, is tried again.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The audit log. Clones share it. Dropping the last one waits until everything is written.
#[derive(Clone)]
pub struct AuditLog {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Writer>>,
    /// Callers may write themselves.
    inline: bool,
    durability: Durability,
    blocking_timeout: Duration,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Queue,
    health: AtomicU8,
    head: Mutex<Head>,
    lost: AtomicU64,
}

struct Writer {
    shared: Arc<Shared>,
    sink: Sink,
    head: Head,
    broken: Option<AuditError>,
    batch: Vec<Entry>,
    lines: Vec<u8>,
    acks: Vec<Ack>,
}

const HEALTHY: u8 = 0;
const FAILED: u8 = 1;
const BROKEN: u8 = 2;

impl AuditLog {
    /// Opens the log and starts its thread. An existing file is continued if its last line is
    /// right; what a crash has left of a half-written line is removed, which is recorded.
    pub fn open(settings: AuditSettings) -> Result<Self, AuditError> {
        let opened = Sink::open(&settings)?;
        Self::start(opened, &settings)
    }

    /// Hands the record over at once, and resolves when it is as durable as the settings say. On
    /// an error nothing may be released.
    ///
    /// Dropping the future does not take the record back. It has no deadline of its own; whoever
    /// awaits it knows how long a client may wait for a disk that hangs.
    pub fn append(
        &self,
        record: &Record,
    ) -> impl Future<Output = Result<(), AuditError>> + Send + use<> {
        let waits = self.handle.durability != Durability::None || !self.healthy();
        let submitted = if waits {
            let (sender, receiver) = oneshot::channel();
            self.submit(record, Ack::Task(sender))
                .map(|()| Some(receiver))
        } else {
            self.submit(record, Ack::NoOne).map(|()| None)
        };
        async move {
            match submitted? {
                Some(receiver) => receiver.await.unwrap_or(Err(AuditError::Closed)),
                None => Ok(()),
            }
        }
    }

    /// As [`Self::append`] for threads that may block, such as at the start and the end. Waits
    /// for the record and all before it, whatever the durability, but not for ever.
    pub fn append_blocking(&self, record: &Record) -> Result<(), AuditError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.submit(record, Ack::Thread(sender))?;
        let timeout = self.handle.blocking_timeout;
        receiver.recv_timeout(timeout).unwrap_or_else(|error| {
            Err(match error {
                mpsc::RecvTimeoutError::Timeout => AuditError::Timeout(timeout),
                mpsc::RecvTimeoutError::Disconnected => AuditError::Closed,
            })
        })
    }

    /// For a record that nothing depends on, such as of the end of a connection. A failure shows
    /// in [`Self::healthy`] and [`Self::lost`], and in the log when it works again.
    pub fn append_nowait(&self, record: &Record) -> Result<(), AuditError> {
        self.submit(record, Ack::NoOne)
    }

    /// Whether the last batch was written.
    pub fn healthy(&self) -> bool {
        self.handle.shared.health.load(Ordering::Relaxed) == HEALTHY
    }

    /// The last line that is written: what to note elsewhere, so that a cut-off end is found.
    pub fn head(&self) -> Head {
        let head = self.handle.shared.head.lock();
        *head.unwrap_or_else(PoisonError::into_inner)
    }

    /// How many records could not be written, as far as the log does not say so yet.
    pub fn lost(&self) -> u64 {
        self.handle.shared.lost.load(Ordering::Relaxed)
    }

    /// How many records wait for the writer.
    pub fn queued(&self) -> usize {
        self.handle.shared.queue.len()
    }

    /// Whether whoever appends also writes, since that takes no longer than telling the thread.
    pub(super) fn callers_write(&self) -> bool {
        self.handle.inline
    }

    /// The record as it stands in the log, but for what chains it.
    pub(super) fn written_out(&self, record: &Record) -> Result<Vec<u8>, AuditError> {
        record.to_json().inspect_err(|_| {
            self.handle.shared.lost.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Writes a batch of the caller's own, and tells everyone in it.
    pub(super) fn write_batch(&self, batch: &mut Vec<Entry>) {
        match self.handle.writer.lock() {
            Ok(mut writer) => writer.commit(batch),
            Err(_) => {
                self.handle.shared.give_up();
                for entry in batch.drain(..) {
                    entry.ack.send(Err(AuditError::Closed));
                }
            }
        }
        // Whoever did not get the log meanwhile counts on this.
        if self.handle.shared.queue.len() > 0 {
            self.handle.write_what_waits();
        }
    }

    fn submit(&self, record: &Record, ack: Ack) -> Result<(), AuditError> {
        let shared = &self.handle.shared;
        let submitted = record.to_json().and_then(|record| {
            let entry = Entry { record, ack };
            if self.handle.inline {
                shared.queue.push_quietly(entry).map(drop)
            } else {
                shared.queue.push(entry)
            }
        });
        if submitted.is_err() {
            shared.lost.fetch_add(1, Ordering::Relaxed);
        } else if self.handle.inline {
            self.handle.write_what_waits();
        }
        submitted
    }

    fn start(opened: Opened, settings: &AuditSettings) -> Result<Self, AuditError> {
        let shared = Arc::new(Shared {
            queue: Queue::new(settings.queue_records, settings.queue_bytes),
            health: AtomicU8::new(HEALTHY),
            head: Mutex::new(opened.head),
            lost: AtomicU64::new(0),
        });
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            sink: opened.sink,
            head: opened.head,
            broken: None,
            batch: Vec::new(),
            lines: Vec::new(),
            acks: Vec::new(),
        };
        let is_file = matches!(writer.sink, Sink::File(_));
        if opened.removed > 0 {
            tracing::warn!(bytes = opened.removed, "half-written audit line removed");
            let record = Record {
                removed_bytes: Some(opened.removed),
                ..Record::new(Kind::Recovery)
            };
            writer.write_one(record.to_json()?)?;
        }
        let writer = Arc::new(Mutex::new(writer));
        let thread = {
            let (shared, writer) = (Arc::clone(&shared), Arc::clone(&writer));
            let window = match settings.durability {
                Durability::Fsync => settings.group_window,
                Durability::None | Durability::Flush => Duration::ZERO,
            };
            thread::Builder::new()
                .name("audit".into())
                .spawn(move || run(&shared, &writer, window))
                .map_err(|error| AuditError::Thread(Arc::new(error)))?
        };
        Ok(Self {
            handle: Arc::new(Handle {
                shared,
                writer,
                inline: is_file && settings.durability == Durability::Flush,
                durability: settings.durability,
                blocking_timeout: settings.blocking_timeout,
                thread: Some(thread),
            }),
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(thread) = self.thread.take() {
            // A panic was reported by the panic hook, and everyone who waited was refused.
            drop(thread.join());
        }
    }
}

impl Handle {
    /// Owns the log until the queue is empty, unless somebody else does. Whoever fails to get it
    /// has put its record into the queue before, and the owner looks there after it has let go.
    fn write_what_waits(&self) {
        while let Ok(mut writer) = self.writer.try_lock() {
            writer.drain();
            drop(writer);
            if self.shared.queue.len() == 0 {
                return;
            }
        }
        if self.writer.is_poisoned() {
            self.shared.give_up();
        }
    }
}

impl Shared {
    /// The log has failed in a way that is not understood: whoever waits is refused, for good.
    fn give_up(&self) {
        self.health.store(BROKEN, Ordering::Relaxed);
        self.queue.abandon();
    }
}

/// The thread: writes what callers do not write themselves, and tries a failed log again.
fn run(shared: &Arc<Shared>, writer: &Mutex<Writer>, window: Duration) {
    // Also on a panic: whoever waits must be refused, not wait for ever.
    struct End(Arc<Shared>);
    impl Drop for End {
        fn drop(&mut self) {
            self.0.give_up();
        }
    }
    let _end = End(Arc::clone(shared));

    let mut batch = Vec::new();
    loop {
        match shared.queue.take(&mut batch, Some(PROBE_INTERVAL), window) {
            Work::Idle if shared.health.load(Ordering::Relaxed) != FAILED => {}
            Work::Batch | Work::Idle => match writer.lock() {
                Ok(mut writer) => writer.commit(&mut batch),
                Err(_) => break,
            },
            Work::Closed => break,
        }
    }
}

impl Writer {
    /// Writes all that is in the queue.
    fn drain(&mut self) {
        let mut batch = mem::take(&mut self.batch);
        while self.shared.queue.take_now(&mut batch) {
            self.commit(&mut batch);
        }
        self.batch = batch;
    }

    /// Writes a batch, in parts if it is large or the file gets full, and tells everyone.
    fn commit(&mut self, batch: &mut Vec<Entry>) {
        let mut entries = batch.drain(..).peekable();
        loop {
            let written = self.write_some(&mut entries);
            let Err(error) = written else {
                self.acks.drain(..).for_each(|ack| ack.send(Ok(())));
                if entries.peek().is_none() {
                    return;
                }
                continue;
            };
            // What follows would fail alike, and everyone in it has waited long enough.
            let failed: Vec<_> = self
                .acks
                .drain(..)
                .chain(entries.map(|entry| entry.ack))
                .collect();
            self.failed(&error, failed.len());
            for ack in failed {
                ack.send(Err(error.clone()));
            }
            return;
        }
    }

    fn write_some(&mut self, entries: &mut Peekable<Drain<'_, Entry>>) -> Result<(), AuditError> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let lost = self.shared.lost.load(Ordering::Relaxed);
        let failed = self.shared.health.load(Ordering::Relaxed) != HEALTHY;
        let recovery = if failed || lost > 0 {
            let record = Record {
                lost_records: Some(lost),
                ..Record::new(Kind::Recovery)
            };
            Some(record.to_json()?)
        } else {
            None
        };
        let first = recovery.as_ref().or(entries.peek().map(|e| &e.record));
        let Some(first) = first else {
            return Ok(());
        };

        let room = self.sink.prepare(first.len() + LINE_OVERHEAD, self.head)?;
        let room = room.min(MAX_BATCH);
        let ts = timestamp(SystemTime::now());
        let mut head = self.head;
        self.lines.clear();
        if let Some(record) = &recovery {
            head = chain::stamp(head, &ts, record, &mut self.lines);
        }
        while let Some(entry) = entries.next_if(|entry| {
            let len = entry.record.len() + LINE_OVERHEAD;
            self.lines.is_empty() || self.lines.len() + len <= room
        }) {
            head = chain::stamp(head, &ts, &entry.record, &mut self.lines);
            self.acks.push(entry.ack);
        }
        self.sink.write(&self.lines)?;
        self.written(head, lost);
        Ok(())
    }

    fn write_one(&mut self, record: Vec<u8>) -> Result<(), AuditError> {
        let ack = Ack::NoOne;
        let mut one = vec![Entry { record, ack }];
        let written = self.write_some(&mut one.drain(..).peekable());
        self.acks.clear();
        written
    }

    fn written(&mut self, head: Head, lost: u64) {
        self.head = head;
        let shared = &self.shared;
        *shared.head.lock().unwrap_or_else(PoisonError::into_inner) = head;
        shared.lost.fetch_sub(lost, Ordering::Relaxed);
        if shared.health.swap(HEALTHY, Ordering::Relaxed) != HEALTHY {
            tracing::info!(lost, "the audit log works again");
        }
    }

    fn failed(&mut self, error: &AuditError, records: usize) {
        let shared = &self.shared;
        shared.lost.fetch_add(records as u64, Ordering::Relaxed);
        let broken = matches!(error, AuditError::Broken { .. });
        let health = if broken { BROKEN } else { FAILED };
        // Once for each failure, not for each batch of it.
        if shared.health.swap(health, Ordering::Relaxed) != health {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(%error, cause, "nothing is released while the audit log fails");
        }
        if broken {
            self.broken = Some(error.clone());
        }
    }
}

/// A clock before 1970 or after 9999 is wrong anyway, and no reason to stop.
pub(crate) fn timestamp(now: SystemTime) -> String {
    const LATEST: Duration = Duration::from_secs(253_402_300_799);
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or_default().min(LATEST);
    humantime::format_rfc3339_micros(SystemTime::UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::io::Write;
    use std::num::NonZeroU64;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;
    use crate::audit::faults::Faults;
    use crate::audit::sink::{FileSink, StreamSink};
    use crate::audit::{Report, Rotation, Step, Target, Verdict, verify};

    fn settings(path: &Path, durability: Durability) -> AuditSettings {
        AuditSettings {
            durability,
            ..AuditSettings::new(Target::new(path, None))
        }
    }

    fn rotating(path: &Path, max_bytes: u64, keep: usize) -> AuditSettings {
        let max_bytes = NonZeroU64::new(max_bytes).unwrap();
        AuditSettings::new(Target::new(path, Some(Rotation { max_bytes, keep })))
    }

    fn open(path: &Path) -> AuditLog {
        AuditLog::open(settings(path, Durability::Flush)).unwrap()
    }

    fn with_faults(path: &Path, durability: Durability) -> (AuditLog, Arc<Faults>) {
        let sync = durability == Durability::Fsync;
        let opened = FileSink::open(path, None, sync).unwrap();
        let Sink::File(file) = &opened.sink else {
            panic!("not a file");
        };
        let faults = Arc::clone(&file.faults);
        let log = AuditLog::start(opened, &settings(path, durability)).unwrap();
        (log, faults)
    }

    fn record() -> Record {
        Record {
            verdict: Some(Verdict::Released),
            rule: Some("collector".into()),
            ..Record::new(Kind::Exchange)
        }
    }

    fn verified(path: &Path) -> Report {
        verify(&[PathBuf::from(path)], None).unwrap()
    }

    fn wait_until(what: impl Fn() -> bool) {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_secs(20));
            thread::yield_now();
        }
    }

    #[test]
    fn the_chain_runs_on_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        for durability in [Durability::None, Durability::Flush, Durability::Fsync] {
            let log = AuditLog::open(settings(&path, durability)).unwrap();
            log.append_blocking(&Record::new(Kind::Start)).unwrap();
            log.append_nowait(&record()).unwrap();
            log.append_blocking(&Record::new(Kind::Stop)).unwrap();
            let report = verified(&path);
            assert_eq!(
                (log.head().seq, log.head().hash),
                (report.last_seq, report.head)
            );
        }
        let report = verified(&path);
        assert_eq!((report.records, report.released), (9, 3));
    }

    #[test]
    fn the_chain_runs_on_over_rotation_and_old_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        for _ in 0..2 {
            let log = AuditLog::open(rotating(&path, 2000, 3)).unwrap();
            for _ in 0..20 {
                log.append_blocking(&record()).unwrap();
                assert!(fs::metadata(&path).unwrap().len() <= 2000);
            }
        }
        let report = verified(&path);
        assert_eq!(report.last_seq, 40);
        assert!(report.first_seq > 1);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 4);

        // One batch that is much larger than a file.
        let keep_all = dir.path().join("all");
        let log = AuditLog::open(rotating(&keep_all, 2000, 0)).unwrap();
        for _ in 0..500 {
            log.append_nowait(&record()).unwrap();
        }
        log.append_blocking(&record()).unwrap();
        assert_eq!(verified(&keep_all).records, 501);
    }

    #[test]
    fn a_rotation_that_fails_refuses_until_it_succeeds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let log = AuditLog::open(rotating(&path, 1, 0)).unwrap();
        log.append_blocking(&record()).unwrap();
        let in_the_way = dir.path().join("audit.000000000001");
        fs::write(&in_the_way, "").unwrap();
        let error = log.append_blocking(&record()).unwrap_err();
        assert!(
            matches!(
                error,
                AuditError::Write {
                    step: Step::Rotate,
                    ..
                }
            ),
            "{error}"
        );
        assert!(!log.healthy());
        fs::remove_file(&in_the_way).unwrap();
        log.append_blocking(&record()).unwrap();
        drop(log);
        assert_eq!(verified(&path).released, 2);
    }

    #[test]
    fn a_torn_tail_is_removed_and_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        open(&path).append_blocking(&record()).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"seq\":2,\"ts").unwrap();
        drop(file);
        open(&path).append_blocking(&record()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.lines()
                .nth(1)
                .unwrap()
                .contains(r#""kind":"recovery","removed_bytes":12"#)
        );
        assert_eq!(verified(&path).records, 3);
    }

    #[test]
    fn two_writers_of_one_file_are_one_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let log = open(&path);
        let second = || AuditLog::open(settings(&path, Durability::Flush));
        assert!(matches!(second(), Err(AuditError::Locked { .. })));
        let clone = log.clone();
        drop(log);
        assert!(matches!(second(), Err(AuditError::Locked { .. })));
        drop(clone);
        assert!(second().is_ok());
    }

    #[test]
    fn everything_is_acknowledged_once_and_in_one_chain() {
        let dir = tempfile::tempdir().unwrap();
        for durability in [Durability::None, Durability::Flush, Durability::Fsync] {
            let path = dir.path().join(format!("{durability:?}"));
            let log = AuditLog::open(settings(&path, durability)).unwrap();
            let acks = AtomicU64::new(0);
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        tokio::runtime::Builder::new_current_thread()
                            .build()
                            .unwrap()
                            .block_on(async {
                                for _ in 0..1000 {
                                    log.append(&record()).await.unwrap();
                                    acks.fetch_add(1, Ordering::SeqCst);
                                }
                            });
                    });
                }
            });
            assert_eq!(acks.into_inner(), 8000);
            drop(log);
            assert_eq!(verified(&path).released, 8000);
        }
    }

    #[test]
    fn a_full_disk_refuses_and_a_freed_one_recovers() {
        let dir = tempfile::tempdir().unwrap();
        for durability in [Durability::Flush, Durability::Fsync] {
            let path = dir.path().join(format!("{durability:?}"));
            let (log, faults) = with_faults(&path, durability);
            log.append_blocking(&record()).unwrap();
            let before = fs::read(&path).unwrap();
            faults.room.store(100, Ordering::SeqCst);
            for _ in 0..3 {
                let error = log.append_blocking(&record()).unwrap_err();
                assert!(
                    matches!(
                        error,
                        AuditError::Write {
                            step: Step::Write,
                            ..
                        }
                    ),
                    "{error}"
                );
                assert_eq!(fs::read(&path).unwrap(), before, "no torn line");
                assert!(!log.healthy());
            }
            faults.room.store(u64::MAX, Ordering::SeqCst);
            log.append_blocking(&record()).unwrap();
            assert!(log.healthy());
            let text = fs::read_to_string(&path).unwrap();
            assert!(
                text.lines()
                    .nth(1)
                    .unwrap()
                    .contains(r#""kind":"recovery","lost_records":3"#)
            );
            let report = verified(&path);
            assert_eq!((report.records, report.released), (3, 2));
        }
    }

    #[test]
    fn a_log_that_no_one_writes_recovers_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let (log, faults) = with_faults(&path, Durability::None);
        faults.room.store(0, Ordering::SeqCst);
        log.append_nowait(&record()).unwrap();
        wait_until(|| !log.healthy());
        assert_eq!(log.lost(), 1);
        faults.room.store(u64::MAX, Ordering::SeqCst);
        wait_until(|| log.healthy());
        assert_eq!((log.lost(), log.head().seq), (0, 1));
        assert_eq!(verified(&path).records, 1);
    }

    #[tokio::test]
    async fn without_durability_a_failed_log_refuses_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let (log, faults) = with_faults(&path, Durability::None);
        faults.room.store(0, Ordering::SeqCst);
        log.append(&record()).await.unwrap();
        wait_until(|| !log.healthy());
        log.append(&record()).await.unwrap_err();
        faults.room.store(u64::MAX, Ordering::SeqCst);
        log.append(&record()).await.unwrap();
        assert!(log.healthy());
    }

    #[test]
    fn after_a_failed_sync_only_what_was_synced_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let (log, faults) = with_faults(&path, Durability::Fsync);
        log.append_blocking(&record()).unwrap();
        let before = fs::read(&path).unwrap();
        faults.sync_fails.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            let error = log.append_blocking(&record()).unwrap_err();
            assert!(
                matches!(
                    error,
                    AuditError::Write {
                        step: Step::Sync,
                        ..
                    }
                ),
                "{error}"
            );
            assert_eq!(fs::read(&path).unwrap(), before);
        }
        faults.sync_fails.store(false, Ordering::SeqCst);
        log.append_blocking(&record()).unwrap();
        let second = AuditLog::open(settings(&path, Durability::Fsync));
        assert!(
            matches!(second, Err(AuditError::Locked { .. })),
            "reopening kept the lock"
        );
        assert_eq!(verified(&path).released, 2);
    }

    #[test]
    fn what_cannot_be_taken_back_ends_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let (log, faults) = with_faults(&path, Durability::Flush);
        log.append_blocking(&record()).unwrap();
        faults.set_len_fails.store(true, Ordering::SeqCst);
        faults.room.store(100, Ordering::SeqCst);
        let broken = |error| {
            matches!(
                error,
                AuditError::Broken {
                    step: Step::Rollback,
                    ..
                }
            )
        };
        assert!(broken(log.append_blocking(&record()).unwrap_err()));
        faults.set_len_fails.store(false, Ordering::SeqCst);
        faults.room.store(u64::MAX, Ordering::SeqCst);
        assert!(broken(log.append_blocking(&record()).unwrap_err()));
        drop(log);
        open(&path).append_blocking(&record()).unwrap();
        assert_eq!(verified(&path).records, 3, "a restart removes what is torn");
    }

    #[test]
    fn a_file_that_someone_touches_is_not_written_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let touch: [&dyn Fn(); 3] = [
            &|| fs::remove_file(&path).unwrap(),
            &|| File::create(&path).map(drop).unwrap(),
            &|| {
                let mut file = OpenOptions::new().append(true).open(&path).unwrap();
                file.write_all(b"{}\n").unwrap();
            },
        ];
        for touch in touch {
            let log = open(&path);
            log.append_blocking(&record()).unwrap();
            touch();
            let error = log.append_blocking(&record()).unwrap_err();
            assert!(
                matches!(
                    error,
                    AuditError::Broken {
                        step: Step::Check,
                        ..
                    }
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn a_full_device_refuses() {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let sink = Sink::Stream(StreamSink::new(file, false).unwrap());
        let (head, removed) = (Head::GENESIS, 0);
        let opened = Opened {
            sink,
            head,
            removed,
        };
        let log = AuditLog::start(opened, &AuditSettings::new(Target::Stdout)).unwrap();
        for _ in 0..2 {
            let error = log.append_blocking(&record()).unwrap_err();
            assert!(
                matches!(
                    error,
                    AuditError::Write {
                        step: Step::Write,
                        ..
                    }
                ),
                "{error}"
            );
        }
        assert_eq!(log.head(), Head::GENESIS);
    }

    #[test]
    fn a_pipe_without_a_reader_refuses_and_cannot_be_synced() {
        let (reader, writer) = std::io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        assert!(StreamSink::new(file.try_clone().unwrap(), true).is_err());
        let sink = Sink::Stream(StreamSink::new(file, false).unwrap());
        let (head, removed) = (Head::GENESIS, 0);
        let opened = Opened {
            sink,
            head,
            removed,
        };
        let log = AuditLog::start(opened, &AuditSettings::new(Target::Stdout)).unwrap();
        log.append_blocking(&record()).unwrap();
        drop(reader);
        log.append_blocking(&record()).unwrap_err();
        assert!(!log.healthy());
    }

    #[test]
    fn a_full_queue_refuses_at_once() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let sink = Sink::Stream(StreamSink::new(file, false).unwrap());
        let (head, removed) = (Head::GENESIS, 0);
        let opened = Opened {
            sink,
            head,
            removed,
        };
        let settings = AuditSettings {
            queue_records: 500,
            blocking_timeout: Duration::from_millis(10),
            ..AuditSettings::new(Target::Stdout)
        };
        let log = AuditLog::start(opened, &settings).unwrap();
        // No one reads, so that the writer hangs as soon as the pipe is full.
        let mut accepted = 0;
        let error = loop {
            match log.append_nowait(&record()) {
                Ok(()) => accepted += 1,
                Err(error) => break error,
            }
            assert!(accepted < 100_000);
        };
        assert!(
            matches!(error, AuditError::QueueFull { records: 500, .. }),
            "{error}"
        );
        assert_eq!(log.lost(), 1);
        // Dropping the log would wait for the pipe.
        std::mem::forget(log);
    }

    #[test]
    fn a_hanging_writer_is_not_waited_for_for_ever() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let sink = Sink::Stream(StreamSink::new(file, false).unwrap());
        let (head, removed) = (Head::GENESIS, 0);
        let opened = Opened {
            sink,
            head,
            removed,
        };
        let settings = AuditSettings {
            blocking_timeout: Duration::from_millis(100),
            ..AuditSettings::new(Target::Stdout)
        };
        let log = AuditLog::start(opened, &settings).unwrap();
        for _ in 0..1000 {
            log.append_nowait(&record()).unwrap();
        }
        let error = log.append_blocking(&record()).unwrap_err();
        assert!(matches!(error, AuditError::Timeout(_)), "{error}");
        std::mem::forget(log);
    }

    #[test]
    fn standard_tools_verify_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let log = open(&path);
        for _ in 0..3 {
            log.append_blocking(&record()).unwrap();
        }
        drop(log);
        // The commands are those of the documentation, to the letter.
        let docs: Vec<_> = include_str!("../audit.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//!"))
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect();
        let docs = docs.join("\n");
        let commands: Vec<_> = docs
            .split("```sh\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap())
            .collect();
        assert_eq!(commands.len(), 2);
        let run = |command: &str| {
            let mut shell = Command::new("bash");
            shell
                .args(["-c", command])
                .current_dir(&dir)
                .stderr(Stdio::null());
            let output = shell.output().unwrap();
            output.status.success() && output.stdout.is_empty()
        };
        assert!(commands.iter().all(|command| run(command)));
        let edited = fs::read_to_string(&path)
            .unwrap()
            .replacen("released", "refused", 1);
        fs::write(&path, edited).unwrap();
        assert!(!commands.iter().any(|command| run(command)));
    }

    #[test]
    fn a_clock_that_is_wrong_does_not_stop_the_log() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(
            timestamp(epoch - Duration::from_secs(1)),
            "1970-01-01T00:00:00.000000Z"
        );
        let late = epoch + Duration::from_secs(1 << 40);
        assert_eq!(timestamp(late), "9999-12-31T23:59:59.000000Z");
    }
}

//! A thread's own way into the log. What a thread appends within one round of its event loop is
//! written by one call: each caller steps back once, so that all who are ready at the same time
//! have handed in their records when the first of them writes for all.

use std::cell::RefCell;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use super::queue::{Ack, Entry};
use super::{AuditError, AuditLog, Record};

/// How long a record may wait for the log's own thread. A disk that hangs must not hold every
/// exchange.
const TIMEOUT: Duration = Duration::from_secs(5);

/// See the module. For one thread.
pub struct Appender {
    log: AuditLog,
    /// Records of this round.
    waiting: RefCell<Vec<Entry>>,
}

/// A caller that has handed in its record.
struct Round<'a> {
    appender: &'a Appender,
    written: Arc<OnceLock<Result<(), AuditError>>>,
    stepped_back: bool,
}

impl Appender {
    /// For the thread that calls.
    pub fn new(log: AuditLog) -> Self {
        Self {
            log,
            waiting: RefCell::default(),
        }
    }

    /// Resolves when the record is as durable as the settings say.
    ///
    /// # Errors
    /// The record is not in the log: nothing may be released.
    pub async fn append(&self, record: &Record) -> Result<(), AuditError> {
        if !self.log.callers_write() {
            let appending = self.log.append(record);
            let in_time = tokio::time::timeout(TIMEOUT, appending).await;
            return in_time.unwrap_or(Err(AuditError::Timeout(TIMEOUT)));
        }
        let record = self.log.written_out(record)?;
        let written = Arc::new(OnceLock::new());
        let ack = Ack::Slot(Arc::clone(&written));
        self.waiting.borrow_mut().push(Entry { record, ack });
        let round = Round {
            appender: self,
            written,
            stepped_back: false,
        };
        round.await
    }

    fn write(&self) {
        let mut batch = mem::take(&mut *self.waiting.borrow_mut());
        self.log.write_batch(&mut batch);
        // Its memory serves the next round.
        *self.waiting.borrow_mut() = batch;
    }
}

impl Future for Round<'_> {
    type Output = Result<(), AuditError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.written.get().is_none() {
            if !mem::replace(&mut self.stepped_back, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.appender.write();
        }
        let written = self.written.get().cloned();
        Poll::Ready(written.unwrap_or(Err(AuditError::Closed)))
    }
}

/// A caller that goes away does not take its record back.
impl Drop for Round<'_> {
    fn drop(&mut self) {
        if self.written.get().is_none() {
            self.appender.write();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use super::*;
    use crate::audit::{AuditSettings, Kind, Target, verify};

    #[test]
    fn a_round_is_one_batch_and_nobody_takes_a_record_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let log = AuditLog::open(AuditSettings::new(Target::new(&path, None))).unwrap();
        let appender = Appender::new(log.clone());
        let record = Record::new(Kind::Exchange);
        let mut cx = Context::from_waker(Waker::noop());
        {
            let mut first = pin!(appender.append(&record));
            let mut second = pin!(appender.append(&record));
            assert!(first.as_mut().poll(&mut cx).is_pending());
            assert!(second.as_mut().poll(&mut cx).is_pending());
            assert_eq!(log.head().seq, 0);
            assert!(matches!(second.poll(&mut cx), Poll::Ready(Ok(()))));
            assert_eq!(log.head().seq, 2);
            assert!(matches!(first.poll(&mut cx), Poll::Ready(Ok(()))));
        }
        {
            let mut left = pin!(appender.append(&record));
            assert!(left.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(log.head().seq, 3);
        assert_eq!(verify(&[path], None).unwrap().records, 3);
    }
}

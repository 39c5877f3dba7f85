//! The present, unless the clock jumped ahead.
//!
//! A ledger forgets by the clock: one that is set ahead has all windows and horizons pass at once,
//! and the entries pruned, for all replicas. What is past cannot be asked back, so a jump is found
//! before the ledger hears of it: the time of day may not go faster than the time since the machine
//! started (`CLOCK_BOOTTIME`), which nobody sets and which runs on while the machine sleeps. The
//! beginning of both is when the ledger was opened; a ledger on a server is another witness then.
//!
//! A clock that goes back is not looked for: time in a ledger never does.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use super::LedgerError;

/// By how much the clock may have been set ahead in all. Corrections of a clock that is kept are far
/// below, and every window and horizon that matters is far above.
const TOLERANCE: Duration = Duration::from_secs(300);

/// Both clocks at the beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    wall: SystemTime,
    boot: Duration,
}

impl Clock {
    /// Begins now. `witness` is what another clock says.
    ///
    /// # Errors
    /// The own one is far ahead of it.
    pub(super) fn start(witness: Option<SystemTime>) -> Result<Self, LedgerError> {
        let clock = Self {
            wall: SystemTime::now(),
            boot: boot(),
        };
        match witness.and_then(|other| ahead(clock.wall, other)) {
            Some(ahead) => Err(LedgerError::ClockAhead(ahead)),
            None => Ok(clock),
        }
    }

    /// The present.
    ///
    /// # Errors
    /// The clock jumped ahead.
    pub(super) fn now(&self) -> Result<SystemTime, LedgerError> {
        self.at(SystemTime::now(), boot())
    }

    fn at(&self, wall: SystemTime, boot: Duration) -> Result<SystemTime, LedgerError> {
        let expected = self.wall + boot.saturating_sub(self.boot);
        match ahead(wall, expected) {
            Some(ahead) => Err(LedgerError::ClockJumped(ahead)),
            None => Ok(wall),
        }
    }
}

/// By how many seconds, if it is more than may be.
fn ahead(wall: SystemTime, expected: SystemTime) -> Option<u64> {
    let ahead = wall.duration_since(expected).unwrap_or_default();
    (ahead > TOLERANCE).then_some(ahead.as_secs())
}

fn boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_no_faster_than_the_machine_runs() {
        let day = |n: f64| Duration::from_secs_f64(n * 86_400.0);
        let wall = SystemTime::UNIX_EPOCH + day(20_000.0);
        let clock = Clock {
            wall,
            boot: day(3.0),
        };
        let second = Duration::from_secs(1);
        for (now, boot, right) in [
            (wall, day(3.0), true),
            (wall + day(400.0), day(403.0), true),
            (wall + day(400.0), day(3.0), false),
            (wall + day(400.0), day(402.9), false),
            (wall + TOLERANCE, day(3.0), true),
            (wall + TOLERANCE + second, day(3.0), false),
            // Back is for the ledger to keep.
            (wall - day(400.0), day(3.0), true),
            (SystemTime::UNIX_EPOCH, day(403.0), true),
            (wall, day(1.0), true),
        ] {
            assert_eq!(clock.at(now, boot).is_ok(), right, "{now:?} {boot:?}");
        }
        assert!(Clock::start(None).unwrap().now().is_ok());
        assert!(Clock::start(Some(SystemTime::now())).is_ok());
        let past = SystemTime::now() - 2 * TOLERANCE;
        assert!(matches!(
            Clock::start(Some(past)),
            Err(LedgerError::ClockAhead(600))
        ));
    }
}

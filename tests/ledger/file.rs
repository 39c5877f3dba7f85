//! The ledger in a file: whose it is, crashes, full disks, and what is done to the file.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use lazaret::ledger::{LedgerError, LedgerHandle, open, verify};
use lazaret_policy::Reason;

use super::child::{Process, differencing_of_many, large};
use super::common::Random;
use super::{count, differencing, fresh, path, reason, reserve};

#[test]
fn a_reservation_survives_the_kill_of_its_process() {
    let (_dir, location) = fresh();
    for round in 0..3 {
        let mut process = Process::start("reserve", &location.to_string(), "");
        let seq: u64 = process.says().parse().unwrap();
        assert_eq!(seq, round + 1);
        process.kill();
        let ledger = LedgerHandle::open(&location).unwrap();
        let rule = differencing();
        assert_eq!(
            reason(&ledger, &rule, &count(40, 121), 0),
            Some(Reason::SdcDifferencing)
        );
        drop(ledger);
        let report = verify(&mut *open(&location).unwrap(), None).unwrap();
        assert_eq!((report.entries, report.open), (round + 1, round + 1));
    }
}

#[test]
fn one_process_has_it_open() {
    let (_dir, location) = fresh();
    drop(LedgerHandle::open(&location).unwrap());
    let mut all: Vec<_> = (0..8)
        .map(|_| Process::start("open", &location.to_string(), ""))
        .collect();
    let said: Vec<_> = all.iter_mut().map(Process::says).collect();
    let opened = said.iter().filter(|said| *said == "open").count();
    let locked = said
        .iter()
        .filter(|said| said.contains("another process"))
        .count();
    assert_eq!((opened, locked), (1, 7), "{said:?}");
    for process in all {
        assert!(process.end().success());
    }
    assert!(LedgerHandle::open(&location).is_ok());
}

#[test]
fn a_full_disk_refuses_and_keeps_what_is_there() {
    let (_dir, location) = fresh();
    // No file may grow beyond 8 MiB; writing fails instead of killing.
    let limit = "trap '' XFSZ; ulimit -f 8192;";
    let mut process = Process::start("fill", &location.to_string(), limit);
    for _ in 0..3 {
        let why = process.says();
        assert!(why.contains("could not be read or written"), "{why}");
        assert_eq!(process.says(), "false", "the ledger is not healthy");
    }
    let passed: u64 = process.says().parse().unwrap();
    assert!(passed > 10, "{passed}");
    assert!(process.end().success());
    // With room again, all is remembered, and it goes on.
    let ledger = LedgerHandle::open(&location).unwrap();
    let rule = differencing_of_many();
    assert!(reserve(&ledger, &rule, &large(passed), 0).is_ok());
    drop(ledger);
    let report = verify(&mut *open(&location).unwrap(), None).unwrap();
    assert_eq!(report.entries, passed + 1);
}

#[test]
fn a_file_that_others_can_touch_is_refused() {
    let private = |location| match LedgerHandle::open(location).map(drop) {
        Err(LedgerError::NotPrivate { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let (dir, location) = fresh();
    drop(LedgerHandle::open(&location).unwrap());
    let file = path(&location);
    let mode = fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let set = |path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    for wrong in [0o640, 0o604, 0o660, 0o602] {
        set(file, wrong);
        assert!(private(&location).contains("0600"));
    }
    set(file, 0o600);
    for wrong in [0o770, 0o707, 0o1777] {
        set(dir.path(), wrong);
        assert!(private(&location).contains("0700"));
    }
    set(dir.path(), 0o700);
    let second = dir.path().join("second");
    fs::hard_link(file, &second).unwrap();
    assert!(private(&location).contains("another name"));
    fs::rename(&second, dir.path().join("moved")).unwrap();
    fs::remove_file(file).unwrap();
    symlink(dir.path().join("moved"), file).unwrap();
    assert!(matches!(
        LedgerHandle::open(&location).map(drop),
        Err(LedgerError::Open { .. })
    ));
    fs::remove_file(file).unwrap();
    fs::write(file, "").unwrap();
    set(file, 0o600);
    assert!(private(&location).contains("empty"));
    fs::remove_file(file).unwrap();
    fs::create_dir(file).unwrap();
    assert!(LedgerHandle::open(&location).is_err());
    if nix::unistd::geteuid().is_root() {
        fs::remove_dir(file).unwrap();
        drop(LedgerHandle::open(&location).unwrap());
        chown(file, Some(12_345), None).unwrap();
        assert!(private(&location).contains("another owner"));
        chown(file, Some(0), None).unwrap();
        chown(dir.path(), Some(12_345), None).unwrap();
        assert!(private(&location).contains("another owner"));
    }
}

#[test]
fn a_directory_is_made_for_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("ledger");
    let location = lazaret::ledger::Location::File(inner.join("releases"));
    drop(LedgerHandle::open(&location).unwrap());
    let mode = fs::metadata(&inner).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn another_file_is_no_ledger() {
    let (_dir, location) = fresh();
    for content in ["{}\n", "redb", &"x".repeat(100_000)] {
        fs::write(path(&location), content).unwrap();
        fs::set_permissions(path(&location), Permissions::from_mode(0o600)).unwrap();
        let error = LedgerHandle::open(&location).map(drop).unwrap_err();
        assert!(matches!(error, LedgerError::Corrupt(_)), "{error}");
    }
}

#[test]
fn a_flipped_bit_is_found_or_changes_nothing() {
    let (_dir, location) = fresh();
    let ledger = LedgerHandle::open(&location).unwrap();
    let rule = differencing();
    for week in 0..50 {
        let _ = reserve(&ledger, &rule, &count(week, 100), 0).unwrap();
    }
    drop(ledger);
    let file = path(&location);
    let good = fs::read(file).unwrap();
    let mut random = Random::new(7);
    let mut found = 0;
    for _ in 0..60 {
        let mut bad = good.clone();
        let used = bad.len();
        let at = random.below(used);
        bad[at] ^= 1 << random.below(8);
        fs::write(file, &bad).unwrap();
        // Whatever was hit: it is refused, or everything is still there.
        let opened = std::panic::catch_unwind(|| open(&location));
        let Ok(Ok(mut ledger)) = opened else {
            found += 1;
            continue;
        };
        let report = verify(&mut *ledger, None).unwrap();
        assert_eq!(report.entries, 50, "at {at}");
        drop(ledger);
        let ledger = LedgerHandle::open(&location).unwrap();
        for week in [0, 25, 49] {
            let near = reason(&ledger, &rule, &count(week, 101), 0);
            assert_eq!(near, Some(Reason::SdcDifferencing), "at {at}");
        }
    }
    assert!(found > 0, "no flip hit anything that is used");
    let half = good.len() / 2;
    fs::write(file, &good[..half]).unwrap();
    let cut = std::panic::catch_unwind(|| open(&location).map(drop));
    assert!(!matches!(cut, Ok(Ok(()))), "half a file");
}

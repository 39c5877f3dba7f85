//! The ledger on a real PostgreSQL server: replicas, and a server that fails.

use lazaret::ledger::{LedgerError, LedgerHandle, Location, NotReserved, open, verify};
use lazaret_policy::Reason;
use serde_json::json;

use super::child::{Process, ROUNDS};
use super::postgres::Server;
use super::{count, differencing, reason, reserve, rule};

#[test]
fn eight_processes_race_for_the_last_unit() {
    let server = Server::start(false);
    let url = server.database("race");
    // All eight begin with an empty server: they migrate it at the same time, too.
    let mut all: Vec<_> = (0..8).map(|_| Process::start("race", &url, "")).collect();
    for round in 0..ROUNDS {
        for process in &mut all {
            assert_eq!(process.says(), "ready");
        }
        all.iter_mut().for_each(Process::go);
        let mut said: Vec<_> = all.iter_mut().map(Process::says).collect();
        said.sort();
        let mut expected = vec!["sdc-budget-releases"; 7];
        expected.push("won");
        assert_eq!(said, expected, "round {round}");
    }
    for process in all {
        assert!(process.end().success());
    }
    let report = verify(&mut *open(&url.parse().unwrap()).unwrap(), None).unwrap();
    assert_eq!(report.entries, u64::from(ROUNDS));
}

#[test]
fn a_reservation_survives_the_kill_of_its_process_and_of_the_server() {
    let mut server = Server::start(true);
    let url = server.database("crash");
    let mut process = Process::start("reserve", &url, "");
    assert_eq!(process.says(), "1");
    process.kill();
    server.stop();
    server.run();
    let location: Location = url.parse().unwrap();
    let ledger = LedgerHandle::open(&location).unwrap();
    let near = reason(&ledger, &differencing(), &count(40, 121), 0);
    assert_eq!(near, Some(Reason::SdcDifferencing));
    let report = verify(&mut *open(&location).unwrap(), None).unwrap();
    assert_eq!((report.entries, report.open), (1, 1));
}

#[test]
fn a_server_that_is_gone_refuses_until_it_is_back() {
    let mut server = Server::start(false);
    let url = server.database("gone");
    let location: Location = url.parse().unwrap();
    let ledger = LedgerHandle::open(&location).unwrap();
    let rule = differencing();
    assert_eq!(reason(&ledger, &rule, &count(1, 100), 0), None);
    server.stop();
    for _ in 0..2 {
        let error = reserve(&ledger, &rule, &count(2, 100), 0).unwrap_err();
        assert_eq!(error.reason(), Reason::LedgerUnavailable);
        assert!(
            error.to_string().contains("server cannot be used"),
            "{error}"
        );
        assert!(!ledger.healthy());
    }
    assert!(LedgerHandle::open(&location).is_err());
    server.run();
    assert_eq!(reason(&ledger, &rule, &count(2, 100), 0), None);
    assert_eq!(
        reason(&ledger, &rule, &count(1, 101), 0),
        Some(Reason::SdcDifferencing)
    );
    // A restart between two requests is not even noticed.
    server.stop();
    server.run();
    assert_eq!(reason(&ledger, &rule, &count(3, 100), 0), None);
    assert!(ledger.healthy());
}

#[test]
fn a_server_that_hangs_or_says_no_refuses() {
    let server = Server::start(false);
    let location: Location = server.database("hangs").parse().unwrap();
    let ledger = LedgerHandle::open(&location).unwrap();
    let rule = differencing();
    assert_eq!(reason(&ledger, &rule, &count(1, 100), 0), None);
    // Someone holds the lock.
    let mut other = open(&location).unwrap();
    let tx = other.begin().unwrap();
    let error = reserve(&ledger, &rule, &count(2, 100), 0).unwrap_err();
    assert!(error.to_string().contains("lock timeout"), "{error}");
    drop(tx);
    drop(other);
    assert_eq!(reason(&ledger, &rule, &count(2, 100), 0), None);
    // A full disk, as far as the ledger can tell.
    let sql = "CREATE FUNCTION out_of_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
               RAISE disk_full; END $$; CREATE TRIGGER out_of_disk BEFORE INSERT ON lazaret.cell \
               EXECUTE FUNCTION out_of_disk()";
    server.psql("hangs", sql).unwrap();
    let error = reserve(&ledger, &rule, &count(3, 100), 0).unwrap_err();
    assert!(error.to_string().contains("disk"), "{error}");
    server
        .psql("hangs", "DROP TRIGGER out_of_disk ON lazaret.cell")
        .unwrap();
    assert_eq!(
        reason(&ledger, &rule, &count(3, 101), 0),
        None,
        "nothing of it was kept"
    );
    let report = verify(&mut *open(&location).unwrap(), None).unwrap();
    assert_eq!(report.entries, 3);
}

#[test]
fn what_is_done_to_the_tables_is_found() {
    let server = Server::start(false);
    for (i, sql) in [
        "UPDATE lazaret.line SET line = convert_to(replace(convert_from(line, 'UTF8'), \
         'pharma-x', 'pharma-y'), 'UTF8') WHERE seq = 3",
        "DELETE FROM lazaret.line WHERE seq = 3",
        "DELETE FROM lazaret.line WHERE seq = 1",
        "DELETE FROM lazaret.line WHERE seq = 5",
        "DELETE FROM lazaret.line",
        "DELETE FROM lazaret.cell WHERE first = 2",
        "UPDATE lazaret.cell SET lo = lo - 50, hi = hi - 50 WHERE first = 2",
        "UPDATE lazaret.cell SET time = 0 WHERE first = 2",
        "DELETE FROM lazaret.width",
        "UPDATE lazaret.sums SET own = '{0,0,0,0}' WHERE seq = 4",
        "UPDATE lazaret.sums SET before = '{9,9,9,9}' WHERE seq = 4",
        "DELETE FROM lazaret.sums WHERE seq = 5",
        "DELETE FROM lazaret.payload WHERE first = 1",
        "DELETE FROM lazaret.scope WHERE seq = 1",
        "UPDATE lazaret.part SET consumer = 'nobody'",
        "UPDATE lazaret.state SET head_seq = 4",
        "UPDATE lazaret.state SET anchor_seq = 1",
        "UPDATE lazaret.state SET head_hash = decode(repeat('11', 32), 'hex')",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("done_{i}");
        let location: Location = server.database(&name).parse().unwrap();
        let ledger = LedgerHandle::open(&location).unwrap();
        for week in 0..5 {
            let _ = reserve(&ledger, &differencing(), &count(week, 100), 0).unwrap();
        }
        verify(&mut *open(&location).unwrap(), None).unwrap();
        server.psql(&name, sql).unwrap();
        let found = verify(&mut *open(&location).unwrap(), None);
        assert!(
            matches!(found, Err(LedgerError::Corrupt(_))),
            "{sql}: {found:?}"
        );
    }
}

/// A contract without a budget may have let out any number of figures of a cell.
#[test]
fn more_figures_than_are_compared_are_refused() {
    let server = Server::start(false);
    let location: Location = server.database("figures").parse().unwrap();
    let ledger = LedgerHandle::open(&location).unwrap();
    let rule = rule(json!({"cell": ["/week"], "value": "/n"}));
    for week in 1..3 {
        assert_eq!(reason(&ledger, &rule, &count(week, 500), 0), None);
    }
    // The widest figure has each later look go through all of the others.
    let first = |n: usize, seq: u64| {
        let sql = format!(
            "INSERT INTO lazaret.cell SELECT part, key, lo + i, hi + i, value, stats, first, last, \
             time FROM lazaret.cell, generate_series(1, {n}) AS i WHERE first = {seq}"
        );
        server.psql("figures", &sql).unwrap();
    };
    first(lazaret_policy::release::MAX_SEEN - 1, 1);
    first(lazaret_policy::release::MAX_SEEN, 2);
    let wide = "UPDATE lazaret.width SET width = 999999";
    server.psql("figures", wide).unwrap();
    assert_eq!(reason(&ledger, &rule, &count(1, 900_000), 0), None);
    let limit = Some(Reason::LedgerLimit);
    assert_eq!(reason(&ledger, &rule, &count(2, 900_000), 0), limit);
}

#[test]
fn a_newer_ledger_is_not_touched() {
    let server = Server::start(false);
    let location: Location = server.database("newer").parse().unwrap();
    let ledger = LedgerHandle::open(&location).unwrap();
    let newer = "INSERT INTO lazaret.migration (version) VALUES (99)";
    server.psql("newer", newer).unwrap();
    let error = LedgerHandle::open(&location).map(drop).unwrap_err();
    assert_eq!(
        error,
        LedgerError::Version {
            found: 99,
            known: 2
        }
    );
    drop(ledger);
}

#[test]
fn no_address_is_shown() {
    let location: Location = "postgres://u:s3cret@127.0.0.1:1/x".parse().unwrap();
    assert!(!format!("{location} {location:?}").contains("s3cret"));
    let error = LedgerHandle::open(&location).map(drop).unwrap_err();
    assert!(matches!(error, LedgerError::Server(_)));
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    for wrong in [
        "postgres://h/x?sslmode=require",
        "postgres://h:port/x",
        "mysql://h/x",
        "",
    ] {
        assert!(wrong.parse::<Location>().is_err(), "{wrong}");
    }
    let refused = NotReserved::from(error);
    assert_eq!(refused.reason(), Reason::LedgerUnavailable);
}

//! The ledger on a PostgreSQL server, which all replicas of one consumer's pods share.
//!
//! One row holds the head of the chain; every transaction begins with its lock, so that decisions
//! follow each other, whichever replica makes them. What is committed is on the server's disk
//! (`synchronous_commit`), whatever the server's default is. A replica that hangs with the lock is
//! cut off by the server, one that waits for it gives up; both refuse.
//!
//! The connection goes over a Unix socket or TCP, without TLS: a server elsewhere is reached
//! through a mesh or a tunnel. An address that asks for `sslmode=require` is refused. tokio-postgres
//! (rust-postgres) is maintained by its authors for ten years, speaks the protocol itself without
//! libpq, and cancels, binds and pipelines as it should.
//!
//! The tables live in the schema `lazaret`, made and brought up to date by `MIGRATIONS`; the role
//! needs the right to create it, or to own it.

mod change;
mod rows;
mod session;

use std::time::{Duration, SystemTime};

use lazaret_policy::release::{History, ReleaseFacts, ReleaseRule};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use super::entry::{Entry, Release};
use super::verify::Index;
use super::{Ledger, LedgerError, State, Transaction};
use crate::audit::Head;
use session::Session;

/// The steps from nothing to the present form of the tables. Never changed, only added to.
const MIGRATIONS: [&str; 2] = [
    include_str!("postgres/1-tables.sql"),
    include_str!("postgres/2-denied.sql"),
];

/// The lock of those who migrate: "lazaret" in ASCII.
const MIGRATION_LOCK: i64 = 0x6c_61_7a_61_72_65_74;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one step of a transaction may take, seen from here.
const DEADLINE: Duration = Duration::from_secs(4);

/// What the server enforces: waiting for the lock, one statement, and a transaction in which we
/// have stopped. Together less than the deadline.
const SESSION: &str = "SET synchronous_commit = on; SET lock_timeout = '2s'; \
                       SET statement_timeout = '3s'; \
                       SET idle_in_transaction_session_timeout = '4s'";

/// The tools of an administrator read for longer.
const BULK: &str = "SET LOCAL statement_timeout = 0; \
                    SET LOCAL idle_in_transaction_session_timeout = 0";

/// A ledger on a server.
pub struct Postgres {
    config: Config,
    runtime: Runtime,
    client: Option<Session>,
}

struct Tx<'l> {
    runtime: &'l Runtime,
    client: &'l mut Option<Session>,
    state: State,
    committed: bool,
}

/// Reads the address of a server.
///
/// # Errors
/// What is wrong with it.
pub fn parse(url: &str) -> Result<(), String> {
    config(url).map(drop).map_err(|error| error.to_string())
}

fn config(url: &str) -> Result<Config, LedgerError> {
    let mut config: Config = url.parse()?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(LedgerError::Server(
            "TLS is not spoken; reach the server through a socket, a mesh or a tunnel".into(),
        ));
    }
    config
        .ssl_mode(SslMode::Disable)
        .connect_timeout(CONNECT_TIMEOUT)
        .application_name("lazaret");
    Ok(config)
}

impl Postgres {
    /// Connects, and brings the tables up to date.
    ///
    /// # Errors
    /// The server cannot be used.
    pub fn connect(url: &str) -> Result<Self, LedgerError> {
        Self::open(config(url)?)
    }

    /// Connects, and has the server refuse whatever would write, the making of tables too.
    ///
    /// # Errors
    /// The server cannot be used, or has no ledger.
    pub fn connect_to_read(url: &str) -> Result<Self, LedgerError> {
        let mut config = config(url)?;
        let given = config.get_options().unwrap_or_default();
        let options = format!("{given} -c default_transaction_read_only=on");
        config.options(options.trim_start());
        Self::open(config)
    }

    fn open(config: Config) -> Result<Self, LedgerError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let mut ledger = Self {
            config,
            runtime: runtime.map_err(|error| LedgerError::Server(error.to_string()))?,
            client: None,
        };
        ledger.reconnect()?;
        Ok(ledger)
    }

    fn reconnect(&mut self) -> Result<(), LedgerError> {
        self.client = None;
        let client = within(&self.runtime, async {
            let client = Session::connect(&self.config).await?;
            client.batch(SESSION).await?;
            Ok(client)
        })?;
        migrate(&self.runtime, &client)?;
        self.client = Some(client);
        Ok(())
    }

    fn start(&mut self, begin: &str, lock: bool) -> Result<State, LedgerError> {
        let client = self.client.as_ref().ok_or(LedgerError::Closed)?;
        within(&self.runtime, async {
            // In one round trip; the lock is waited for on the server.
            let begun = client.batch(begin);
            let ((), state) = tokio::try_join!(biased; begun, rows::state(client, lock))?;
            Ok(state)
        })
    }

    fn transaction(&mut self, begin: &str, lock: bool) -> Result<Tx<'_>, LedgerError> {
        // A connection that was lost while idle is no reason to refuse: nothing has begun.
        let lost = |client: &Option<Session>| client.as_ref().is_none_or(Session::is_closed);
        let state = match self.client.is_some().then(|| self.start(begin, lock)) {
            Some(Ok(state)) => state,
            Some(Err(error)) if !lost(&self.client) => {
                self.client = None;
                return Err(error);
            }
            _ => {
                self.reconnect()?;
                let started = self.start(begin, lock);
                started.inspect_err(|_| self.client = None)?
            }
        };
        Ok(Tx {
            runtime: &self.runtime,
            client: &mut self.client,
            state,
            committed: false,
        })
    }
}

impl Ledger for Postgres {
    fn begin(&mut self) -> Result<Box<dyn Transaction + '_>, LedgerError> {
        Ok(Box::new(self.transaction("BEGIN", true)?))
    }

    fn witness(&mut self) -> Result<Option<SystemTime>, LedgerError> {
        let client = self.client.as_ref().ok_or(LedgerError::Closed)?;
        within(&self.runtime, async { rows::clock(client).await.map(Some) })
    }

    fn begin_read(&mut self) -> Result<Box<dyn Transaction + '_>, LedgerError> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        Ok(Box::new(self.transaction(begin, false)?))
    }
}

/// Runs with the deadline. Whoever is cut off has to drop the connection.
fn within<T>(
    runtime: &Runtime,
    work: impl Future<Output = Result<T, LedgerError>>,
) -> Result<T, LedgerError> {
    let done = runtime.block_on(async { tokio::time::timeout(DEADLINE, work).await });
    done.unwrap_or(Err(LedgerError::Timeout(DEADLINE)))
}

fn migrate(runtime: &Runtime, client: &Session) -> Result<(), LedgerError> {
    let known = MIGRATIONS.len() as u32;
    let current = "SELECT coalesce(max(version), 0) FROM lazaret.migration";
    let version = within(runtime, async {
        let made = client
            .query_one("SELECT to_regclass('lazaret.migration') IS NOT NULL", &[])
            .await?;
        if made.try_get(0)? {
            let version: i32 = client.query_one(current, &[]).await?.try_get(0)?;
            return Ok(version);
        }
        Ok(0)
    })?;
    if version as u32 == known {
        return Ok(());
    }
    // Only what is missing needs the rights to make it. Another replica may be doing the same.
    let version = within(runtime, async {
        client
            .batch(&format!(
                "BEGIN; SELECT pg_advisory_xact_lock({MIGRATION_LOCK}); \
                 CREATE SCHEMA IF NOT EXISTS lazaret; \
                 CREATE TABLE IF NOT EXISTS lazaret.migration (version integer PRIMARY KEY, \
                 applied timestamptz NOT NULL DEFAULT now())"
            ))
            .await?;
        let version: i32 = client.query_one(current, &[]).await?.try_get(0)?;
        for (step, sql) in (1_i32..).zip(MIGRATIONS).skip(version.max(0) as usize) {
            client.batch(sql).await?;
            let done = "INSERT INTO lazaret.migration (version) VALUES ($1)";
            client.execute(done, &[&step]).await?;
        }
        client.batch("COMMIT").await?;
        Ok(version)
    })?;
    let found = version.max(0) as u32;
    if found > known {
        return Err(LedgerError::Version { found, known });
    }
    Ok(())
}

impl Tx<'_> {
    fn with<T>(
        &mut self,
        act: impl AsyncFnOnce(&Session) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let client = self.client.as_ref().ok_or(LedgerError::Closed)?;
        let done = within(self.runtime, act(client));
        // What the server makes of the rest is not ours to guess: it rolls back.
        done.inspect_err(|_| *self.client = None)
    }
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        if !self.committed && self.client.is_some() {
            let _ = self.with(async |client| client.batch("ROLLBACK").await);
        }
    }
}

impl Transaction for Tx<'_> {
    fn state(&mut self) -> Result<State, LedgerError> {
        Ok(self.state)
    }

    fn history(
        &mut self,
        consumer: &str,
        rule: &ReleaseRule,
        facts: &ReleaseFacts,
        now: u64,
    ) -> Result<History, LedgerError> {
        self.with(async |client| rows::history(client, consumer, rule, facts, now).await)
    }

    fn deny(&mut self, consumer: &str, family: &str, now: u64) -> Result<(), LedgerError> {
        self.with(async |client| change::deny(client, consumer, family, now).await)
    }

    fn append(&mut self, state: &State, entry: &Entry, line: &[u8]) -> Result<(), LedgerError> {
        self.state = *state;
        self.with(async |client| change::append(client, state, entry, line).await)
    }

    fn cancel(&mut self, seq: u64, release: &Release) -> Result<bool, LedgerError> {
        self.with(async |client| change::cancel(client, seq, release).await)
    }

    fn settle(&mut self, seq: u64) -> Result<(), LedgerError> {
        self.with(async |client| {
            let gone = "DELETE FROM lazaret.open WHERE seq = $1";
            client.execute(gone, &[&(seq as i64)]).await?;
            Ok(())
        })
    }

    fn forget(&mut self, anchor: &Head, entry: &Entry) -> Result<(), LedgerError> {
        self.state.anchor = *anchor;
        self.with(async |client| change::forget(client, anchor, entry).await)
    }

    fn clear(&mut self, anchor: &Head) -> Result<(), LedgerError> {
        self.state.anchor = *anchor;
        let client = self.client.as_ref().ok_or(LedgerError::Closed)?;
        let cleared = self.runtime.block_on(async {
            client.batch(BULK).await?;
            change::clear(client, anchor).await
        });
        cleared.inspect_err(|_| *self.client = None)
    }

    fn lines(&mut self, from: u64, most: usize) -> Result<Vec<(u64, Vec<u8>)>, LedgerError> {
        self.with(async |client| rows::lines(client, from, most).await)
    }

    fn index(&mut self) -> Result<Index, LedgerError> {
        // Reading everything takes as long as it takes; only an administrator asks.
        let client = self.client.as_ref().ok_or(LedgerError::Closed)?;
        let read = self.runtime.block_on(async {
            client.batch(BULK).await?;
            rows::index(client).await
        });
        read.inspect_err(|_| *self.client = None)
    }

    fn commit(mut self: Box<Self>, _durable: bool) -> Result<(), LedgerError> {
        self.with(async |client| client.batch("COMMIT").await)?;
        self.committed = true;
        Ok(())
    }
}

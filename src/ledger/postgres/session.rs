//! A connection with its prepared statements.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Error, NoTls, Row, Statement};

use super::super::LedgerError;

type Params<'p> = &'p [&'p (dyn ToSql + Sync)];

/// A connection.
pub(super) struct Session {
    client: Client,
    /// Preparing costs a round trip; there are some twenty statements.
    prepared: RefCell<HashMap<&'static str, Statement>>,
}

impl Session {
    /// Connects. The task that carries the connection ends with it.
    pub(super) async fn connect(config: &Config) -> Result<Self, LedgerError> {
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(Self {
            client,
            prepared: RefCell::default(),
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) async fn batch(&self, sql: &str) -> Result<(), LedgerError> {
        Ok(self.client.batch_execute(sql).await?)
    }

    pub(super) async fn query(
        &self,
        sql: &'static str,
        p: Params<'_>,
    ) -> Result<Vec<Row>, LedgerError> {
        Ok(self.client.query(&self.prepare(sql).await?, p).await?)
    }

    pub(super) async fn query_one(
        &self,
        sql: &'static str,
        p: Params<'_>,
    ) -> Result<Row, LedgerError> {
        Ok(self.client.query_one(&self.prepare(sql).await?, p).await?)
    }

    pub(super) async fn query_opt(
        &self,
        sql: &'static str,
        p: Params<'_>,
    ) -> Result<Option<Row>, LedgerError> {
        Ok(self.client.query_opt(&self.prepare(sql).await?, p).await?)
    }

    pub(super) async fn execute(
        &self,
        sql: &'static str,
        p: Params<'_>,
    ) -> Result<u64, LedgerError> {
        Ok(self.client.execute(&self.prepare(sql).await?, p).await?)
    }

    async fn prepare(&self, sql: &'static str) -> Result<Statement, LedgerError> {
        let known = self.prepared.borrow().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        self.prepared.borrow_mut().insert(sql, statement.clone());
        Ok(statement)
    }
}

// What the server or the system says, with its causes. None of them repeats a password.
impl From<Error> for LedgerError {
    fn from(error: Error) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        Self::Server(text)
    }
}

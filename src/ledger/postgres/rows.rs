//! The statements that look up. What cannot be in a table is corrupt, not taken for something else.

use std::time::{Duration, SystemTime};

use lazaret_policy::release::{
    DENIED_WINDOW, History, Interval, MAX_SEEN, ReleaseFacts, ReleaseRule, Seen, Spent,
};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::entry::{Entry, Hex};
use super::super::verify::{Index, IndexedCell, MAX_LINKED, MAX_LINKED_BYTES};
use super::super::{LedgerError, State};
use super::session::Session;
use crate::audit::{Digest, Head};

pub(super) type Answer<T> = Result<T, LedgerError>;

/// The state; with the lock, until the end of the transaction.
pub(super) async fn state(client: &Session, lock: bool) -> Answer<State> {
    let sql = if lock {
        "SELECT head_seq, head_hash, anchor_seq, anchor_hash, time FROM lazaret.state FOR UPDATE"
    } else {
        "SELECT head_seq, head_hash, anchor_seq, anchor_hash, time FROM lazaret.state"
    };
    let row = client.query_one(sql, &[]).await?;
    let head = |at: usize| {
        Ok::<_, LedgerError>(Head {
            seq: number(&row, at)?,
            hash: Digest(key(&row, at + 1)?),
        })
    };
    Ok(State {
        head: head(0)?,
        anchor: head(2)?,
        time: number(&row, 4)?,
    })
}

/// A family of one consumer, by its name: each statement looks up its number itself, so that all of
/// them are asked in one round trip. It is not kept, since a reset gives another one.
type Part<'p> = (&'p str, &'p str);

macro_rules! of_part {
    ($($sql:literal),+) => {
        concat!(
            "WITH one AS MATERIALIZED (SELECT part FROM lazaret.part WHERE \
             consumer = $1 AND family = $2) ",
            $($sql),+
        )
    };
}

pub(super) async fn history(
    client: &Session,
    consumer: &str,
    rule: &ReleaseRule,
    facts: &ReleaseFacts,
    now: u64,
) -> Answer<History> {
    let part = (consumer, rule.family.as_str());
    let after = now.saturating_sub(rule.horizon);
    let (spent, lost, seen, repeated, denied) = tokio::try_join!(
        spent(client, part, now.saturating_sub(rule.window)),
        spent(client, part, after),
        seen(client, part, after, rule, facts),
        repeated(client, part, after, facts),
        denied(client, part, now),
    )?;
    let (seen, seen_cut) = seen;
    let mut history = History {
        spent: Spent {
            releases: spent[0],
            bytes: spent[1],
            bits: spent[2],
        },
        denied,
        epsilon: lost[3],
        repeated,
        seen,
        seen_cut,
        ..History::default()
    };
    if rule.linked_audit {
        linked(client, part, after, facts, &mut history).await?;
    }
    Ok(history)
}

/// What was spent later than a time.
async fn spent(client: &Session, part: Part<'_>, after: u64) -> Answer<[u64; 4]> {
    let sql = of_part!(
        "SELECT last.before[i] + last.own[i] - first.before[i] \
        FROM (SELECT before, own FROM lazaret.sums WHERE part = (TABLE one) AND time > $3 \
              ORDER BY time DESC, seq DESC LIMIT 1) AS last, \
             (SELECT before FROM lazaret.sums WHERE part = (TABLE one) AND time > $3 \
              ORDER BY time, seq LIMIT 1) AS first, generate_series(1, 4) AS i ORDER BY i"
    );
    let rows = client
        .query(sql, &[&part.0, &part.1, &signed(after)])
        .await?;
    let mut spent = [0; 4];
    for (spent, row) in spent.iter_mut().zip(rows) {
        *spent = number(&row, 0)?;
    }
    Ok(spent)
}

/// Denied attempts in their window; later ones, by a clock that went back since, are among them.
async fn denied(client: &Session, part: Part<'_>, now: u64) -> Answer<u64> {
    let sql = of_part!(
        "SELECT coalesce(sum(count), 0)::bigint FROM lazaret.denied \
        WHERE part = (TABLE one) AND time > $3"
    );
    let after = signed(now.saturating_sub(DENIED_WINDOW));
    number(
        &client.query_one(sql, &[&part.0, &part.1, &after]).await?,
        0,
    )
}

async fn repeated(
    client: &Session,
    part: Part<'_>,
    after: u64,
    facts: &ReleaseFacts,
) -> Answer<bool> {
    let sql = of_part!(
        "SELECT 1 FROM lazaret.payload WHERE part = (TABLE one) AND digest = $3 AND time > $4"
    );
    let digest = facts.payload.as_slice();
    let after = signed(after);
    let found = client
        .query_opt(sql, &[&part.0, &part.1, &digest, &after])
        .await?;
    Ok(found.is_some())
}

/// The figures of the cells that can matter to new ones: all in reach, from the widest below on;
/// and whether there are too many to look through, which are all that the server finds.
async fn seen(
    client: &Session,
    part: Part<'_>,
    after: u64,
    rule: &ReleaseRule,
    facts: &ReleaseFacts,
) -> Answer<(Vec<Seen>, bool)> {
    let sql = of_part!(
        "SELECT asked.i, cell.lo, cell.hi, cell.value, cell.stats, cell.time \
        FROM unnest($3::bytea[], $4::bigint[], $5::bigint[]) \
             WITH ORDINALITY AS asked(key, lo, hi, i) \
        CROSS JOIN LATERAL (SELECT width FROM lazaret.width WHERE part = (TABLE one) \
             AND key = asked.key LIMIT 1) AS widest \
        CROSS JOIN LATERAL (SELECT * FROM lazaret.cell WHERE cell.part = (TABLE one) \
             AND cell.key = asked.key AND cell.lo <= asked.hi \
             AND cell.lo >= CASE WHEN asked.lo < -9223372036854775808 + widest.width \
                            THEN -9223372036854775808 ELSE asked.lo - widest.width END \
             ORDER BY cell.part, cell.key, cell.lo LIMIT $6) AS cell LIMIT $6"
    );
    if facts.cells.is_empty() {
        return Ok((Vec::new(), false));
    }
    let keys: Vec<&[u8]> = facts.cells.iter().map(|c| c.key.as_slice()).collect();
    let reach: Vec<_> = facts.cells.iter().map(|c| rule.reach(c)).collect();
    let (lo, hi): (Vec<i64>, Vec<i64>) = reach.iter().map(|r| (r.lo, r.hi)).unzip();
    let most = MAX_SEEN as i64 + 1;
    let params: [&(dyn ToSql + Sync); 6] = [&part.0, &part.1, &keys, &lo, &hi, &most];
    let rows = client.query(sql, &params).await?;
    if rows.len() > MAX_SEEN {
        return Ok((Vec::new(), true));
    }
    let mut all = Vec::new();
    for row in &rows {
        let interval = Interval {
            lo: row.try_get(1)?,
            hi: row.try_get(2)?,
        };
        let cell = number(row, 0)?.saturating_sub(1) as usize;
        let reach = reach
            .get(cell)
            .ok_or_else(|| corrupt("a figure of no cell"))?;
        if number(row, 5)? > after && interval.meets(*reach) {
            all.push(Seen {
                cell,
                interval,
                value: key(row, 3)?,
                stats: key(row, 4)?,
            });
        }
    }
    Ok((all, false))
}

async fn linked(
    client: &Session,
    part: Part<'_>,
    after: u64,
    facts: &ReleaseFacts,
    history: &mut History,
) -> Answer<()> {
    let sql = of_part!(
        "SELECT line, bytes > $5 FROM \
        (SELECT seq, line, sum(octet_length(line)) OVER (ORDER BY seq DESC) AS bytes FROM \
         (SELECT seq, line FROM lazaret.scope JOIN lazaret.line USING (seq) \
          WHERE part = (TABLE one) AND scope = $3 ORDER BY seq DESC LIMIT $4) AS newest) AS summed \
        WHERE bytes - octet_length(line) <= $5 ORDER BY seq DESC"
    );
    let scope = facts.scope.as_slice();
    let most = MAX_LINKED as i64 + 1;
    let bytes = MAX_LINKED_BYTES as i64;
    let rows = client
        .query(sql, &[&part.0, &part.1, &scope, &most, &bytes])
        .await?;
    for row in rows {
        let (Entry::Release(release), ..) = Entry::read(row.try_get(0)?)? else {
            return Err(corrupt("an entry is no release"));
        };
        if release.at <= after {
            break;
        }
        if history.linked.len() == MAX_LINKED || row.try_get(1)? {
            history.linked_cut = true;
            break;
        }
        history.linked.push(release.linked());
    }
    Ok(())
}

/// The server's clock.
pub(super) async fn clock(client: &Session) -> Answer<SystemTime> {
    let sql = "SELECT floor(extract(epoch FROM clock_timestamp()))::bigint";
    let seconds = number(&client.query_one(sql, &[]).await?, 0)?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

pub(super) async fn lines(client: &Session, from: u64, most: usize) -> Answer<Vec<(u64, Vec<u8>)>> {
    let sql = "SELECT seq, line FROM lazaret.line WHERE seq >= $1 ORDER BY seq LIMIT $2";
    let rows = client.query(sql, &[&signed(from), &(most as i64)]).await?;
    rows.iter()
        .map(|row| Ok((number(row, 0)?, row.try_get(1)?)))
        .collect()
}

pub(super) async fn index(client: &Session) -> Answer<Index> {
    let mut index = Index::default();
    let rows = |sql| client.query(sql, &[]);
    for row in rows("SELECT consumer, family, part FROM lazaret.part").await? {
        let name = (row.try_get(0)?, row.try_get(1)?);
        index.parts.insert(name, number32(&row, 2)?);
    }
    let cells = "SELECT part, key, lo, hi, value, stats, last, time FROM lazaret.cell";
    for row in rows(cells).await? {
        let cell = IndexedCell {
            part: number32(&row, 0)?,
            key: Hex(key(&row, 1)?),
            interval: Interval {
                lo: row.try_get(2)?,
                hi: row.try_get(3)?,
            },
            value: Hex(key(&row, 4)?),
            stats: Hex(key(&row, 5)?),
        };
        index
            .cells
            .insert(cell, (number(&row, 6)?, number(&row, 7)?));
    }
    for row in rows("SELECT part, key, width FROM lazaret.width").await? {
        let at = (number32(&row, 0)?, Hex(key(&row, 1)?));
        index.widths.insert(at, number(&row, 2)?);
    }
    for row in rows("SELECT part, time, seq, before, own FROM lazaret.sums").await? {
        let at = (number32(&row, 0)?, number(&row, 1)?, number(&row, 2)?);
        let sums = (four(&row, 3)?, four(&row, 4)?);
        index.sums.insert(at, sums);
    }
    for row in rows("SELECT part, digest, last, time FROM lazaret.payload").await? {
        let at = (number32(&row, 0)?, Hex(key(&row, 1)?));
        index
            .payloads
            .insert(at, (number(&row, 2)?, number(&row, 3)?));
    }
    for row in rows("SELECT part, scope, seq FROM lazaret.scope").await? {
        let at = (number32(&row, 0)?, Hex(key(&row, 1)?), number(&row, 2)?);
        index.scopes.insert(at);
    }
    for row in rows("SELECT seq FROM lazaret.open").await? {
        index.open.insert(number(&row, 0)?);
    }
    Ok(index)
}

/// Larger numbers do not occur: times and counts are bounded by their readers.
pub(super) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn number(row: &Row, at: usize) -> Answer<u64> {
    let n: i64 = row.try_get(at)?;
    u64::try_from(n).map_err(|_| corrupt("a number is negative"))
}

fn number32(row: &Row, at: usize) -> Answer<u32> {
    let n: i32 = row.try_get(at)?;
    u32::try_from(n).map_err(|_| corrupt("a number is negative"))
}

fn four(row: &Row, at: usize) -> Answer<[u64; 4]> {
    let numbers: Vec<i64> = row.try_get(at)?;
    let numbers: Vec<u64> = numbers
        .into_iter()
        .filter_map(|n| u64::try_from(n).ok())
        .collect();
    let numbers = numbers.try_into();
    numbers.map_err(|_| corrupt("sums are not four numbers from 0"))
}

fn key<const N: usize>(row: &Row, at: usize) -> Answer<[u8; N]> {
    let bytes: Vec<u8> = row.try_get(at)?;
    let key = bytes.try_into();
    key.map_err(|_| corrupt("a digest has a wrong length"))
}

fn corrupt(what: &str) -> LedgerError {
    LedgerError::Corrupt(what.to_owned())
}

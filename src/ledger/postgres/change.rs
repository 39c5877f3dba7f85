//! The statements that change something. Sums that a database cannot count are its error, and with
//! that a refusal.

use lazaret_policy::release::DENIED_WINDOW;
use tokio_postgres::types::ToSql;

use super::super::State;
use super::super::entry::{Entry, Release};
use super::rows::{Answer, signed};
use super::session::Session;
use crate::audit::Head;

/// A release is not taken back when more than this came after it in its family.
const CANCEL_REACH: i64 = 1024;

pub(super) async fn append(
    client: &Session,
    state: &State,
    entry: &Entry,
    line: &[u8],
) -> Answer<()> {
    let seq = signed(state.head.seq);
    let (hash, time) = (state.head.hash.0, signed(state.time));
    let line_sql = "INSERT INTO lazaret.line (seq, line) VALUES ($1, $2)";
    let head_sql = "UPDATE lazaret.state SET head_seq = $1, head_hash = $2, time = $3";
    let (line_params, head_params): ([&(dyn ToSql + Sync); 2], [&(dyn ToSql + Sync); 3]) =
        ([&seq, &line], [&seq, &hash.as_slice(), &time]);
    let line_and_head = async {
        tokio::try_join!(
            biased;
            client.execute(line_sql, &line_params),
            client.execute(head_sql, &head_params),
        )
    };
    let Entry::Release(release) = entry else {
        line_and_head.await?;
        return Ok(());
    };
    let part = part(client, &release.consumer, &release.family);
    let (_, part) = tokio::try_join!(biased; line_and_head, part)?;
    add(client, part, seq, release).await
}

async fn add(client: &Session, part: i32, seq: i64, release: &Release) -> Answer<()> {
    let at = signed(release.at);
    let sums = "INSERT INTO lazaret.sums (part, time, seq, before, own) \
        SELECT $1, $2, $3, coalesce((SELECT array[before[1] + own[1], before[2] + own[2], \
               before[3] + own[3], before[4] + own[4]] FROM lazaret.sums WHERE part = $1 \
               ORDER BY time DESC, seq DESC LIMIT 1), '{0,0,0,0}'), $4";
    let own = release.spends().map(signed).to_vec();
    let payload = "INSERT INTO lazaret.payload (part, digest, first, last, time) \
        VALUES ($1, $2, $3, $3, $4) ON CONFLICT (part, digest) \
        DO UPDATE SET last = excluded.last, time = excluded.time";
    let digest = release.payload.0;
    let scope = "INSERT INTO lazaret.scope (part, scope, seq) VALUES ($1, $2, $3)";
    let open = "INSERT INTO lazaret.open (seq) VALUES ($1)";
    let sums_params: [&(dyn ToSql + Sync); 4] = [&part, &at, &seq, &own];
    let payload_params: [&(dyn ToSql + Sync); 4] = [&part, &digest.as_slice(), &seq, &at];
    let scope_params: [&(dyn ToSql + Sync); 3] = [&part, &release.scope.0.as_slice(), &seq];
    let open_params: [&(dyn ToSql + Sync); 1] = [&seq];
    tokio::try_join!(
        biased;
        client.execute(sums, &sums_params),
        client.execute(payload, &payload_params),
        client.execute(scope, &scope_params),
        client.execute(open, &open_params),
        add_cells(client, part, seq, release),
    )?;
    Ok(())
}

async fn add_cells(client: &Session, part: i32, seq: i64, release: &Release) -> Answer<()> {
    if release.cells.is_empty() {
        return Ok(());
    }
    let cells = "INSERT INTO lazaret.cell \
        (part, key, lo, hi, value, stats, first, last, time) \
        SELECT $1, key, lo, hi, value, stats, $7, $7, $8 \
        FROM unnest($2::bytea[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bytea[]) \
             AS new(key, lo, hi, value, stats) \
        ON CONFLICT (part, key, lo, hi, value, stats) \
        DO UPDATE SET last = excluded.last, time = excluded.time";
    let widths = "INSERT INTO lazaret.width (part, key, width) \
        SELECT $1, key, width FROM unnest($2::bytea[], $3::bigint[]) AS new(key, width) \
        ON CONFLICT (part, key) DO UPDATE SET width = excluded.width \
        WHERE width.width < excluded.width";
    let of = Columns::new(release);
    let at = signed(release.at);
    let cell_params: [&(dyn ToSql + Sync); 8] = [
        &part, &of.keys, &of.lo, &of.hi, &of.values, &of.stats, &seq, &at,
    ];
    let width_params: [&(dyn ToSql + Sync); 3] = [&part, &of.keys, &of.widths];
    tokio::try_join!(
        biased;
        client.execute(cells, &cell_params),
        client.execute(widths, &width_params),
    )?;
    Ok(())
}

/// The figures of a release, by columns.
struct Columns<'r> {
    keys: Vec<&'r [u8]>,
    lo: Vec<i64>,
    hi: Vec<i64>,
    widths: Vec<i64>,
    values: Vec<&'r [u8]>,
    stats: Vec<&'r [u8]>,
}

impl<'r> Columns<'r> {
    fn new(release: &'r Release) -> Self {
        let cells = &release.cells;
        Self {
            keys: cells.iter().map(|c| c.0.0.as_slice()).collect(),
            lo: cells.iter().map(|c| c.1).collect(),
            hi: cells.iter().map(|c| c.2).collect(),
            widths: cells.iter().map(|c| signed(c.2.abs_diff(c.1))).collect(),
            values: cells.iter().map(|c| c.3.0.as_slice()).collect(),
            stats: cells.iter().map(|c| c.4.0.as_slice()).collect(),
        }
    }
}

async fn part(client: &Session, consumer: &str, family: &str) -> Answer<i32> {
    let find = "SELECT part FROM lazaret.part WHERE consumer = $1 AND family = $2";
    if let Some(row) = client.query_opt(find, &[&consumer, &family]).await? {
        return Ok(row.try_get(0)?);
    }
    let make = "INSERT INTO lazaret.part (consumer, family) VALUES ($1, $2) RETURNING part";
    Ok(client
        .query_one(make, &[&consumer, &family])
        .await?
        .try_get(0)?)
}

/// Counts a denied attempt. Who is not looked at is not counted, so the table stays small.
pub(super) async fn deny(client: &Session, consumer: &str, family: &str, now: u64) -> Answer<()> {
    let part = part(client, consumer, family).await?;
    let gone = "DELETE FROM lazaret.denied WHERE part = $1 AND time <= $2";
    let add = "INSERT INTO lazaret.denied (part, time, count) VALUES ($1, $2, 1) \
        ON CONFLICT (part, time) DO UPDATE SET count = denied.count + 1";
    let (before, now) = (signed(now.saturating_sub(DENIED_WINDOW)), signed(now));
    let (gone_params, add_params): ([&(dyn ToSql + Sync); 2], [&(dyn ToSql + Sync); 2]) =
        ([&part, &before], [&part, &now]);
    tokio::try_join!(
        biased;
        client.execute(gone, &gone_params),
        client.execute(add, &add_params),
    )?;
    Ok(())
}

pub(super) async fn cancel(client: &Session, seq: u64, release: &Release) -> Answer<bool> {
    let seq = signed(seq);
    let part = part(client, &release.consumer, &release.family).await?;
    let at = signed(release.at);
    let later = "SELECT count(*) FROM (SELECT 1 FROM lazaret.sums WHERE part = $1 \
        AND (time, seq) > ($2, $3) LIMIT $4) AS later";
    let most = CANCEL_REACH + 1;
    let later = client.query_one(later, &[&part, &at, &seq, &most]).await?;
    let later: i64 = later.try_get(0)?;
    let open = "DELETE FROM lazaret.open WHERE seq = $1";
    if later > CANCEL_REACH || client.execute(open, &[&seq]).await? == 0 {
        return Ok(false);
    }
    let shift = "UPDATE lazaret.sums SET before = array[before[1] - $4, before[2] - $5, \
        before[3] - $6, before[4] - $7] WHERE part = $1 AND (time, seq) > ($2, $3)";
    let [a, b, c, d] = release.spends().map(signed);
    client
        .execute(shift, &[&part, &at, &seq, &a, &b, &c, &d])
        .await?;
    let own = "UPDATE lazaret.sums SET own = '{0,0,0,0}' \
        WHERE part = $1 AND time = $2 AND seq = $3";
    client.execute(own, &[&part, &at, &seq]).await?;
    remove(client, part, seq, release, true).await?;
    Ok(true)
}

pub(super) async fn forget(client: &Session, anchor: &Head, entry: &Entry) -> Answer<()> {
    let seq = signed(anchor.seq);
    let line = "DELETE FROM lazaret.line WHERE seq = $1";
    client.execute(line, &[&seq]).await?;
    set_anchor(client, anchor).await?;
    if let Entry::Release(release) = entry {
        let part = part(client, &release.consumer, &release.family).await?;
        let sums = "DELETE FROM lazaret.sums WHERE part = $1 AND time = $2 AND seq = $3";
        client
            .execute(sums, &[&part, &signed(release.at), &seq])
            .await?;
        let open = "DELETE FROM lazaret.open WHERE seq = $1";
        client.execute(open, &[&seq]).await?;
        remove(client, part, seq, release, false).await?;
    }
    Ok(())
}

/// Removes what a release was the last to have, or the only one ever.
async fn remove(
    client: &Session,
    part: i32,
    seq: i64,
    release: &Release,
    only: bool,
) -> Answer<()> {
    let of = Columns::new(release);
    let cells = "DELETE FROM lazaret.cell USING unnest($3::bytea[], $4::bigint[]) AS old(key, lo) \
        WHERE cell.part = $1 AND cell.key = old.key AND cell.lo = old.lo AND last = $2 \
        AND (first = $2 OR NOT $5)";
    let params: [&(dyn ToSql + Sync); 5] = [&part, &seq, &of.keys, &of.lo, &only];
    client.execute(cells, &params).await?;
    let widths = "DELETE FROM lazaret.width WHERE part = $1 AND key = ANY($2) AND NOT EXISTS \
        (SELECT 1 FROM lazaret.cell WHERE cell.part = $1 AND cell.key = width.key)";
    client.execute(widths, &[&part, &of.keys]).await?;
    let payload = "DELETE FROM lazaret.payload WHERE part = $1 AND digest = $3 AND last = $2 \
        AND (first = $2 OR NOT $4)";
    let digest = release.payload.0;
    let params: [&(dyn ToSql + Sync); 4] = [&part, &seq, &digest.as_slice(), &only];
    client.execute(payload, &params).await?;
    let scope = "DELETE FROM lazaret.scope WHERE part = $1 AND scope = $2 AND seq = $3";
    let params: [&(dyn ToSql + Sync); 3] = [&part, &release.scope.0.as_slice(), &seq];
    client.execute(scope, &params).await?;
    Ok(())
}

async fn set_anchor(client: &Session, anchor: &Head) -> Answer<()> {
    let sql = "UPDATE lazaret.state SET anchor_seq = $1, anchor_hash = $2";
    let hash = anchor.hash.0;
    client
        .execute(sql, &[&signed(anchor.seq), &hash.as_slice()])
        .await?;
    Ok(())
}

pub(super) async fn clear(client: &Session, anchor: &Head) -> Answer<()> {
    // TRUNCATE wants a right of its own, and would wait for readers.
    let tables = [
        "line", "cell", "width", "sums", "payload", "scope", "open", "denied", "part",
    ];
    for table in tables {
        client
            .batch(&format!("DELETE FROM lazaret.{table}"))
            .await?;
    }
    set_anchor(client, anchor).await
}

//! Fills a server with the entries of another ledger by COPY: the same lines, and the rows of the
//! index that releasing them one after the other would have made. Only for entries of which no two
//! have the same payload or figure, and none was taken back; the server's keys refuse others.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lazaret::ledger::entry::{Entry, Release};
use lazaret::ledger::{Ledger, lines, open};

use super::postgres::Server;

const TABLES: [&str; 7] = ["line", "part", "sums", "cell", "width", "payload", "scope"];

/// Copies all into a database that has no ledger yet.
pub fn copy(from: &mut dyn Ledger, server: &Server, database: &str) {
    drop(open(&server.url(database).parse().unwrap()).unwrap());
    let dir = tempfile::tempdir().unwrap();
    // The server reads them, as another user.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut rows = Rows::new(dir.path());
    let mut tx = from.begin_read().unwrap();
    lines(&mut *tx, &mut |seq, line| {
        rows.add(seq, line);
        Ok(())
    })
    .unwrap();
    let state = tx.state().unwrap();
    let parts = rows.parts.len();
    drop(rows);
    let mut sql = String::from("BEGIN;");
    for table in TABLES {
        let path = dir.path().join(table);
        write!(sql, "COPY lazaret.{table} FROM '{}';", path.display()).unwrap();
    }
    let hash = |digest: [u8; 32]| format!("decode('{}', 'hex')", hex(&digest));
    write!(
        sql,
        "UPDATE lazaret.state SET head_seq = {}, head_hash = {}, anchor_seq = {}, \
         anchor_hash = {}, time = {}; SELECT setval('lazaret.part_part_seq', {parts}); COMMIT;",
        state.head.seq,
        hash(state.head.hash.0),
        state.anchor.seq,
        hash(state.anchor.hash.0),
        state.time,
    )
    .unwrap();
    server.psql(database, &sql).expect("the rows are taken");
    // A server does this by itself when so much has come in.
    server.psql(database, "VACUUM ANALYZE").expect("a database");
    // What was copied is not written to its place while others are measured.
    server.psql(database, "CHECKPOINT").expect("a database");
}

/// The rows, in a file for each table.
struct Rows {
    files: HashMap<&'static str, BufWriter<File>>,
    parts: HashMap<(String, String), usize>,
    sums: HashMap<usize, [u64; 4]>,
    keys: HashSet<(usize, String)>,
}

impl Rows {
    fn new(dir: &Path) -> Self {
        let file = |table: &'static str| {
            let file = File::create(dir.join(table)).unwrap();
            file.set_permissions(fs::Permissions::from_mode(0o644))
                .unwrap();
            (table, BufWriter::new(file))
        };
        Self {
            files: TABLES.into_iter().map(file).collect(),
            parts: HashMap::new(),
            sums: HashMap::new(),
            keys: HashSet::new(),
        }
    }

    fn row(&mut self, table: &'static str, row: &str) {
        let file = self.files.get_mut(table).unwrap();
        writeln!(file, "{row}").unwrap();
    }

    fn add(&mut self, seq: u64, line: &[u8]) {
        self.row("line", &format!("{seq}\t\\\\x{}", hex(line)));
        let entry: Entry = serde_json::from_slice(line).unwrap();
        let Entry::Release(release) = entry else {
            panic!("entry {seq} is no release");
        };
        let part = self.part(&release);
        let own = [1, release.bytes, release.bits, release.epsilon];
        let before = *self.sums.entry(part).or_default();
        let array = |n: [u64; 4]| format!("{{{},{},{},{}}}", n[0], n[1], n[2], n[3]);
        let at = release.at;
        let sums = format!("{part}\t{at}\t{seq}\t{}\t{}", array(before), array(own));
        self.row("sums", &sums);
        let after = [0, 1, 2, 3].map(|i| before[i] + own[i]);
        self.sums.insert(part, after);
        let since = format!("{seq}\t{seq}\t{at}");
        self.row(
            "payload",
            &format!("{part}\t\\\\x{}\t{since}", release.payload),
        );
        self.row("scope", &format!("{part}\t\\\\x{}\t{seq}", release.scope));
        for (key, lo, hi, value, stats) in &release.cells {
            let cell =
                format!("{part}\t\\\\x{key}\t{lo}\t{hi}\t\\\\x{value}\t\\\\x{stats}\t{since}");
            self.row("cell", &cell);
            assert_eq!(lo, hi, "all are as wide as the first");
            if self.keys.insert((part, key.to_string())) {
                self.row("width", &format!("{part}\t\\\\x{key}\t0"));
            }
        }
    }

    fn part(&mut self, release: &Release) -> usize {
        let name = (release.consumer.clone(), release.family.clone());
        let next = self.parts.len() + 1;
        if let Some(part) = self.parts.get(&name) {
            return *part;
        }
        self.row("part", &format!("{next}\t{}\t{}", name.0, name.1));
        self.parts.insert(name, next);
        next
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

//! Judging one payload, start to end, without any input or output: bytes per second of a 274-byte
//! summary and of a 1 MB one. `cargo bench --bench judge`.

use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lazaret_policy::Site;
use lazaret_policy::compile::{load_schema, load_schema_on};
use lazaret_policy::judge::{BodyHead, canonical, json};
use lazaret_policy::lint::Terms;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SMALL: &[u8] = include_bytes!("peers/payload.json");

/// What so many rows may carry: more than any site would allow.
const LARGE_BITS: u64 = 1 << 29;

/// The rows of the small payload again and again, under a schema that allows as many.
fn large() -> (Vec<u8>, tempfile::TempDir) {
    let small: serde_json::Value = serde_json::from_slice(SMALL).expect("the payload is JSON");
    let rows = small["rows"].as_array().expect("it has rows");
    let many: Vec<_> = rows.iter().cycle().take(18_000).collect();
    let payload = serde_json::json!({"cohort": "T2DM", "region": "Piemonte", "rows": many});
    let dir = tempfile::tempdir().expect("a temporary folder");
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for name in ["cohort-summary.schema.json", "common.schema.json"] {
        let text = std::fs::read_to_string(schemas.join(name)).expect("the schema is there");
        let mut schema: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        if let Some(rows) = schema.pointer_mut("/properties/rows") {
            rows["maxItems"] = 1_000_000.into();
            rows.as_object_mut().expect("an object").remove("sdcRows");
            schema["sdcCapacity"]["maxBits"] = LARGE_BITS.into();
        }
        std::fs::write(dir.path().join(name), schema.to_string()).expect("it can be written");
    }
    (payload.to_string().into_bytes(), dir)
}

fn judge(c: &mut Criterion) {
    let (large, dir) = large();
    let schema = dir.path().join("cohort-summary.schema.json");
    let site = Site {
        max_bits: LARGE_BITS,
        ..Site::default()
    };
    let terms = Terms {
        strict: false,
        every: false,
        site: &site,
        max_bytes: 16 << 20,
    };
    let (contract, _) = load_schema_on(&schema, &terms, 32).expect("the schema loads");
    let head = BodyHead {
        content_type: Some("application/json"),
        content_encoding: None,
    };
    for (name, body) in [("274 B", SMALL), ("1 MB", &large)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("judge", |b| {
            b.iter(|| {
                contract
                    .judge(head, black_box(body))
                    .expect("it is released")
            });
        });
        group.bench_function("parse", |b| {
            b.iter(|| json::parse(black_box(body), 32).expect("it is JSON"));
        });
        let value = json::parse(body, 32).expect("it is JSON");
        group.bench_function("canonical", |b| {
            b.iter(|| canonical::canonical(black_box(&value)))
        });
        group.finish();
    }
}

/// Each payload with disclosure rules: those of the examples, and the fixtures beside the project.
fn rules(c: &mut Criterion) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cases = Vec::new();
    for contract in [
        "cohort-summary",
        "glm-result",
        "kaplan-meier",
        "fhir-measurereport-summary",
    ] {
        let payloads = std::fs::read_dir(root.join("tests/payloads").join(contract));
        for payload in payloads.expect("there are payloads").flatten() {
            if payload.file_name().to_string_lossy().starts_with("pass-") {
                let schema = root.join(format!("schemas/{contract}.schema.json"));
                cases.push((schema, payload.path()));
            }
        }
    }
    let fixtures = root.join("../shared/fixtures/disclosure");
    let index = std::fs::read(fixtures.join("index.json")).unwrap_or_else(|_| {
        let _ = writeln!(std::io::stderr(), "{} is absent", fixtures.display());
        Vec::new()
    });
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap_or_default();
    for fixture in index["fixtures"].as_array().into_iter().flatten() {
        let path = |key: &str| fixtures.join(fixture[key].as_str().unwrap_or_default());
        cases.push((path("contract"), path("file")));
    }
    cases.sort();
    let mut group = c.benchmark_group("disclosure");
    group
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_millis(500));
    for (schema, payload) in &cases {
        // What is no contract has nothing to judge.
        let Ok((contract, _)) = load_schema(schema, 256 << 10, 32) else {
            continue;
        };
        let body = std::fs::read(payload).expect("the payload is there");
        let name = payload.file_stem().unwrap_or_default().to_string_lossy();
        let of = schema.file_stem().unwrap_or_default().to_string_lossy();
        group.bench_function(format!("{of}/{name}"), |b| {
            b.iter(|| contract.clear(black_box(&body)).is_ok());
        });
    }
    group.finish();
}

criterion_group!(benches, judge, rules);
criterion_main!(benches);

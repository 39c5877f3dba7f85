//! Judging one payload, start to end, without any input or output: bytes per second of a 274-byte
//! summary and of a 1 MB one. `cargo bench --bench judge`.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lazaret_policy::compile::load_schema;
use lazaret_policy::judge::{BodyHead, canonical, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SMALL: &[u8] = include_bytes!("peers/payload.json");

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
            rows.as_object_mut()
                .expect("an object")
                .remove("uniqueItems");
        }
        std::fs::write(dir.path().join(name), schema.to_string()).expect("it can be written");
    }
    (payload.to_string().into_bytes(), dir)
}

fn judge(c: &mut Criterion) {
    let (large, dir) = large();
    let schema = dir.path().join("cohort-summary.schema.json");
    let (contract, _) = load_schema(&schema, 16 << 20, 32).expect("the schema loads");
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

criterion_group!(benches, judge);
criterion_main!(benches);

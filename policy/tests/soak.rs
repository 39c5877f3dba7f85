//! x
use serde_json::{Value, json};
#[test]
fn soak() {
    let t = std::time::Instant::now();
    let (mut n_ok, mut bad) = (0u64, 0u64);
    while t.elapsed().as_secs() < 100 {
        for n in [1usize, 3, 11, 16] { for kw in ["anyOf", "allOf"] {
            if kw == "allOf" && n > 3 { continue; }
            let mut defs = serde_json::Map::new();
            for i in 0..n {
                let next = if i == n-1 { "#/$defs/d0".to_owned() } else { format!("#/$defs/d{}", i + 1) };
                defs.insert(format!("d{i}"), json!({kw: [{"properties": {"a": {"$ref": next}}, "required": ["x"]}, {"properties": {"a": {"$ref": next}}, "required": ["y"]}]}));
            }
            let schema: Value = json!({"$ref": "#/$defs/d0", "$defs": defs});
            let v = jsonschema::options().with_pattern_options(jsonschema::PatternOptions::regex()).build(&schema).unwrap();
            let handles: Vec<_> = (0..20).map(|i| {
                let xy: Value = serde_json::from_str(&format!("{}1{}", "{\"x\":1,\"y\":1,\"a\":".repeat(10 + i), "}".repeat(10 + i))).unwrap();
                let plain: Value = serde_json::from_str(&format!("{}1{}", "{\"a\":".repeat(10 + i), "}".repeat(10 + i))).unwrap();
                let mid: Value = serde_json::from_str(&format!("{}{{\"a\":{{}}}}{}", "{\"x\":1,\"y\":1,\"a\":".repeat(10 + i), "}".repeat(10 + i))).unwrap();
                (v.is_valid(&xy), v.is_valid(&plain), v.is_valid(&mid))
            }).collect();
            for h in handles { n_ok += 1; if h != (true, false, false) { bad += 1; println!("BAD {n} {kw} {h:?}"); } }
        }}
    }
    println!("SOAK {n_ok} bad {bad}");
}

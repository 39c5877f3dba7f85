use crate::support::*;
use serde_json::{Value, json};
use std::time::Instant;
#[test]
fn dump() {
    for n in [16] { for cyc in [false, true] { for kw in ["anyOf", "allOf", "oneOf"] {
        if cyc && kw != "anyOf" { continue; } let mut defs = serde_json::Map::new();
        for i in 0..n {
            let next = if cyc && i == n-1 { "#/$defs/d0".to_owned() } else { format!("#/$defs/d{}", i + 1) };
            defs.insert(format!("d{i}"), json!({kw: [{"properties": {"a": {"$ref": next}}, "required": ["x"]}, {"properties": {"a": {"$ref": next}}, "required": ["y"]}]}));
        }
        defs.insert(format!("d{n}"), json!({"const": 1}));
        let schema: Value = json!({"$ref": "#/$defs/d0", "$defs": defs});
        let c = contract(&schema);
        let body = format!("{}1{}", "{\"x\":1,\"y\":1,\"a\":".repeat(30), "}".repeat(30));
        let t = Instant::now();
        let r = c.judge_body(body.as_bytes());
        println!("{n} {cyc} {kw} {:?} {:?}", t.elapsed(), r.is_ok());
        let body = format!("{}1{}", "{\"a\":".repeat(30), "}".repeat(30));
        let t = Instant::now();
        let r = c.judge_body(body.as_bytes());
        println!("{n} {cyc} {kw} {:?} {:?}", t.elapsed(), r.is_ok());
    }}}
}

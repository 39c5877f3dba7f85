use super::*;

fn contract() -> Value {
    json!({"type": "object", "additionalProperties": false, "required": ["kind", "rows"], "properties": {
        "kind": {"const": "weekly"},
        "<script>&\"x\" \u{1b}": {"type": "string", "pattern": "^[a-z]{4}$"},
        "rows": {"type": "array", "maxItems": 3, "items": {"type": "integer", "minimum": 0, "maximum": 255}}}})
}

#[test]
fn says_where_the_bits_are() {
    let capacity = count(&contract(), None);
    let lines = table(&capacity);
    let expected = [
        " bits   each  times  values  place            what",
        "24.00   8.00      3     256  /rows/*          integer",
        "18.80  18.80      1  456976  /<script>&\"x\" \u{fffd}  text",
        " 0.01                                         which parts are there, in which order",
        "",
        "at most 42.81 bits in one release (43 when rounded up)",
    ];
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected, "{lines}");
    let report = json(&capacity);
    assert_eq!(report["bits"], 43);
    assert_eq!(report["leaves"][0]["pointer"], "/rows/*");
    assert_eq!(report["leaves"][0]["totalBits"], 24.0);
    assert_eq!(
        report["payloads"],
        (456_977u64 * (1 + 256 + 65_536 + 16_777_216)).to_string()
    );
    let open = count(&json!({"type": "array", "items": {"type": "string"}}), None);
    assert!(table(&open).contains("nothing bounds"), "{}", table(&open));
    assert_eq!(json(&open)["bits"], Value::Null);
}

#[test]
fn draws_a_picture_that_stands_alone() {
    let mut leaves = contract();
    for i in 0..40 {
        leaves["properties"][format!("n{i}")] =
            json!({"type": "integer", "minimum": 0, "maximum": i});
    }
    for (schema, allowed) in [
        (contract(), Some(64)),
        (leaves, Some(1)),
        (json!({}), Some(8)),
        (json!(false), None),
        (json!({"const": 1}), Some(0)),
    ] {
        let svg = svg("a <b> & \"c\"", &count(&schema, None), allowed);
        assert!(
            svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"")
                && svg.ends_with("</svg>\n")
        );
        for forbidden in ["<script", "href", "<b>", "NaN", "inf", "\u{1b}", "url("] {
            assert!(!svg.contains(forbidden), "{forbidden} in {svg}");
        }
        assert!(svg.contains("a &lt;b&gt; &amp; &quot;c&quot;"));
    }
}

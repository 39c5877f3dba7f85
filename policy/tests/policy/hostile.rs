//! What a hostile payload or a careless policy could cost us: every test here took minutes, or all
//! memory, or the process, before it was bounded.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{HEAD, contract, contract_of, findings};

/// Ample for a debug build, and far below what an unbounded one takes.
const SOON: Duration = Duration::from_secs(20);

/// Runs on a stack of the size that threads have, and in time: its own, so that a busy machine
/// does not count.
pub(crate) fn soon<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let thread = thread.spawn(|| (work(), own_time())).unwrap();
    let (result, took) = thread.join().unwrap();
    assert!(took < SOON, "{what} took {took:?}");
    result
}

/// The processor time of this thread.
fn own_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = text.split_whitespace().next().unwrap();
    Duration::from_nanos(nanoseconds.parse().unwrap())
}

/// Judges, and gives the pointer and keyword of the first violation.
fn first_violation(schema: Value, body: String) -> Option<(String, Option<String>)> {
    soon(&schema.to_string(), move || {
        let judged = contract(&schema).judge_body(body.as_bytes());
        let violation = judged.err()?.swap_remove(0);
        Some((violation.pointer, violation.keyword))
    })
}

fn nested(open: &str, close: &str, depth: usize) -> String {
    format!("{}1{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn yaml_bombs_are_refused() {
    const MIB: usize = 1024 * 1024;
    for (what, text) in [
        ("flow lists", "[".repeat(MIB)),
        ("flow maps", "{a: ".repeat(MIB / 4)),
        ("block lists", "- ".repeat(MIB / 2)),
        ("keys of keys", "? ".repeat(MIB / 2)),
        (
            "block maps",
            (0..1000)
                .map(|i| format!("{}a:\n", " ".repeat(i)))
                .collect(),
        ),
        (
            "laughter",
            (1..30).fold("a0: &a0 [x]\n".into(), |text, i| {
                let last = i - 1;
                format!("{text}a{i}: &a{i} [*a{last}, *a{last}, *a{last}]\n")
            }),
        ),
        ("one long scalar", "a".repeat(MIB)),
        (
            "one long line",
            format!("egress: [{}]", "1,".repeat(MIB / 8)),
        ),
        (
            "many keys",
            (0..50_000).map(|i| format!("k{i}: 1\n")).collect(),
        ),
        ("a long key", format!("{}: 1", "k".repeat(MIB))),
        (
            "a long key that is asked for",
            format!("? {}\n: 1\n", "k".repeat(MIB)),
        ),
        ("many documents", "---\n".repeat(MIB / 4)),
        ("open quote", format!("a: \"{}", "b\n".repeat(MIB / 2))),
        ("comments", "#\n".repeat(MIB / 2)),
        ("zeros", "\0".repeat(100)),
        ("a directive", "%YAML 1.1\n---\na: 0o7\n".into()),
        ("carriage returns", "a: 1\r".repeat(1000)),
        ("binary", "a: !!binary aGk=\n".into()),
        ("other lines", "a:\u{2028}b: 1\u{85}c: 2".into()),
    ] {
        let found = soon(what, move || findings(&text, &[]));
        assert!(
            found.iter().any(|line| line.contains("error")),
            "{what}: {found:?}"
        );
        // More than anyone reads is not listed.
        assert!(found.len() <= 220, "{what}: {}", found.len());
        assert!(found.iter().all(|line| line.len() < 2000), "{what}");
    }
}

/// A long key over many values: places must not cost their product.
#[test]
fn long_keys_over_many_values_are_cheap() {
    let mut text = String::new();
    for depth in 0..60 {
        text += &format!("{}{}{depth}:\n", " ".repeat(depth), "k".repeat(500));
    }
    text += &" ".repeat(60);
    text += &format!("[{}]\n", "1,".repeat(200_000));
    let found = soon("long keys", move || findings(&text, &[]));
    assert!(
        found.iter().any(|line| line.contains("unknown key")),
        "{found:?}"
    );
}

#[test]
fn regular_expressions_cannot_be_made_to_backtrack() {
    let text = "x".repeat(200_000);
    for pattern in [
        "(x+x+)+y",
        "^(x|x)*$y",
        "^(x*)*(x*)*(x*)*z$",
        "(.*)*(.*)*z",
        "^(([a-z])+.)+[A-Z]([a-z])+$",
    ] {
        let schema = json!({"type": "string", "pattern": pattern});
        let body = format!("\"{text}\"");
        assert_eq!(
            first_violation(schema, body),
            Some((String::new(), Some("pattern".into())))
        );
    }
}

#[test]
fn regular_expressions_cannot_be_made_to_fill_memory() {
    for pattern in [
        "(a{1000}){1000}".to_owned(),
        "((a{100}){100}){100}".into(),
        "a{1000000000}".into(),
        "(\\p{L}{1,1000}){1,1000}".into(),
        "(".repeat(100_000) + &")".repeat(100_000),
        "[".repeat(100_000),
        "(?:".repeat(100_000),
    ] {
        let what = pattern.chars().take(30).collect::<String>();
        let errors = soon(&what, move || {
            contract_of(&json!({"type": "string", "pattern": pattern}))
                .unwrap_err()
                .to_string()
        });
        assert!(
            errors.contains("cannot be used") && errors.len() < 1000,
            "{errors}"
        );
    }
    // A long list of alternatives and a large class are fine.
    for pattern in [
        format!(
            "^({})$",
            (0..5000)
                .map(|i| format!("icd-{i}"))
                .collect::<Vec<_>>()
                .join("|")
        ),
        "^\\p{L}{1,64} \\p{L}{1,64}$".into(),
    ] {
        assert!(contract_of(&json!({"type": "string", "pattern": pattern})).is_ok());
    }
}

#[test]
fn formats_take_linear_time() {
    for format in [
        "date",
        "date-time",
        "time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "uri",
        "uri-reference",
        "iri",
        "uri-template",
        "json-pointer",
        "relative-json-pointer",
        "uuid",
        "regex",
    ] {
        soon(format, move || {
            let contract = contract(&json!({"type": "string", "format": format}));
            for piece in [
                "a",
                "{",
                "%",
                "1",
                "[",
                ":",
                "/",
                "T",
                "@",
                ".",
                "-",
                "(",
                "\\\\",
                "%41",
                "{a}",
                "xn--",
                "(?:a{999}){999}",
            ] {
                let body = format!("\"{}\"", piece.repeat(20_000));
                let _ = contract.judge_body(body.as_bytes());
            }
        });
    }
}

#[test]
fn a_schema_that_refers_to_itself_is_explained_in_bounded_time() {
    let both = |keyword: &str| {
        json!({keyword: [
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["x"]},
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["y"]},
        ]})
    };
    let twenty: Vec<Value> = (0..20)
        .map(|i| json!({"properties": {"a": {"$ref": "#"}}, "required": [i.to_string()]}))
        .collect();
    let patterns: serde_json::Map<_, _> = (0..20)
        .map(|i| ("a".repeat(i), json!({"$ref": "#"})))
        .collect();
    for schema in [
        both("anyOf"),
        both("oneOf"),
        both("allOf"),
        json!({"anyOf": twenty}),
        json!({"patternProperties": patterns, "required": ["z"]}),
        json!({"unevaluatedProperties": false, "required": ["z"], "anyOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}, "b": true}}]}),
    ] {
        for depth in [1, 2, 3, 5, 8, 13, 31] {
            let body = nested("{\"a\":", "}", depth);
            let aaa = body.replace("\"a\"", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"");
            for body in [body, aaa] {
                assert!(first_violation(schema.clone(), body).is_some(), "{schema}");
            }
        }
    }
    // A plain tree is explained at any depth that a sensible payload has.
    let tree = json!({"type": "object", "properties": {"c": {"type": "array", "items": {"$ref": "#"}}}, "additionalProperties": false});
    let body = nested("{\"c\":[", "]}", 4);
    assert_eq!(
        first_violation(tree, body),
        Some(("/c/0/c/0/c/0/c/0".into(), Some("type".into())))
    );
}

/// Definitions that each apply the next one twice: no circle, but 2^20 ways.
#[test]
fn doubling_schemas_are_bounded() {
    let chain = |n: usize, level: fn(String) -> Value| {
        let mut defs = serde_json::Map::new();
        for i in 0..n {
            defs.insert(format!("d{i}"), level(format!("#/$defs/d{}", i + 1)));
        }
        defs.insert(format!("d{n}"), json!({"const": 1}));
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    };
    let same_place = chain(
        20,
        |next| json!({"allOf": [{"$ref": next}, {"$ref": next}]}),
    );
    let errors = soon("same place", move || {
        contract_of(&same_place).unwrap_err().to_string()
    });
    assert!(errors.contains("too many combinations"), "{errors}");
    let in_a_row = chain(5000, |next| json!({"$ref": next}));
    let errors = soon("in a row", move || {
        contract_of(&in_a_row).unwrap_err().to_string()
    });
    assert!(errors.contains("too many references in a row"), "{errors}");
    // Doubled one level deeper each: the payload decides how often.
    let deeper = |n, keyword: &'static str, circle: bool| {
        let mut schema = chain(n, |next| json!({"properties": {"a": {"$ref": next}}}));
        for i in 0..n {
            let part = schema["$defs"][format!("d{i}")].take();
            let required = |name| {
                let mut part = part.clone();
                part["required"] = json!([name]);
                part
            };
            schema["$defs"][format!("d{i}")] = json!({keyword: [required("x"), required("y")]});
        }
        if circle {
            schema["$defs"][format!("d{n}")] = json!({"$ref": "#/$defs/d0"});
        }
        schema
    };
    for keyword in ["allOf", "anyOf", "oneOf"] {
        for circle in [false, true] {
            let schema = deeper(16, keyword, circle);
            let errors = soon("16", move || contract_of(&schema).unwrap_err().to_string());
            assert!(errors.contains("too many combinations"), "{errors}");
            for (n, depth) in [(11, 11), (11, 21), (11, 31), (4, 31), (2, 31), (1, 31)] {
                let schema = deeper(n, keyword, circle);
                let wrong = nested("{\"a\":", "}", depth);
                assert!(first_violation(schema.clone(), wrong).is_some());
                let xy = nested("{\"x\":1,\"y\":1,\"a\":", "}", depth);
                let fits = first_violation(schema, xy).is_none();
                let expected = keyword != "oneOf" && (circle || n == depth);
                assert_eq!(fits, expected, "{n} {depth} {keyword} {circle}");
            }
        }
    }
    // Long, but plain.
    let long = chain(
        1000,
        |next| json!({"type": "object", "properties": {"a": {"$ref": next}}, "additionalProperties": false}),
    );
    assert!(soon("long", move || contract_of(&long).is_ok()));
}

/// The validator lists errors all at once, each with its whole path: for a large payload the first
/// one has to do.
#[test]
fn large_wrong_payloads_are_refused_in_bounded_memory() {
    let list = |item: &str, n: usize| format!("[{}{item}]", format!("{item},").repeat(n));
    let many = 300_000;
    let member = |schema: Value| json!({"type": "array", "items": schema});
    for (schema, body, expected) in [
        (
            member(json!({"type": "string"})),
            list("1", many),
            ("/0", Some("type")),
        ),
        (
            member(json!({"required": ["a", "b", "c"]})),
            list("{}", many),
            ("/0", Some("required")),
        ),
        (
            member(json!({"anyOf": [{"type": "string"}, {"type": "null"}]})),
            list("1", many),
            ("", None),
        ),
        (
            json!({"additionalProperties": {"type": "array", "items": {"type": "string"}}}),
            format!("{{\"{}\":{}}}", "k".repeat(1 << 20), list("1", 4000)),
            ("/*/0", Some("type")),
        ),
        (
            member(json!({"oneOf": (0..2000).map(|i| json!({"const": i})).collect::<Vec<_>>()})),
            list("-1", 4000),
            ("", None),
        ),
        (
            json!({"type": "object", "additionalProperties": false, "properties": {"a": {}}}),
            format!(
                "{{{}\"z\":1}}",
                (0..many)
                    .map(|i| format!("\"k{i}\":1,"))
                    .collect::<String>()
            ),
            ("/k0", Some("additionalProperties")),
        ),
    ] {
        let before = peak_memory();
        let found = first_violation(schema, body);
        let (pointer, keyword) = expected;
        assert_eq!(found, Some((pointer.into(), keyword.map(Into::into))));
        let grown = peak_memory() - before;
        assert!(grown < 512 * 1024, "{grown} KiB for {pointer}");
    }
}

/// The most memory that this process had, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Items whose hashes meet: lists that differ only in where they are nested, and objects with so
/// many members that some choice of them has any hash.
#[test]
fn unique_items_cannot_be_made_quadratic() {
    let bits = |i: usize| (0..17).map(move |b| i >> b & 1 == 1);
    let lists: Vec<String> = (0..60_000)
        .map(|i| {
            let items: Vec<&str> = bits(i).map(|nest| if nest { "[1]" } else { "1" }).collect();
            format!("[{}]", items.join(","))
        })
        .collect();
    let unique = json!({"type": "array", "uniqueItems": true});
    assert_eq!(
        first_violation(unique.clone(), format!("[{}]", lists.join(","))),
        None
    );
    let twice = format!("[{},{}]", lists[..30_000].join(","), lists[7]);
    assert_eq!(
        first_violation(unique.clone(), twice),
        Some((String::new(), Some("uniqueItems".into())))
    );
    for (items, is_unique) in [
        ("[1,1.0]", false),
        ("[0,-0]", false),
        ("[1e2,100]", false),
        ("[{\"a\":1,\"b\":2},{\"b\":2,\"a\":1}]", false),
        ("[\"a\",\"\\u0061\"]", false),
        ("[1,\"1\"]", true),
        ("[[1,2],[2,1],[[1],2],[1,[2]]]", true),
        ("[0,false,null,\"\",[],{}]", true),
        ("[]", true),
    ] {
        let violation = first_violation(unique.clone(), items.into());
        assert_eq!(violation.is_none(), is_unique, "{items}");
        let wanted_not = json!({"type": "array", "uniqueItems": false});
        assert_eq!(first_violation(wanted_not, items.into()), None);
    }
}

#[test]
fn deep_payloads_do_not_exhaust_the_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in [32, 128, 1000, 500_000] {
            let body = nested(open, close, depth);
            let found = first_violation(json!({"not": {"const": 1}}), body);
            assert_eq!(found.is_none(), depth <= 32, "{depth}");
        }
    }
}

#[test]
fn many_rules_load_in_time() {
    let rules: String = (0..1500)
        .map(|i| {
            let (a, b) = (i / 250, i % 250);
            format!("  - {{ name: r{i}, to: {{ cidrs: [10.{a}.{b}.0/24], ports: [80, 81] }}, action: direct }}\n")
        })
        .collect();
    let text = format!("{HEAD}egress:\n{rules}");
    assert_eq!(soon("rules", move || findings(&text, &[])), [""; 0]);
}

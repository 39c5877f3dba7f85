//! Which requests an exchange takes, and what it makes of them.

use lazaret_policy::exchange::choose;
use lazaret_policy::{Action, Exchange, Policy, Reason};
use serde_json::{Value, json};

use crate::support::{HEAD, load_with, sound};

fn policy(exchanges: &str) -> Policy {
    let text = format!(
        "{HEAD}egress:\n  - name: out\n    to: {{ cidrs: [192.0.2.1], ports: [80] }}\n    action: inspect\n    exchanges:\n{exchanges}"
    );
    sound(&text, &[])
}

fn exchanges(policy: &Policy) -> &[Exchange] {
    match &policy.egress[0].action {
        Action::Inspect(exchanges) => exchanges,
        other => panic!("{}", other.as_str()),
    }
}

const STUDY: &str = r#"      - request: { method: GET, path: / }
      - request: { method: GET, path: /v1/special }
      - request: { method: GET, path: "/v1/{id}", params: { id: { enum: [a, b] } } }
      - request: { method: POST, path: "/v1/{id}", params: { id: { const: c } } }
      - request: { method: GET, path: "/v1/{id}/rows/{n}", params: { id: { const: a }, n: { type: integer, minimum: 1, maximum: 50 } } }
      - request:
          method: GET
          path: /search
          query:
            run: { type: integer, minimum: 1, maximum: 999 }
            arm: { enum: [all, "a b", "ü", "", "+", "&=", "%41"] }
            "name with space": { type: boolean }
"#;

#[test]
fn chooses_by_path_and_then_by_method() {
    let policy = policy(STUDY);
    let by = |method, path| choose(exchanges(&policy), method, path).map(|e| e.label.to_string());
    for (method, path, label) in [
        ("GET", "/", "GET /"),
        ("GET", "/v1/special", "GET /v1/special"),
        ("GET", "/v1/a", "GET /v1/{id}"),
        ("GET", "/v1/other", "GET /v1/{id}"),
        ("POST", "/v1/special", "POST /v1/{id}"),
        ("GET", "/v1/a/rows/7", "GET /v1/{id}/rows/{n}"),
        ("GET", "/v1/%73pecial", "GET /v1/{id}"),
    ] {
        assert_eq!(by(method, path), Ok(label.into()), "{method} {path}");
    }
    for (method, path) in [("PUT", "/v1/a"), ("get", "/v1/a"), ("POST", "/"), ("", "/")] {
        assert_eq!(
            by(method, path),
            Err(Reason::MethodNotAllowed),
            "{method} {path}"
        );
    }
    for path in [
        "",
        "/v1",
        "/v1/",
        "/v1/a/",
        "//v1/a",
        "/v1//a",
        "/V1/a",
        "/v1/a/rows",
        "/v1/a/rows/7/8",
        "/v1/a/Rows/7",
        "/%76%31/a",
        "/./v1/a",
        "/v1/../v1/a/b",
        "/v1\\a",
        "/v1/a/rows//",
        "/search/",
        "v1x/a",
    ] {
        let found = by("GET", path);
        // The empty path is the root (RFC 9112 §3.2.1).
        let expected = if path.is_empty() {
            Ok("GET /".to_owned())
        } else {
            Err(Reason::PathNotAllowed)
        };
        assert_eq!(found, expected, "{path}");
    }
}

#[test]
fn a_target_is_rebuilt_in_one_spelling() {
    let policy = policy(STUDY);
    let target = |path: &str, query: Option<&str>| {
        let exchange = choose(exchanges(&policy), "GET", path)?;
        exchange.rebuild_target(path, query)
    };
    for (path, query, expected) in [
        ("/", None, Ok("/")),
        ("/", Some(""), Ok("/")),
        ("/", Some("&&"), Ok("/")),
        ("/v1/a", None, Ok("/v1/a")),
        ("/v1/%61", None, Ok("/v1/a")),
        ("/v1/c", None, Err(Reason::ParameterInvalid)),
        ("/v1/A", None, Err(Reason::ParameterInvalid)),
        ("/v1/a%00", None, Err(Reason::ParameterInvalid)),
        ("/v1/a%", None, Err(Reason::ParameterInvalid)),
        ("/v1/a%2", None, Err(Reason::ParameterInvalid)),
        ("/v1/%ff", None, Err(Reason::ParameterInvalid)),
        ("/v1/%c0%af", None, Err(Reason::ParameterInvalid)),
        ("/v1/a;x=1", None, Err(Reason::ParameterInvalid)),
        ("/v1/a/rows/7", None, Ok("/v1/a/rows/7")),
        ("/v1/a/rows/%37", None, Ok("/v1/a/rows/7")),
        ("/v1/a/rows/07", None, Err(Reason::ParameterInvalid)),
        ("/v1/a/rows/+7", None, Err(Reason::ParameterInvalid)),
        ("/v1/a/rows/7.0", None, Err(Reason::ParameterInvalid)),
        ("/v1/a/rows/7e0", None, Err(Reason::ParameterInvalid)),
        ("/v1/a/rows/0.7e1", None, Err(Reason::ParameterInvalid)),
        ("/v1/a/rows/%207", None, Err(Reason::ParameterInvalid)),
        ("/v1/a/rows/0", None, Err(Reason::ParameterInvalid)),
        ("/v1/a/rows/51", None, Err(Reason::ParameterInvalid)),
        ("/v1/a/rows/\"7\"", None, Err(Reason::ParameterInvalid)),
        ("/v1/a", Some("x=1"), Err(Reason::QueryNotAllowed)),
        (
            "/search",
            Some("run=7&arm=all"),
            Ok("/search?arm=all&run=7"),
        ),
        (
            "/search",
            Some("arm=all&run=7"),
            Ok("/search?arm=all&run=7"),
        ),
        (
            "/search",
            Some("&arm=all&&run=7&"),
            Ok("/search?arm=all&run=7"),
        ),
        ("/search", Some("%61rm=%61ll"), Ok("/search?arm=all")),
        ("/search", Some("arm=a+b"), Ok("/search?arm=a%20b")),
        ("/search", Some("arm=a%20b"), Ok("/search?arm=a%20b")),
        ("/search", Some("arm=ü"), Ok("/search?arm=%C3%BC")),
        ("/search", Some("arm=%C3%BC"), Ok("/search?arm=%C3%BC")),
        ("/search", Some("arm=u%CC%88"), Err(Reason::QueryInvalid)),
        ("/search", Some("arm"), Ok("/search?arm=")),
        ("/search", Some("arm="), Ok("/search?arm=")),
        ("/search", Some("arm=%2B"), Ok("/search?arm=%2B")),
        ("/search", Some("arm=%26%3D"), Ok("/search?arm=%26%3D")),
        ("/search", Some("arm=%2541"), Ok("/search?arm=%2541")),
        ("/search", Some("arm=%41"), Err(Reason::QueryInvalid)),
        (
            "/search",
            Some("name+with+space=true"),
            Ok("/search?name%20with%20space=true"),
        ),
        (
            "/search",
            Some("name%20with%20space=True"),
            Err(Reason::QueryInvalid),
        ),
        (
            "/search",
            Some("name%20with%20space=1"),
            Err(Reason::QueryInvalid),
        ),
        ("/search", Some("run=7;arm=all"), Err(Reason::QueryInvalid)),
        ("/search", Some("run=7&run=7"), Err(Reason::QueryNotAllowed)),
        (
            "/search",
            Some("run=7&%72un=8"),
            Err(Reason::QueryNotAllowed),
        ),
        ("/search", Some("RUN=7"), Err(Reason::QueryNotAllowed)),
        ("/search", Some("=7"), Err(Reason::QueryNotAllowed)),
        ("/search", Some("run[]=7"), Err(Reason::QueryNotAllowed)),
        (
            "/search",
            Some("run=7%0d%0ax: y"),
            Err(Reason::QueryInvalid),
        ),
        ("/search", Some("run=7#x"), Err(Reason::QueryInvalid)),
        ("/search", Some("run%"), Err(Reason::QueryNotAllowed)),
    ] {
        let found = target(path, query);
        assert_eq!(
            found.as_deref().map_err(|r| *r),
            expected,
            "{path} {query:?}"
        );
        // What was rebuilt is rebuilt to itself: there is one spelling.
        if let Ok(found) = &found {
            let (path, query) = found.split_once('?').unwrap_or((found, ""));
            let query = Some(query);
            assert_eq!(target(path, query).as_deref(), Ok(found.as_str()));
        }
    }
}

/// The rule for one header, and whether it is open.
fn rule(schema: &Value) -> (Policy, usize) {
    let text = format!(
        "{HEAD}egress:\n  - name: out\n    to: {{ cidrs: [192.0.2.1], ports: [80] }}\n    action: inspect\n    exchanges: [{{ request: {{ method: GET, path: /, headers: {{ x: {schema} }} }} }}]\n"
    );
    let (policy, warnings) = load_with(&text, &[]).unwrap_or_else(|e| panic!("{}", e.join("\n")));
    (policy, warnings.len())
}

#[test]
fn a_text_is_allowed_as_a_string_or_as_a_canonical_scalar() {
    for (schema, allowed, refused) in [
        (
            json!({"const": "return=minimal"}),
            vec!["return=minimal"],
            vec!["Return=minimal", " return=minimal", "return=minimal ", ""],
        ),
        (
            json!({"enum": ["a", 1, true, null]}),
            vec!["a", "1", "true", "null"],
            vec!["1.0", "01", "+1", "True", "NULL", "\"a\"", "1 "],
        ),
        (
            json!({"type": "integer", "minimum": -5, "maximum": 1000}),
            vec!["0", "7", "-5", "1000"],
            vec![
                "-0", "00", "7.", "7.0", "1e3", "1E3", "0x7", " 7", "7 ", "+7", "７", "7\n", "",
                "1_0", "--5", "-6", "1001", "NaN",
            ],
        ),
        (
            json!({"type": "number", "minimum": 0, "maximum": 1}),
            vec!["0", "1", "0.5", "1e-7"],
            vec![
                ".5",
                "0.50",
                "5e-1",
                "0.0",
                "1e-07",
                "0.0000001",
                "1E-7",
                "0.5f",
                "0,5",
            ],
        ),
        (
            json!({"type": "boolean"}),
            vec!["true", "false"],
            vec!["TRUE", "yes", "1", "0", "\"true\"", " true"],
        ),
        (json!({"type": "null"}), vec!["null"], vec!["", "Null", "~"]),
        (
            json!({"type": "string", "maxLength": 3}),
            vec!["", "abc", "123", "ü€😀", "{}"],
            vec!["abcd", "1234"],
        ),
        (
            json!({"type": "string", "pattern": "^[a-z]{2}$", "maxLength": 2}),
            vec!["ab"],
            vec!["ab\n", "\nab", "abc", "AB", "a"],
        ),
        (
            json!({"type": "string", "format": "date", "maxLength": 10}),
            vec!["2026-02-28"],
            vec![
                "2026-02-30",
                "2026-2-28",
                "26-02-28",
                "2026-02-28T00:00:00Z",
            ],
        ),
        // Not a text: never allowed.
        (
            json!({"type": "object", "additionalProperties": false}),
            vec![],
            vec!["{}", "a"],
        ),
        (
            json!({"type": "array", "maxItems": 1, "items": {"const": 1}}),
            vec![],
            vec!["[]", "[1]"],
        ),
        (json!(false_schema()), vec![], vec!["", "1", "a"]),
    ] {
        let (policy, warnings) = rule(&schema);
        assert_eq!(warnings, 0, "{schema}");
        let rule = &exchanges(&policy)[0].request_headers["x"];
        for text in allowed {
            assert!(rule.allows(text), "{schema} {text:?}");
        }
        for text in refused {
            assert!(!rule.allows(text), "{schema} {text:?}");
        }
    }
}

fn false_schema() -> Value {
    json!({"not": {}, "enum": ["a"]})
}

/// A text can be a number without being a string, so bounds for strings alone bound nothing.
#[test]
fn a_rule_that_bounds_only_strings_is_open() {
    for schema in [
        json!({}),
        json!({"maxLength": 3}),
        json!({"pattern": "^a$"}),
        json!({"type": "string"}),
        json!({"type": "number"}),
        json!({"type": ["string", "integer"], "maxLength": 3}),
        json!({"type": "integer", "minimum": 0}),
        json!({"anyOf": [{"const": "a"}, {"type": "string"}]}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}),
    ] {
        let (policy, warnings) = rule(&schema);
        assert_eq!(warnings, 1, "{schema}");
        let rule = &exchanges(&policy)[0].request_headers["x"];
        let free = ["123456789012345", "a text of some length"];
        assert!(free.iter().any(|t| rule.allows(t)), "{schema}");
    }
}

#[test]
fn what_is_not_described_is_not_asked_for() {
    let policy = policy(
        "      - request: { method: GET, path: /a }\n      - request: { method: GET, path: /b }\n        response: { statuses: [200, 404], headers: { etag: { const: x } } }\n",
    );
    let [a, b] = exchanges(&policy) else { panic!() };
    assert!(!a.judges_response() && !b.judges_response());
    assert_eq!(a.response.statuses, None);
    assert_eq!(b.response.statuses, Some(vec![200, 404]));
    assert!(b.response.headers["etag"].allows("x"));
    assert!(a.request_body.is_none() && a.query.is_empty() && a.request_headers.is_empty());
}

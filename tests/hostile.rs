//! What a hostile program can do with the bytes of HTTP itself: framing, smuggling, other protocols,
//! protocol switches. Each row says what is answered, what is on record and what the collector gets:
//! nothing, or whole messages that the gateway wrote itself.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which fail by panicking"
)]

mod common;

use common::hello::{hello, real, server_name};
use common::{
    CANARY, Client, Gateway, Launch, POLICY, Recorder, Reply, Response, SUMMARY, good,
    good_upstream, post,
};

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// Released.
    Out,
    /// Refused with a problem document of this reason.
    Refused(&'static str),
    /// Refused by hyper, which answers with a bare status; the record has this reason.
    Bare(u16, &'static str),
    /// Refused without an answer.
    Cut(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The connection takes further requests.
    Open,
    /// The gateway ends it, whatever else was sent.
    Closed,
}

use Came::{Bare, Cut, Out, Refused};
use Then::{Closed, Open};

struct Row {
    what: String,
    send: Vec<u8>,
    came: Vec<Came>,
    then: Then,
}

fn row(what: impl Into<String>, send: impl AsRef<[u8]>, came: &[Came], then: Then) -> Row {
    Row {
        what: what.into(),
        send: send.as_ref().to_vec(),
        came: came.to_vec(),
        then,
    }
}

/// A POST with these fields instead of a length, and this behind the head.
fn framed(fields: &str, body: &str) -> String {
    format!(
        "POST /v1/results/t2dm HTTP/1.1\r\nHost: collector.example\r\nContent-Type: \
         application/json\r\n{fields}\r\n\r\n{body}"
    )
}

fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

/// Sends each row on its own connection and holds everything against it.
fn all_hold(gateway: &Gateway, collector: &Recorder, rows: Vec<Row>) {
    let mut failed = Vec::new();
    for row in rows {
        let holds = std::panic::AssertUnwindSafe(|| holds(gateway, collector, &row));
        // All that do not hold are wanted, not the first.
        if std::panic::catch_unwind(holds).is_err() {
            failed.push(row.what);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

fn holds(gateway: &Gateway, collector: &Recorder, row: &Row) {
    let what = &row.what;
    let seen = gateway.verdicts().len();
    collector.forget();
    let mut client = Client::connect(gateway.outbound);
    client.send(&row.send);
    let answered = row.came.iter().filter(|c| !matches!(c, Cut(_))).count();
    let mut answers = Vec::new();
    let mut extra = 0;
    match row.then {
        Open => {
            for _ in 0..answered {
                answers.push(client.response());
            }
            assert_eq!(client.ask(good()).status, 204, "{what}: not open");
            extra = 1;
        }
        Closed => {
            let (bytes, _) = client.rest();
            answers = Response::all(&bytes);
            let text = String::from_utf8_lossy(&bytes);
            assert_eq!(answers.len(), answered, "{what}: {text}");
        }
    }
    let mut answers = answers.into_iter();
    for came in &row.came {
        match came {
            Out => assert_eq!(answers.next().unwrap().status, 204, "{what}"),
            Refused(reason) => assert_eq!(answers.next().unwrap().reason(), *reason, "{what}"),
            Bare(status, _) => {
                let answer = answers.next().unwrap();
                assert_eq!(answer.status, *status, "{what}");
                assert_eq!(answer.body, b"", "{what}");
            }
            Cut(_) => {}
        }
    }
    let all = gateway.wait_verdicts(seen + row.came.len() + extra);
    for (record, came) in all[seen..].iter().zip(&row.came) {
        match came {
            Out => assert_eq!(record["verdict"], "released", "{what}: {record}"),
            Refused(reason) | Bare(_, reason) | Cut(reason) => {
                assert_eq!(record["verdict"], "refused", "{what}: {record}");
                assert_eq!(record["reason"], *reason, "{what}: {record}");
            }
        }
    }
    let out = extra + row.came.iter().filter(|c| **c == Out).count();
    assert_eq!(collector.texts(), vec![good_upstream(); out], "{what}");
    // Not a byte more than those.
    let bytes = collector.bytes().len();
    assert_eq!(bytes, out * good_upstream().len(), "{what}");
}

fn framing() -> Vec<Row> {
    let n = SUMMARY.len();
    let whole = chunked(SUMMARY);
    let hidden = good();
    let mut rows = vec![
        // hyper goes by the chunks, forgets the length and ends the connection (RFC 9112 §6.3).
        row(
            "length, then chunked",
            framed(
                &format!("Content-Length: {n}\r\nTransfer-Encoding: chunked"),
                &whole,
            ),
            &[Out],
            Closed,
        ),
        row(
            "chunked, then length",
            framed(
                &format!("Transfer-Encoding: chunked\r\nContent-Length: {n}"),
                &whole,
            ),
            &[Out],
            Closed,
        ),
        row(
            "CL.TE: a request behind the last chunk",
            framed(
                &format!(
                    "Content-Length: {}\r\nTransfer-Encoding: chunked",
                    hidden.len() + 5
                ),
                &format!("0\r\n\r\n{hidden}"),
            ),
            &[Refused("json-syntax")],
            Closed,
        ),
        row(
            "TE.CL: a request inside a chunk",
            framed(
                "Content-Length: 4\r\nTransfer-Encoding: chunked",
                &chunked(&hidden),
            ),
            &[Refused("json-syntax")],
            Closed,
        ),
        row(
            "two equal lengths",
            framed(
                &format!("Content-Length: {n}\r\nContent-Length: {n}"),
                SUMMARY,
            ),
            &[Out],
            Open,
        ),
        row(
            "two lengths",
            framed(
                &format!("Content-Length: {n}\r\nContent-Length: 5"),
                SUMMARY,
            ),
            &[Bare(400, "http-malformed")],
            Closed,
        ),
        row(
            "a length of zero, and a request behind it",
            format!("{}{hidden}", framed("Content-Length: 0", "")),
            &[Refused("json-syntax"), Out],
            Open,
        ),
        row(
            "no length at all",
            framed("X: y", ""),
            &[Refused("json-syntax")],
            Open,
        ),
        row(
            "no length, and something behind the head",
            framed("X: y", SUMMARY),
            &[Refused("json-syntax"), Bare(400, "http-malformed")],
            Closed,
        ),
        row(
            "a field that only looks like a coding",
            framed(
                &format!("Transfer_Encoding: chunked\r\nContent-Length: {n}"),
                SUMMARY,
            ),
            &[Out],
            Open,
        ),
        row(
            "a coding twice in a field",
            framed("Transfer-Encoding: chunked, chunked", &whole),
            &[Refused("framing-ambiguous")],
            Closed,
        ),
        row(
            "a coding in two fields",
            framed(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                &whole,
            ),
            &[Refused("framing-ambiguous")],
            Closed,
        ),
        row(
            "another coding first",
            framed("Transfer-Encoding: gzip, chunked", &whole),
            &[Refused("framing-ambiguous")],
            Closed,
        ),
        row(
            "identity first",
            framed(
                "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
                &whole,
            ),
            &[Refused("framing-ambiguous")],
            Closed,
        ),
        row(
            "chunked in capitals",
            framed("TRANSFER-ENCODING: CHUNKED", &whole),
            &[Out],
            Open,
        ),
        row(
            "chunked under HTTP/1.0",
            framed("Transfer-Encoding: chunked", &whole).replace("HTTP/1.1", "HTTP/1.0"),
            &[Bare(400, "http-malformed")],
            Closed,
        ),
    ];
    for length in [
        "+5",
        "-5",
        "5 5",
        "5, 5",
        "0x5",
        "5_0",
        "",
        "five",
        "5.0",
        "18446744073709551616",
        "\u{b}5",
        "٥",
    ] {
        let send = framed(&format!("Content-Length: {length}"), SUMMARY);
        rows.push(row(
            format!("a length of `{length}`"),
            send,
            &[Bare(400, "http-malformed")],
            Closed,
        ));
    }
    rows.push(row(
        "a length that is the largest",
        framed("Content-Length: 18446744073709551615", SUMMARY),
        &[Bare(431, "head-too-large")],
        Closed,
    ));
    rows.push(row(
        "a length far over the limit",
        framed("Content-Length: 9223372036854775807", SUMMARY),
        &[Refused("body-too-large")],
        Closed,
    ));
    rows.push(row(
        "a length with spaces around",
        framed(&format!("Content-Length: \t {n} "), SUMMARY),
        &[Out],
        Open,
    ));
    rows.push(row(
        "a length with zeros before",
        framed(&format!("Content-Length: 000{n}"), SUMMARY),
        &[Out],
        Open,
    ));
    for coding in [
        "xchunked",
        "identity",
        "chunked, identity",
        "chunked;q=1",
        "\u{b}chunked",
        "chunked\u{b}",
        "chun ked",
        "\"chunked\"",
        "",
        "gzip",
    ] {
        let send = framed(&format!("Transfer-Encoding: {coding}"), &whole);
        rows.push(row(
            format!("a coding `{coding}`"),
            send,
            &[Bare(400, "http-malformed")],
            Closed,
        ));
    }
    for (what, body) in [
        (
            "a size that overflows",
            format!("FFFFFFFFFFFFFFFFF\r\n{SUMMARY}\r\n0\r\n\r\n"),
        ),
        ("a negative size", format!("-1\r\n{SUMMARY}\r\n0\r\n\r\n")),
        (
            "a size with a prefix",
            format!("0x{n:x}\r\n{SUMMARY}\r\n0\r\n\r\n"),
        ),
        ("no size", format!("\r\n{SUMMARY}\r\n0\r\n\r\n")),
        (
            "a size with a bare LF",
            format!("{n:x}\n{SUMMARY}\r\n0\r\n\r\n"),
        ),
        (
            "a chunk that is longer than its size",
            format!("{:x}\r\n{SUMMARY}\r\n0\r\n\r\n", n - 1),
        ),
        (
            "a chunk with a bare LF",
            format!("{n:x}\r\n{SUMMARY}\n0\r\n\r\n"),
        ),
        (
            "an extension with a bare LF",
            format!("{n:x};a\nb\r\n{SUMMARY}\r\n0\r\n\r\n"),
        ),
        (
            "extensions of 20 KiB",
            format!("{n:x};{}\r\n{SUMMARY}\r\n0\r\n\r\n", "x".repeat(20 << 10)),
        ),
        (
            "trailers of 20 KiB",
            format!(
                "{n:x}\r\n{SUMMARY}\r\n0\r\nX: {}\r\n\r\n",
                "x".repeat(20 << 10)
            ),
        ),
    ] {
        rows.push(row(
            what,
            framed("Transfer-Encoding: chunked", &body),
            &[Refused("body-incomplete")],
            Closed,
        ));
    }
    rows.push(row(
        "an extension of 10 KiB",
        framed(
            "Transfer-Encoding: chunked",
            &format!("{n:x};{}\r\n{SUMMARY}\r\n0\r\n\r\n", CANARY.repeat(450)),
        ),
        &[Out],
        Open,
    ));
    rows.push(row("trailers that frame", framed("Transfer-Encoding: chunked", &format!("{n:x}\r\n{SUMMARY}\r\n0\r\nContent-Length: 5\r\nHost: evil.example\r\nX-Study-Phase: main\r\n\r\n")), &[Out], Open));
    rows.push(row(
        "one byte per chunk",
        framed(
            "Transfer-Encoding: chunked",
            &(SUMMARY
                .chars()
                .map(|c| format!("1\r\n{c}\r\n"))
                .collect::<String>()
                + "0\r\n\r\n"),
        ),
        &[Out],
        Open,
    ));
    rows
}

fn heads() -> Vec<Row> {
    let malformed = [Bare(400, "http-malformed")];
    let with = |fields: &str| good().replacen("Host:", &format!("{fields}\r\nHost:"), 1);
    let line = |line: &str| format!("{line}\r\nHost: collector.example\r\n\r\n");
    let mut rows = vec![
        row("bare LF", good().replace("\r\n", "\n"), &[Out], Open),
        row("a bare CR in a value", with("X: a\rb"), &malformed, Closed),
        row(
            "a bare CR as line end",
            with("X: a\rY: b"),
            &malformed,
            Closed,
        ),
        row("a folded line", with("X: a\r\n b"), &malformed, Closed),
        row(
            "a folded first field",
            good().replacen("Host:", " X: a\r\nHost:", 1),
            &malformed,
            Closed,
        ),
        row(
            "a space before the colon",
            with("X : a"),
            &malformed,
            Closed,
        ),
        row(
            "a tab before the colon",
            with("Content-Length\t: 5"),
            &malformed,
            Closed,
        ),
        row("NUL in a value", with("X: a\0b"), &malformed, Closed),
        row("NUL in a name", with("X\0: a"), &malformed, Closed),
        row("no name", with(": a"), &malformed, Closed),
        row("no colon", with("X"), &malformed, Closed),
        row("a name in quotes", with("\"X\": a"), &malformed, Closed),
        row(
            "bytes over 127 in a value",
            with("X: é\u{80}"),
            &[Out],
            Open,
        ),
        row("an empty value", with("X:"), &[Out], Open),
        row(
            "two spaces in the request line",
            good().replacen(' ', "  ", 1),
            &malformed,
            Closed,
        ),
        row(
            "a tab in the request line",
            good().replacen(" HTTP", "\tHTTP", 1),
            &malformed,
            Closed,
        ),
        row(
            "a space behind the version",
            good().replacen("/1.1\r", "/1.1 \r", 1),
            &malformed,
            Closed,
        ),
        row("HTTP/0.9", "GET /v1/task\r\n\r\n", &malformed, Closed),
        row(
            "HTTP/1.2",
            line("GET /v1/task HTTP/1.2"),
            &malformed,
            Closed,
        ),
        row(
            "HTTP/2.0 in a line",
            line("GET /v1/task HTTP/2.0"),
            &malformed,
            Closed,
        ),
        row("HTTP/11", line("GET /v1/task HTTP/11"), &malformed, Closed),
        row(
            "http/1.1",
            line("GET /v1/task http/1.1"),
            &malformed,
            Closed,
        ),
        row(
            "a method in small letters",
            good().replacen("POST", "post", 1),
            &[Refused("method-not-allowed")],
            Open,
        ),
        row(
            "TRACE",
            line("TRACE /v1/task HTTP/1.1"),
            &[Refused("method-not-allowed")],
            Open,
        ),
        row(
            "OPTIONS *",
            line("OPTIONS * HTTP/1.1"),
            &[Refused("path-not-allowed")],
            Open,
        ),
        row(
            "a head over the limit",
            with(&format!("X: {}", "x".repeat(16_400))),
            &[Bare(431, "head-too-large")],
            Closed,
        ),
        row(
            "a target over the limit",
            line(&format!("GET /{} HTTP/1.1", "x".repeat(17_000))),
            &[Bare(431, "head-too-large")],
            Closed,
        ),
        row(
            "101 fields",
            with(&["X: y"; 101].join("\r\n")),
            &[Bare(431, "head-too-large")],
            Closed,
        ),
        row("97 fields", with(&["X: y"; 97].join("\r\n")), &[Out], Open),
        // Host.
        row(
            "no Host",
            "GET /v1/task HTTP/1.1\r\n\r\n",
            &[Refused("host-missing")],
            Closed,
        ),
        row(
            "no Host, but a full target",
            "GET http://collector.example/v1/task HTTP/1.1\r\n\r\n",
            &[Refused("host-missing")],
            Closed,
        ),
        row(
            "two equal Hosts",
            with("Host: collector.example"),
            &[Refused("host-missing")],
            Closed,
        ),
        row(
            "two Hosts",
            with("Host: evil.example"),
            &[Refused("host-missing")],
            Closed,
        ),
        row(
            "Host with user information",
            line("GET /v1/task HTTP/1.1").replace("collector", "u@collector"),
            &[Refused("http-malformed")],
            Closed,
        ),
        row(
            "Host with a path",
            line("GET /v1/task HTTP/1.1").replace("example", "example/x"),
            &[Refused("http-malformed")],
            Closed,
        ),
        row(
            "Host with two names",
            line("GET /v1/task HTTP/1.1").replace("example", "example, evil.example"),
            &[Refused("http-malformed")],
            Closed,
        ),
        row(
            "Host with another port",
            line("GET /v1/task HTTP/1.1").replace("example", "example:81"),
            &[Refused("host-not-allowed")],
            Open,
        ),
        row(
            "Host with a bad port",
            line("GET /v1/task HTTP/1.1").replace("example", "example:80x"),
            &[Refused("http-malformed")],
            Closed,
        ),
        row(
            "another Host in the target",
            "GET http://evil.example/v1/task HTTP/1.1\r\nHost: collector.example\r\n\r\n",
            &[Refused("host-mismatch")],
            Closed,
        ),
        row(
            "another port in the target",
            "GET http://collector.example:81/v1/task HTTP/1.1\r\nHost: collector.example\r\n\r\n",
            &[Refused("host-mismatch")],
            Closed,
        ),
        row(
            "https",
            line("GET https://collector.example/v1/task HTTP/1.1"),
            &[Refused("host-mismatch")],
            Closed,
        ),
        row(
            "another scheme",
            line("GET ftp://collector.example/v1/task HTTP/1.1"),
            &[Refused("host-mismatch")],
            Closed,
        ),
        row(
            "user information in the target",
            line("GET http://u:p@collector.example/v1/task HTTP/1.1"),
            &[Refused("http-malformed")],
            Closed,
        ),
        row(
            "the scheme in capitals",
            good().replacen(" /", " HTTP://collector.example/", 1),
            &[Out],
            Open,
        ),
        row(
            "a target that is an authority",
            line("GET collector.example:80 HTTP/1.1"),
            &[Refused("path-not-allowed")],
            Open,
        ),
        // Expectations.
        row(
            "another expectation",
            with("Expect: 200-ok"),
            &[Refused("expectation-not-allowed")],
            Closed,
        ),
        row(
            "an expectation with a parameter",
            with("Expect: 100-continue;x=y"),
            &[Refused("expectation-not-allowed")],
            Closed,
        ),
        row(
            "two expectations",
            with("Expect: 100-continue\r\nExpect: x"),
            &[Refused("expectation-not-allowed")],
            Closed,
        ),
        // Fields that name others do not take away what the policy lists.
        row(
            "Connection names other fields",
            with("Connection: content-type, x-study-phase, host, keep-alive"),
            &[Out],
            Open,
        ),
    ];
    for target in [
        "/v1/results/t2dm/",
        "//v1/results/t2dm",
        "/v1//results/t2dm",
        "/V1/results/t2dm",
        "/v1/results",
        "/v1/results/./t2dm",
        "/x/../v1/results/t2dm",
        "/%76%31/results/t2dm",
        "/",
        "v1/results/t2dm",
        "/v1/results/t2dm/%2e%2e",
        "/v1\\results\\t2dm",
    ] {
        let came = if target.starts_with('v') {
            malformed[0]
        } else {
            Refused("path-not-allowed")
        };
        let then = if target.starts_with('v') {
            Closed
        } else {
            Open
        };
        rows.push(row(
            format!("the target {target}"),
            line(&format!("POST {target} HTTP/1.1")),
            &[came],
            then,
        ));
    }
    for target in [
        "/v1/results/%2e%2e",
        "/v1/results/..",
        "/v1/results/t2dm%00",
        "/v1/results/t2dm;x=1",
        "/v1/results/t2dm%2F..",
        "/v1/results/%74%32%64%6d%20",
        "/v1/results/%ff",
        "/v1/results/%",
        "/v1/results/T2DM",
    ] {
        rows.push(row(
            format!("the target {target}"),
            line(&format!("POST {target} HTTP/1.1")),
            &[Refused("parameter-invalid")],
            Open,
        ));
    }
    for (query, reason) in [
        ("run=1&run=1", "query-not-allowed"),
        ("run=1&%72un=1", "query-not-allowed"),
        ("Run=1", "query-not-allowed"),
        ("run[]=1", "query-not-allowed"),
        ("run=1;x=2", "query-invalid"),
        ("run=1#x", "media-type"),
        ("run=1.0", "query-invalid"),
        ("run=%31%00", "query-invalid"),
        ("run", "query-invalid"),
        ("=1", "query-not-allowed"),
    ] {
        rows.push(row(
            format!("the query {query}"),
            line(&format!("POST /v1/results/t2dm?{query} HTTP/1.1")),
            &[Refused(reason)],
            Open,
        ));
    }
    for field in [
        "Range: bytes=0-1",
        "Content-Range: bytes 0-1/2",
        "If-Match: *",
        "If-Range: x",
        "If-Unmodified-Since: x",
        "X-HTTP-Method-Override: DELETE",
        "x-http-method: PUT",
        "X-METHOD-OVERRIDE: a",
    ] {
        rows.push(row(
            field,
            line("GET /v1/task HTTP/1.1").replace("\r\n\r\n", &format!("\r\n{field}\r\n\r\n")),
            &[Refused("header-not-allowed")],
            Open,
        ));
    }
    rows
}

/// A switch that is refused ends the connection: what was sent behind it in the hope of a tunnel is
/// not read as requests (RFC 9931).
fn switches() -> Vec<Row> {
    let glued = [
        good(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
        "\x16\x03\x01".into(),
        String::new(),
    ];
    let mut rows = Vec::new();
    for behind in &glued {
        for authority in [
            "collector.example:80",
            "collector.example",
            "evil.example:443",
            "127.0.0.1:22",
        ] {
            let send = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n{behind}");
            rows.push(row(
                format!("CONNECT {authority}"),
                send,
                &[Refused("connect-not-allowed")],
                Closed,
            ));
        }
        for fields in [
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x",
            "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            "Upgrade: TLS/1.0\r\nConnection: upgrade",
            "Upgrade: connect-tcp",
            "Connection: keep-alive, UPGRADE",
            "upgrade: x,h2c\r\nconnection: close",
        ] {
            let send = format!(
                "GET /v1/task HTTP/1.1\r\nHost: collector.example\r\n{fields}\r\n\r\n{behind}"
            );
            rows.push(row(fields, send, &[Refused("upgrade-not-allowed")], Closed));
        }
    }
    rows.push(row(
        "Upgrade of a request with a body",
        good().replacen("Host", "Upgrade: x\r\nHost", 1),
        &[Refused("upgrade-not-allowed")],
        Closed,
    ));
    rows
}

fn pipelines() -> Vec<Row> {
    let refused = post("{}");
    vec![
        row("two at once", good() + &good(), &[Out, Out], Open),
        row(
            "a refused one between",
            good() + &refused + &good(),
            &[Out, Refused("schema-mismatch"), Out],
            Open,
        ),
        row(
            "garbage behind",
            good() + "garbage\r\n\r\n",
            &[Out, Bare(400, "http-malformed")],
            Closed,
        ),
        row(
            "empty lines between",
            format!("{}\r\n\r\n{}", good(), good()),
            &[Out, Out],
            Open,
        ),
        row(
            "a preface behind",
            good() + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &[Out, Cut("http-malformed")],
            Closed,
        ),
        row(
            "close, then another",
            good().replacen("Host", "Connection: close\r\nHost", 1) + &good(),
            &[Out],
            Closed,
        ),
        row(
            "a request as a body",
            post(&good()),
            &[Refused("json-syntax")],
            Open,
        ),
        row(
            "a request as a body that is not allowed",
            format!(
                "GET /v1/task HTTP/1.1\r\nHost: collector.example\r\nContent-Length: {}\r\n\r\n{}",
                good().len(),
                good()
            ),
            &[Refused("body-not-allowed")],
            Open,
        ),
        row(
            "a request as a body over the limit",
            post(&good().repeat(30)),
            &[Refused("body-too-large")],
            Open,
        ),
        row(
            "a request as a body of another type",
            post(&good()).replacen("application/json", "text/plain", 1),
            &[Refused("media-type")],
            Open,
        ),
    ]
}

fn protocols() -> Vec<Row> {
    let name = server_name("collector.example");
    let mut rows = vec![
        row(
            "a TLS ClientHello",
            real("curl"),
            &[Cut("tls-sni-not-allowed")],
            Closed,
        ),
        row(
            "a TLS ClientHello for nobody",
            hello(&[]),
            &[Cut("tls-sni-missing")],
            Closed,
        ),
        row(
            "a TLS ClientHello, and a request behind it",
            [hello(&[name]), good().into()].concat(),
            &[Cut("tls-client-hello")],
            Closed,
        ),
        row(
            "no more of a TLS ClientHello than its header",
            b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03",
            &[Cut("tls-client-hello")],
            Closed,
        ),
        row(
            "a request in a record of TLS",
            [&b"\x16\x03\x02\x00\xf4"[..], good().as_bytes()].concat(),
            &[Cut("tls-client-hello")],
            Closed,
        ),
        row(
            "an SSL 2 hello",
            b"\x80\x2e\x01\x00\x02\x00",
            &[Cut("protocol-unknown")],
            Closed,
        ),
        row(
            "SSH",
            "SSH-2.0-OpenSSH_9.2\r\n",
            &[Cut("protocol-unknown")],
            Closed,
        ),
        row(
            "SMTP",
            "EHLO evil.example\r\n",
            &[Bare(400, "http-malformed")],
            Closed,
        ),
        row(
            "PostgreSQL",
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
            &[Cut("protocol-unknown")],
            Closed,
        ),
        row(
            "Redis",
            "*1\r\n$4\r\nPING\r\n",
            &[Cut("protocol-unknown")],
            Closed,
        ),
        row(
            "PROXY, version 1",
            format!("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n{}", good()),
            &[Bare(400, "http-malformed")],
            Closed,
        ),
        row(
            "PROXY, version 2",
            b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c",
            &[Cut("protocol-unknown")],
            Closed,
        ),
        row(
            "an empty line first",
            format!("\r\n{}", good()),
            &[Cut("protocol-unknown")],
            Closed,
        ),
        row(
            "a space first",
            format!(" {}", good()),
            &[Cut("protocol-unknown")],
            Closed,
        ),
        row(
            "a byte order mark first",
            format!("\u{feff}{}", good()),
            &[Cut("protocol-unknown")],
            Closed,
        ),
        row(
            "a very long word",
            "A".repeat(100),
            &[Cut("protocol-unknown")],
            Closed,
        ),
        row(
            "half a preface, then HTTP/1",
            format!("PRI * HTTP/1.1\r\n{}", good()),
            &[Cut("protocol-unknown")],
            Closed,
        ),
    ];
    rows.push(row("NUL", [0; 64], &[Cut("protocol-unknown")], Closed));
    rows
}

fn hold(rows: Vec<Row>) {
    let collector = Recorder::no_content();
    let gateway = Gateway::before(collector.addr);
    all_hold(&gateway, &collector, rows);
}

#[test]
fn framing_is_read_in_one_way_or_refused() {
    hold(framing());
}

#[test]
fn heads_are_read_in_one_way_or_refused() {
    hold(heads());
}

#[test]
fn refused_switches_end_the_connection() {
    hold(switches());
}

#[test]
fn requests_in_a_row_are_judged_one_by_one() {
    hold(pipelines());
}

#[test]
fn other_protocols_are_refused() {
    hold(protocols());
}

/// An app behind the gateway that serves none.
#[test]
fn tls_of_a_caller_is_refused() {
    let app = Recorder::no_content();
    let gateway = Launch::new(POLICY).app(app.addr).start();
    for (n, client) in ["curl", "java", "openssl-no-name"].into_iter().enumerate() {
        let answer = common::raw::exchange(gateway.inbound, real(client));
        assert_eq!(answer, b"", "{client}");
        let record = gateway.wait_verdicts(n + 1).pop().unwrap();
        assert_eq!(record["reason"], "protocol-tls", "{client}: {record}");
    }
    assert_eq!(app.connections(), 0);
}

#[test]
fn what_comes_byte_by_byte_is_judged_alike() {
    let collector = Recorder::no_content();
    let gateway = Gateway::before(collector.addr);
    for (request, status) in [(good(), 204), (post("{}"), 422)] {
        let mut client = Client::connect(gateway.outbound);
        for byte in request.as_bytes() {
            client.send([*byte]);
        }
        assert_eq!(client.response().status, status);
    }
    assert_eq!(collector.texts(), [good_upstream()]);
}

#[test]
fn the_gateway_itself_answers_100_continue() {
    let collector = Recorder::no_content();
    let gateway = Gateway::before(collector.addr);
    let request = good().replacen("Host", "Expect: 100-Continue\r\nHost", 1);
    let (head, body) = request.split_at(request.find("\r\n\r\n").unwrap() + 4);
    let mut client = Client::connect(gateway.outbound);
    client.send(head);
    let interim = client.exactly(25).unwrap();
    assert_eq!(interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(collector.bytes(), b"");
    let answer = client.ask(body);
    assert_eq!(answer.status, 204);
    assert_eq!(collector.texts(), [good_upstream()]);
    // What is refused by its head is not asked for.
    let refused = head.replacen("application/json", "text/plain", 1);
    let mut client = Client::connect(gateway.outbound);
    let answer = client.ask(refused);
    assert_eq!(answer.interim, [0_u16; 0]);
    assert_eq!(answer.reason(), "media-type");
    // Whether the client sends the body now cannot be known, so nothing more is read.
    client.send(good());
    assert_eq!(client.rest().0, b"");
    assert_eq!(collector.requests().len(), 1);
}

#[test]
fn a_client_that_goes_away_in_the_middle_is_refused() {
    let collector = Recorder::no_content();
    let gateway = Gateway::before(collector.addr);
    let request = good();
    let head = request.find("\r\n\r\n").unwrap() + 4;
    // (where it stops, whether something was refused)
    let rows = [(head, true), (head + 10, true), (request.len() - 1, true)];
    for (n, (stop, _)) in rows.into_iter().enumerate() {
        let mut client = Client::connect(gateway.outbound);
        client.send(&request[..stop]);
        client.finish();
        client.rest();
        let records = gateway.wait_verdicts(n + 1);
        assert_eq!(records[n]["reason"], "body-incomplete", "{stop}");
        assert_eq!(records[n]["verdict"], "refused", "{stop}");
    }
    assert_eq!(collector.bytes(), b"");
}

#[test]
fn a_hostile_collector_cannot_confuse_what_is_sent_next() {
    let (collector, script) = common::Recorder::scripted();
    let gateway = Gateway::before(collector.addr);
    let next = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    for reply in [
        format!("HTTP/1.1 204 No Content\r\n\r\n{next}"),
        format!(
            "HTTP/1.1 204 No Content\r\nContent-Length: {}\r\n\r\n{next}",
            next.len()
        ),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{next}"),
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{next}"
        ),
        format!("HTTP/1.1 304 Not Modified\r\n\r\n{next}"),
        format!("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n{next}"),
    ] {
        script.say(Reply::raw(&reply));
        let mut client = Client::connect(gateway.outbound);
        let answer = client.ask(good());
        assert!(answer.status < 400, "{reply}");
        script.say(Reply::raw(
            "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
        ));
        let answer = Client::connect(gateway.outbound).ask(good());
        assert_eq!(answer.status, 201, "{reply}");
    }
    assert!(
        collector
            .texts()
            .iter()
            .all(|request| *request == good_upstream())
    );
}

#[test]
fn a_switch_that_only_the_collector_makes_is_no_switch() {
    let (collector, script) = common::Recorder::scripted();
    let gateway = Gateway::before(collector.addr);
    for reply in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\nraw bytes",
    ] {
        script.say(Reply::raw(reply));
        let mut client = Client::connect(gateway.outbound);
        let answer = client.ask(good());
        assert_eq!(answer.status, 502, "{reply}");
        assert_eq!(answer.reason(), "upstream-protocol", "{reply}");
        // What follows is not tunnelled, but read as HTTP.
        client.send("raw bytes\r\n\r\n");
        assert!(client.rest().0.starts_with(b"HTTP/1.1 400 "));
    }
    assert_eq!(collector.texts(), vec![good_upstream(); 2]);
}

mod http2 {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const PUSH_PROMISE: u8 = 5;
    const GOAWAY: u8 = 7;
    const WINDOW_UPDATE: u8 = 8;
    const CONTINUATION: u8 = 9;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// Fields as literals that are not indexed (RFC 7541 §6.2.2).
    fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            for text in [name, value] {
                if text.len() < 127 {
                    block.push(text.len() as u8);
                } else {
                    block.push(127);
                    let mut rest = text.len() - 127;
                    while rest >= 128 {
                        block.push((rest % 128) as u8 | 128);
                        rest /= 128;
                    }
                    block.push(rest as u8);
                }
                block.extend(text.as_bytes());
            }
        }
        block
    }

    fn headers(flags: u8, list: &[(&str, &str)]) -> Vec<u8> {
        frame(HEADERS, flags | END_HEADERS, 1, &fields(list))
    }

    const POST: [(&str, &str); 5] = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "collector.example"),
        (":path", "/v1/results/t2dm"),
        ("content-type", "application/json"),
    ];

    fn post_with(extra: &[(&str, &str)]) -> Vec<u8> {
        let list = [&POST[..], extra].concat();
        [
            headers(0, &list),
            frame(DATA, END_STREAM, 1, SUMMARY.as_bytes()),
        ]
        .concat()
    }

    fn get(list: &[(&str, &str)]) -> Vec<u8> {
        headers(END_STREAM, list)
    }

    fn task(authority: &str, scheme: &str, extra: &[(&str, &str)]) -> Vec<u8> {
        let list = [
            (":method", "GET"),
            (":scheme", scheme),
            (":authority", authority),
            (":path", "/v1/task"),
        ];
        get(&[&list[..], extra].concat())
    }

    /// What the gateway does about the stream or the connection.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Reaction {
        /// An answer; which one is on record.
        Answer,
        /// The stream is reset.
        Reset,
        /// The connection ends.
        GoAway,
    }
    use Reaction::{Answer, GoAway, Reset};

    /// Reads frames until there is a reaction.
    fn reaction(client: &mut Client) -> Reaction {
        loop {
            let Some(head) = client.exactly(9) else {
                return GoAway;
            };
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if client.exactly(len).is_none() {
                return GoAway;
            }
            match head[3] {
                HEADERS => return Answer,
                RST_STREAM => return Reset,
                GOAWAY => return GoAway,
                _ => {}
            }
        }
    }

    #[test]
    fn hostile_frames_send_nothing() {
        let collector = Recorder::no_content();
        let gateway = Gateway::before(collector.addr);
        let long = "x".repeat(20_000);
        let huge = frame(CONTINUATION, 0, 1, &fields(&[("x", &long[..16_000])]));
        let block =
            fields(&[&POST[..], &[("x", &long[..10_000]), ("y", &long[..10_000])]].concat());
        let (first, second) = block.split_at(12_000);
        let over = [
            frame(HEADERS, END_STREAM, 1, first),
            frame(CONTINUATION, END_HEADERS, 1, second),
        ]
        .concat();
        let rows: Vec<(&str, Vec<u8>, Reaction, &str)> = vec![
            (
                "https",
                task("collector.example", "https", &[]),
                Answer,
                "host-mismatch",
            ),
            (
                "another authority",
                task("evil.example", "http", &[]),
                Answer,
                "host-not-allowed",
            ),
            (
                "another Host",
                task("collector.example", "http", &[("host", "evil.example")]),
                Answer,
                "host-mismatch",
            ),
            (
                "two Hosts",
                task(
                    "collector.example",
                    "http",
                    &[("host", "collector.example"), ("host", "collector.example")],
                ),
                Answer,
                "host-missing",
            ),
            (
                "no authority",
                get(&[
                    (":method", "GET"),
                    (":scheme", "http"),
                    (":path", "/v1/task"),
                ]),
                Answer,
                "host-missing",
            ),
            (
                "user information",
                task("u@collector.example", "http", &[]),
                Answer,
                "http-malformed",
            ),
            (
                "CONNECT",
                get(&[
                    (":method", "CONNECT"),
                    (":authority", "collector.example:80"),
                ]),
                Answer,
                "connect-not-allowed",
            ),
            (
                "an expectation",
                task("collector.example", "http", &[("expect", "x")]),
                Answer,
                "expectation-not-allowed",
            ),
            (
                "a method that overrides",
                task("collector.example", "http", &[("x-http-method", "PUT")]),
                Answer,
                "header-not-allowed",
            ),
            (
                "Upgrade",
                task("collector.example", "http", &[("upgrade", "websocket")]),
                Reset,
                "",
            ),
            (
                "Connection",
                task("collector.example", "http", &[("connection", "close")]),
                Reset,
                "",
            ),
            (
                "a transfer coding",
                post_with(&[("transfer-encoding", "chunked")]),
                Reset,
                "",
            ),
            (
                "a name in capitals",
                task("collector.example", "http", &[("X-A", "b")]),
                GoAway,
                "http-malformed",
            ),
            (
                "CR LF in a value",
                task("collector.example", "http", &[("x", "a\r\nhost: evil")]),
                GoAway,
                "http-malformed",
            ),
            (
                "another pseudo-field",
                task("collector.example", "http", &[(":patient", "4711")]),
                GoAway,
                "http-malformed",
            ),
            (
                "a pseudo-field twice",
                task("collector.example", "http", &[(":path", "/v1/task")]),
                Reset,
                "",
            ),
            (
                "no path",
                get(&[
                    (":method", "GET"),
                    (":scheme", "http"),
                    (":authority", "collector.example"),
                ]),
                Reset,
                "",
            ),
            (
                "extended CONNECT",
                get(&[
                    (":method", "CONNECT"),
                    (":protocol", "websocket"),
                    (":scheme", "http"),
                    (":authority", "collector.example"),
                    (":path", "/v1/task"),
                ]),
                Reset,
                "",
            ),
            (
                "a length over the body",
                post_with(&[("content-length", "1000")]),
                Reset,
                "body-incomplete",
            ),
            (
                "a length under the body",
                post_with(&[("content-length", "5")]),
                Reset,
                "body-incomplete",
            ),
            ("a head over the limit", over, Answer, ""),
            (
                "many continuations",
                [frame(HEADERS, 0, 1, &fields(&POST))]
                    .into_iter()
                    .chain(vec![huge; 20])
                    .flatten()
                    .collect(),
                GoAway,
                "http-malformed",
            ),
            (
                "another frame between",
                [
                    frame(HEADERS, 0, 1, &fields(&POST)),
                    frame(DATA, 0, 1, b"x"),
                ]
                .concat(),
                GoAway,
                "http-malformed",
            ),
            (
                "a frame over the limit",
                frame(DATA, 0, 1, &[0; 20_000]),
                GoAway,
                "http-malformed",
            ),
            (
                "an even stream",
                frame(HEADERS, END_HEADERS, 2, &fields(&POST)),
                GoAway,
                "http-malformed",
            ),
            (
                "stream 0",
                frame(HEADERS, END_HEADERS, 0, &fields(&POST)),
                GoAway,
                "http-malformed",
            ),
            (
                "data without a request",
                frame(DATA, 0, 1, b"x"),
                GoAway,
                "http-malformed",
            ),
            (
                "a push",
                frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
                GoAway,
                "http-malformed",
            ),
            (
                "a window of 0",
                frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
                GoAway,
                "http-malformed",
            ),
            (
                "bad compression",
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 20]),
                GoAway,
                "http-malformed",
            ),
            (
                "garbage",
                b"GET / HTTP/1.1\r\nHost: collector.example\r\n\r\n".to_vec(),
                GoAway,
                "http-malformed",
            ),
        ];
        let mut failed = Vec::new();
        let mut expected_records: Vec<&str> = Vec::new();
        for (what, frames, expected, reason) in rows {
            let mut client = Client::connect(gateway.outbound);
            client.send([PREFACE, &frame(SETTINGS, 0, 0, &[]), &frames].concat());
            let came = reaction(&mut client);
            drop(client);
            // A stream that h2 resets before there is a request leaves no record.
            expected_records.extend(Some(reason).filter(|reason| !reason.is_empty()));
            let records = gateway.wait_verdicts(expected_records.len());
            let recorded: Vec<_> = records.iter().map(|r| r["reason"].clone()).collect();
            if came != expected || recorded != expected_records {
                failed.push((what, came, recorded.last().cloned()));
            }
            assert_eq!(collector.bytes(), b"", "{what}");
        }
        assert!(failed.is_empty(), "{failed:#?}");
    }

    #[test]
    fn a_preface_without_the_rest_is_no_protocol() {
        let collector = Recorder::no_content();
        let gateway = Launch::new(POLICY)
            .collector(collector.addr)
            .args(["--detect-timeout=200ms"])
            .start();
        for (i, end) in [3, 14, 23].into_iter().enumerate() {
            let mut client = Client::connect(gateway.outbound);
            client.send(&PREFACE[..end]);
            assert_eq!(client.rest().0, b"");
            assert_eq!(
                gateway.wait_verdicts(i + 1)[i]["reason"],
                "protocol-timeout"
            );
        }
    }
}

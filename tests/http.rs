//! Exchanges through the real binary: every refusal that HTTP can reach, one form of what leaves,
//! and rebuilt heads in both directions.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which fail by panicking"
)]

mod common;

use std::net::UdpSocket;

use common::hello::{hello, server_name};
use common::{
    CANARY, Client, DEADLINE, Gateway, Launch, POLICY, Random, Recorder, Reply, Response, SUMMARY,
    contains, good, good_upstream, post,
};
use lazaret_policy::Reason;
use serde_json::{Value, json};

/// What the client of a refused message sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// A problem document.
    Problem,
    /// A status without a body: hyper refused before there was a request.
    Bare(u16),
    /// The connection ends without an answer.
    Nothing,
}

struct Row {
    what: &'static str,
    reason: Reason,
    seen: Seen,
    send: Vec<u8>,
}

fn row(what: &'static str, reason: Reason, send: impl AsRef<[u8]>) -> Row {
    Row {
        what,
        reason,
        seen: Seen::Problem,
        send: send.as_ref().to_vec(),
    }
}

fn unanswered(what: &'static str, reason: Reason, seen: Seen, send: impl AsRef<[u8]>) -> Row {
    Row {
        seen,
        ..row(what, reason, send)
    }
}

/// A request to the collector with this request line and these fields.
fn to_collector(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: collector.example\r\n{fields}\r\n")
}

fn post_as(content_type: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = to_collector(
        "POST /v1/results/t2dm",
        &format!(
            "Content-Type: {content_type}\r\nContent-Length: {}\r\n{fields}",
            body.len()
        ),
    );
    [head.as_bytes(), body].concat()
}

fn post_json(body: &[u8]) -> Vec<u8> {
    post_as("application/json", "", body)
}

fn egress_rows() -> Vec<Row> {
    use Reason as R;
    let bodiless = |line: &str, fields: &str| to_collector(line, fields);
    vec![
        row(
            "an address that no rule has",
            R::DestinationNotAllowed,
            "GET http://10.9.9.9:81/ HTTP/1.1\r\nHost: 10.9.9.9:81\r\n\r\n",
        ),
        unanswered(
            "TLS for a name that no rule has on its port",
            R::TlsSniNotAllowed,
            Seen::Nothing,
            hello(&[server_name("collector.example")]),
        ),
        unanswered(
            "another protocol",
            R::ProtocolUnknown,
            Seen::Nothing,
            "SSH-2.0-OpenSSH_9.2p1\r\n",
        ),
        unanswered(
            "no HTTP behind the first word",
            R::HttpMalformed,
            Seen::Bare(400),
            "POST /v1/results/t2dm FTP/1.1\r\n\r\n",
        ),
        row(
            "a host that is none",
            R::HttpMalformed,
            "GET /v1/task HTTP/1.1\r\nHost: col lector\r\n\r\n",
        ),
        unanswered(
            "a head over the limit",
            R::HeadTooLarge,
            Seen::Bare(431),
            bodiless("GET /v1/task", &format!("X: {}\r\n", "x".repeat(17_000))),
        ),
        row(
            "two codings",
            R::FramingAmbiguous,
            bodiless(
                "POST /v1/results/t2dm",
                "Transfer-Encoding: gzip, chunked\r\n",
            ) + "0\r\n\r\n",
        ),
        row(
            "CONNECT",
            R::ConnectNotAllowed,
            "CONNECT collector.example:80 HTTP/1.1\r\nHost: collector.example:80\r\n\r\n",
        ),
        row(
            "Upgrade",
            R::UpgradeNotAllowed,
            bodiless(
                "GET /v1/task",
                "Upgrade: websocket\r\nConnection: Upgrade\r\n",
            ),
        ),
        row(
            "another expectation",
            R::ExpectationNotAllowed,
            bodiless("GET /v1/task", "Expect: tea\r\n"),
        ),
        row("no host", R::HostMissing, "GET /v1/task HTTP/1.1\r\n\r\n"),
        row(
            "target and Host disagree",
            R::HostMismatch,
            "GET http://evil.example/v1/task HTTP/1.1\r\nHost: collector.example\r\n\r\n",
        ),
        row(
            "a host that no rule has",
            R::HostNotAllowed,
            "GET /v1/task HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        ),
        row(
            "a path that no exchange has",
            R::PathNotAllowed,
            bodiless("GET /v1/tasks", ""),
        ),
        row(
            "a method that no exchange has",
            R::MethodNotAllowed,
            bodiless("DELETE /v1/task", ""),
        ),
        row(
            "a parameter with another value",
            R::ParameterInvalid,
            bodiless("POST /v1/results/t3dm", ""),
        ),
        row(
            "a query parameter that is not listed",
            R::QueryNotAllowed,
            bodiless("POST /v1/results/t2dm?patient=7", ""),
        ),
        row(
            "a query parameter with another value",
            R::QueryInvalid,
            bodiless("POST /v1/results/t2dm?run=07", ""),
        ),
        row(
            "a listed header with another value",
            R::HeaderInvalid,
            bodiless("POST /v1/results/t2dm", "X-Study-Phase: final\r\n"),
        ),
        row(
            "a listed header twice",
            R::HeaderInvalid,
            bodiless(
                "POST /v1/results/t2dm",
                "X-Study-Phase: main\r\nx-study-phase: main\r\n",
            ),
        ),
        row(
            "a header that changes the meaning",
            R::HeaderNotAllowed,
            bodiless("GET /v1/task", "X-HTTP-Method-Override: DELETE\r\n"),
        ),
        row(
            "a body without a contract",
            R::BodyNotAllowed,
            bodiless("GET /v1/task", "Content-Length: 4\r\n") + "data",
        ),
        row(
            "a body over the limit",
            R::BodyTooLarge,
            post_json(&vec![b' '; 4097]),
        ),
        row(
            "a chunk that is none",
            R::BodyIncomplete,
            bodiless(
                "POST /v1/results/t2dm",
                "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n",
            ) + "xyz\r\n",
        ),
        row(
            "a coded body",
            R::ContentEncoding,
            post_as(
                "application/json",
                "Content-Encoding: gzip\r\n",
                SUMMARY.as_bytes(),
            ),
        ),
        row(
            "another media type",
            R::MediaType,
            post_as("text/plain", "", SUMMARY.as_bytes()),
        ),
        row("no UTF-8", R::JsonEncoding, post_json(b"{\"a\":\"\xff\"}")),
        row("no JSON", R::JsonSyntax, post_json(b"{'a':1}")),
        row(
            "something behind the JSON",
            R::JsonTrailingBytes,
            post_json(format!("{SUMMARY}{{}}").as_bytes()),
        ),
        row(
            "a name twice",
            R::JsonDuplicateKey,
            post_json(br#"{"cohort":1,"\u0063ohort":2}"#),
        ),
        row(
            "half a surrogate pair",
            R::JsonSurrogate,
            post_json(br#"{"a":"\ud800"}"#),
        ),
        row(
            "a number that no double holds",
            R::JsonNumber,
            post_json(br#"{"a":9007199254740993}"#),
        ),
        row(
            "nested too deeply",
            R::JsonDepth,
            post_json(br#"{"a":[[[1]]]}"#),
        ),
        row(
            "another schema",
            R::SchemaMismatch,
            post_json(format!(r#"{{"patient":"{CANARY}"}}"#).as_bytes()),
        ),
    ]
}

fn ingress_rows() -> Vec<Row> {
    use Reason as R;
    let get = |target: &str, fields: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: pod.example:8000\r\n{fields}\r\n")
    };
    let ask = |body: &str, fields: &str| {
        format!(
            "POST /ask HTTP/1.1\r\nHost: pod\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{fields}\r\n{body}",
            body.len()
        )
    };
    vec![
        unanswered(
            "TLS",
            R::ProtocolTls,
            Seen::Nothing,
            hello(&[server_name("app.example")]),
        ),
        unanswered(
            "another protocol",
            R::ProtocolUnknown,
            Seen::Nothing,
            b"\x00\x00\x00\x01",
        ),
        unanswered(
            "no HTTP",
            R::HttpMalformed,
            Seen::Bare(400),
            "GET /summary\r\n\r\n",
        ),
        unanswered(
            "too many fields",
            R::HeadTooLarge,
            Seen::Bare(431),
            get("/summary", &"a: b\r\n".repeat(101)),
        ),
        row(
            "two codings",
            R::FramingAmbiguous,
            get(
                "/summary",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            ) + "0\r\n\r\n",
        ),
        row(
            "CONNECT",
            R::ConnectNotAllowed,
            "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n",
        ),
        row(
            "Upgrade",
            R::UpgradeNotAllowed,
            get("/summary", "Upgrade: h2c\r\n"),
        ),
        row(
            "another expectation",
            R::ExpectationNotAllowed,
            get("/summary", "Expect: x\r\n"),
        ),
        row("no host", R::HostMissing, "GET /summary HTTP/1.1\r\n\r\n"),
        row("a path", R::PathNotAllowed, get("/patients", "")),
        row(
            "a method",
            R::MethodNotAllowed,
            "DELETE /summary HTTP/1.1\r\nHost: pod\r\n\r\n",
        ),
        row(
            "a query that is not listed",
            R::QueryNotAllowed,
            get("/summary?q=1", ""),
        ),
        row(
            "a query with another value",
            R::QueryInvalid,
            get("/summary?run=10", ""),
        ),
        row(
            "a header that changes the meaning",
            R::HeaderNotAllowed,
            get("/summary", "Range: bytes=0-0\r\n"),
        ),
        row(
            "a body without a contract",
            R::BodyNotAllowed,
            get("/summary", "Content-Length: 1\r\n") + "x",
        ),
        row(
            "a body over the limit",
            R::BodyTooLarge,
            ask(&" ".repeat(5000), ""),
        ),
        row(
            "a coded body",
            R::ContentEncoding,
            ask("{}", "Content-Encoding: br\r\n"),
        ),
        row("another schema", R::SchemaMismatch, ask("{}", "")),
        row("no JSON", R::JsonSyntax, ask("}", "")),
    ]
}

/// What the app answers, and why it does not leave.
fn answer_rows() -> Vec<(&'static str, Reason, Reply)> {
    use Reason as R;
    let with = |status: &str, fields: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{fields}\r\n",
            body.len()
        );
        Reply::raw([head.as_bytes(), body].concat())
    };
    let json = |body: &[u8]| with("200 OK", "Content-Type: application/json\r\n", body);
    let canary = format!(r#"{{"cohort":"{CANARY}"}}"#);
    let canary = canary.as_bytes();
    let raw = |text: String| Reply::raw(text).then_close();
    vec![
        (
            "a status that is not listed",
            R::StatusNotAllowed,
            with(&format!("500 {CANARY}"), "", canary),
        ),
        (
            "switching protocols",
            R::UpstreamProtocol,
            raw(format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: {CANARY}\r\nConnection: upgrade\r\n\
                 \r\n{CANARY}"
            )),
        ),
        (
            "a listed header with another value",
            R::HeaderInvalid,
            with(
                "200 OK",
                &format!("Content-Type: application/json\r\nCache-Control: {CANARY}\r\n"),
                SUMMARY.as_bytes(),
            ),
        ),
        (
            "a listed header twice",
            R::HeaderInvalid,
            with(
                "200 OK",
                "Content-Type: application/json\r\nCache-Control: no-store\r\nCache-Control: \
                 no-store\r\n",
                SUMMARY.as_bytes(),
            ),
        ),
        (
            "two codings",
            R::FramingAmbiguous,
            raw(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: gzip, \
                 chunked\r\n\r\n{:x}\r\n{SUMMARY}\r\n0\r\n\r\n",
                SUMMARY.len()
            )),
        ),
        (
            "a body over the limit",
            R::BodyTooLarge,
            json(CANARY.repeat(300).as_bytes()),
        ),
        (
            "a body over the limit in chunks",
            R::BodyTooLarge,
            raw(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: \
                 chunked\r\n\r\n1388\r\n{}\r\n0\r\n\r\n",
                " ".repeat(5000)
            )),
        ),
        (
            "a body shorter than its length",
            R::BodyIncomplete,
            raw(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n\
                 {SUMMARY}",
                SUMMARY.len() + 1
            )),
        ),
        (
            "chunks without an end",
            R::BodyIncomplete,
            raw(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: \
                 chunked\r\n\r\n{:x}\r\n{SUMMARY}\r\n",
                SUMMARY.len()
            )),
        ),
        (
            "a coded body",
            R::ContentEncoding,
            with(
                "200 OK",
                "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
                canary,
            ),
        ),
        (
            "another media type",
            R::MediaType,
            with(
                "200 OK",
                &format!("Content-Type: text/{CANARY}\r\n"),
                canary,
            ),
        ),
        ("no media type", R::MediaType, with("200 OK", "", canary)),
        (
            "two media types",
            R::MediaType,
            with(
                "200 OK",
                "Content-Type: application/json\r\nContent-Type: application/json\r\n",
                canary,
            ),
        ),
        (
            "no UTF-8",
            R::JsonEncoding,
            json(&[b"\xff\xfe", canary].concat()),
        ),
        ("no JSON", R::JsonSyntax, json(CANARY.as_bytes())),
        ("no body", R::JsonSyntax, json(b"")),
        (
            "something behind the JSON",
            R::JsonTrailingBytes,
            json(format!("{SUMMARY} {CANARY}").as_bytes()),
        ),
        (
            "a name twice",
            R::JsonDuplicateKey,
            json(format!(r#"{{"cohort":"T2DM","cohort":"{CANARY}"}}"#).as_bytes()),
        ),
        (
            "half a surrogate pair",
            R::JsonSurrogate,
            json(br#"{"cohort":"\udc00"}"#),
        ),
        ("a number", R::JsonNumber, json(br#"{"n":1e999}"#)),
        ("nested too deeply", R::JsonDepth, json(b"[[[[1]]]]")),
        ("another schema", R::SchemaMismatch, json(canary)),
        (
            "no HTTP",
            R::UpstreamProtocol,
            raw(format!("{CANARY}\r\n\r\n")),
        ),
        ("nothing", R::UpstreamProtocol, raw(String::new())),
        (
            "a folded header",
            R::UpstreamProtocol,
            raw(format!(
                "HTTP/1.1 200 OK\r\nX: a\r\n {CANARY}\r\nContent-Length: 0\r\n\r\n"
            )),
        ),
        (
            "a space before the colon",
            R::UpstreamProtocol,
            raw("HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}".into()),
        ),
        (
            "two lengths",
            R::UpstreamProtocol,
            raw(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Content-Length: 5\r\n\r\n{SUMMARY}",
                SUMMARY.len()
            )),
        ),
        (
            "a head over the limit",
            R::UpstreamProtocol,
            raw(format!(
                "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
                "x".repeat(17_000)
            )),
        ),
        (
            "only interim answers",
            R::UpstreamProtocol,
            raw("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(10)),
        ),
    ]
}

/// Reasons that no table of this file has.
const ELSEWHERE: &[(Reason, &str)] = &[
    (
        Reason::OriginalDestinationUnknown,
        "netns.rs: only a redirected connection has one",
    ),
    (
        Reason::GatewayAddress,
        "netns.rs: only a redirected connection can lead back",
    ),
    (
        Reason::PortNotAllowed,
        "callers_that_no_rule_allows_learn_nothing",
    ),
    (
        Reason::SourceNotAllowed,
        "callers_that_no_rule_allows_learn_nothing",
    ),
    (
        Reason::ConnectionLimit,
        "limits.rs: connections_over_the_limit_are_refused",
    ),
    (
        Reason::Draining,
        "limits.rs: a_tunnel_is_cut_when_the_drain_time_is_up",
    ),
    (
        Reason::PolicyChanged,
        "reload.rs: a_revoked_rule_cuts_its_tunnel",
    ),
    (Reason::ProtocolTimeout, "what_is_too_slow_is_refused"),
    (
        Reason::TlsRequired,
        "tls/pod.rs: plain_text_and_tls_each_only_where_the_rule_has_it",
    ),
    (
        Reason::TlsClientHello,
        "tls/hello.rs: what_does_not_say_where_it_goes_is_refused_unseen",
    ),
    (
        Reason::TlsEch,
        "tls/hello.rs: what_does_not_say_where_it_goes_is_refused_unseen",
    ),
    (
        Reason::TlsSniMissing,
        "tls/hello.rs: what_does_not_say_where_it_goes_is_refused_unseen",
    ),
    (
        Reason::TlsHandshake,
        "tls/caller.rs: what_is_no_tls_of_ours_is_refused_and_the_app_sees_nothing",
    ),
    (
        Reason::TlsPinned,
        "tls/pod.rs: a_client_that_does_not_trust_the_gateway_is_recorded_as_pinned",
    ),
    (
        Reason::TlsClientCertificate,
        "tls/caller.rs: a_caller_shows_the_certificate_that_the_policy_asks_for_or_gets_nothing",
    ),
    (Reason::HeadTimeout, "what_is_too_slow_is_refused"),
    (Reason::BodyTimeout, "what_is_too_slow_is_refused"),
    (
        Reason::UpstreamUnresolved,
        "names_are_resolved_by_the_policy_alone",
    ),
    (
        Reason::UpstreamAddressNotAllowed,
        "names_are_resolved_by_the_policy_alone",
    ),
    (
        Reason::UpstreamUnreachable,
        "a_destination_that_fails_is_told_and_recorded",
    ),
    (
        Reason::UpstreamTimeout,
        "a_destination_that_fails_is_told_and_recorded",
    ),
    (
        Reason::JsonText,
        "disclosure.rs: every_example_payload_that_fails_leaves_nothing",
    ),
    (
        Reason::SdcCell,
        "disclosure.rs: every_example_payload_that_fails_leaves_nothing",
    ),
    (
        Reason::SdcPointer,
        "disclosure.rs: every_example_payload_that_fails_leaves_nothing",
    ),
    (
        Reason::SdcMinCount,
        "disclosure.rs: every_example_payload_that_fails_leaves_nothing",
    ),
    (
        Reason::SdcMarker,
        "disclosure.rs: every_example_payload_that_fails_leaves_nothing",
    ),
    (
        Reason::SdcRound,
        "policy: the fixtures and the tables of judge/sdc",
    ),
    (
        Reason::SdcPrecision,
        "disclosure.rs: every_example_payload_that_fails_leaves_nothing",
    ),
    (
        Reason::SdcText,
        "policy: the fixtures and the tables of judge/sdc",
    ),
    (
        Reason::SdcLabel,
        "policy: the fixtures and the tables of judge/sdc",
    ),
    (
        Reason::SdcContributors,
        "disclosure.rs: every_example_payload_that_fails_leaves_nothing",
    ),
    (
        Reason::SdcRate,
        "disclosure.rs: every_example_payload_that_fails_leaves_nothing",
    ),
    (
        Reason::SdcModel,
        "disclosure.rs: every_example_payload_that_fails_leaves_nothing",
    ),
    (
        Reason::SdcDominance,
        "disclosure.rs: evidence_is_judged_and_stays",
    ),
    (
        Reason::SdcQuantiles,
        "policy: the fixtures and the tables of judge/sdc",
    ),
    (
        Reason::SdcHistogram,
        "policy: the fixtures and the tables of judge/sdc",
    ),
    (
        Reason::SdcSurvival,
        "disclosure.rs: every_example_payload_that_fails_leaves_nothing",
    ),
    (
        Reason::SdcRows,
        "disclosure.rs: every_example_payload_that_fails_leaves_nothing",
    ),
    (
        Reason::SdcRowsSorted,
        "disclosure.rs: every_example_payload_that_fails_leaves_nothing",
    ),
    (
        Reason::SdcLinked,
        "policy: the fixtures and the tables of judge/sdc",
    ),
    (
        Reason::SdcInconsistent,
        "disclosure.rs: every_example_payload_that_fails_leaves_nothing",
    ),
    (
        Reason::SdcNested,
        "disclosure.rs: every_example_payload_that_fails_leaves_nothing",
    ),
    (
        Reason::SdcRecoverable,
        "disclosure.rs: every_example_payload_that_fails_leaves_nothing",
    ),
    (
        Reason::SdcUnproven,
        "policy: the fixtures and the tables of judge/sdc",
    ),
    (
        Reason::SdcDifferencing,
        "disclosure.rs: a_request_is_held_against_earlier_releases",
    ),
    (
        Reason::SdcRevision,
        "ledger and policy: the tables of release",
    ),
    (
        Reason::SdcLinkedAudit,
        "ledger and policy: the tables of release",
    ),
    (
        Reason::SdcAveraging,
        "ledger and policy: the tables of release",
    ),
    (
        Reason::SdcEpsilon,
        "ledger and policy: the tables of release",
    ),
    (
        Reason::SdcBudgetReleases,
        "disclosure.rs: a_request_is_held_against_earlier_releases",
    ),
    (
        Reason::SdcBudgetBytes,
        "ledger and policy: the tables of release",
    ),
    (
        Reason::SdcBudgetBits,
        "ledger and policy: the tables of release",
    ),
    (
        Reason::SdcBudgetDenied,
        "disclosure.rs: whoever_probes_the_memory_is_not_answered_any_more",
    ),
    (
        Reason::LedgerLimit,
        "ledger: what_is_too_much_is_refused_alone, more_figures_than_are_compared_are_refused",
    ),
    (
        Reason::LedgerUnavailable,
        "ledger and policy: the tables of release",
    ),
    (
        Reason::LedgerClock,
        "disclosure.rs: a_clock_that_jumps_ahead_opens_no_window",
    ),
    (
        Reason::ResponseRefused,
        "netns.rs: callers_are_told_one_reason_for_whatever_the_app_answers",
    ),
    (
        Reason::UpstreamTls,
        "tls/peer.rs: what_is_weak_is_not_spoken",
    ),
    (
        Reason::UpstreamCertificate,
        "tls/peer.rs: a_bad_peer_is_refused_before_it_hears_a_byte",
    ),
    (
        Reason::UpstreamRevoked,
        "tls/peer.rs: a_bad_peer_is_refused_before_it_hears_a_byte",
    ),
    (
        Reason::UpstreamIdentity,
        "tls/peer.rs: a_bad_peer_is_refused_before_it_hears_a_byte",
    ),
    (
        Reason::AuditUnavailable,
        "audit.rs: without_a_record_nothing_is_released",
    ),
    (
        Reason::Internal,
        "nothing is known to lead there; it stands for what cannot happen",
    ),
];

#[test]
fn every_reason_is_proven_somewhere() {
    for reason in Reason::ALL {
        let in_a_table = egress_rows().iter().any(|row| row.reason == *reason)
            || ingress_rows().iter().any(|row| row.reason == *reason)
            || answer_rows().iter().any(|(_, r, _)| r == reason);
        let elsewhere = ELSEWHERE.iter().any(|(r, _)| r == reason);
        assert!(
            in_a_table != elsewhere,
            "{reason}: {in_a_table} {elsewhere}"
        );
    }
}

/// Sends each row and holds the answer, the record and the metric against it.
fn refuse_all(gateway: &Gateway, direction: &str, rows: &[Row]) {
    let to = match direction {
        "egress" => gateway.outbound,
        _ => gateway.inbound,
    };
    for (i, row) in rows.iter().enumerate() {
        let code = row.reason.code();
        let what = format!("{} ({code})", row.what);
        let mut client = Client::connect(to);
        client.send(&row.send);
        match row.seen {
            Seen::Problem => {
                let response = client.response();
                assert_eq!(response.status, row.reason.status(), "{what}");
                assert_eq!(response.reason(), code, "{what}");
                assert!(!contains(&response.raw, CANARY), "{what}");
                if direction == "ingress" {
                    only_the_code(&response);
                }
            }
            Seen::Bare(status) => {
                let (bytes, _) = client.rest();
                let all = Response::all(&bytes);
                assert_eq!(all.len(), 1, "{what}");
                assert_eq!(all[0].status, status, "{what}");
                assert_eq!(all[0].body, b"", "{what}");
            }
            Seen::Nothing => assert_eq!(client.rest().0, b"", "{what}"),
        }
        let records = gateway.wait_verdicts(i + 1);
        let record = records.last().unwrap();
        assert_eq!(record["reason"], code, "{what}: {record}");
        assert_eq!(record["verdict"], "refused", "{what}");
        assert_eq!(record["enforced"], true, "{what}");
        assert_eq!(record["direction"], direction, "{what}");
        assert_eq!(record["body_sha256"], Value::Null, "{what}");
        let (kind, metric) = match row.seen {
            Seen::Problem => ("exchange", "lazaret_exchanges_total"),
            _ => ("connection", "lazaret_connections_total"),
        };
        assert_eq!(record["kind"], kind, "{what}");
        let so_far = rows[..=i]
            .iter()
            .filter(|r| r.reason == row.reason && (r.seen == Seen::Problem) == (kind == "exchange"))
            .count();
        let labels = [
            ("direction", direction),
            ("verdict", "refused"),
            ("reason", code),
        ];
        assert_eq!(gateway.metric(metric, &labels), so_far as f64, "{what}");
    }
}

/// A caller from outside learns the code, and nothing that the payload or the policy says.
#[track_caller]
fn only_the_code(response: &Response) {
    let problem = response.json();
    let names: Vec<&String> = problem.as_object().unwrap().keys().collect();
    assert_eq!(names, ["reason", "status", "title", "type"]);
    let reason = Reason::from_code(&response.reason()).unwrap();
    assert_eq!(problem["title"], reason.text());
    let mut fields = response.names();
    fields.retain(|name| *name != "connection");
    assert_eq!(fields, ["content-type", "content-length", "date"]);
}

#[test]
fn refused_requests_of_the_pod_send_nothing() {
    let collector = Recorder::no_content();
    let gateway = Gateway::before(collector.addr);
    refuse_all(&gateway, "egress", &egress_rows());
    assert_eq!(collector.bytes(), b"");
    // And the recorder would have seen it.
    let answer = Client::connect(gateway.outbound).ask(good());
    assert_eq!(answer.status, 204);
    assert_eq!(collector.texts(), [good_upstream()]);
}

#[test]
fn refused_requests_of_callers_do_not_reach_the_app() {
    let app = Recorder::start(|_| Reply::json(SUMMARY));
    let gateway = Launch::new(POLICY).app(app.addr).start();
    refuse_all(&gateway, "ingress", &ingress_rows());
    assert_eq!(app.bytes(), b"");
    let answer = Client::connect(gateway.inbound).ask("GET /summary HTTP/1.1\r\nHost: pod\r\n\r\n");
    assert_eq!(answer.status, 200);
    assert_eq!(app.requests().len(), 1);
}

#[test]
fn refused_answers_of_the_app_give_the_code_and_nothing_else() {
    let (app, script) = Recorder::scripted();
    let gateway = Launch::new(POLICY).app(app.addr).start();
    let summary = "GET /summary HTTP/1.1\r\nHost: pod\r\n\r\n";
    for (i, (what, reason, reply)) in answer_rows().into_iter().enumerate() {
        script.say(reply);
        let answer = Client::connect(gateway.inbound).ask(summary);
        assert_eq!(answer.reason(), reason.code(), "{what}");
        assert_eq!(answer.status, reason.response_status(), "{what}");
        assert_eq!(answer.interim, [0_u16; 0], "{what}");
        only_the_code(&answer);
        assert!(!contains(&answer.raw, CANARY), "{what}");
        let records = gateway.wait_verdicts(2 * i + 1);
        let record = records.last().unwrap();
        assert_eq!(record["reason"], reason.code(), "{what}");
        assert_eq!(record["verdict"], "refused", "{what}");
        assert_eq!(record["status"], reason.response_status(), "{what}");
        assert!(!contains(record.to_string().as_bytes(), CANARY), "{what}");
        let labels = [("direction", "ingress"), ("reason", reason.code())];
        assert!(
            gateway.metric("lazaret_exchanges_total", &labels) >= 1.0,
            "{what}"
        );
        // Whatever the app has left on its connection answers nobody else.
        script.say(Reply::json(SUMMARY));
        let answer = Client::connect(gateway.inbound).ask(summary);
        assert_eq!(answer.status, 200, "{what}");
        assert_eq!(answer.body, SUMMARY.as_bytes(), "{what}");
        gateway.wait_verdicts(2 * i + 2);
    }
}

#[test]
fn callers_that_no_rule_allows_learn_nothing() {
    let app = Recorder::start(|_| Reply::json(SUMMARY));
    for (args, reason) in [
        (
            [
                format!("--app=8001={}", app.addr),
                "--caller=10.200.0.9".into(),
            ],
            Reason::PortNotAllowed,
        ),
        (
            [
                format!("--app=8000={}", app.addr),
                "--caller=10.201.0.9".into(),
            ],
            Reason::SourceNotAllowed,
        ),
    ] {
        let gateway = Gateway::start(POLICY, args);
        let mut caller = Client::connect(gateway.inbound);
        caller.send("GET /summary HTTP/1.1\r\nHost: pod\r\n\r\n");
        assert_eq!(caller.rest().0, b"", "{reason}");
        let record = gateway.wait_verdicts(1).remove(0);
        assert_eq!(record["reason"], reason.code());
        assert_eq!(record["kind"], "connection");
        assert_eq!(record["verdict"], "refused");
        let labels = [("verdict", "refused"), ("reason", reason.code())];
        assert_eq!(gateway.metric("lazaret_connections_total", &labels), 1.0);
    }
    assert_eq!(app.connections(), 0);
}

#[test]
fn what_is_too_slow_is_refused() {
    let (app, script) = Recorder::scripted();
    let collector = Recorder::no_content();
    let fast = [
        "--detect-timeout=500ms",
        "--head-timeout=500ms",
        "--body-timeout=500ms",
    ];
    let gateway = Launch::new(POLICY)
        .collector(collector.addr)
        .app(app.addr)
        .args(fast)
        .start();
    let half = post(SUMMARY);
    let half = &half[..half.len() - 1];
    let half_chunk = "POST /v1/results/t2dm HTTP/1.1\r\nHost: collector.example\r\nContent-Type: \
                      application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{";
    let huge = half_chunk.replace("\r\n5\r\n", "\r\nFFFFFFFFFFFFFFFF\r\n");
    let rows: [(&str, &str, Reason, Option<u16>); 6] = [
        ("nothing", "", Reason::ProtocolTimeout, None),
        ("half a word", "POS", Reason::ProtocolTimeout, None),
        ("half a head", &half[..60], Reason::HeadTimeout, None),
        ("half a body", half, Reason::BodyTimeout, Some(408)),
        ("half a chunk", half_chunk, Reason::BodyTimeout, Some(408)),
        ("a chunk without end", &huge, Reason::BodyTimeout, Some(408)),
    ];
    for (i, (what, send, reason, status)) in rows.into_iter().enumerate() {
        let mut client = Client::connect(gateway.outbound);
        client.send(send);
        let all = Response::all(&client.rest().0);
        assert_eq!(all.first().map(|r| r.status), status, "{what}");
        if let Some(answer) = all.first() {
            assert_eq!(answer.reason(), reason.code(), "{what}");
        }
        let records = gateway.wait_verdicts(i + 1);
        assert_eq!(records[i]["reason"], reason.code(), "{what}");
    }
    assert_eq!(collector.bytes(), b"");

    // The app is held to the same.
    script.say(Reply::raw(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n{",
    ));
    let answer = Client::connect(gateway.inbound).ask("GET /summary HTTP/1.1\r\nHost: pod\r\n\r\n");
    assert_eq!(answer.status, 502);
    assert_eq!(answer.reason(), Reason::BodyTimeout.code());
    only_the_code(&answer);
}

#[test]
fn a_destination_that_fails_is_told_and_recorded() {
    let closed = common::gateway::free_address();
    let gateway = Gateway::before(closed);
    let answer = Client::connect(gateway.outbound).ask(good());
    assert_eq!(answer.reason(), Reason::UpstreamUnreachable.code());
    assert_eq!(answer.status, 502);
    let record = gateway.wait_verdicts(1).remove(0);
    assert_eq!(record["verdict"], "refused");
    assert_eq!(record["reason"], Reason::UpstreamUnreachable.code());

    let (peer, script) = Recorder::scripted();
    let gateway = Launch::new(POLICY)
        .collector(peer.addr)
        .app(peer.addr)
        .args(["--response-timeout=700ms"])
        .start();
    for (i, (reply, reason)) in [
        (Reply::silence(), Reason::UpstreamTimeout),
        (Reply::raw("HTTP/1.1 20"), Reason::UpstreamTimeout),
        (Reply::raw("nonsense\r\n\r\n"), Reason::UpstreamProtocol),
        (Reply::raw("").then_close(), Reason::UpstreamProtocol),
    ]
    .into_iter()
    .enumerate()
    {
        script.say(reply);
        let answer = Client::connect(gateway.outbound).ask(good());
        assert_eq!(answer.reason(), reason.code());
        // It was released before the destination failed: the record says both.
        let records = gateway.wait_verdicts(3 * i + 2);
        assert_eq!(records[3 * i]["verdict"], "released");
        assert_eq!(records[3 * i + 1]["kind"], "outcome");
        assert_eq!(records[3 * i + 1]["reason"], reason.code());
        assert_eq!(records[3 * i + 1]["verdict"], Value::Null);

        let mut caller = Client::connect(gateway.inbound);
        let answer = caller.ask("GET /summary HTTP/1.1\r\nHost: pod\r\n\r\n");
        assert_eq!(answer.reason(), reason.code());
        assert_eq!(answer.status, reason.response_status());
        only_the_code(&answer);
        let records = gateway.wait_verdicts(3 * i + 3);
        assert_eq!(records[3 * i + 2]["verdict"], "refused");
        assert_eq!(records[3 * i + 2]["reason"], reason.code());
    }
    assert_eq!(
        gateway.metric("lazaret_exchanges_total", &[("verdict", "released")]),
        4.0
    );
}

/// Answers every question for an IPv4 address with this one, and says that there is no IPv6; or that
/// there is no such name.
fn dns_server(answer: Option<[u8; 4]>) -> std::net::SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((n, client)) = socket.recv_from(&mut buffer) {
            let question_end = 12 + buffer[12..n].iter().position(|b| *b == 0).unwrap() + 5;
            let is_a = buffer[question_end - 4..question_end - 2] == [0, 1];
            let mut reply = buffer[..question_end].to_vec();
            let answer = answer.filter(|_| is_a);
            let code = if answer.is_some() || !is_a { 0 } else { 3 };
            let count = u8::from(answer.is_some());
            reply[2..12].copy_from_slice(&[0x81, 0x80 + code, 0, 1, 0, count, 0, 0, 0, 0]);
            if let Some(answer) = answer {
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                reply.extend(answer);
            }
            // The gateway may have ended.
            let _ = socket.send_to(&reply, client);
        }
    });
    addr
}

#[test]
fn names_are_resolved_by_the_policy_alone() {
    let with_resolver = |resolver: std::net::SocketAddr, to: &str| {
        POLICY
            .replace(
                "  hosts:\n    collector.example: [203.0.113.20]",
                &format!("  resolvers: ['{resolver}']"),
            )
            .replace(
                "{ hosts: [collector.example], ports: [80] }",
                &format!("{{ hosts: [collector.example, localhost], {to} ports: [80] }}"),
            )
    };
    let cases = [
        (dns_server(None), "", Reason::UpstreamUnresolved),
        // A resolver must not lead back into the pod (DNS rebinding).
        (
            dns_server(Some([127, 0, 0, 1])),
            "",
            Reason::UpstreamAddressNotAllowed,
        ),
        (
            dns_server(Some([169, 254, 169, 254])),
            "",
            Reason::UpstreamAddressNotAllowed,
        ),
        (
            dns_server(Some([0, 0, 0, 0])),
            "",
            Reason::UpstreamAddressNotAllowed,
        ),
        (
            dns_server(Some([198, 51, 100, 1])),
            "cidrs: [203.0.113.0/24],",
            Reason::UpstreamAddressNotAllowed,
        ),
    ];
    for (resolver, to, reason) in cases {
        let gateway = Gateway::start(&with_resolver(resolver, to), [""; 0]);
        // `localhost` is what it always is (RFC 6761 §6.3), and refused for that.
        for (i, (host, reason)) in [
            ("collector.example", reason),
            ("localhost", Reason::UpstreamAddressNotAllowed),
        ]
        .into_iter()
        .enumerate()
        {
            let request = good().replace("collector.example", host);
            let answer = Client::connect(gateway.outbound).ask(request);
            assert_eq!(answer.reason(), reason.code(), "{resolver} {host}");
            assert_eq!(answer.status, 502);
            let records = gateway.wait_verdicts(i + 1);
            assert_eq!(records[i]["reason"], reason.code());
            assert_eq!(records[i]["verdict"], "refused");
        }
    }
}

/// One of the many spellings of a JSON value.
fn spell(value: &Value, random: &mut Random, out: &mut String) {
    let space = |random: &mut Random, out: &mut String| {
        for _ in 0..random.below(3) {
            out.push(*random.pick(&[' ', '\t', '\n', '\r']));
        }
    };
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            random.shuffle(&mut members);
            out.push('{');
            for (i, (name, value)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                space(random, out);
                spell_text(name, random, out);
                space(random, out);
                out.push(':');
                space(random, out);
                spell(value, random, out);
                space(random, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                space(random, out);
                spell(item, random, out);
                space(random, out);
            }
            out.push(']');
        }
        Value::String(text) => spell_text(text, random, out),
        number => spell_number(&number.to_string(), random, out),
    }
}

fn spell_text(text: &str, random: &mut Random, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match random.below(4) {
            0 => out.push_str(&format!("\\u{:04x}", c as u32)),
            1 => out.push_str(&format!("\\u{:04X}", c as u32)),
            _ => out.push(c),
        }
    }
    out.push('"');
}

fn spell_number(plain: &str, random: &mut Random, out: &mut String) {
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let digits = format!("{whole}{fraction}");
    // The same digits with the point somewhere else, and an exponent that makes up for it.
    let point = 1 + random.below(digits.len());
    let exponent = whole.len() as i64 - point as i64;
    let (before, after) = digits.split_at(point);
    let zeros = "0".repeat(random.below(3));
    let after = format!("{after}{zeros}");
    out.push_str(before);
    if !after.is_empty() {
        out.push('.');
        out.push_str(&after);
    }
    if exponent != 0 || random.coin() {
        out.push(*random.pick(&['e', 'E']));
        let sign = if exponent < 0 {
            "-"
        } else {
            random.pick(&["", "+"])
        };
        out.push_str(&format!(
            "{sign}{}{}",
            random.pick(&["", "0"]),
            exponent.abs()
        ));
    }
}

fn spell_percent(text: &str, random: &mut Random) -> String {
    text.bytes()
        .map(|b| match random.below(3) {
            0 => format!("%{b:02x}"),
            1 => format!("%{b:02X}"),
            _ if b == b' ' => "+".into(),
            _ => char::from(b).to_string(),
        })
        .collect()
}

fn spell_case(text: &str, random: &mut Random) -> String {
    let flip = |c: char| {
        if random.coin() {
            c.to_ascii_uppercase()
        } else {
            c.to_ascii_lowercase()
        }
    };
    text.chars().map(flip).collect()
}

/// The body with its framing, and the field that states it.
fn spell_body(body: &str, random: &mut Random) -> (String, String) {
    if random.coin() {
        return (format!("Content-Length: {}", body.len()), body.to_owned());
    }
    let mut rest = body;
    let mut framed = String::new();
    while !rest.is_empty() {
        let (chunk, left) = rest.split_at(1 + random.below(rest.len().min(40)));
        let extension = *random.pick(&["", ";a", ";a=b", ";patient=\"Mustermann\";x"]);
        let size = *random.pick(&["", "0", "000"]);
        framed += &format!("{size}{:x}{extension}\r\n{chunk}\r\n", chunk.len());
        rest = left;
    }
    framed += *random.pick(&[
        "0\r\n\r\n",
        "0000;x=y\r\n\r\n",
        "0\r\nX-Patient: Mustermann\r\n\r\n",
    ]);
    ("Transfer-Encoding: chunked".to_owned(), framed)
}

fn spell_request(random: &mut Random) -> String {
    let value: Value = serde_json::from_str(SUMMARY).unwrap();
    let mut body = String::new();
    spell(&value, random, &mut body);
    let (length, framed) = spell_body(&body, random);
    let mut query = [
        format!(
            "{}={}",
            spell_percent("run", random),
            spell_percent("12", random)
        ),
        format!(
            "{}={}",
            spell_percent("arm", random),
            spell_percent("treated only", random)
        ),
    ];
    random.shuffle(&mut query);
    let authority = *random.pick(&[
        "collector.example",
        "Collector.EXAMPLE:80",
        "collector.example.",
    ]);
    let target = format!(
        "/v1/results/{}?{}{}",
        spell_percent("t2dm", random),
        query.join("&"),
        random.pick(&["", "&", "&&"])
    );
    let target = match random.below(3) {
        0 => format!("http://{authority}{target}"),
        _ => target,
    };
    let mut fields = vec![
        (String::from("Host"), authority.to_owned()),
        (
            "Content-Type".into(),
            (*random.pick(&[
                "application/json",
                "Application/JSON",
                "application/json; charset=utf-8",
                "application/json;charset=\"UTF-8\"",
            ]))
            .to_owned(),
        ),
        ("X-Study-Phase".into(), "main".into()),
    ];
    let (name, value) = length.split_once(": ").unwrap();
    fields.push((name.into(), value.into()));
    for _ in 0..random.below(6) {
        let (name, value) = *random.pick(&[
            ("User-Agent", CANARY),
            ("Cookie", "patient=Mustermann"),
            ("Cookie", CANARY),
            ("Traceparent", "00-4711-1-01"),
            ("Via", "1.1 Mustermann"),
            ("X-Forwarded-For", "10.1.2.3"),
            ("Accept", "*/*"),
            ("Authorization", "Bearer Mustermann"),
            ("Proxy-Authorization", "Basic Mustermann"),
            ("Keep-Alive", "timeout=4711"),
            ("TE", "trailers"),
            ("Trailer", "X-Patient"),
            ("If-None-Match", "\"Mustermann\""),
            ("X-~odd!name", ""),
        ]);
        fields.push((name.into(), value.into()));
    }
    fields
        .iter_mut()
        .for_each(|(name, _)| *name = spell_case(name, random));
    random.shuffle(&mut fields);
    let fields: String = fields
        .iter()
        .map(|(name, value)| {
            let (before, after) = (random.pick(&["", " ", "  ", "\t"]), random.pick(&["", " "]));
            format!("{name}:{before}{value}{after}\r\n")
        })
        .collect();
    format!("POST {target} HTTP/1.1\r\n{fields}\r\n{framed}")
}

#[test]
fn a_thousand_spellings_of_a_request_leave_as_the_same_bytes() {
    let collector = Recorder::no_content();
    let gateway = Gateway::before(collector.addr);
    let mut random = Random::new(1);
    for _ in 0..20 {
        let mut client = Client::connect(gateway.outbound);
        for _ in 0..50 {
            let request = spell_request(&mut random);
            let answer = client.ask(&request);
            let said = String::from_utf8_lossy(&answer.raw);
            assert_eq!(answer.status, 204, "{request}\n{said}");
        }
    }
    let mut all = collector.texts();
    assert_eq!(all.len(), 1000);
    all.dedup();
    let expected = good_upstream()
        .replace("/t2dm ", "/t2dm?arm=treated%20only&run=12 ")
        .replace("content-length", "x-study-phase: main\r\ncontent-length");
    assert_eq!(all, [expected]);
}

/// An answer that is released as [`SUMMARY`], and otherwise full of what must not leave.
fn spell_answer(random: &mut Random) -> Reply {
    let value: Value = serde_json::from_str(SUMMARY).unwrap();
    let mut body = String::new();
    spell(&value, random, &mut body);
    let (length, framed) = spell_body(&body, random);
    let mut fields = vec![
        (*random.pick(&[
            "Content-Type: application/json",
            "content-type: Application/json;charset=utf-8",
        ]))
        .to_owned(),
        "Cache-Control: no-store".to_owned(),
    ];
    let until_close = random.below(5) == 0;
    if !until_close {
        fields.push(length);
    }
    for _ in 0..random.below(6) {
        let field = *random.pick(&[
            "Set-Cookie: patient=Mustermann",
            "ETag: \"CANARY-4711\"",
            "Server: CANARY-4711-Mustermann",
            "X-Patient: Mustermann",
            "Date: Mon, 01 Jan 1990 00:00:00 GMT",
            "Last-Modified: Mon, 01 Jan 1990 00:00:00 GMT",
            "Via: 1.1 Mustermann",
            "Link: <Mustermann>",
            "Trailer: X-Patient",
            "Age: 4711",
            "Vary: Mustermann",
            "Content-Location: /Mustermann",
        ]);
        fields.push(field.to_owned());
    }
    random.shuffle(&mut fields);
    let interim = *random.pick(&[
        "",
        "HTTP/1.1 100 Mustermann\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: <Mustermann>\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Mustermann\r\n\r\n",
    ]);
    let phrase = *random.pick(&["OK", "Mustermann", "", CANARY]);
    let head = format!(
        "{interim}HTTP/1.1 200 {phrase}\r\n{}\r\n\r\n",
        fields.join("\r\n")
    );
    if until_close {
        return Reply::raw(format!("{head}{body}")).then_close();
    }
    Reply::raw(format!("{head}{framed}"))
}

#[test]
fn many_spellings_of_an_answer_leave_as_the_same_bytes() {
    let random = std::sync::Mutex::new(Random::new(2));
    let app = Recorder::start(move |_| spell_answer(&mut random.lock().unwrap()));
    let gateway = Launch::new(POLICY).app(app.addr).start();
    let mut caller = Client::connect(gateway.inbound);
    let mut all = Vec::new();
    for _ in 0..400 {
        let answer = caller.ask("GET /summary HTTP/1.1\r\nHost: pod\r\nX-Patient: 1\r\n\r\n");
        all.push(answer.undated());
    }
    all.dedup();
    let expected = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
         content-length: {}\r\ndate: DATE\r\n\r\n{SUMMARY}",
        SUMMARY.len()
    );
    assert_eq!(all, [expected]);
}

#[test]
fn the_app_sees_a_rebuilt_request_too() {
    let app = Recorder::start(|_| Reply::json(SUMMARY));
    let gateway = Launch::new(POLICY).app(app.addr).start();
    let mut caller = Client::connect(gateway.inbound);
    let answer = caller.ask(
        "GET /summary?run=%37& HTTP/1.1\r\nHost: whatever.example\r\nCookie: a\r\nX-Forwarded-For: \
         1.2.3.4\r\nAccept-Encoding: gzip\r\nConnection: keep-alive, x\r\nX: y\r\n\r\n",
    );
    assert_eq!(answer.status, 200);
    let expected = format!(
        "GET /summary?run=7 HTTP/1.1\r\nhost: {}:8000\r\n\r\n",
        app.addr.ip()
    );
    assert_eq!(app.texts(), [expected]);
    let record = gateway.wait_verdicts(1).remove(0);
    assert_eq!(record["verdict"], "released");
    assert_eq!(record["rule"], "home");
    assert_eq!(record["exchange"], "GET /summary");
    assert_eq!(record["contract"], "summary");
    assert_eq!(record["status"], 200);
    assert_eq!(record["bytes_out"], SUMMARY.len());
}

#[test]
fn bodies_where_none_belongs_do_not_leave() {
    let (app, script) = Recorder::scripted();
    let gateway = Launch::new(POLICY).app(app.addr).start();
    let canary = CANARY;
    let n = CANARY.len();
    let rows: [(&str, &str, String, u16); 7] = [
        (
            "HEAD",
            "/summary",
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {n}\r\n\r\n{canary}"
            ),
            200,
        ),
        (
            "GET",
            "/summary",
            format!("HTTP/1.1 204 {canary}\r\nContent-Length: {n}\r\n\r\n{canary}"),
            204,
        ),
        (
            "GET",
            "/summary",
            format!(
                "HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n{n:x}\r\n{canary}\r\n0\r\n\r\n"
            ),
            204,
        ),
        (
            "GET",
            "/summary",
            format!(
                "HTTP/1.1 304 Not Modified\r\nETag: \"{canary}\"\r\nContent-Length: {n}\r\n\r\n{canary}"
            ),
            304,
        ),
        (
            "GET",
            "/summary",
            format!(
                "HTTP/1.1 404 {canary}\r\nContent-Type: text/html\r\nContent-Length: {n}\r\n\r\n{canary}"
            ),
            404,
        ),
        (
            "GET",
            "/nothing",
            format!(
                "HTTP/1.1 500 {canary}\r\nTransfer-Encoding: chunked\r\n\r\n{n:x}\r\n{canary}\r\n0\r\n\r\n"
            ),
            500,
        ),
        (
            "GET",
            "/nothing",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: CANARY-4711\r\n\r\n"
                .into(),
            200,
        ),
    ];
    for (method, path, reply, status) in rows {
        script.say(Reply::raw(&reply));
        let mut caller = Client::connect(gateway.inbound);
        caller.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n"
        ));
        let answer = caller.answer_to(method).unwrap();
        assert_eq!(answer.status, status, "{reply}");
        assert_eq!(answer.body, b"", "{reply}");
        assert_eq!(caller.rest().0, b"", "{reply}");
        assert!(!contains(&answer.raw, "CANARY"), "{reply}");
        let length = answer.header("content-length").unwrap_or("0");
        assert_eq!(length, "0", "{reply}");
        // The stray bytes are not the next answer.
        script.say(Reply::json(SUMMARY));
        let answer =
            Client::connect(gateway.inbound).ask("GET /summary HTTP/1.1\r\nHost: pod\r\n\r\n");
        assert_eq!(answer.body, SUMMARY.as_bytes(), "{reply}");
    }
}

/// Where an app can hide something, and what it says elsewhere is as good as it gets.
fn hiding_places() -> Vec<(String, String, Reply)> {
    let c = CANARY;
    let n = c.len();
    let ok = |fields: &str, body: &str| {
        Reply::raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{fields}\r\n{body}",
            body.len()
        ))
    };
    let plain = |status: &str| {
        Reply::raw(format!(
            "HTTP/1.1 {status}\r\nContent-Length: {n}\r\n\r\n{c}"
        ))
    };
    let get = String::from("GET /summary");
    let mut places = Vec::new();
    let mut hide = |place: &str, reply: Reply| places.push((place.to_owned(), get.clone(), reply));
    for name in [
        "Set-Cookie",
        "ETag",
        "Server",
        "X-Anything",
        "Location",
        "WWW-Authenticate",
        "Link",
        "Via",
        "Content-Language",
        "Content-Disposition",
        "Content-Location",
        "Last-Modified",
        "Retry-After",
        "Trailer",
        "Keep-Alive",
        "Warning",
        "Alt-Svc",
        "Refresh",
        "Date",
    ] {
        hide(name, ok(&format!("{name}: {c}\r\n"), SUMMARY));
    }
    hide("a field name", ok(&format!("{c}: x\r\n"), SUMMARY));
    hide(
        "the connection field",
        ok(&format!("Connection: {c}\r\n"), SUMMARY),
    );
    hide(
        "the reason phrase",
        Reply::raw(format!(
            "HTTP/1.1 200 {c}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{SUMMARY}",
            SUMMARY.len()
        )),
    );
    for status in [404, 500, 301, 400, 418, 599, 999] {
        hide(
            "the body of another status",
            plain(&format!("{status} {c}")),
        );
    }
    hide("behind the body", ok("", &format!("{SUMMARY}\r\n\r\n{c}")));
    hide(
        "behind the length",
        Reply::raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{SUMMARY}{c}",
            SUMMARY.len()
        )),
    );
    hide(
        "a second answer",
        Reply::raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{SUMMARY}\
         HTTP/1.1 200 {c}\r\nContent-Length: {n}\r\n\r\n{c}",
            SUMMARY.len()
        )),
    );
    hide("a member name", ok("", &SUMMARY.replacen("cohort", c, 1)));
    hide(
        "a member",
        ok("", &SUMMARY.replacen('{', &format!("{{\"x\":\"{c}\","), 1)),
    );
    hide("a value", ok("", &SUMMARY.replacen("Liguria", c, 1)));
    hide("a nested name", ok("", &SUMMARY.replacen("sex", c, 1)));
    hide("not JSON at all", ok("", c));
    hide(
        "the media type",
        Reply::raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json; x={c}\r\nContent-Length: 2\r\n\r\n{{}}"
        )),
    );
    hide(
        "an interim answer",
        Reply::raw(format!(
            "HTTP/1.1 103 {c}\r\nLink: {c}\r\n\r\nHTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n"
        )),
    );
    hide(
        "a trailer",
        Reply::raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: {c}\r\n\r\n\
         {:x};{c}\r\n{SUMMARY}\r\n0;{c}\r\n{c}: {c}\r\n\r\n",
            SUMMARY.len()
        )),
    );
    hide(
        "the version",
        Reply::raw(format!("{c} 200 OK\r\n\r\n")).then_close(),
    );
    places
}

#[test]
fn a_canary_in_any_part_of_an_answer_does_not_leave() {
    let (app, script) = Recorder::scripted();
    let gateway = Launch::new(POLICY)
        .app(app.addr)
        .args(["--log=trace"])
        .start();
    let places = hiding_places();
    assert!(places.len() >= 30);
    for (place, request, reply) in places {
        script.say(reply);
        let mut caller = Client::connect(gateway.inbound);
        caller.send(format!(
            "{request} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n"
        ));
        let (bytes, _) = caller.rest();
        let text = String::from_utf8_lossy(&bytes);
        assert!(bytes.starts_with(b"HTTP/1.1 "), "{place}: {text}");
        assert!(!contains(&bytes, "CANARY"), "{place}: {text}");
        assert_eq!(Response::all(&bytes).len(), 1, "{place}: {text}");
    }
    let audit = std::fs::read(gateway.path("audit.jsonl")).unwrap();
    assert!(!contains(&audit, "CANARY"));
    assert!(!contains(gateway.metrics().as_bytes(), "CANARY"));
}

#[test]
fn a_refusal_tells_the_pod_everything_but_its_values() {
    let collector = Recorder::no_content();
    let gateway = Gateway::before(collector.addr);
    let body = SUMMARY
        .replace("\"n\":132", "\"n\":3")
        .replace("Liguria", CANARY)
        .replace("\"sex\"", "\"patient_id\"");
    let answer = Client::connect(gateway.outbound).ask(post(&body));
    assert_eq!(answer.status, 422);
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:lazaret:reason:schema-mismatch");
    assert_eq!(problem["rule"], "collector");
    let mut found: Vec<(String, String, String)> = problem["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| {
            assert!(v["message"].is_string());
            let member = |name: &str| v[name].as_str().unwrap().to_owned();
            (member("pointer"), member("keyword"), member("reason"))
        })
        .collect();
    found.sort();
    let expected = [
        ["/region", "enum", "schema-mismatch"],
        ["/rows/0", "required", "schema-mismatch"],
        ["/rows/0", "sdcRows", "sdc-pointer"],
        ["/rows/0/mean_hba1c", "sdcContributors", "sdc-contributors"],
        ["/rows/0/n", "sdcMinCount", "sdc-min-count"],
        [
            "/rows/0/patient_id",
            "additionalProperties",
            "schema-mismatch",
        ],
    ];
    let expected = expected.map(|parts| {
        let [pointer, keyword, reason] = parts.map(str::to_owned);
        (pointer, keyword, reason)
    });
    assert_eq!(found, expected);
    assert!(!contains(&answer.raw, CANARY));
    // The record goes to people who may not know what names the pod made up.
    let record = gateway.wait_verdicts(1).remove(0).to_string();
    assert!(
        record.contains("/rows/0/n") && record.contains("/rows/0/*"),
        "{record}"
    );
    assert!(!record.contains("patient_id"), "{record}");
    assert_eq!(collector.bytes(), b"");
}

#[test]
fn answers_of_the_collector_come_in_as_the_rule_says() {
    let (collector, script) = Recorder::scripted();
    let gateway = Gateway::before(collector.addr);
    // No `response` in the rule: any status and body, but not the connection's own fields.
    script.say(Reply::raw(
        "HTTP/1.1 418 Teapot\r\nContent-Type: text/html\r\nSet-Cookie: a\r\nConnection: x\r\nX: y\r\n\
         Content-Length: 3\r\n\r\n<p>",
    ));
    let answer = Client::connect(gateway.outbound).ask(good());
    assert_eq!(answer.status, 418);
    assert_eq!(answer.body, b"<p>");
    assert_eq!(answer.header("content-type"), Some("text/html"));
    assert_eq!(answer.header("connection"), None);

    // A large answer streams.
    let large = "x".repeat(3_000_000);
    script.say(Reply::raw(format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\nT: x\r\n\r\n",
        large.len()
    )));
    let answer = Client::connect(gateway.outbound).ask(good());
    assert_eq!(answer.body.len(), large.len());

    let task = "GET /v1/task HTTP/1.1\r\nHost: collector.example\r\n\r\n";
    script.say(Reply::raw(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Round: 2\r\nX-Other: 1\r\n\
         Content-Length: {}\r\n\r\n{SUMMARY}",
        SUMMARY.len()
    )));
    let answer = Client::connect(gateway.outbound).ask(task);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-round"), Some("2"));
    assert_eq!(answer.header("x-other"), None);
    assert_eq!(answer.body, SUMMARY.as_bytes());

    script.say(Reply::raw(
        "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
    ));
    let answer = Client::connect(gateway.outbound).ask(task);
    assert_eq!(answer.status, 502);
    assert_eq!(answer.reason(), Reason::StatusNotAllowed.code());
    script.say(Reply::json("{}"));
    let answer = Client::connect(gateway.outbound).ask(task);
    assert_eq!(answer.reason(), Reason::SchemaMismatch.code());
}

#[test]
fn the_answer_to_a_large_refused_request_arrives() {
    let collector = Recorder::no_content();
    let gateway = Gateway::before(collector.addr);
    let body = "x".repeat(2_000_000);
    for _ in 0..20 {
        // The client sends all of it before it reads; a reset would destroy the answer.
        let answer = Client::connect(gateway.outbound).ask(post(&body));
        assert_eq!(answer.reason(), Reason::BodyTooLarge.code());
    }
    assert_eq!(collector.bytes(), b"");
}

#[test]
fn kept_connections_carry_many_exchanges_and_survive_the_collectors_closing() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let collector = Recorder::start(move |_| {
        let n = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let reply = Reply::raw("HTTP/1.1 204 No Content\r\n\r\n");
        if n % 7 == 6 {
            reply.then_close()
        } else {
            reply
        }
    });
    let gateway = Launch::new(POLICY)
        .collector(collector.addr)
        .args(["--threads=1"])
        .start();
    let mut client = Client::connect(gateway.outbound);
    for i in 0..100 {
        let answer = client.ask(good());
        assert_eq!(answer.status, 204, "{i}");
        // Until the gateway's side has seen the end, too.
        if i % 7 == 6 {
            common::eventually("the end", || (collector.closed() > i / 7).then_some(()));
        }
    }
    assert_eq!(collector.requests().len(), 100);
    assert!(collector.connections() < 20, "{}", collector.connections());
}

#[test]
fn http_1_0_with_and_without_keep_alive() {
    let collector = Recorder::no_content();
    let gateway = Gateway::before(collector.addr);
    let old = good().replace("HTTP/1.1", "HTTP/1.0");
    let bytes = common::raw::exchange(gateway.outbound, &old);
    assert!(bytes.starts_with(b"HTTP/1.0 204") || bytes.starts_with(b"HTTP/1.1 204"));
    let kept = old.replacen("\r\n", "\r\nConnection: keep-alive\r\n", 1);
    let mut client = Client::connect(gateway.outbound);
    assert_eq!(client.ask(&kept).status, 204);
    assert_eq!(client.ask(&kept).status, 204);
    assert_eq!(collector.texts(), vec![good_upstream(); 3]);
}

mod http2 {
    use std::net::SocketAddr;
    use std::process::Command;
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use hyper::body::{Frame, Incoming};
    use hyper::client::conn::http2::SendRequest;
    use hyper::{Request, Response, StatusCode};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    use super::*;

    type Seen = Arc<Mutex<Vec<(String, Vec<(String, String)>, Vec<u8>)>>>;

    /// An HTTP/2 server with prior knowledge; the request line, the fields and the body that it
    /// saw. Answers with the query it was asked.
    async fn h2_server(
        body: impl Fn(&str) -> Response<Full<Bytes>> + Clone + Send + 'static,
    ) -> (SocketAddr, Seen) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Seen::default();
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, body) = (Arc::clone(&log), body.clone());
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let (log, body) = (Arc::clone(&log), body.clone());
                    async move {
                        let (head, incoming) = request.into_parts();
                        let line = format!("{} {}", head.method, head.uri);
                        let fields = head
                            .headers
                            .iter()
                            .map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned()))
                            .collect();
                        let collected = incoming.collect().await?;
                        assert!(collected.trailers().is_none());
                        let query = head.uri.query().unwrap_or("").to_owned();
                        log.lock()
                            .unwrap()
                            .push((line, fields, collected.to_bytes().to_vec()));
                        Ok::<_, hyper::Error>(body(&query))
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        (addr, seen)
    }

    fn echo(query: &str) -> Response<Full<Bytes>> {
        Response::new(Full::new(Bytes::from(format!("you asked {query}"))))
    }

    type Body = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;

    async fn client(to: SocketAddr) -> SendRequest<Body> {
        let stream = tokio::net::TcpStream::connect(to).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        sender
    }

    fn request(target: &str, body: &str) -> Request<Body> {
        Request::post(format!("http://collector.example{target}"))
            .header("content-type", "application/json")
            .header("user-agent", CANARY)
            .header("cookie", CANARY)
            .body(Full::new(Bytes::from(body.to_owned())).boxed())
            .unwrap()
    }

    /// A body that begins and never ends.
    struct Half(bool);

    impl hyper::body::Body for Half {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if std::mem::replace(&mut self.0, true) {
                return std::task::Poll::Pending;
            }
            std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"{")))))
        }
    }

    async fn text(response: Response<Incoming>) -> String {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    #[test]
    fn curl_with_prior_knowledge_is_judged_and_rebuilt() {
        let runtime = runtime();
        let (upstream, seen) = runtime.block_on(h2_server(echo));
        let gateway = Gateway::before(upstream);
        let curl = |args: &[&str]| {
            let connect_to = format!("collector.example:80:{}", gateway.outbound);
            let mut command = Command::new("curl");
            command
                .args([
                    "-sS",
                    "--http2-prior-knowledge",
                    "--noproxy",
                    "*",
                    "--max-time",
                    "20",
                ])
                .args(["--connect-to", &connect_to])
                .args(["-w", "\n%{http_version} %{http_code}"])
                .args(args);
            // The server runs on this thread's runtime meanwhile.
            let output = runtime.block_on(async {
                tokio::task::spawn_blocking(move || command.output())
                    .await
                    .unwrap()
                    .unwrap()
            });
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8(output.stdout).unwrap()
        };
        let url = "http://collector.example/v1/results/t2dm?run=%39";
        let json = [
            "-H",
            "content-type: application/json",
            "-H",
            "x-study-phase: main",
        ];
        let said = curl(&[&json[..], &["-d", SUMMARY, "-b", CANARY, url]].concat());
        assert_eq!(said, "you asked run=9\n2 200");
        let refused = curl(&[&json[..], &["-d", "{}", url]].concat());
        assert!(refused.ends_with("\n2 422"), "{refused}");
        assert!(
            refused.contains("\"reason\":\"schema-mismatch\""),
            "{refused}"
        );
        let upgrade = curl(&["-H", "upgrade: x", "-X", "DELETE", url]);
        assert!(
            upgrade.ends_with("405") || upgrade.ends_with("403"),
            "{upgrade}"
        );

        let seen = seen.lock().unwrap();
        let length = SUMMARY.len().to_string();
        let fields = [
            ("content-type", "application/json"),
            ("x-study-phase", "main"),
            ("content-length", &length),
        ]
        .map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(
            *seen,
            [(
                "POST http://collector.example/v1/results/t2dm?run=9".to_owned(),
                fields.to_vec(),
                SUMMARY.as_bytes().to_vec()
            )]
        );
    }

    #[test]
    fn many_streams_are_answered_each_with_its_own() {
        runtime().block_on(async {
            let (upstream, seen) = h2_server(echo).await;
            let gateway = Launch::new(POLICY).collector(upstream).start();
            let sender = client(gateway.outbound).await;
            let asked = (1..=100).map(|run| {
                let mut sender = sender.clone();
                async move {
                    // Every fifth is refused among those that are not.
                    let body = if run % 5 == 0 { "{}" } else { SUMMARY };
                    let target = format!("/v1/results/t2dm?run={run}");
                    let response = sender.send_request(request(&target, body)).await.unwrap();
                    let status = response.status();
                    let text = text(response).await;
                    if run % 5 == 0 {
                        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
                        assert!(text.contains("schema-mismatch"), "{text}");
                    } else {
                        assert_eq!(status, StatusCode::OK);
                        assert_eq!(text, format!("you asked run={run}"));
                    }
                }
            });
            let tasks: Vec<_> = asked.map(tokio::spawn).collect();
            for task in tasks {
                tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap();
            }
            assert_eq!(seen.lock().unwrap().len(), 80);
            let records = gateway.wait_verdicts(100);
            let released = records.iter().filter(|r| r["verdict"] == "released");
            assert_eq!(released.count(), 80);
        });
    }

    #[test]
    fn a_reset_stream_is_refused_and_disturbs_no_other() {
        runtime().block_on(async {
            let (upstream, seen) = h2_server(echo).await;
            let gateway = Launch::new(POLICY).collector(upstream).start();
            let mut sender = client(gateway.outbound).await;
            let mut unfinished = request("/v1/results/t2dm?run=1", "");
            *unfinished.body_mut() = Half(false).boxed();
            let mut other = sender.clone();
            let pending = tokio::spawn(async move { other.send_request(unfinished).await });
            for run in 2..5 {
                let target = format!("/v1/results/t2dm?run={run}");
                let response = sender
                    .send_request(request(&target, SUMMARY))
                    .await
                    .unwrap();
                assert_eq!(text(response).await, format!("you asked run={run}"));
                if run == 3 {
                    pending.abort();
                }
            }
            let records = tokio::task::spawn_blocking(move || gateway.wait_verdicts(4))
                .await
                .unwrap();
            let refused: Vec<_> = records
                .iter()
                .filter(|r| r["verdict"] == "refused")
                .collect();
            assert_eq!(refused.len(), 1);
            assert_eq!(refused[0]["reason"], Reason::BodyIncomplete.code());
            assert_eq!(seen.lock().unwrap().len(), 3);
        });
    }

    #[test]
    fn the_app_is_held_to_its_contract_over_http_2() {
        runtime().block_on(async {
            let (app, _) = h2_server(|query| {
                let body = if query == "run=1" { SUMMARY } else { CANARY };
                Response::builder()
                    .header("content-type", "application/json")
                    .header("set-cookie", CANARY)
                    .header("cache-control", "no-store")
                    .body(Full::new(Bytes::from(body)))
                    .unwrap()
            })
            .await;
            let gateway = Launch::new(POLICY).app(app).start();
            let mut sender = client(gateway.inbound).await;
            let mut ask = async |run: u8| {
                let request = Request::get(format!("http://pod.example/summary?run={run}"));
                let request = request.body(Full::default().boxed()).unwrap();
                sender.send_request(request).await.unwrap()
            };
            let released = ask(1).await;
            assert_eq!(released.status(), StatusCode::OK);
            let names: Vec<_> = released
                .headers()
                .keys()
                .map(|n| n.as_str().to_owned())
                .collect();
            assert_eq!(
                names,
                ["content-type", "cache-control", "date", "content-length"]
            );
            assert_eq!(text(released).await, SUMMARY);
            let refused = ask(2).await;
            assert_eq!(refused.status(), StatusCode::BAD_GATEWAY);
            let problem = text(refused).await;
            let problem: Value = serde_json::from_str(&problem).unwrap();
            assert_eq!(
                problem,
                json!({
                    "type": "urn:lazaret:reason:json-syntax",
                    "title": Reason::JsonSyntax.text(),
                    "status": 502,
                    "reason": "json-syntax",
                })
            );
        });
    }
}

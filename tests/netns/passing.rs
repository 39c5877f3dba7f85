//! What the policy allows: every action, both directions, both families, every version of HTTP.

use serde_json::Value;

use crate::common::raw::End;
use crate::common::{Client, Gateway, Recorder, Reply, SUMMARY, eventually};
use crate::lab::{HOME, HOSPITAL, Lab, NOWHERE, POD, POLICY};
use crate::peers::{BANNER, Dns, H2Server, LARGE, Server, noise, url};
use crate::space::{at, said};

/// Speaks with a [`Server::mirror`]: much there, an end, and as much back.
#[track_caller]
fn mirrored(mut client: Client, seed: u64) {
    let mut sent = noise(seed);
    // It speaks first, so nothing may wait for us.
    assert_eq!(client.exactly(BANNER.len()).as_deref(), Some(BANNER));
    client.send(&sent);
    client.finish();
    let (received, end) = client.rest();
    sent.reverse();
    assert!(received == sent, "{} bytes", received.len());
    assert_eq!(end, End::Closed);
}

/// The record of an end of a tunnel, after that many records with a verdict or an end.
#[track_caller]
fn tunnel_end(gateway: &Gateway, n: usize) -> Value {
    gateway.wait_verdicts(n).pop().unwrap()
}

#[test]
fn direct_rules_need_no_gateway() {
    let Some(lab) = Lab::new() else { return };
    let launch = lab.launch(POLICY);
    lab.apply(launch.path(), &[]);
    let out = Server::mirror(lab.hospital.listen(9001));
    let inside = Server::mirror(lab.pod.listen(7001));
    let talk = || {
        for family in [0, 1] {
            mirrored(lab.dial(HOSPITAL[family], 9001), 1);
            mirrored(lab.home.dial(POD[family], 7001), 2);
        }
    };
    talk();
    let gateway = launch.start();
    talk();
    assert_eq!((out.accepted(), inside.accepted()), (4, 4));
    let records = gateway.verdicts();
    assert!(records.is_empty(), "{records:?}");
}

#[test]
fn tunnels_carry_every_byte_both_ways() {
    let Some(lab) = Lab::new() else { return };
    let _dns = Dns::of_the_lab(&lab);
    let _broker = Server::mirror(lab.hospital.listen(9002));
    let _named = Server::mirror(lab.hospital.listen(9003));
    let _shell = Server::mirror(lab.pod.listen(7002));
    let gateway = lab.start(POLICY);
    let (mut n, large) = (0, LARGE as u64);
    for family in [0, 1] {
        for (rule, port) in [("broker", 9002), ("named-broker", 9003), ("shell", 7002)] {
            let (client, to, direction) = if rule == "shell" {
                let to = at(POD[family], port);
                (lab.home.dial(POD[family], port), to, "ingress")
            } else {
                let to = at(HOSPITAL[family], port);
                (lab.dial(HOSPITAL[family], port), to, "egress")
            };
            let from = client.stream().local_addr().unwrap();
            mirrored(client, n as u64);
            n += 2;
            let end = tunnel_end(&gateway, n);
            let opened = gateway.verdicts()[n - 2].clone();
            for record in [&opened, &end] {
                assert_eq!(record["rule"], rule, "{record}");
                assert_eq!(record["direction"], direction);
                assert_eq!(record["client"], from.to_string());
                assert_eq!(record["destination"], to.to_string());
                assert_eq!(record["upstream"], to.to_string());
                assert_eq!(record["reason"], Value::Null);
            }
            assert_eq!(opened["kind"], "connection");
            assert_eq!(opened["verdict"], "allowed");
            assert_eq!(end["kind"], "tunnel-end");
            assert_eq!(end["bytes_in"], large, "{end}");
            assert_eq!(end["bytes_out"], large + BANNER.len() as u64, "{end}");
        }
    }
    let carried = lab.metric(&gateway, "lazaret_tunnel_bytes_total", &[]);
    assert_eq!(carried, (6 * (2 * LARGE + BANNER.len())) as f64);
}

#[test]
fn a_named_tunnel_leads_to_what_the_name_stands_for_and_nowhere_else() {
    let Some(lab) = Lab::new() else { return };
    let _dns = Dns::of_the_lab(&lab);
    let there = Server::mirror(lab.hospital.listen(9003));
    let elsewhere = Server::mirror(lab.home.listen(9003));
    let gateway = lab.start(POLICY);
    for family in [0, 1] {
        mirrored(lab.dial(HOSPITAL[family], 9003), 3);
        let mut client = lab.dial(HOME[family], 9003);
        client.send("\0not HTTP");
        assert_eq!(client.rest(), (Vec::new(), End::Reset));
    }
    assert_eq!((there.accepted(), elsewhere.accepted()), (2, 0));
    let records = gateway.wait_verdicts(6);
    let refused = records.iter().filter(|r| r["verdict"] == "refused");
    let reasons: Vec<_> = refused.map(|r| r["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["destination-not-allowed"; 2]);
}

/// What home receives of a GET that was released.
fn task(host: &str) -> String {
    format!("GET /v1/task HTTP/1.1\r\nhost: {host}\r\n\r\n")
}

/// What home receives of a POST that was released.
fn result(host: &str) -> String {
    format!(
        "POST /v1/results/t2dm HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{SUMMARY}",
        SUMMARY.len()
    )
}

/// What the app receives of a call that was let in.
fn call(host: &str) -> String {
    format!("GET /summary HTTP/1.1\r\nhost: {host}\r\n\r\n")
}

const JSON: [&str; 4] = [
    "--header",
    "content-type: application/json",
    "--data-binary",
    SUMMARY,
];

#[test]
fn exchanges_leave_in_one_form() {
    let Some(lab) = Lab::new() else { return };
    let _dns = Dns::of_the_lab(&lab);
    let by_address = Recorder::on(lab.home.listen(8081), |_| Reply::json("{\"ok\":1}"));
    let by_name = Recorder::on(lab.home.listen(80), |_| Reply::json("{\"ok\":2}"));
    let gateway = lab.start(POLICY);
    let mut n = 0;
    for family in [0, 1] {
        let address = at(HOME[family], 8081).to_string();
        let name = ["collector4.pharma.example", "collector6.pharma.example"][family];
        // The app may choose any address: the gateway asks the hospital's resolver itself.
        let nowhere = at(NOWHERE[family], 80);
        let resolve = format!("{name}:80:[{}]", NOWHERE[family]);
        let http1 = ["curl", "-sS", "--resolve", &resolve];
        let http0 = [&http1[..], &["--http1.0"]].concat();
        for (authority, home, meant, answer) in [
            (&*address, &by_address, at(HOME[family], 8081), "{\"ok\":1}"),
            (name, &by_name, nowhere, "{\"ok\":2}"),
        ] {
            let (get, post) = (
                format!("http://{authority}/v1/task"),
                format!("http://{authority}/v1/results/t2dm"),
            );
            for (client, more, url, expected) in [
                (&http1[..], &[][..], &get, task(authority)),
                (&http0, &[], &get, task(authority)),
                (&http1, &JSON, &post, result(authority)),
            ] {
                let words = [client, more, &[url]].concat();
                assert_eq!(said(&lab.pod.tool(&words)), answer, "{words:?}");
                assert_eq!(home.texts(), [expected], "{words:?}");
                home.forget();
                n += 1;
                let record = gateway.wait_verdicts(n).pop().unwrap();
                assert_eq!(record["verdict"], "released", "{record}");
                assert_eq!(record["destination"], meant.to_string());
                let upstream = at(HOME[family], home.addr.port());
                assert_eq!(record["upstream"], upstream.to_string());
            }
        }
    }
}

#[test]
fn answers_of_the_app_leave_in_one_form() {
    let Some(lab) = Lab::new() else { return };
    let app = Recorder::on(lab.pod.listen(8000), |_| Reply::json(SUMMARY));
    let gateway = lab.start(POLICY);
    for (i, pod) in POD.into_iter().enumerate() {
        let address = at(pod, 8000).to_string();
        for (n, version) in ["--http1.1", "--http1.0"].into_iter().enumerate() {
            let words = ["curl", "-sS", version, &url(pod, 8000, "/summary")];
            assert_eq!(said(&lab.home.tool(&words)), SUMMARY);
            assert_eq!(app.texts(), [call(&address)]);
            app.forget();
            let record = gateway.wait_verdicts(2 * i + n + 1).pop().unwrap();
            assert_eq!(record["verdict"], "released", "{record}");
            assert_eq!(record["destination"], address);
        }
    }
}

#[test]
fn http_2_without_tls_passes_both_ways() {
    let Some(lab) = Lab::new() else { return };
    let home = H2Server::start(lab.home.listen(8082), "{}");
    let app = H2Server::start(lab.pod.listen(8001), SUMMARY);
    let gateway = lab.start(POLICY);
    const CURL: [&str; 3] = ["curl", "-sS", "--http2-prior-knowledge"];
    for family in [0, 1] {
        let post = url(HOME[family], 8082, "/v1/results/t2dm");
        let words = [&CURL[..], &JSON, &[&post]].concat();
        assert_eq!(said(&lab.pod.tool(&words)), "{}");
        let head = format!(
            "{{\"content-type\": \"application/json\", \"content-length\": \"{}\"}}",
            SUMMARY.len()
        );
        let request = home.requests().pop().unwrap();
        assert_eq!(request, format!("POST {post} {head} {SUMMARY}"));

        let get = url(POD[family], 8001, "/summary");
        let words = [&CURL[..], &[&get]].concat();
        assert_eq!(said(&lab.home.tool(&words)), SUMMARY);
        assert_eq!(app.requests().pop().unwrap(), format!("GET {get} {{}} "));
    }
    let load = ["h2load", "-n", "2000", "-c", "8", "-m", "8"];
    // Over IPv4 only: h2load writes an IPv6 address without the brackets of RFC 3986 §3.2.2.
    for (client, url) in [
        (&lab.pod, url(HOME[0], 8082, "/v1/task")),
        (&lab.home, url(POD[0], 8001, "/summary")),
    ] {
        let text = said(&client.tool(&[&load[..], &[&url]].concat()));
        assert!(text.contains("status codes: 2000 2xx,"), "{text}");
        assert!(text.contains(" 0 failed, 0 errored, 0 timeout"), "{text}");
    }
    assert_eq!((home.requests().len(), app.requests().len()), (2002, 2002));
    let released = || {
        let of = |r: &Value| r["verdict"] == "released" && r["kind"] == "exchange";
        (gateway.audit().iter().filter(|r| of(r)).count() == 4004).then_some(())
    };
    eventually("a record of each exchange", released);
}

#[test]
fn http_1_0_under_load_loses_nothing() {
    let Some(lab) = Lab::new() else { return };
    let home = Recorder::on(lab.home.listen(8081), |_| Reply::json("{}"));
    let app = Recorder::on(lab.pod.listen(8000), |_| Reply::json(SUMMARY));
    let gateway = lab.start(POLICY);
    const LOAD: [&str; 6] = ["ab", "-q", "-n", "2000", "-c", "20"];
    for (family, keep_alive) in [(0, false), (1, true), (0, true), (1, false)] {
        let mut words = LOAD.to_vec();
        if keep_alive {
            words.push("-k");
        }
        let address = at(HOME[family], 8081).to_string();
        let out = url(HOME[family], 8081, "/v1/task");
        let output = lab.pod.tool(&[&words[..], &[&out]].concat());
        assert_all_good(&said(&output), keep_alive);
        assert!(home.texts() == vec![task(&address); 2000]);
        home.forget();

        let address = at(POD[family], 8000).to_string();
        let inside = url(POD[family], 8000, "/summary");
        let output = lab.home.tool(&[&words[..], &[&inside]].concat());
        assert_all_good(&said(&output), keep_alive);
        assert!(app.texts() == vec![call(&address); 2000]);
        app.forget();
    }
    let records = gateway.verdicts();
    let released = records.iter().filter(|r| r["verdict"] == "released");
    assert_eq!((released.count(), records.len()), (16_000, 16_000));
}

#[track_caller]
fn assert_all_good(text: &str, keep_alive: bool) {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    };
    assert_eq!(
        value("Complete requests:").as_deref(),
        Some("2000"),
        "{text}"
    );
    assert_eq!(value("Failed requests:").as_deref(), Some("0"), "{text}");
    assert_eq!(value("Non-2xx responses:"), None, "{text}");
    let kept = keep_alive.then_some("2000");
    assert_eq!(value("Keep-Alive requests:").as_deref(), kept, "{text}");
}

//! Connections that the pod opens: what the gateway sees, what passes by it, what goes nowhere.

use crate::lab::{APP, GATEWAY, Lab, OUT4, OUT6, POD4, POD6, ROOT};

/// More than the kernel's buffers, so that the end is in flight when the socket is closed.
const LARGE: &str = "8388608";

const DIRECT: &str = "
egress:
  - { name: out, to: { cidrs: [10.77.0.1, 'fd77::1'], ports: [9090] }, action: direct }
";

#[test]
fn the_gateway_sees_where_the_application_meant_to_go() {
    let Some(lab) = Lab::new() else { return };
    lab.apply();
    for (listen, to, original) in [
        ("127.0.0.1", OUT4, "10.77.0.1:8080"),
        ("127.0.0.1", "198.51.100.7", "198.51.100.7:8080"),
        ("::1", OUT6, "[fd77::1]:8080"),
        ("::1", "2001:db8::7", "[2001:db8::7]:8080"),
    ] {
        let gateway = lab.pod_peer(GATEWAY, &["greet", listen, "15001"]);
        let answer = lab.pod_run(APP, &["dial", to, "8080", "via"]);
        assert_eq!(answer["data"], "hello", "{to}");
        let seen = gateway.next();
        assert_eq!(seen["original"], original);
        assert_eq!(seen["data"], "via");
    }
}

/// Later packets take a shorter way through the rules, but not past this one.
#[test]
fn an_open_connection_to_the_gateway_carries_no_options() {
    let Some(lab) = Lab::new() else { return };
    lab.apply();
    for (to, at) in [(OUT4, "127.0.0.1"), (OUT6, "::1")] {
        let gateway = lab.pod_peer(GATEWAY, &["sink", at, "15001"]);
        let sent = lab.pod_run(APP, &["options-later", to, "8080"]);
        assert_eq!(sent["outcome"], "sent", "{to}");
        let got = gateway.next();
        let got = (&got["received"], &got["ended"]);
        assert_eq!(got, (&6.into(), &"timeout".into()), "{to}");
    }
}

#[test]
fn a_dead_gateway_refuses() {
    let Some(lab) = Lab::new() else { return };
    lab.apply();
    for to in [OUT4, OUT6] {
        let answer = lab.pod_run(APP, &["dial", to, "8080"]);
        assert_eq!(answer["outcome"], "ECONNREFUSED", "{to}");
    }
}

#[test]
fn the_gateway_gets_out_also_after_it_closed() {
    let Some(lab) = Lab::new() else { return };
    lab.apply();
    for to in [OUT4, OUT6] {
        let sink = lab.out_peer(&["sink", to, "8080"]);
        // Its neighbours are forgotten, so that they must be discovered through the rules.
        for family in ["-4", "-6"] {
            let flush = ["ip", family, "neigh", "flush", "all"];
            crate::lab::run(&lab.in_pod(ROOT, &flush));
        }
        lab.pod_run(GATEWAY, &["push", to, "8080", LARGE]);
        let got = sink.next();
        assert_eq!(
            (got["received"].to_string(), &got["ended"]),
            (LARGE.into(), &"EOF".into())
        );
    }
}

#[test]
fn direct_destinations_never_meet_the_gateway() {
    let Some(lab) = Lab::new() else { return };
    lab.set_policy(DIRECT);
    lab.apply();
    for (to, from) in [(OUT4, POD4), (OUT6, POD6)] {
        let sink = lab.out_peer(&["sink", to, "9090"]);
        lab.pod_run(APP, &["push", to, "9090", LARGE]);
        let got = sink.next();
        assert_eq!(
            (got["received"].to_string(), &got["ended"]),
            (LARGE.into(), &"EOF".into())
        );
        drop(sink);
        let _source = lab.out_peer(&["source", to, "9090", LARGE]);
        let got = lab.pod_run(APP, &["pull", to, "9090"]);
        assert_eq!(got["received"].to_string(), LARGE);
        drop(_source);
        let greeter = lab.out_peer(&["greet", to, "9090"]);
        lab.pod_run(APP, &["dial", to, "9090"]);
        assert_eq!(greeter.next()["peer"], from);
        // Another port of the same address is not listed.
        let other = lab.pod_run(APP, &["dial", to, "9091"]);
        assert_eq!(
            other["outcome"], "ECONNREFUSED",
            "the dead gateway's refusal"
        );
    }
}

#[test]
fn only_listed_resolvers_are_asked() {
    let Some(lab) = Lab::new() else { return };
    lab.set_policy("dns: { resolvers: ['10.77.0.1:53', '[fd77::1]:53'] }");
    lab.apply();
    for to in [OUT4, OUT6] {
        let resolver = lab.out_peer(&["datagrams", to, "53"]);
        let _tcp = lab.out_peer(&["greet", to, "53", "over TCP"]);
        assert_eq!(
            lab.pod_run(APP, &["ask", to, "53"])["data"],
            "answer",
            "{to}"
        );
        assert_eq!(resolver.next()["data"], "question");
        assert_eq!(lab.pod_run(APP, &["dial", to, "53"])["data"], "over TCP");
        assert_eq!(lab.pod_run(APP, &["ask", to, "5353"])["outcome"], "EPERM");
        // Not even there with a header that could lead, or carry, elsewhere.
        let sniffer = lab.sniff();
        let options = lab.pod_run(APP, &["ask-with-options", to, "53"]);
        assert_ne!(options["outcome"], "sent", "{to}");
        assert_eq!(lab.frames(&sniffer), [""; 0]);
        assert!(resolver.is_silent());
    }
}

#[test]
fn nobody_calls_the_gateway_itself() {
    let Some(lab) = Lab::new() else { return };
    lab.apply();
    for (loopback, pod) in [("127.0.0.1", POD4), ("::1", POD6)] {
        let any = if pod == POD4 { "0.0.0.0" } else { "::" };
        for (listen, port) in [(loopback, "15001"), (any, "15006"), (any, "15020")] {
            let gateway = lab.pod_peer(GATEWAY, &["greet", listen, port]);
            for user in [APP, ROOT] {
                for to in [loopback, pod] {
                    let answer = lab.pod_run(user, &["dial", to, port]);
                    assert_eq!(answer["outcome"], "ECONNREFUSED", "{user:?} {to} {port}");
                }
            }
            assert!(gateway.is_silent());
        }
    }
}

#[test]
fn loopback_is_the_applications_and_not_roots() {
    let Some(lab) = Lab::new() else { return };
    lab.apply();
    for (loopback, pod) in [("127.0.0.1", POD4), ("::1", POD6)] {
        let any = if pod == POD4 { "0.0.0.0" } else { "::" };
        let server = lab.pod_peer(APP, &["greet", any, "8000"]);
        for to in [loopback, pod] {
            assert_eq!(
                lab.pod_run(APP, &["dial", to, "8000"])["data"],
                "hello",
                "{to}"
            );
            assert_eq!(server.next()["data"], "question");
            // As port-forward does: by a process of the node in this namespace.
            assert_eq!(
                lab.pod_run(ROOT, &["dial", to, "8000"])["outcome"],
                "timeout",
                "{to}"
            );
        }
        assert!(server.is_silent());
        // The gateway hands over what it let in.
        assert_eq!(
            lab.pod_run(GATEWAY, &["dial", loopback, "8000"])["data"],
            "hello"
        );
    }
}

#[test]
fn a_large_answer_on_loopback_survives_its_close() {
    let Some(lab) = Lab::new() else { return };
    lab.apply();
    let _server = lab.pod_peer(APP, &["source", "127.0.0.1", "8000", LARGE]);
    let got = lab.pod_run(GATEWAY, &["pull", "127.0.0.1", "8000"]);
    assert_eq!(got["received"].to_string(), LARGE);
    // And one of the gateway to the application, in the name of somebody else.
    let _gateway = lab.pod_peer(GATEWAY, &["source", "127.0.0.1", "15001", LARGE]);
    let got = lab.pod_run(APP, &["pull", OUT4, "8080"]);
    assert_eq!(got["received"].to_string(), LARGE);
}

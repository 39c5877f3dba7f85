//! Connections that others open to the pod.

use crate::lab::{APP, GATEWAY, Lab, OUT4, OUT6, POD4, POD6};

const LARGE: &str = "8388608";

const DIRECT: &str = "
ingress:
  - { name: in, from: { cidrs: [10.77.0.0/24, 'fd77::/64'] }, port: 7070, action: direct }
";

const FAMILIES: [(&str, &str, &str); 2] = [("0.0.0.0", POD4, OUT4), ("::", POD6, OUT6)];

#[test]
fn every_port_leads_to_the_gateway() {
    let Some(lab) = Lab::new() else { return };
    lab.apply();
    for (any, pod, out) in FAMILIES {
        let application = lab.pod_peer(APP, &["greet", any, "8000"]);
        let gateway = lab.pod_peer(GATEWAY, &["greet", any, "15006", "gateway"]);
        for port in ["8000", "8001", "22", "15001", "15020"] {
            let answer = lab.out_run(&["dial", pod, port]);
            assert_eq!(answer["data"], "gateway", "{pod} {port}");
            let seen = gateway.next();
            let original = seen["original"].as_str().unwrap();
            assert!(original.ends_with(&format!(":{port}")), "{original}");
            assert_eq!(seen["peer"], out);
        }
        // Its own port is not to be called by name.
        assert_eq!(
            lab.out_run(&["dial", pod, "15006"])["outcome"],
            "timeout",
            "{pod}"
        );
        assert!(gateway.is_silent() && application.is_silent());
    }
}

#[test]
fn a_large_answer_of_the_gateway_survives_its_close() {
    let Some(lab) = Lab::new() else { return };
    lab.apply();
    for (any, pod, _) in FAMILIES {
        let _gateway = lab.pod_peer(GATEWAY, &["source", any, "15006", LARGE]);
        let got = lab.out_run(&["pull", pod, "8000"]);
        assert_eq!(got["received"].to_string(), LARGE, "{pod}");
    }
}

#[test]
fn callers_of_a_dead_gateway_are_refused() {
    let Some(lab) = Lab::new() else { return };
    lab.apply();
    for (any, pod, _) in FAMILIES {
        let application = lab.pod_peer(APP, &["greet", any, "8000"]);
        let answer = lab.out_run(&["dial", pod, "8000"]);
        assert_eq!(answer["outcome"], "ECONNREFUSED", "{pod}");
        assert!(application.is_silent());
    }
}

#[test]
fn the_application_cannot_stand_in_for_a_dead_gateway() {
    let Some(lab) = Lab::new() else { return };
    lab.apply();
    for (any, pod, _) in FAMILIES {
        let squatter = lab.pod_peer(APP, &["greet", any, "15006"]);
        let sniffer = lab.sniff();
        assert_eq!(
            lab.out_run(&["dial", pod, "8000"])["outcome"],
            "timeout",
            "{pod}"
        );
        assert!(squatter.is_silent());
        assert_eq!(lab.frames(&sniffer), [""; 0]);
    }
}

#[test]
fn direct_callers_never_meet_the_gateway() {
    let Some(lab) = Lab::new() else { return };
    lab.set_policy(DIRECT);
    lab.apply();
    for (any, pod, out) in FAMILIES {
        let greeter = lab.pod_peer(APP, &["greet", any, "7070"]);
        assert_eq!(
            lab.out_run(&["dial", pod, "7070"])["data"],
            "hello",
            "{pod}"
        );
        assert_eq!(greeter.next()["peer"], out);
        drop(greeter);
        let source = lab.pod_peer(APP, &["source", any, "7070", LARGE]);
        assert_eq!(
            lab.out_run(&["pull", pod, "7070"])["received"].to_string(),
            LARGE
        );
        drop(source);
        let sink = lab.pod_peer(APP, &["sink", any, "7070"]);
        lab.out_run(&["push", pod, "7070", LARGE]);
        assert_eq!(sink.next()["received"].to_string(), LARGE);
        drop(sink);
        assert_eq!(
            lab.out_run(&["dial", pod, "7070"])["outcome"],
            "ECONNREFUSED",
            "{pod}"
        );
    }
}

#[test]
fn a_direct_port_is_no_way_to_call_out() {
    let Some(lab) = Lab::new() else { return };
    lab.set_policy(DIRECT);
    lab.apply();
    let server = lab.out_peer(&["greet", OUT4, "8080"]);
    let sniffer = lab.sniff();
    let dial = ["dial-from", "7070", OUT4, "8080"];
    assert_eq!(
        lab.pod_run(APP, &dial)["outcome"],
        "ECONNREFUSED",
        "by the dead gateway"
    );
    assert_eq!(lab.frames(&sniffer), [""; 0]);
    assert!(server.is_silent());
}

#[test]
fn the_admin_port_is_for_the_platform() {
    let Some(lab) = Lab::new() else { return };
    let both = ["--admin-from", "10.77.0.1", "--admin-from", "fd77::/64"];
    for (allowed, expected) in [(&[][..], "gateway"), (&both, "admin")] {
        assert!(lab.init("apply", allowed).status.success());
        for (any, pod, _) in FAMILIES {
            let _admin = lab.pod_peer(GATEWAY, &["greet", any, "15020", "admin"]);
            let _gateway = lab.pod_peer(GATEWAY, &["greet", any, "15006", "gateway"]);
            assert_eq!(
                lab.out_run(&["dial", pod, "15020"])["data"],
                expected,
                "{pod}"
            );
        }
    }
}

//! Everything that a hostile application may try, with a capture outside. The same attacks are
//! first made without rules, where they must get out: otherwise they would prove nothing.

use crate::lab::{APP, GATEWAY, Lab, OUT4, OUT6, ROOT, User, run, user};

const APP_WITH_NET_RAW: User = User {
    net_raw: true,
    ..APP
};

/// What the pod sends while the attacks are made, and each attack's name, result and marker.
fn attack(lab: &Lab, user: User) -> (Vec<String>, Vec<(String, String, String)>) {
    let _servers = [OUT4, OUT6].map(|to| lab.out_peer(&["greet", to, "8080"]));
    let sniffer = lab.sniff();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let attacks = lab.attack(user).into_iter();
    let attacks = attacks
        .map(|a| (text(&a["name"]), text(&a["outcome"]), text(&a["marker"])))
        .collect();
    (lab.frames(&sniffer), attacks)
}

#[test]
fn without_rules_every_attack_gets_out() {
    let Some(lab) = Lab::new() else { return };
    // Off by default on some machines, and then the reflection needs no rule to fail.
    for device in ["all", "default", "lo", "eth0"] {
        lab.sysctl(&format!("net.ipv4.conf.{device}.rp_filter=0"));
        lab.sysctl(&format!("net.ipv4.conf.{device}.accept_local=1"));
    }
    let (frames, attacks) = attack(&lab, APP_WITH_NET_RAW);
    let stayed: Vec<_> = attacks
        .iter()
        .filter(|(_, _, marker)| !frames.iter().any(|frame| frame.contains(marker.as_str())))
        .collect();
    assert!(stayed.is_empty(), "these prove nothing here: {stayed:?}");
}

#[test]
fn no_attack_gets_out() {
    for attacker in [
        APP,
        APP_WITH_NET_RAW,
        // The gateway's user or group alone are worth nothing.
        user(GATEWAY.uid, 2000),
        user(2000, GATEWAY.gid),
        User {
            in_gateway_group: true,
            ..APP
        },
        User {
            in_gateway_group: true,
            ..user(GATEWAY.uid, 2000)
        },
        ROOT,
    ] {
        let Some(lab) = Lab::new() else { return };
        for device in ["all", "default", "lo", "eth0"] {
            lab.sysctl(&format!("net.ipv4.conf.{device}.rp_filter=0"));
            lab.sysctl(&format!("net.ipv4.conf.{device}.accept_local=1"));
        }
        lab.apply();
        let gateways =
            ["127.0.0.1", "::1"].map(|at| lab.pod_peer(GATEWAY, &["greet", at, "15001"]));
        let (frames, attacks) = attack(&lab, attacker);
        assert_eq!(frames, [""; 0], "{attacker:?}");
        for (name, outcome, _) in &attacks {
            // An IPv6 ping socket is not told; the capture outside is what counts there.
            let is_told = ["udp", "ping4", "raw"]
                .iter()
                .any(|kind| name.starts_with(kind));
            if is_told {
                assert_eq!(outcome, "EPERM", "{name} by {attacker:?}");
            }
        }
        // Ordinary connections, MPTCP ones, and marked ones all end at the gateway.
        for (gateway, plain, multipath) in [
            (&gateways[0], "CANARY-tcp4", "CANARY-mptcp4"),
            (&gateways[1], "CANARY-tcp6", "CANARY-mptcp6"),
        ] {
            assert_eq!(gateway.next()["data"], plain, "{attacker:?}");
            assert_eq!(gateway.next()["data"], multipath, "{attacker:?}");
        }
    }
}

#[test]
fn a_flow_older_than_the_rules_stops() {
    let Some(lab) = Lab::new() else { return };
    // Conntrack knows the flow from its start, as it does where others have rules too.
    let table = "add table inet other";
    let chain = "add chain inet other c { type filter hook output priority -1; }";
    let rule = "add rule inet other c ct direction original tcp dport 8080 counter";
    for command in [table, chain, rule] {
        assert!(run(&lab.in_pod(ROOT, &["nft", command])).status.success());
    }
    let tries = || -> u32 {
        let list = run(&lab.in_pod(ROOT, &["nft", "list", "table", "inet", "other"])).stdout;
        let (_, count) = list.split_once("counter packets ").unwrap();
        count.split(' ').next().unwrap().parse().unwrap()
    };
    for to in [OUT4, OUT6] {
        lab.init("remove", &[]);
        let server = lab.out_peer(&["greet", to, "8080"]);
        let mut flow = lab.pod_peer(APP, &["old-flow", to, "8080"]);
        lab.apply();
        let sniffer = lab.sniff();
        flow.tell("send");
        assert_eq!(flow.next()["sent"], true);
        // Afterwards no process owns the socket, and the kernel goes on sending.
        flow.tell("close");
        assert_eq!(flow.next()["closed"], true);
        let before = tries();
        lab.until("the closed socket tries again and again", || {
            tries() >= before + 3
        });
        assert_eq!(lab.frames(&sniffer), [""; 0], "{to}");
        // Nothing of it arrived before the server gave up.
        assert_eq!(server.next()["data"], "timeout");
    }
}

/// The mark of a connection is no way out for whoever did not make it.
#[test]
fn nobody_speaks_in_the_name_of_the_gateway() {
    let Some(lab) = Lab::new() else { return };
    for (has_rules, expected) in [(false, "sent"), (true, "EPERM")] {
        if has_rules {
            lab.apply();
        }
        for to in [OUT4, OUT6] {
            let _server = lab.out_peer(&["sink", to, "8080"]);
            let mut flow = lab.pod_peer(GATEWAY, &["old-flow", to, "8080"]);
            let mut forger = lab.pod_peer(APP_WITH_NET_RAW, &["forge", to, "8080"]);
            let sniffer = lab.sniff();
            flow.tell("send");
            assert_eq!(flow.next()["sent"], true);
            forger.tell("forged");
            assert_eq!(forger.next()["outcome"], expected, "{to}");
            let forged: String = b"CANARY-forged".map(|b| format!("{b:02x}")).concat();
            let frames = lab.frames(&sniffer);
            let is_out = frames.iter().any(|frame| frame.contains(&forged));
            assert_eq!(is_out, !has_rules, "{to}: {frames:?}");
        }
    }
}

#[test]
fn af_xdp_is_closed_by_the_capability_alone() {
    let Some(lab) = Lab::new() else { return };
    // No rule can see its frames; the platform must drop NET_RAW.
    assert_eq!(lab.pod_run(APP, &["xdp"])["outcome"], "EPERM");
    assert_eq!(lab.pod_run(APP_WITH_NET_RAW, &["xdp"])["outcome"], "opened");
}

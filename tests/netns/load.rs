//! As many connections as there may be, and more than there can be.

use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::common::{Client, Gateway, Launch, Recorder, Reply, eventually};
use crate::lab::{HOME, Lab, POLICY};
use crate::space::{GATEWAY, at};

/// Idle connections.
const IDLE: usize = 10_000;

/// How many there may be.
const MOST: usize = IDLE + 100;

/// What the gateway may hold in memory with all of them open, in KiB.
const MOST_MEMORY: u64 = 400_000;

fn task() -> String {
    format!(
        "GET /v1/task HTTP/1.1\r\nHost: {}\r\n\r\n",
        at(HOME[0], 8081)
    )
}

fn resident(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// Connections of the app that have said nothing yet.
fn connect(lab: &Lab, n: usize) -> Vec<Client> {
    lab.app(|| (0..n).map(|_| Client::connect(at(HOME[0], 8081))).collect())
}

#[test]
fn ten_thousand_idle_connections_are_within_bounds() {
    let Some(lab) = Lab::new() else { return };
    // For our own ends of the connections, and for the gateway, which inherits it.
    let needed = MOST as u64 + 1000;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft < needed {
        let raised = setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed));
        assert!(
            raised.is_ok(),
            "{needed} open files must be allowed, not {hard}"
        );
    }
    let home = Recorder::on(lab.home.listen(8081), |_| Reply::json("{}"));
    let launch = lab.launch(POLICY);
    lab.apply(launch.path(), &[]);
    let most = format!("--max-connections={MOST}");
    let gateway = launch
        .args([&*most, "--head-timeout=10m", "--detect-timeout=10m"])
        .start();
    let before = resident(&gateway);
    // Half of them have said nothing, half have carried an exchange.
    let mut silent = connect(&lab, IDLE / 2);
    let halfway = resident(&gateway);
    let mut used = connect(&lab, IDLE / 2);
    for client in &mut used {
        assert_eq!(client.ask(task()).status, 200);
    }
    eventually("all of them", || {
        let open = lab.metric(&gateway, "lazaret_connections_open", &[]);
        (open == IDLE as f64).then_some(())
    });
    let after = resident(&gateway);
    eprintln!("resident: {before} KiB, half silent {halfway} KiB, half used {after} KiB");
    assert!(after < MOST_MEMORY, "{after} KiB");

    // There is room for as many as the limit says, and no more.
    let mut more = connect(&lab, 2 * (MOST - IDLE));
    let served = more.iter_mut().filter_map(|client| {
        client.send(task());
        client.try_response()
    });
    assert_eq!(
        served.filter(|answer| answer.status == 200).count(),
        MOST - IDLE
    );
    for client in silent.iter_mut().chain(&mut used).step_by(100) {
        assert_eq!(client.ask(task()).status, 200);
    }
    let requests = IDLE / 2 + (MOST - IDLE) + IDLE / 100;
    assert_eq!(home.requests().len(), requests);
    let records = gateway.verdicts();
    let of = |name: &str, value: &str| records.iter().filter(|r| r[name] == value).count();
    assert_eq!(of("verdict", "released"), requests);
    assert_eq!(of("reason", "connection-limit"), MOST - IDLE);
    assert_eq!(records.len(), requests + MOST - IDLE);
    drop((silent, used, more));
    eventually("the end of all of them", || {
        let open = lab.metric(&gateway, "lazaret_connections_open", &[]);
        (open == 0.0).then_some(())
    });
    eprintln!("without them: {} KiB", resident(&gateway));
}

#[test]
fn running_out_of_file_descriptors_is_survived() {
    let Some(lab) = Lab::new() else { return };
    let home = Recorder::on(lab.home.listen(8081), |_| Reply::json("{}"));
    let launch = Launch::new(POLICY).owner(GATEWAY.id, GATEWAY.id);
    lab.apply(launch.path(), &[]);
    let launch = lab.in_pod(launch, &["prlimit", "--nofile=200:200"]);
    let mut gateway = launch.args(["--detect-timeout=10m"]).start();
    assert_eq!(lab.dial(HOME[0], 8081).ask(task()).status, 200);
    for _ in 0..2 {
        let errors = gateway.log().matches("cannot accept").count();
        let many = connect(&lab, 400);
        eventually("descriptors to run out", || {
            (gateway.log().matches("cannot accept").count() > errors).then_some(())
        });
        assert!(gateway.is_running());
        drop(many);
        let answer = lab.dial(HOME[0], 8081).ask(task());
        assert_eq!(answer.status, 200, "{:?}", answer.body);
    }
    assert_eq!(home.requests().len(), 3);
    assert!(lab.metric(&gateway, "lazaret_accept_errors_total", &[]) > 0.0);
    let ready = lab.pod.enter(Some(GATEWAY), || gateway.probe("/readyz"));
    assert_eq!(ready.unwrap().status, 200);
}

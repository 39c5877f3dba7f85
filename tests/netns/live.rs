//! The policy changes while everything runs, as a ConfigMap does: by one rename of a symlink.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::raw::End;
use crate::common::{Client, Gateway, Recorder, Reply, SUMMARY, eventually};
use crate::lab::{HOME, HOSPITAL, Lab, POD, POLICY};
use crate::peers::{Dns, Server, url};
use crate::space::{at, said};

/// A directory as kubelet makes it: `policy.yaml` → `..data/policy.yaml`, `..data` → a version.
struct ConfigMap {
    directory: PathBuf,
    version: usize,
}

impl ConfigMap {
    fn new(directory: &Path, policy: &str) -> Self {
        let mut map = Self {
            directory: directory.to_owned(),
            version: 0,
        };
        fs::remove_file(directory.join("policy.yaml")).unwrap();
        map.replace(policy);
        symlink("..data/policy.yaml", directory.join("policy.yaml")).unwrap();
        map
    }

    fn replace(&mut self, policy: &str) {
        self.version += 1;
        let version = format!("..{}", self.version);
        fs::create_dir(self.directory.join(&version)).unwrap();
        fs::write(self.directory.join(&version).join("policy.yaml"), policy).unwrap();
        let next = self.directory.join("..next");
        symlink(version, &next).unwrap();
        fs::rename(next, self.directory.join("..data")).unwrap();
    }
}

/// The policies that have been in force after the first.
fn replaced(gateway: &Gateway) -> usize {
    let is_policy = |record: &&Value| record["kind"] == "policy";
    gateway.audit().iter().filter(is_policy).count()
}

#[test]
fn reload_under_load_loses_nothing() {
    let Some(lab) = Lab::new() else { return };
    let home = Recorder::on(lab.home.listen(8081), |_| Reply::json("{}"));
    let app = Recorder::on(lab.pod.listen(8000), |_| Reply::json(SUMMARY));
    let launch = lab.launch(POLICY);
    let mut map = ConfigMap::new(launch.path(), POLICY);
    lab.apply(launch.path(), &[]);
    let gateway = launch.args(["--policy-poll=50ms"]).start();
    let (out, inside) = (
        url(HOME[0], 8081, "/v1/task"),
        url(POD[1], 8000, "/summary"),
    );
    let load = |words: &[&str], url: &str, client: &crate::space::Space| {
        let text =
            said(&client.tool(&[&["ab", "-q", "-n", "3000", "-c", "8"], words, &[url]].concat()));
        let good = text.contains("Failed requests:        0\n") && !text.contains("Non-2xx");
        assert!(good, "{text}");
    };
    std::thread::scope(|scope| {
        let kept = scope.spawn(|| load(&["-k"], &out, &lab.pod));
        let fresh = scope.spawn(|| load(&[], &inside, &lab.home));
        while !(kept.is_finished() && fresh.is_finished()) || map.version < 4 {
            map.replace(&POLICY.replace("name: lab", &format!("name: lab-{}", map.version)));
            eventually("the new policy", || {
                (replaced(&gateway) == map.version - 1).then_some(())
            });
        }
        kept.join().unwrap();
        fresh.join().unwrap();
    });
    assert_eq!((home.requests().len(), app.requests().len()), (3000, 3000));
    let records = gateway.verdicts();
    let released = records.iter().filter(|r| r["verdict"] == "released");
    assert_eq!((released.count(), records.len()), (6000, 6000));
    let mut policies: Vec<_> = records
        .iter()
        .map(|r| r["policy"].as_str().unwrap())
        .collect();
    policies.sort_unstable();
    policies.dedup();
    eprintln!(
        "{} of {} policies judged requests",
        policies.len(),
        map.version
    );
    assert!(policies.len() > 1);
}

#[test]
fn revoking_a_rule_cuts_what_it_allowed_and_nothing_else() {
    let Some(lab) = Lab::new() else { return };
    let _dns = Dns::of_the_lab(&lab);
    let _servers = [9002, 9003].map(|port| Server::echo(lab.hospital.listen(port)));
    let _shell = Server::echo(lab.pod.listen(7002));
    let home = Recorder::on(lab.home.listen(8081), |_| Reply::json("{}"));
    let launch = lab.launch(POLICY);
    let mut map = ConfigMap::new(launch.path(), POLICY);
    lab.apply(launch.path(), &[]);
    let gateway = launch.start();
    let ping = |client: &mut Client| {
        client.send("ping");
        assert_eq!(client.exactly(4).as_deref(), Some(&b"ping"[..]));
    };
    let mut cut = Vec::new();
    let mut kept = Vec::new();
    for family in [0, 1] {
        cut.push(lab.dial(HOSPITAL[family], 9002));
        cut.push(lab.home.dial(POD[family], 7002));
        kept.push(lab.dial(HOSPITAL[family], 9003));
    }
    cut.iter_mut().chain(&mut kept).for_each(ping);
    let task = format!(
        "GET /v1/task HTTP/1.1\r\nHost: {}\r\n\r\n",
        at(HOME[0], 8081)
    );
    let mut idle = lab.dial(HOME[0], 8081);
    assert_eq!(idle.ask(&task).status, 200);

    let less = POLICY
        .replace("ports: [9002]", "ports: [9992]")
        .replace("port: 7002", "port: 7992")
        .replace("ports: [8081, 8082]", "ports: [8082]");
    let started = Instant::now();
    map.replace(&less);
    for client in &mut cut {
        // A reset: what has come so far must not be taken for all there is.
        assert_eq!(client.rest(), (Vec::new(), End::Reset));
    }
    let took = started.elapsed();
    eprintln!("tunnels cut {took:?} after the rename");
    // It is meant to take less than 1 s; the rest is for machines with much else to do.
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(idle.rest(), (Vec::new(), End::Closed));
    kept.iter_mut().for_each(ping);

    let ends = eventually("a record of each end", || {
        let mut records = gateway.verdicts();
        records.retain(|r| r["kind"] == "tunnel-end");
        (records.len() == cut.len()).then_some(records)
    });
    for end in ends {
        assert_eq!(end["reason"], "policy-changed", "{end}");
        assert_eq!(
            (&end["bytes_in"], &end["bytes_out"]),
            (&4.into(), &4.into())
        );
    }
    // What was allowed is no longer.
    let answer = lab.dial(HOME[0], 8081).ask(&task);
    assert_eq!(answer.reason(), "destination-not-allowed");
    for mut client in [lab.dial(HOSPITAL[1], 9002), lab.home.dial(POD[1], 7002)] {
        client.send("\0");
        assert_eq!(client.rest(), (Vec::new(), End::Reset));
    }
    assert_eq!(home.requests().len(), 1);
}
